"""A record of one case."""

import pytest


@pytest.fixture
def record():
    """Makes a record from the times of ours and of another."""

    def make(ours, other):
        figure = {"spread": 0.0, "peak_mib": 10.0, "error": None}
        case = {"ours": {"milliseconds": ours, **figure}, "other": {"milliseconds": other, **figure}}
        group = {"title": "G", "commit": "C", "pixels": {}, "matrix": False, "cases": {"c": case}}
        machine = {"name": "M", "family": "25", "model": "17", "vector_width": "W", "threads": 2}
        run = {"libraries": {"torch": "2"}, "calibration": {"copy, GB/s": 20.5}}
        return {"machine": machine, "runs": {"C": run}, "groups": {"g": group}}

    return make
