"""``recomputed`` and ``linear_behind``: the plain expression's gradients, and less kept for them."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from spectral_ops import Heat, SpectralMixer, recompute
from spectral_ops.linear import call
from spectral_ops.recompute import linear_behind, recomputed


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch):
    monkeypatch.setattr(recompute, "LARGE", 0)


class Pair(torch.nn.Module):
    """An activation and a linear."""

    def __init__(self, plain=False, dtype=torch.float32):
        super().__init__()
        self.plain = plain
        self.linear = torch.nn.Linear(6, 3, dtype=dtype)

    def forward(self, x):
        return call(self.linear, F.gelu(x)) if self.plain else linear_behind(self.linear, F.gelu, x)


def _pairs(dtype=torch.float32):
    pair, plain = Pair(dtype=dtype), Pair(plain=True, dtype=dtype)
    plain.load_state_dict(pair.state_dict())
    return pair, plain


def _gradients(run, model, x):
    x = x.clone().requires_grad_()
    model.zero_grad()
    run(model, x).square().sum().backward()
    return [x.grad, *(p.grad.clone() for p in model.parameters())]


def _checkpointed(reentrant):
    return lambda model, x: checkpoint(model, x, use_reentrant=reentrant)


def _on_the_processor(model, x):
    with torch.autograd.graph.save_on_cpu():
        return model(x)


def _halved(model, x):
    with torch.autocast("cpu", torch.bfloat16):
        return model(x)


RUNS = {
    "plain": lambda model, x: model(x),
    "autocast": _halved,
    "checkpoint": _checkpointed(False),
    "reentrant checkpoint": _checkpointed(True),
    "save_on_cpu": _on_the_processor,
}


@pytest.mark.parametrize("shape", [(4, 6), (2, 5, 6), (2, 3, 5, 6)])
@pytest.mark.parametrize("how", RUNS)
def test_gradients_are_those_of_the_expression_to_the_bit(how, shape):
    x = torch.randn(shape)
    one, other = (_gradients(RUNS[how], model, x) for model in _pairs())
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_layouts_other_than_contiguous():
    x = torch.randn(2, 6, 3, 5).permute(0, 2, 3, 1)
    one, other = (_gradients(RUNS["plain"], model, x) for model in _pairs())
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class Watched:
    """A function that remembers the storages of what it returned, and how often it was called."""

    def __init__(self, function):
        self.function, self.made = function, []

    def __call__(self, *xs):
        y = self.function(*xs)
        self.made.append(StorageWeakRef(y.untyped_storage()))
        return y


def test_the_result_is_not_kept():
    linear, x = torch.nn.Linear(6, 3), torch.randn(4, 6, requires_grad=True)
    lean, plain = Watched(F.gelu), Watched(F.gelu)
    kept = linear_behind(linear, lean, x), linear(plain(x))
    assert lean.made[0].expired() and not plain.made[0].expired()
    torch.autograd.backward([y.sum() for y in kept])
    assert len(lean.made) == 2 and len(plain.made) == 1


def test_backward_stops_before_the_product():
    """What is made again is the activation, not the linear."""
    x, w = torch.randn(4, 6, requires_grad=True), torch.randn(3, 6, requires_grad=True)
    seen = []

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(function.name())
            return function(*args, **(kwargs or {}))

    y = recomputed(lambda x, w: F.linear(F.gelu(x), w), x, w).sum()
    with Products():
        y.backward()
    assert seen.count("aten::gelu") == 1 and seen.count("aten::mm") == 2  # the two gradients


@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")  # torch's, of setting the flag
@pytest.mark.parametrize(
    "watched", [lambda: FlopCounterMode(display=False), lambda: torch.backends.mkldnn.flags(enabled=False)]
)
def test_whoever_looks_on_in_backward_alone_changes_nothing(watched):
    x = torch.randn(2, 16, 16, 6)  # large enough for the convolution
    gradients = []
    for model in _pairs():
        model.zero_grad()
        given = x.clone().requires_grad_()
        loss = model(given).square().sum()
        with watched():
            loss.backward()
        gradients.append([given.grad, *(p.grad for p in model.parameters())])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_mixer_does_not_keep_the_gated_map(monkeypatch):
    from spectral_ops import mixer as module

    watched = Watched(module._gated)
    monkeypatch.setattr(module, "_gated", watched)
    mixer = SpectralMixer(8, Heat(diffusivity=0.5, dims=(1, 2)))
    y = mixer(torch.randn(2, 6, 7, 8, requires_grad=True))
    assert watched.made[0].expired()
    y.sum().backward()
    assert mixer.proj.weight.grad.any() and mixer.gate.weight.grad.any() and mixer.norm.weight.grad.any()


class Dropping(torch.nn.Linear):
    """A layer that is more than a product."""

    def forward(self, x):
        return F.dropout(super().forward(x), 0.5, self.training)


def _hooked(calls):
    layer = torch.nn.Linear(6, 3)
    layer.register_forward_hook(lambda *_: calls.append(1))
    return layer


def _patched(calls):
    """What tools do that put a function in the place of a layer's ``forward``."""
    layer = torch.nn.Linear(6, 3)
    forward = layer.forward
    layer.forward = lambda x: (calls.append(1), forward(x))[1]
    return layer


