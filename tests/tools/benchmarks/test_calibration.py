"""A calibration is of the same product by both libraries, and of its operations per second."""

import pytest
import torch
from benchmarks import calibration
from benchmarks.measuring import Figure

CPU = torch.device("cpu")


@pytest.mark.parametrize("bf16", [True, False])
def test_products_and_copies_per_second(monkeypatch, bf16):
    results = {}

    def told(runs, device, rounds, seconds):
        results.update({name: run() for name, run in runs.items()})
        return {name: Figure(2.0, 0.0) for name in runs}

    monkeypatch.setattr(calibration, "alternate", told)
    monkeypatch.setattr(calibration, "PRODUCTS", (((2, 3, 4, 5), 7), ((1, 2, 2, 8), 16)))
    monkeypatch.setattr(calibration, "COPIED", 2**20)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: bf16)
    found = calibration.calibrate(CPU)
    assert len(found) == (9 if bf16 else 5)
    assert found["linear, 24 x 5 to 7, float32, GFLOP/s"] == pytest.approx(2 * 24 * 5 * 7 / 2e-3 / 1e9)
    assert found["copy of 1 MiB, GB/s"] == pytest.approx(2 * 2**20 / 2e-3 / 1e9, rel=0.01)
    for name, result in results.items():
        if name.startswith("linear"):
            other = results[name.replace("linear", "convolution")].permute(0, 2, 3, 1)
            torch.testing.assert_close(result, other, rtol=0.02, atol=0.1 if "bfloat16" in name else 1e-5)


def test_it_is_measured():
    found = calibration.calibrate(CPU, rounds=1, seconds=0.0)
    assert all(value > 0 for value in found.values())
