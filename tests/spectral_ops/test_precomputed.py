"""Stored gains: same results, nothing lost, nothing hidden."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.nn.utils import parametrize, prune

from spectral_ops import FromEmbedding, Heat, InputRouter, Mixture, Poisson, Precomputed, Softplus, SpectralEmbedding


def doubled(source, *sizes, **options):
    """A stored gain that differs from what the source gives, so that a test sees which of both was used."""
    fast = Precomputed(source)
    for size in sizes:
        fast.store(size, 2 * source.gain(size, **options))
    return fast


LAYOUTS = [((2, 3, 6, 7), (-2, -1)), ((2, 6, 7, 3), (1, 2)), ((2, 3, 9), (-1,)), ((2, 4, 5, 6, 3), (1, 2, 3))]


@pytest.mark.parametrize(("shape", "dims"), LAYOUTS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_stored_gain_is_used(shape, dims, per_channel, draw):
    x, sizes = draw(*shape), [shape[d] for d in dims]
    source = Heat(draw(3).exp() if per_channel else 0.3, dims=dims)
    fast = Precomputed(source)
    fast.store(sizes, source.gain(sizes, dtype=torch.float64))
    assert torch.equal(fast(x), source(x))
    torch.testing.assert_close(doubled(source, sizes, dtype=torch.float64)(x), 2 * source(x))
    assert fast.covers(sizes) and fast.stored_sizes == [tuple(sizes)]


def test_other_grids_fall_back_to_the_source(draw):
    fast = doubled(Heat(draw(3).exp()), (6, 7), (7, 6))
    assert fast.stored_sizes == [(6, 7), (7, 6)]
    for shape in ((6, 7), (7, 6), (6, 6), (67, 1), (6, 70)):
        x, factor = draw(2, 3, *shape, dtype=torch.float32), 2 if shape in fast.stored_sizes else 1
        torch.testing.assert_close(fast(x), factor * fast.source(x), rtol=1e-5, atol=1e-5)
        assert fast.covers(shape) == (factor == 2)


@torch.no_grad()
def test_embedding_is_not_needed_once_stored(draw):
    source, embedding, x = Heat(FromEmbedding(3)), draw(6, 7, 3).float(), draw(2, 3, 6, 7).float()
    fast = Precomputed(source)
    fast.store((6, 7), source.gain((6, 7), embedding=embedding))
    assert torch.equal(fast(x), source(x, embedding=embedding)) and torch.equal(fast(x, embedding=embedding), fast(x))
    other, x = draw(5, 5, 3).float(), x[..., :5, :5]
    assert torch.equal(fast(x, embedding=other), source(x, embedding=other))


def test_gains_alone(draw):
    source, x = Heat(draw(3).exp(), dims=(1, 2), laplacian="finite-difference"), draw(2, 6, 7, 3)
    alone = Precomputed(options=source.grid_options)
    alone.store((6, 7), source.gain((6, 7), dtype=torch.float64))
    assert torch.equal(alone(x), source(x)) and alone.grid_options == source.grid_options
    with pytest.raises(ValueError, match=r"no gain is stored for a grid of \(7, 6\).*stored: \[\(6, 7\)\]"):
        alone(x.transpose(1, 2))


def test_what_is_stored_is_a_copy(draw):
    source, x = Heat(draw(3).exp()), draw(2, 3, 6, 7)
    gain, fast = source.gain((6, 7), dtype=torch.float64), Precomputed(source)
    fast.store((6, 7), gain)
    gain.zero_()
    assert torch.equal(fast(x), source(x)) and len(fast.stored_sizes) == 1


def _rescaled(fast, embedding):
    fast.source.diffusivity.linear.weight.mul_(3)


def _replaced(fast, embedding):
    linear = fast.source.diffusivity.linear
    linear.bias = torch.nn.Parameter(linear.bias + 1)


def _exchanged(fast, embedding):
    embedding.weight.data = embedding.weight.data + 1.0


def _learned(fast, embedding):
    embedding.weight.add_(1.0)


def _loaded(fast, embedding):
    state = {name: t + 1 for name, t in fast.source.state_dict().items()}
    fast.load_state_dict({f"source.{name}": t for name, t in state.items()}, strict=False)


def _stepped(fast, embedding):
    """Training in evaluation mode; torch's fused optimizers change no version of what they write to."""
    for p in fast.source.parameters():
        p.grad = torch.ones_like(p)
    torch.optim.SGD(fast.source.parameters(), 0.1, fused=True).step()


