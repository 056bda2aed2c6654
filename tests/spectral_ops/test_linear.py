"""A called linear layer gives what the layer gives, also where it is computed by a convolution."""

from __future__ import annotations

import cProfile
import json
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from spectral_ops import linear, recompute, use_kernels
from spectral_ops.linear import ROWS, call, call_in_own_dtype


@pytest.fixture(autouse=True)
def _on_x86(monkeypatch):
    """Convolutions for maps of any size."""
    monkeypatch.setattr(linear, "ROWS", 1)
    with use_kernels(convolved=True):
        yield


class _Called(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return call(self.layer, x)


def _layers(bias=True):
    torch.manual_seed(0)
    layer, plain = nn.Linear(5, 9, bias=bias), nn.Linear(5, 9, bias=bias)
    plain.load_state_dict(layer.state_dict())
    return _Called(layer), plain


def _convolved(y):
    """Whether a result was made by a convolution."""
    pending = [y.grad_fn]
    while pending:
        node = pending.pop()
        if node is not None:
            if "Convolution" in node.name():
                return True
            pending += [following for following, _ in node.next_functions]
    return False


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 6, 7, 5), (6, 7, 5), (1, 1, 1, 5), (2, 1, 3, 5), (1, 56, 57, 5)], ids=str)
def test_values_and_gradients_are_those_of_a_product(shape, bias):
    layer, plain = _layers(bias)
    x = torch.randn(shape, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    y, expected = layer(x), plain(other)
    assert _convolved(y) and not _convolved(expected)
    assert y.shape == expected.shape and y.is_contiguous()
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    toward = torch.randn_like(y)
    y.backward(toward)
    expected.backward(toward)
    torch.testing.assert_close(x.grad, other.grad, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-3)
        assert mine.grad.stride() == mine.stride()  # as DistributedDataParallel wants them


def test_maps_of_few_cells_are_left_to_the_product(monkeypatch):
    monkeypatch.setattr(linear, "ROWS", ROWS)
    layer, _ = _layers()
    assert _convolved(layer(torch.randn(2, ROWS // 2, 1, 5))) and _convolved(layer(torch.randn(ROWS, 1, 5)))
    assert not _convolved(layer(torch.randn(1, ROWS - 1, 1, 5))) and not _convolved(layer(torch.randn(0, ROWS, 1, 5)))


@pytest.mark.parametrize(
    "x", [torch.randn(2, 5, 6, 8).permute(0, 2, 3, 1), torch.randn(2, 6, 8, 5)[:, ::2, 1:]], ids=["permuted", "cut"]
)
def test_maps_that_are_not_contiguous_are_left_to_the_product(x):
    layer, plain = _layers()
    assert torch.equal(layer(x), plain(x)) and layer(x).stride() == plain(x).stride()


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta", "ignore:Initializing zero-element tensors")
def test_weights_of_other_kinds():
    layer, _ = _layers()
    x = torch.randn(2, 3, 3, 5)
    expected = layer(x)
    with torch.no_grad():
        layer.layer.weight = nn.Parameter(layer.layer.weight.to_sparse_csr(), requires_grad=False)
        torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
    assert call(nn.Linear(5, 0), x).shape == (2, 3, 3, 0)


def test_compiles_without_break():
    layer, plain = _layers()
    x = torch.randn(2, 3, 3, 5)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), plain(x))
    torch.export.export(layer, (x,), strict=True)


def test_second_derivatives():
    layer, plain = _layers()
    found = []
    for module in (layer, plain):
        x = torch.linspace(-1, 1, 40).view(2, 2, 2, 5).requires_grad_()
        (gradient,) = torch.autograd.grad(module(x).tanh().sum(), x, create_graph=True)
        gradient.square().sum().backward()
        found.append((x.grad, next(module.parameters()).grad))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        (torch.randn(4, 5), torch.float32),
        (torch.randn(2, 3, 4, 5, 5), torch.float32),
        (torch.randn(2, 3, 3, 5), torch.float64),
        (torch.randn(2, 3, 3, 5), torch.bfloat16),
        (torch.randn(0, 3, 3, 5), torch.float32),
    ],
    ids=["tokens", "five dimensions", "float64", "bfloat16", "empty"],
)
def test_everything_else_is_the_product_itself(x, dtype):
    layer, plain = (module.to(dtype) for module in _layers())
    assert torch.equal(layer(x.to(dtype)), plain(x.to(dtype)))
    assert not _convolved(layer(x.to(dtype)))


def test_under_autocast_it_is_the_product():
    layer, plain = _layers()
    x = torch.randn(2, 3, 3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), plain(x))


def test_graphs_hold_the_product():
    layer, _ = _layers()
    x = torch.randn(2, 3, 3, 5)
    exported = torch.export.export(layer, (x,))
    assert [n.name for n in exported.graph.nodes if n.op == "call_function"] == ["linear"]
    assert "conv" not in torch.fx.symbolic_trace(layer).code
    assert "conv" not in str(torch.jit.trace(layer, x).graph)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    assert counter.get_total_flops() == 2 * 18 * 5 * 9


def _hooked(layer):
    layer.register_forward_hook(lambda module, args, y: y + 1)
    return lambda x, expected: expected + 1


def _replaced_forward(layer):
    layer.forward = lambda x: nn.functional.linear(x, layer.weight, layer.bias) * 2
    return lambda x, expected: expected * 2


def _parametrised(layer):
    class Twice(nn.Module):
        def forward(self, weight):
            return weight * 2

    parametrize.register_parametrization(layer, "weight", Twice())
    return lambda x, expected: 2 * expected - layer.bias


def _pruned(layer):
    prune.ln_structured(layer, "weight", amount=3, n=2, dim=0)
    return lambda x, expected: torch.where(layer.weight.any(1), expected, layer.bias)


