"""The caches of bases and eigenvalues: nobody can notice them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from spectral_ops import Heat, cosine_basis, dctn, laplacian_eigenvalues
from spectral_ops._constants import CACHE_SIZE, constant


def _inference(call, x):
    with torch.inference_mode():
        call(x)


def _fake(call, x):
    with FakeTensorMode() as mode:
        call(mode.from_tensor(x))


def _export(call, x):
    torch.export.export(call, (x,), dynamic_shapes=({2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},))


FIRST_CALLS = {
    "inference": _inference,
    "fake": _fake,
    "meta": lambda call, x: call(x.to("meta")),
    "float16": lambda call, x: call(x.half()),
    "float64": lambda call, x: call(x.double()),
    "autocast": lambda call, x: torch.autocast("cpu", dtype=torch.bfloat16)(call)(x),
    "no_grad": lambda call, x: torch.no_grad()(call)(x),
    "func.grad": lambda call, x: torch.func.grad(lambda x: call(x).sum())(x),
    "func.vmap": lambda call, x: torch.func.vmap(call)(x),
    "func.jacrev": lambda call, x: torch.func.jacrev(call)(x[0]),
    "func.functionalize": lambda call, x: torch.func.functionalize(call)(x),
    "make_fx": lambda call, x: make_fx(call, tracing_mode="symbolic")(x),
    "jit": lambda call, x: torch.jit.trace(call, x, check_trace=False),
    "export": _export,
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("first", FIRST_CALLS)
def test_what_runs_first_does_not_matter(first, caches, draw):
    heat, x = Heat(0.3), draw(2, 3, 5, 6, dtype=torch.float32)
    expected = heat(x)
    for cache in caches:
        cache.cache_clear()
    FIRST_CALLS[first](heat, x)
    y = heat(x.requires_grad_())
    assert torch.equal(y, expected) and type(y) is torch.Tensor
    y.sum().backward()
    for made in (cosine_basis(5), cosine_basis(6), laplacian_eigenvalues((5, 6))):
        assert type(made) is torch.Tensor and made.device.type == "cpu" and not made.is_inference()
        assert not made.requires_grad and made.numpy().shape == made.shape  # a wrapper of torch.func has no storage


@pytest.mark.parametrize("first", ["fake", "make_fx", "export", "func.grad", "func.vmap"])
def test_traced_values_are_not_kept(first, caches, draw):
    heat = Heat(0.3)
    for cache in caches:
        cache.cache_clear()
    FIRST_CALLS[first](heat, draw(2, 3, 5, 6, dtype=torch.float32))
    assert [cache.cache_info().currsize for cache in caches] == [0, 0]


def test_results_may_be_written_to(draw):
    x = draw(2, 3, 5, 6)
    expected = Heat(0.3)(x), cosine_basis(5), laplacian_eigenvalues((5, 6))
    cosine_basis(5, dtype=torch.float64).zero_()
    cosine_basis(5).zero_()
    laplacian_eigenvalues((5, 6)).zero_()
    laplacian_eigenvalues((5, 6), dtype=torch.float64).zero_()
    assert all(map(torch.equal, (Heat(0.3)(x), cosine_basis(5), laplacian_eigenvalues((5, 6))), expected))


def test_a_repeated_size_is_built_once(caches, draw):
    heat, x = Heat(0.3), draw(2, 3, 5, 6)
    caches[1].cache_clear()
    for _ in range(3):
        heat(x)
    assert [cache.cache_info().misses for cache in caches] == [2, 1]


def test_threads_agree(caches, draw):
    fields = [draw(2, 8 + n % 7, 9 + n % 5, dtype=torch.float32 if n % 2 else torch.float64) for n in range(70)]
    expected = [dctn(x) for x in fields]
    for cache in caches:
        cache.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert all(map(torch.equal, pool.map(dctn, fields), expected))


def test_the_cache_is_bounded(caches):
    for n in range(1, CACHE_SIZE + 20):
        laplacian_eigenvalues(n)
    assert caches[1].cache_info().currsize == CACHE_SIZE
    assert laplacian_eigenvalues(3).shape == (3,)  # evicted, built again


@pytest.mark.parametrize(("device", "builds"), [("cpu", 1), ("meta", 1), ("cuda:1", 1), ("cuda", 2)])
def test_the_current_device_is_no_key(device, builds):
    calls = []

    @constant
    def build(n: int, device: torch.device) -> torch.Tensor:
        """Documented."""
        calls.append(device)
        return torch.zeros(n)

    assert build(3, torch.device(device)).shape == build(3, torch.device(device)).shape == (3,)
    assert len(calls) == builds and build.__doc__ == "Documented."