def _longer(fast, embedding):
    fast.source.time = 2.0


def _other_quantity(fast, embedding):
    fast.source.diffusivity = Softplus(2.0)


class _Adapted(torch.nn.Linear):
    """A linear with settings as those of PEFT: lists and dictionaries that change in place."""

    def __init__(self, layer):
        super().__init__(layer.in_features, layer.out_features)
        self.active, self.scaling = ["a"], {"a": 1.0, "b": 5.0}

    def forward(self, x):
        return sum(self.scaling[name] for name in self.active) * super().forward(x)


def _active(fast, embedding):
    fast.source.diffusivity.linear.active[:] = ["b"]


def _scaled(fast, embedding):
    fast.source.diffusivity.linear.scaling["a"] = 3.0


def _hooked(fast, embedding):
    fast.source.diffusivity.linear.register_forward_hook(lambda module, args, y: y + 1)


def _hooked_before(fast, embedding):
    embedding.register_forward_pre_hook(lambda module, args: None)


def _other_forward(fast, embedding):
    fast.source.diffusivity.forward = lambda grid: torch.ones(3)


def _pruned(fast, embedding):
    prune.l1_unstructured(fast.source.diffusivity.linear, "weight", 0.5)


def _parametrised(fast, embedding):
    parametrize.register_parametrization(embedding, "weight", torch.nn.Softplus(), unsafe=True)


CHANGES = [_rescaled, _replaced, _exchanged, _learned, _loaded, _stepped, _longer, _other_quantity, _active, _scaled]
CHANGES += [_hooked, _hooked_before, _other_forward, _pruned, _parametrised]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
@torch.no_grad()
def test_a_stored_gain_is_never_stale(change, copied):
    source, embedding, x = Heat(FromEmbedding(3)), SpectralEmbedding((6, 7), 3), torch.randn(2, 3, 6, 7)
    source.diffusivity.linear = _Adapted(source.diffusivity.linear)
    fast = Precomputed(source)
    fast.store((6, 7), 2 * source.gain((6, 7), embedding=embedding((6, 7))), [embedding])
    fast, embedding = copied((fast, embedding))
    assert fast.covers((6, 7)) and torch.equal(fast(x), 2 * fast.source(x, embedding=embedding((6, 7))))
    change(fast, embedding)
    assert not fast.covers((6, 7))
    now = embedding((6, 7))
    assert torch.equal(fast(x, embedding=now), fast.source(x, embedding=now))


@torch.no_grad()
def test_dropout_that_is_switched_on_below_a_stored_gain_acts():
    """As where predictions are drawn: all in evaluation mode but for dropout."""
    source, embedding, x = Heat(FromEmbedding(3)), SpectralEmbedding((6, 7), 3), torch.randn(2, 3, 6, 7)
    dropout = torch.nn.Dropout(0.5)
    source.diffusivity.linear = torch.nn.Sequential(dropout, source.diffusivity.linear)
    fast = Precomputed(source).eval()
    now = embedding((6, 7))
    fast.store((6, 7), source.gain((6, 7), embedding=now), [embedding])
    dropout.train()
    assert not torch.equal(fast(x, embedding=now), fast(x, embedding=now))
    dropout.eval()
    assert fast.covers((6, 7)) and torch.equal(fast(x), source(x, embedding=now))