@pytest.mark.parametrize("change", [_hooked, _replaced_forward, _parametrised, _pruned])
@pytest.mark.parametrize("way", [call, call_in_own_dtype])
@torch.no_grad()
def test_whoever_has_a_hand_in_the_layer_is_asked(change, way):
    layer, x = nn.Linear(5, 9), torch.randn(2, 3, 4, 5)
    expected = layer(x)
    becomes = change(layer)
    torch.testing.assert_close(way(layer, x), becomes(x, expected))


def test_patches_of_the_class_are_asked(monkeypatch):
    layer, x = nn.Linear(5, 9), torch.randn(2, 3, 4, 5)
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: x * 0)
    assert torch.equal(call(layer, x), x * 0)


@pytest.mark.parametrize("name", ["__call__", "_call_impl"])
@pytest.mark.parametrize("way", [call, call_in_own_dtype])
def test_patched_calls_are_made_with_the_input_alone(way, name, monkeypatch):
    layer, x, own, seen = nn.Linear(5, 9), torch.randn(2, 3, 4, 5), getattr(nn.Module, name), []
    expected = layer(x)

    def doubled(self, *args, **kwargs):
        seen.append((self, args, kwargs))
        return 2 * own(self, *args, **kwargs)

    monkeypatch.setattr(nn.Module, name, doubled)
    torch.testing.assert_close(way(layer, x), 2 * expected)
    assert len(seen) == 1 and seen[0][0] is layer and seen[0][1][0] is x and not seen[0][2]


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")
def test_profiles_by_modules_have_the_layer(tmp_path, monkeypatch):
    monkeypatch.setattr(recompute, "LARGE", 1)
    layer, x = nn.Linear(5, 9), torch.randn(2, 3, 4, 5, requires_grad=True)
    expected = torch.autograd.grad(layer(x.relu()).square().sum(), x)
    with torch.profiler.profile(with_stack=True, with_modules=True) as profile:
        call(layer, x)
        y = recompute.linear_behind(layer, torch.relu, x)
        assert "forward" not in vars(layer)  # what other threads see
    profile.export_chrome_trace(str(tmp_path / "trace.json"))
    names = [event["name"] for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]]
    assert sum(name.startswith("nn.Module: Linear") for name in names) == 2
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), x), expected)


def test_profiles_of_kernels_have_those_that_run_without():
    layer, x = nn.Linear(5, 9), torch.randn(2, 3, 4, 5)
    with torch.profiler.profile() as profile:
        call(layer, x)
    assert "aten::conv2d" in {event.key for event in profile.key_averages()}


def test_pythons_profiler_sees_the_call():
    layer, x, profile = nn.Linear(5, 9), torch.randn(2, 3, 4, 5), cProfile.Profile()
    profile.runcall(call, layer, x)
    code = nn.Linear.forward.__code__
    assert any(entry.code is code for entry in profile.getstats())


PATCHES = {
    "forward": "own = nn.Linear.forward; nn.Linear.forward = lambda self, x: 2 * own(self, x)",
    "wrapped": """
own = nn.Linear.forward
@functools.wraps(own)
def doubled(self, x):
    return 2 * own(self, x)
nn.Linear.forward = doubled""",
    "call": """
own = nn.Module.__call__
nn.Module.__call__ = lambda self, *a: 2 * own(self, *a) if isinstance(self, nn.Linear) else own(self, *a)""",
    "call_impl": """
own = nn.Module._call_impl
nn.Module._call_impl = lambda self, *a: 2 * own(self, *a) if isinstance(self, nn.Linear) else own(self, *a)""",
    "subclass": """
class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)
nn.Linear = Doubled""",
    "function": "own = F.linear; F.linear = lambda *a: 2 * own(*a)",
}
BEFORE = """
import functools, torch
from torch import nn
from torch.nn import functional as F
{patch}
from spectral_ops import linear
linear.ROWS = 1
layer, x = nn.Linear(5, 9), torch.randn(2, 3, 4, 5)
expected = 2 * (x @ layer.weight.T + layer.bias)
torch.testing.assert_close(linear.call(layer, x), expected)
torch.testing.assert_close(linear.call_in_own_dtype(layer, x), expected)
"""


@pytest.mark.parametrize("name", PATCHES)
def test_patches_from_before_the_import_are_asked(name):
    done = subprocess.run([sys.executable, "-c", BEFORE.format(patch=PATCHES[name])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_functions_that_are_watched_or_patched_are_called(monkeypatch):
    layer, x, seen = nn.Linear(5, 9), torch.randn(2, 3, 4, 5), []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with Watch():
        call(layer, x)
    assert nn.functional.linear in seen and nn.functional.conv2d not in seen
    monkeypatch.setattr(nn.functional, "linear", lambda x, *_: x * 0)
    assert torch.equal(call(layer, x), x * 0)


@pytest.mark.parametrize("low", [torch.float16, torch.bfloat16])
def test_a_plain_layer_computes_in_the_dtype_of_the_input(low):
    layer, x = nn.Linear(5, 9).to(low), torch.randn(3, 4, 5)
    expected = nn.functional.linear(x, layer.weight.float(), layer.bias.float())
    torch.testing.assert_close(call_in_own_dtype(layer, x), expected, rtol=1e-6, atol=1e-6)
    compiled = torch.compile(lambda x: call_in_own_dtype(layer, x), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), expected, rtol=1e-6, atol=1e-6)
    calls = []
    layer.register_forward_hook(lambda module, args, y: calls.append(args[0].dtype))
    torch.testing.assert_close(call_in_own_dtype(layer, x), expected, rtol=0.02, atol=0.02)
    assert calls == [low]
