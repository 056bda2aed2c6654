"""The fused kernel: its numbers by Triton's interpreter on the CPU, derivatives, when it is taken, what traces it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("triton")

import torch
import triton
from interpreted import interpreted, load
from torch import nn
from torch.func import grad, jvp, vmap
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import spectral_ops
from spectral_ops import Heat, Precomputed, SpectralMixer, _fused, _fused_triton, apply_gain, superpose, use_kernels
from spectral_ops._kernels import SETTINGS

DEFAULT = SETTINGS.fused
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
#: Relative to the norm of the exact result. Measured: up to 2.7e-7, 2.3e-4 and 7.0e-3, where matrix products of these
#: dtypes are off by up to 2.8e-7, 4.9e-4 and 7.3e-3. (The interpreter computes TF32 in float32.)
TOLERANCE = {torch.float32: 5e-7, torch.float16: 4e-4, torch.bfloat16: 1e-2}
#: H, W and C: square and not, of one tile and padded, of one block of channels, of several and of parts.
SHAPES = [(7, 7, 17), (14, 14, 33), (13, 9, 5), (28, 28, 16), (1, 20, 3), (33, 1, 1), (56, 56, 5), (64, 17, 9)]
MARGIN = 100


@pytest.fixture(scope="module")
def kernels():
    with interpreted(_fused_triton.__file__) as module:
        yield module


@pytest.fixture(autouse=True)
def fused(kernels, monkeypatch):
    """Turn the kernel on for CPU tensors. What it writes to is poisoned; what lies behind that must stay so."""
    monkeypatch.setattr(spectral_ops, "_fused_triton", kernels)
    monkeypatch.setattr(_fused, "DEVICES", {"cpu"})
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    record = SimpleNamespace(calls=0, margins=[])

    def empty(shape, **options):
        count = torch.Size(shape).numel()
        buffer = torch.full((count + MARGIN,), torch.nan, **options)
        record.calls += 1
        record.margins.append(buffer[count:])
        return buffer[:count].view(shape)

    monkeypatch.setattr(kernels, "torch", SimpleNamespace(empty=empty, float32=torch.float32, cuda=torch.cuda))
    with use_kernels(fused=True):
        yield record
    torch.backends.cuda.matmul.allow_tf32 = allowed
    assert all(margin.isnan().all() for margin in record.margins)


def distance(value, exact):
    return float((value.double() - exact).norm() / exact.norm())


def exactly(call, *tensors):
    """``call`` by matrix products in float64."""
    with use_kernels(fused=False):
        return call(*(t.detach().double().requires_grad_(t.requires_grad) for t in tensors))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_products(shape, dtype, draw, fused, monkeypatch):
    height, width, _ = shape
    x = draw(2, *shape).to(dtype)
    mixed = ("periodic", "dirichlet")
    for boundary, gain in (
        ("neumann", draw(*shape)),
        ("dirichlet", draw(height, width)[..., None]),
        (mixed, draw(*shape)),
    ):
        gain = gain.float()
        exact = exactly(lambda x, g, b=boundary: apply_gain(x, g, (1, 2), boundary=b), x, gain)
        result = apply_gain(x, gain, (1, 2), boundary=boundary)
        assert result.dtype == dtype and result.shape == x.shape and result.is_contiguous()
        assert distance(result, exact) < TOLERANCE[dtype]
    assert fused.calls == 3


@pytest.mark.parametrize(
    ("gain_shape", "dtype"),
    [((13, 9, 18), dtype) for dtype in DTYPES]
    + [(shape, torch.float32) for shape in ((13, 9), (13, 9, 1), (1, 9, 18), (1, 1, 1))],
)
def test_gradients_of_field_and_gain(gain_shape, dtype, draw, fused, monkeypatch):
    x = draw(11, 13, 9, 18).to(dtype).requires_grad_()  # 11 samples: the sum over the batch has two parts
    gain, weight = draw(*gain_shape).float().requires_grad_(), draw(11, 13, 9, 18).to(dtype)

    def call(x, gain, weight):
        return torch.autograd.grad((apply_gain(x, gain, (1, 2)) * weight).sum(), (x, gain))

    for value, exact in zip(call(x, gain, weight), exactly(call, x, gain, weight), strict=True):
        assert value.shape == exact.shape and distance(value, exact) < TOLERANCE[dtype]
    assert fused.calls == 3
    x = x.detach()
    torch.autograd.grad(apply_gain(x, gain, (1, 2)).sum(), gain)  # whose gradient is an expanded number
    assert fused.calls == 5, "the gradient of a field that needs none is computed"


def test_second_derivatives(draw, fused, monkeypatch):
    x, gain = draw(3, 6, 7, 4).float().requires_grad_(), draw(6, 7, 4).float().requires_grad_()

    def call(x, gain):
        first = torch.autograd.grad(apply_gain(x, gain, (1, 2)).pow(3).sum(), (x, gain), create_graph=True)
        return torch.autograd.grad(sum(g.sin().sum() for g in first), (x, gain))

    for value, exact in zip(call(x, gain), exactly(call, x, gain), strict=True):
        assert distance(value, exact) < 1e-5
    assert fused.calls > 3


def test_amplitudes_beyond_float16(fused):
    x, gain = torch.full((1, 8, 8, 4), 3e4).half(), torch.zeros(8, 8)
    gain[0, 0] = 2.0
    assert float(apply_gain(x, gain, (1, 2)).float().mean()) == pytest.approx(6e4, rel=1e-3)
    assert fused.calls == 1


def test_in_the_dtype_of_autocast(draw, fused, monkeypatch):
    x, gain = draw(2, 9, 8, 5).float(), draw(9, 8, 5).float()
    exact = exactly(lambda x, g: apply_gain(x, g, (1, 2)), x, gain)
    for dtype in DTYPES[1:]:
        with torch.autocast("cpu", dtype):
            result = apply_gain(x, gain, (1, 2))
        assert result.dtype == torch.float32
        assert distance(result, exact) < TOLERANCE[dtype]
        assert (distance(result, exact) > 1e-4) == (dtype == torch.bfloat16)  # TF32 is exact in the interpreter
    assert fused.calls == 2


# -- when it is taken --------------------------------------------------------------------------------------------------

X, GAIN = torch.randn(2, 6, 7, 4), torch.rand(6, 7, 4)


def traced(x, gain):
    return torch.jit.trace(lambda x: apply_gain(x, gain, (1, 2)), (x,), check_trace=False)(x)


REFUSED = {
    "float64": lambda: apply_gain(X.double(), GAIN, (1, 2)),
    "channels first": lambda: apply_gain(X, torch.rand(7, 4), (2, 3)),
    "transposed axes": lambda: apply_gain(X, torch.rand(7, 6, 4), (2, 1)),
    "one axis": lambda: apply_gain(X, torch.rand(6), (1,)),
    "no batch": lambda: apply_gain(X[0], GAIN, (0, 1)),
    "not contiguous": lambda: apply_gain(X.transpose(1, 2), GAIN.transpose(0, 1), (1, 2)),
    "empty": lambda: apply_gain(X[:0], GAIN, (1, 2)),
    "too tall": lambda: apply_gain(torch.randn(1, 65, 2, 1), torch.rand(65, 2), (1, 2)),
    "a gain per sample": lambda: apply_gain(X, torch.rand(2, 6, 7, 4), (1, 2)),
    "a backend": lambda: apply_gain(X, GAIN, (1, 2), backend="matmul"),
    "two fields": lambda: superpose([(X, GAIN), (X, GAIN)], (1, 2)),
    "torch.func.grad": lambda: grad(lambda x: apply_gain(x, GAIN, (1, 2)).square().sum())(X),
    "torch.func.vmap": lambda: vmap(lambda gain: apply_gain(X, gain, (1, 2)))(GAIN[None]),
    "torch.func.jvp": lambda: jvp(lambda x: apply_gain(x, GAIN, (1, 2)), (X,), (X,)),
    "torch.jit.trace": lambda: traced(X, GAIN),
}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_falls_back_to_products(name, fused):
    apply_gain(X, GAIN, (1, 2))
    assert fused.calls == 1, "the kernel is not taken where it should be"
    REFUSED[name]()
    assert fused.calls == 1, f"the kernel is taken for {name}"


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: use_kernels(fused=False),  # until the fixture ends
        lambda patch: patch.setattr(_fused, "_HAS_TRITON", False),
        lambda patch: patch.setattr(_fused, "DEVICES", {"cuda"}),
        lambda patch: setattr(torch.backends.cuda.matmul, "allow_tf32", False),
    ],
    ids=["switched off", "no triton", "another device", "no TF32"],
)
def test_falls_back_by_setting(change, fused, monkeypatch):
    change(monkeypatch)
    apply_gain(X, GAIN, (1, 2))
    assert fused.calls == 0


def test_forward_mode(fused):
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(X, X)
        tangent = torch.autograd.forward_ad.unpack_dual(apply_gain(dual, GAIN, (1, 2))).tangent
    assert fused.calls == 0 and tangent is not None


def test_is_off_and_says_the_same_of_bad_gains():
    assert DEFAULT is False
    with pytest.raises(ValueError, match="does not broadcast"):
        apply_gain(X, torch.rand(6, 8), (1, 2))
    with pytest.raises(TypeError, match="gain must be a real floating-point tensor"):
        apply_gain(X, GAIN > 0, (1, 2))


# -- what sees it ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fused_gain", "correlate"])
def test_torch_accepts_the_operation(name):
    x, y, gain = (torch.randn(s, requires_grad=True) for s in ((2, 5, 6, 3), (2, 5, 6, 3), (5, 6, 3)))
    bases = spectral_ops.cosine_basis(5), spectral_ops.cosine_basis(6)
    torch.library.opcheck(getattr(_fused, name), (x, gain if name == "fused_gain" else y, *bases))


def mixer():
    torch.manual_seed(3)
    return SpectralMixer(6, Heat(nn.Parameter(torch.rand(6)), dims=(1, 2)))


def test_compiles_without_break(draw, fused):
    net, x = mixer(), draw(2, 7, 9, 6).float().requires_grad_()
    expected = net(x)
    expected.square().sum().backward()
    grads = [p.grad.clone() for p in (x, *net.parameters())]
    x.grad = None
    net.zero_grad()
    torch._dynamo.reset()
    fused.calls = 0
    result = torch.compile(net, fullgraph=True, backend="aot_eager")(x)
    result.square().sum().backward()
    assert fused.calls == 3
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close([p.grad for p in (x, *net.parameters())], grads)


def test_switch_recompiles(fused):
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: apply_gain(x, GAIN, (1, 2)), fullgraph=True, backend="eager")
    calls = []
    for value in (True, False, True):
        use_kernels(fused=value)
        compiled(X)
        calls.append(fused.calls)
    assert calls == [1, 1, 2]


def operations(program):
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


def test_exports_for_a_fixed_grid_only(draw, fused):
    net, batch, side = mixer().eval(), torch.export.Dim("batch", max=64), torch.export.Dim("side", min=4, max=256)
    x = draw(2, 7, 9, 6).float()
    program = torch.export.export(net, (x,), dynamic_shapes=({0: batch},))
    assert "spectral_ops.fused_gain.default" in operations(program)
    other = draw(5, 7, 9, 6).float()
    torch.testing.assert_close(program.module()(other), net(other))
    free = torch.export.export(net, (x,), dynamic_shapes=({0: batch, 1: side},))
    assert not any("spectral_ops" in name for name in operations(free))
    large = draw(1, 100, 9, 6).float()
    torch.testing.assert_close(free.module()(large), net(large), atol=1e-5, rtol=1e-4)


def test_compiled_transforms_fall_back(fused):
    for transform in (
        vmap(lambda x: apply_gain(x[None], GAIN, (1, 2))),
        grad(lambda x: apply_gain(x, GAIN, (1, 2)).square().sum()),
        lambda x: jvp(lambda x: apply_gain(x, GAIN, (1, 2)), (x,), (x,))[1],
    ):
        torch._dynamo.reset()
        compiled = torch.compile(transform, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(X), transform(X))
    assert fused.calls == 0


def test_batched_gradients(fused, monkeypatch):
    x, gain = X.clone().requires_grad_(), GAIN.clone().requires_grad_()
    vectors = torch.randn(3, *X.shape)

    def call(x, gain, vectors):
        return torch.autograd.grad(apply_gain(x, gain, (1, 2)), (x, gain), vectors, is_grads_batched=True)

    for value, exact in zip(call(x, gain, vectors), exactly(call, x, gain, vectors), strict=True):
        assert distance(value, exact) < 1e-5
    assert fused.calls == 7


@pytest.mark.filterwarnings("ignore")  # of torch's exporter about itself
def test_onnx_has_products(fused):
    class Net(nn.Module):
        def forward(self, x):
            return apply_gain(x, GAIN, (1, 2))

    program = torch.onnx.export(Net().eval(), (X,), dynamo=True, verbose=False)
    assert [node.op_type for node in program.model.graph].count("MatMul") == 4 and fused.calls == 0


def test_stored_gains(draw, fused):
    precomputed = Precomputed(Heat(0.3, dims=(1, 2)))
    precomputed.store((7, 9), precomputed.source.gain((7, 9)))
    x = draw(2, 7, 9, 6).float()
    assert torch.equal(precomputed(x), precomputed.source(x)) and fused.calls == 2


# -- on a GPU's compiler -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aligned", [True, False], ids=["16 channels", "17 channels"])
@pytest.mark.parametrize(("side", "dtype"), [(28, "bf16"), (56, "bf16"), (56, "fp16"), (64, "fp32")])
def test_compiles_for_a_gpu(side, dtype, aligned, tmp_path):
    """No GPU is needed to compile for one. The limit is the shared memory of one program on compute capability 9.0."""
    module = load(_fused_triton.__file__, interpret=False)
    for kernel in (module._apply, module._correlate):
        tile = module._tile(side, side)
        options = {name: tile.pop(name) for name in ("num_warps", "num_stages")}
        constants = {**tile, "gain_c": 1, "SAMPLES": module.SAMPLES}
        constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
        bases, out = "bf16" if dtype == "bf16" else "fp32", dtype if kernel is module._apply else "fp32"
        pointers = {"x": dtype, "y": dtype, "gain": "fp32", "rows": bases, "columns": bases, "out": out}
        signature = {name: f"*{pointers[name]}" if name in pointers else "i32" for name in kernel.arg_names}
        signature |= dict.fromkeys(constants, "constexpr")
        multiples = [i for i, name in enumerate(signature) if name in pointers or (name == "C" and aligned)]
        with triton.knobs.cache.scope():
            triton.knobs.cache.dir = str(tmp_path)
            source = ASTSource(kernel, signature, constants, {(i,): [["tt.divisibility", 16]] for i in multiples})
            compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        assert compiled.metadata.shared <= 227 * 1024
        assert "wgmma" in compiled.asm["ptx"], "the products do not run on tensor cores"
