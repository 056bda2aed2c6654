"""``use_kernels``: one place that decides which kernel runs, restored whatever happens."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from spectral_ops import Heat, dctn, use_kernels
from spectral_ops._kernels import SETTINGS


@pytest.fixture(autouse=True)
def _as_before():
    before = asdict(SETTINGS)
    yield
    assert asdict(SETTINGS) == before


def test_a_context_restores_what_was_there_also_when_it_fails():
    with use_kernels(fused=True), pytest.raises(ZeroDivisionError), use_kernels(transform="fft", fft_from={"cpu": 7}):
        assert (SETTINGS.transform, SETTINGS.fft_from, SETTINGS.fused) == ("fft", {"cpu": 7}, True)
        _ = 1 / 0


def test_one_choice_serves_several_contexts():
    choice = use_kernels(transform="matmul")
    use_kernels(transform="auto")
    for _ in range(2):
        with choice:
            assert SETTINGS.transform == "matmul"
        assert SETTINGS.transform == "auto"


def test_a_call_holds_until_the_next_and_leaves_the_rest():
    before = asdict(SETTINGS)
    use_kernels(convolved=not SETTINGS.convolved)
    assert asdict(SETTINGS) == {**before, "convolved": not before["convolved"]}
    use_kernels(convolved=before["convolved"])


@pytest.mark.parametrize("inside", [False, True], ids=["transform", "operator"])
def test_the_transform_of_everything_that_leaves_it_open(inside, monkeypatch, draw):
    taken = []
    monkeypatch.setattr("spectral_ops._fft.analyse", lambda kind, x, dim, modes: taken.append(dim) or x)
    run = Heat(0.3) if inside else dctn
    x = draw(2, 3, 8, 9)
    run(x)
    with use_kernels(transform="matmul", fft_from={"cpu": 2}):
        run(x)
    assert not taken
    with use_kernels(transform="fft"):
        run(x)
        assert len(taken) == 2
        dctn(x, backend="matmul")
    assert len(taken) == 2


def test_operators_by_fft_are_operators(draw):
    heat, x = Heat(torch.rand(3, dtype=torch.float64)), draw(2, 3, 9, 8)
    with use_kernels(transform="fft"):
        y = heat(x)
    torch.testing.assert_close(y, heat(x))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"transform": "numpy"}, r"transform must be one of \('auto', 'matmul', 'fft'\), got 'numpy'"),
        ({"fft_from": {"cpu": 0}}, "fft_from must map types of device to positive ints, got {'cpu': 0}"),
        ({"fused": 1}, "fused must be True or False, got 1"),
        ({"convolved": "no"}, "convolved must be True or False, got 'no'"),
    ],
)
def test_errors_change_nothing(given, message):
    with pytest.raises(ValueError, match=message):
        use_kernels(**given)