@pytest.mark.parametrize("kind", [lambda calls: Dropping(6, 3), _hooked, _patched], ids=["subclass", "hook", "forward"])
def test_layers_that_are_more_than_a_product_are_called_once(kind):
    """Made again they could draw other random numbers, or be noted twice by whoever hangs on their call."""
    calls = []
    layer, make = kind(calls), Watched(F.gelu)
    linear_behind(layer, make, torch.randn(4, 6, requires_grad=True)).sum().backward()
    assert len(make.made) == 1 and calls in ([], [1]) and (type(layer) is Dropping) == (not calls)


@pytest.mark.parametrize("name", ["mlp.fc1", "mlp.act", "mlp.fc2", "mixer.value", "mixer.gate", "mixer.proj"])
def test_a_forward_put_in_the_place_of_a_layers_own_is_called(name):
    from backbones import SpectralBlock

    block, calls = SpectralBlock(8, Heat(diffusivity=0.5, dims=(1, 2))), []
    layer = block.get_submodule(name)
    forward = layer.forward
    layer.forward = lambda x: (calls.append(name), forward(x))[1]
    block(torch.randn(2, 5, 6, 8)).sum().backward()
    assert calls == [name]


def test_small_results_are_kept(monkeypatch):
    monkeypatch.setattr(recompute, "LARGE", 25)
    linear, make = torch.nn.Linear(6, 3), Watched(F.gelu)
    kept = linear_behind(linear, make, torch.randn(4, 6, requires_grad=True))
    dropped = linear_behind(linear, make, torch.randn(5, 6, requires_grad=True))
    assert [storage.expired() for storage in make.made] == [False, True] and kept.shape[0] < dropped.shape[0]


def test_checkpoints_do_not_nest():
    """The outer one makes everything again; an inner one would make it a third time."""
    pair, make = Pair(), Watched(F.gelu)
    pair.forward = lambda x: linear_behind(pair.linear, make, x)
    checkpoint(pair.forward, torch.randn(4, 6, requires_grad=True), use_reentrant=False).sum().backward()
    assert len(make.made) == 2


@pytest.mark.parametrize("keeps_output", [torch.tanh, torch.sigmoid, torch.exp])
def test_what_is_dropped_without_backward_is_freed(keeps_output):
    """An operation that keeps its own output must not hold itself."""
    w, x = torch.randn(6, 3, requires_grad=True), torch.randn(4, 6, requires_grad=True)
    y = recomputed(lambda x, w: keeps_output(F.gelu(x) @ w), x, w)
    storage = StorageWeakRef(y.untyped_storage())
    del y
    assert storage.expired()


def test_nothing_is_kept_where_nothing_is_learned():
    x = torch.randn(4, 6)
    h = x * 1
    held = StorageWeakRef(h.untyped_storage())
    y = recomputed(F.gelu, h)
    del h
    assert held.expired() and not y.requires_grad


def test_forward_mode_derivatives():
    model, plain = _pairs()
    x, tangent = torch.randn(4, 6), torch.randn(4, 6)
    found = []
    for pair in (model, plain):
        with forward_ad.dual_level():
            found.append(forward_ad.unpack_dual(pair(forward_ad.make_dual(x, tangent))).tangent)
    assert torch.equal(*found)


def test_where_hooks_are_forbidden():
    model, plain = _pairs()
    x = torch.randn(4, 6)
    with torch.autograd.graph.disable_saved_tensors_hooks("none here"):
        one, other = (_gradients(RUNS["plain"], pair, x) for pair in (model, plain))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_second_derivatives():
    w = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    function = lambda x, w: recomputed(lambda x, w: F.gelu(x) @ w, x, w)  # noqa: E731
    assert torch.autograd.gradcheck(function, (x, w)) and torch.autograd.gradgradcheck(function, (x, w))


def test_parameters_of_one_call_are_those_of_its_backward():
    """``functional_call`` has put the old ones back by then."""
    model, plain = _pairs()
    others = {name: torch.randn_like(p).requires_grad_() for name, p in model.named_parameters()}
    x, grads = torch.randn(4, 6, requires_grad=True), []
    for pair in (model, plain):
        y = functional_call(pair, others, (x,)).square().sum()
        grads.append(torch.autograd.grad(y, [x, *others.values()]))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_function_transforms():
    x, (model, plain) = torch.randn(4, 6), _pairs()
    one, other = (
        grad(lambda p, m=m: functional_call(m, p, (x,)).square().sum())(dict(m.named_parameters()))
        for m in (model, plain)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("what", ["input", "weight"])
def test_what_is_modified_before_backward_is_noticed(what):
    model, x = Pair(), torch.randn(4, 6, requires_grad=True)
    h = x * 1
    y = model(h)
    with torch.no_grad():
        (h if what == "input" else model.linear.weight).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