@torch.no_grad()
def test_memory_that_is_given_out_again_is_other_memory():
    """By ``.data``, which changes no version, and twice, so that the second lies where the first had lain."""
    same = 0
    for _ in range(50):
        fast = Precomputed(Heat(torch.nn.Parameter(torch.rand(512))))
        fast.store((2, 3), fast.source.gain((2, 3)))
        weight, x = fast.source.diffusivity, torch.randn(1, 512, 2, 3)
        place = weight.data_ptr()
        weight.data = weight.data * 2
        weight.data = weight.data * 2
        same += weight.data_ptr() == place
        assert torch.equal(fast(x), fast.source(x))
    assert same


def test_what_is_to_be_learned_gets_its_gradient(draw):
    fast = Precomputed(Heat(torch.nn.Parameter(draw(3).exp().float())))
    fast.store((6, 7), 2 * fast.source.gain((6, 7)))
    x = draw(2, 3, 6, 7).float()
    for mode in (True, False):
        fast.train(mode)(x).sum().backward()
        assert fast.source.diffusivity.grad is not None
        fast.source.diffusivity.grad = None
    assert fast.stored_sizes == []  # training has dropped it
    fast.store((6, 7), 2 * fast.source.gain((6, 7)))
    fast.requires_grad_(False)
    assert torch.equal(fast(x), 2 * fast.source(x))


def test_saved_copied_moved(draw):
    fast, x = doubled(Heat(draw(3).exp()), (6, 7)), draw(2, 3, 6, 7)
    assert set(fast.state_dict()) == {"gain_6x7", "source.diffusivity"}
    other = doubled(Heat(torch.ones(3).double()), (6, 7))
    other.load_state_dict(fast.state_dict())
    for same in (other, copy.deepcopy(fast)):
        assert torch.equal(same(x), fast(x))
    assert fast.to(torch.bfloat16)(x.float()).dtype == torch.float32
    torch.testing.assert_close(fast(x), other(x), rtol=0, atol=0.1)
    assert copy.deepcopy(fast).to("meta")(x.to("meta")).is_meta


@pytest.mark.parametrize("casts", [[torch.float64], [torch.bfloat16, torch.float32], [torch.float16, torch.float32]])
@torch.no_grad()
def test_a_cast_leaves_no_rounded_gain(casts):
    """Also where the source has no tensor of its own that a cast would change."""
    fast = Precomputed(Poisson(screening=1e-3, dims=(1, 2)))
    fast.store((6, 7), fast.source.gain((6, 7)))
    for dtype in casts:
        fast.to(dtype)
    assert not fast.covers((6, 7))
    x = torch.randn(2, 6, 7, 3, dtype=casts[-1])
    assert torch.equal(fast(x), fast.source(x))


@torch.no_grad()
def test_what_changes_no_dtype_keeps_the_gains():
    fast = Precomputed(Heat(0.3)).float()
    fast.store((6, 7), fast.source.gain((6, 7)))
    assert fast.float().cpu().covers((6, 7))
    alone = Precomputed(options={"dims": (1, 2)})
    alone.store((6, 7), fast.source.gain((6, 7)))
    assert alone.half().covers((6, 7))  # there is nothing else


def test_part_of_an_expression(draw, count_products):
    a, b, x = Heat(draw(3).exp()), Heat(0.2), draw(2, 3, 6, 7)
    fast = doubled(a, (6, 7), dtype=torch.float64)
    torch.testing.assert_close((fast @ b + 0.5 * fast)(x), 2 * (a @ b + 0.5 * a)(x))
    torch.testing.assert_close(Mixture([fast, b], torch.tensor([0.3, 0.7]).double())(x), 0.6 * a(x) + 0.7 * b(x))
    assert count_products(lambda: (fast @ b + 0.5 * fast)(x)) == 4
    assert repr(doubled(b, (6, 7))) == "Precomputed(Heat(diffusivity=0.2, time=1), sizes=[(6, 7)])"


