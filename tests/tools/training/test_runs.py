"""Metrics of a run."""

import pytest
from training import runs


def test_nothing_detected_is_an_ap_of_zero(tmp_path):
    log = tmp_path / "scalars.json"
    log.write_text('{"loss": 1.0, "step": 200}\n{"data_time": 0.1, "step": 200}\n')
    assert runs._metrics("detection", log) == {"box AP": 0.0, "mask AP": 0.0}
    with pytest.raises(KeyError):
        runs._metrics("segmentation", log)
