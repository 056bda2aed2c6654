"""A record of one case."""

import pytest


@pytest.fixture
def record():
    """Makes a record from the times of ours and of another."""

    def make(ours, other):
        figure = {"spread": 0.0, "peak_mib": 10.0, "error": None}
        case = {"ours": {"milliseconds": ours, **figure}, "other": {"milliseconds": other, **figure}}
        group = {"title": "G", "commit": "C", "pixels": {}, "cases": {"c": case}}
        return {"environment": {"machine": "M"}, "groups": {"g": group}}

    return make
