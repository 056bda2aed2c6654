"""Ranges of claims over records."""

import json

import pytest
import torch
from benchmarks import claims
from benchmarks.claims import CLAIMS, Claim, claimed, ranges_of, ratio
from benchmarks.groups import groups


def test_a_claim_lies_between_the_records_that_tell_it(record, monkeypatch):
    monkeypatch.setattr(claims, "CLAIMS", (Claim("g", "c", "other"), Claim("g", "c", "other", figure="peak_mib")))
    nothing = {"groups": {}}
    text = claimed({"a": record(10.0, 13.5), "b": record(10.0, 8.1), "c": nothing})
    first, second = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    assert first == ["g", "c", "other / ours", "0.81-1.35", "1.35", "0.81", "-"]
    assert second == ["g", "c", "other / ours, memory", "1.00", "1.00", "1.00", "-"]


def test_ranges_of_a_group(record):
    records = {"a": record(10.0, 13.5), "b": record(10.0, 8.1), "c": {"groups": {}}}
    last = ranges_of("g", records).splitlines()[-1]
    assert [cell.strip() for cell in last.strip("|").split("|")] == ["c", "other", "0.81-1.35", "1.35", "0.81", "-"]


def test_networks_are_compared_at_the_best_of_their_runtimes():
    def figure(time):
        return {"milliseconds": time, "peak_mib": None, "error": None}

    times = {"ours, eager": 10.0, "ours, packed": 8.0, "Swin, eager": 6.0, "Swin, packed": 12.0, "Swin, other": None}
    cases = {"c": {name: figure(time) for name, time in times.items()}}
    told = {"groups": {"runtimes": {"matrix": True, "cases": cases}}}
    assert ratio(Claim("runtimes", "c", "Swin"), told) == pytest.approx(6 / 8)
    assert ratio(Claim("runtimes", "c", "DeiT"), told) is None


def test_claims_name_cases_that_there_are():
    known = groups(torch.device("cpu"))
    for claim in CLAIMS:
        assert claim.case in {case.name for case in known[claim.group].cases}, claim


def test_every_record_tells_of_the_claims_in_its_groups(root):
    records = [json.loads(path.read_text()) for path in sorted((root / "docs" / "benchmarks").glob("*.json"))]
    assert len(records) >= 2
    for record in records:
        for claim in CLAIMS:
            assert claim.group not in record["groups"] or ratio(claim, record) is not None, claim