def test_compile_with_dynamic_sizes_takes_the_stored_gain(draw):
    fast = doubled(Heat(0.3), (6, 7))
    compiled = torch.compile(fast, fullgraph=True, dynamic=True, backend="eager")
    for shape in ((9, 8), (6, 7), (7, 6)):
        x = draw(2, 3, *shape, dtype=torch.float32)
        torch.testing.assert_close(compiled(x), fast(x))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Precomputed(), ValueError, "a source operator or grid options"),
        (lambda: Precomputed(Heat(), {"dims": (1, 2)}), ValueError, "a source operator or grid options"),
        (lambda: Precomputed(torch.nn.Identity()), TypeError, "source must be a SpectralOperator .* got Identity"),
        (lambda: Precomputed(options={"dim": (1, 2)}), TypeError, "unexpected keyword argument 'dim'"),
        (lambda: Precomputed(Heat()).store((6, 7), torch.ones(7, 6)), ValueError, r"gain must .* \(6, 7\) .* \(7, 6\)"),
        (lambda: Precomputed(Heat()).store((6, 7), torch.ones(2, 6, 7, 3)), ValueError, r"got \(2, 6, 7, 3\)"),
        (lambda: Precomputed(Heat()).store((6, 7), torch.ones(6, 7).int()), TypeError, "gain must be a real floating"),
        (lambda: Precomputed(Heat()).store((6, 0), torch.ones(6, 0)), ValueError, "sizes must be positive"),
        (lambda: Precomputed(Heat()).store(6, torch.ones(6)), ValueError, r"one entry per .*\(-2, -1\), got \(6,\)"),
        (lambda: Precomputed(Heat()).multiplier(torch.ones(2)), NotImplementedError, "gives its gain by raw_gain"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_float64_inputs_do_not_lose_precision_to_a_float32_gain(draw):
    x, fast = draw(2, 3, 6, 7), Precomputed(Heat(0.3))
    fast.store((6, 7), fast.source.gain((6, 7)))
    assert torch.equal(fast(x), fast.source(x))


def test_what_is_stored_in_inference_mode_serves_training(draw):
    x, fast = draw(2, 3, 6, 7, dtype=torch.float32).requires_grad_(), Precomputed(Heat(0.3))
    with torch.inference_mode():
        fast.store((6, 7), fast.source.gain((6, 7)))
    fast(x).sum().backward()
    assert x.grad is not None


def test_a_fresh_one_loads_stored_gains(draw):
    x, stored = draw(2, 3, 6, 7), doubled(Heat(0.3), (6, 7), (4, 4), dtype=torch.float64)
    fresh = Precomputed(options=stored.grid_options)
    fresh.load_state_dict(stored.state_dict())
    assert fresh.stored_sizes == [(6, 7), (4, 4)] and torch.equal(fresh(x), stored(x))
    with_source = Precomputed(Heat(0.3))
    with_source.load_state_dict(stored.state_dict())
    assert with_source.stored_sizes == [] and torch.equal(with_source(x), with_source.source(x))


def test_a_gain_that_depends_on_the_input_is_refused():
    router = Mixture([Heat(0.1), Heat(1.0)], weights=InputRouter(3, 2))
    with pytest.raises(ValueError, match="depends on the input and cannot be precomputed"):
        Precomputed(router).store((4, 4), router.gain((4, 4), pooled=torch.ones(3)))


@pytest.mark.parametrize("strict", [False, True])
def test_exported_graphs_hold_the_stored_gain(strict, draw):
    source = Heat(Softplus(0.3, (3,)), dims=(1, 2)).eval()
    fast = Precomputed(source).eval()
    fast.store((4, 6), source.gain((4, 6)))
    x = draw(2, 4, 6, 3).float()

    def exported():
        program = torch.export.export(fast, (x,), strict=strict)
        called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
        return program.module()(x), any("softplus" in name for name in called)

    result, computes = exported()
    assert not computes
    torch.testing.assert_close(result, source(x))
    if strict:  # by torch.compile, which does not see writes in place
        return
    with torch.no_grad():
        source.diffusivity.raw.add_(1.0)  # what was stored is stale
    result, computes = exported()
    assert computes
    torch.testing.assert_close(result, source(x))
