"""The benchmark measures what it says: the public formulation is vHeat, figures are right, regressions are found."""

from __future__ import annotations

import json

import _benchmark_cases as cases
import _benchmark_measure as measuring
import _benchmark_report as report
import benchmark
import pytest
import timm
import torch
from _benchmark_public import PublicVHeat

from backbones import stage_sizes

CPU = torch.device("cpu")


@pytest.mark.parametrize("options", [{}, {"norm_placement": "post", "layer_scale": 0.5}], ids=["pre-norm", "post-norm"])
def test_the_public_formulation_is_vheat(options):
    torch.manual_seed(0)
    net = timm.create_model("vheat_nano", num_classes=7, img_size=64, **options).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (1.0 if "embedding" in name else 0.1))
    public = PublicVHeat(net).eval()
    for size in ((64, 64), (50, 96)):
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            expected = net(images)
            for _ in range(2):  # computed, then with stored gains
                assert measuring.relative_error(public(images), expected.double()) < 1e-5
                public.precompute(stage_sizes(size))
        for stage in public.layers:
            for block in stage:
                if hasattr(block, "op"):
                    block.op.k_exp = None


@pytest.mark.parametrize("name", ["transforms", "spectral", "operator", "linear"])
def test_operators_are_compared_on_equal_results(name):
    case = cases.groups(CPU)[name].cases[3]  # the smallest map
    found = benchmark.measure(case, CPU, rounds=2, seconds=0.0)
    assert set(case.compared) <= set(found)
    for contender in case.compared:
        assert found[contender]["error"] < 1e-5


def test_every_group_makes_cases_with_names_of_their_own():
    for group in cases.groups(CPU).values():
        assert len({case.name for case in group.cases}) == len(group.cases) > 0


@pytest.mark.parametrize("train", [False, True])
def test_blocks_run(train):
    runs, _ = cases._blocks(7, 64, 1, train).make(CPU)
    for run in runs.values():
        run()


def test_contenders_take_turns():
    order = []
    runs = {name: lambda name=name: order.append(name) for name in "abc"}
    measuring.alternate(runs, CPU, rounds=3, seconds=0.0)
    assert order[-9:] == list("abcbcacab")


def test_kept_memory_is_what_backward_needs_and_the_result():
    layer, x = torch.nn.Linear(256, 256), torch.randn(1024, 256, requires_grad=True)
    found = measuring.kept_memory(lambda: torch.nn.functional.gelu(layer(x)).sum())
    assert found == pytest.approx(2**20, abs=100)  # the GELU's input; its output is needed by nothing


def test_what_was_made_before_a_run_does_not_count():
    held = []

    def run():
        held[:] = [torch.empty(2**20)]  # in the place of the last run's

    assert measuring.kept_memory(run) == 2**22


def test_peak_memory_counts_what_is_alive_at_once():
    def run():
        kept = torch.ones(2**18)  # 1 MiB
        torch.ones(2**20)  # 4 MiB, freed at once
        return kept + torch.ones(2**18)

    assert measuring.peak_memory(run, CPU) == pytest.approx(5.0, abs=0.01)


def _record(ours, other):
    figure = {"spread": 0.0, "peak_mib": 10.0, "error": None}
    case = {"ours": {"milliseconds": ours, **figure}, "other": {"milliseconds": other, **figure}}
    group = {"title": "G", "commit": "C", "pixels": {}, "cases": {"c": case}}
    return {"environment": {"machine": "M"}, "groups": {"g": group}}


def _regressions(now, reference):
    return [slower[:3] for slower in report.regressions(report.ratios(now), report.ratios(reference), 0.05)]


def test_regressions_are_ratios_that_fell_by_more_than_the_tolerance():
    reference = _record(10.0, 20.0)
    assert _regressions(_record(20.0, 38.2), reference) == []  # a slower machine: 1.91 of 2
    assert _regressions(_record(10.0, 18.9), reference) == [("g", "c", "ours")]
    assert _regressions(_record(10.0, 30.0), reference) == []


def test_each_of_ours_is_judged_beside_the_others():
    def record(packed):
        made = _record(10.0, 20.0)
        case = made["groups"]["g"]["cases"]["c"]
        case["ours, packed"] = {**case["ours"], "milliseconds": packed}
        return made

    assert _regressions(record(5.0), record(7.0)) == []
    assert _regressions(record(9.0), record(7.0)) == [("g", "c", "ours, packed")]


def test_where_all_are_ours_the_first_is_the_measure():
    def record(second):
        made = _record(10.0, 20.0)
        case = made["groups"]["g"]["cases"]["c"]
        made["groups"]["g"]["cases"]["c"] = {"vheat": case["ours"], "vwave": {**case["ours"], "milliseconds": second}}
        return made

    assert _regressions(record(12.0), record(10.0)) == [("g", "c", "vwave")]
    assert _regressions(record(8.0), record(10.0)) == []


def test_tables():
    text = report.format_tables(_record(10.0, 15.0))
    assert "machine M" in text and "| c | 10 ms, 10 MiB | 15 ms, **1.50**, 10 MiB |" in text


def test_growth_exponent():
    assert report.exponent([2.0, 4.0, 16.0], [3 * n**1.25 for n in (2.0, 4.0, 16.0)]) == pytest.approx(1.25)


class _Clock:
    """Runs that take no time: the figures are told."""

    def __init__(self, monkeypatch, *times):
        self.times = list(times)
        monkeypatch.setattr(benchmark, "groups", lambda device: {"g": cases.Group("G", [self.case()])})
        monkeypatch.setattr(benchmark, "alternate", lambda *args: self.figures())

    def case(self):
        return cases.Case("c", lambda device: ({"ours": lambda: None, "other": lambda: None}, None), pixels=32)

    def figures(self):
        ours, other = self.times.pop(0)
        return {"ours": measuring.Figure(ours, 0.0), "other": measuring.Figure(other, 0.0)}


def _main(monkeypatch, tmp_path, *arguments):
    monkeypatch.setattr("sys.argv", ["benchmark.py", "--out", str(tmp_path / "out"), *arguments])
    monkeypatch.setattr(benchmark, "RECORDS", tmp_path / "records")
    benchmark.main()


def test_others_that_became_faster_are_no_regression():
    def record(ours, *others):
        times = {"ours": ours, **{f"other {i}": time for i, time in enumerate(others)}}
        return {"groups": {"g": {"cases": {"c": {name: {"milliseconds": time} for name, time in times.items()}}}}}

    assert _regressions(record(10.0, 10.0, 20.0, 30.0), record(10.0, 20.0, 20.0, 30.0)) == []
    assert _regressions(record(11.0, 20.0, 20.0, 30.0), record(10.0, 20.0, 20.0, 30.0)) == [("g", "c", "ours")]


def test_a_run_is_recorded_and_checked(monkeypatch, tmp_path):
    _Clock(monkeypatch, (10.0, 20.0))
    _main(monkeypatch, tmp_path, "--update")
    (record,) = (tmp_path / "records").glob("*.json")
    assert json.loads(record.read_text())["groups"]["g"]["cases"]["c"]["other"]["milliseconds"] == 20.0
    _Clock(monkeypatch, (10.0, 20.0))
    _main(monkeypatch, tmp_path, "--check")
    assert "**2.00**" in (tmp_path / "out" / "record.md").read_text()


def test_a_slow_case_is_measured_again_and_then_fails(monkeypatch, tmp_path):
    _Clock(monkeypatch, (10.0, 20.0))
    _main(monkeypatch, tmp_path, "--update")
    _Clock(monkeypatch, (12.0, 20.0), (10.0, 19.5))  # the second look is fine
    _main(monkeypatch, tmp_path, "--check")
    _Clock(monkeypatch, *[(12.0, 20.0)] * 4)
    with pytest.raises(SystemExit, match=r"g, c: ours has 0\.83 of its speed beside the others"):
        _main(monkeypatch, tmp_path, "--check")


def test_a_machine_without_a_record_is_told_so(monkeypatch, tmp_path):
    _Clock(monkeypatch, (10.0, 20.0))
    with pytest.raises(SystemExit, match="no record of this type of machine"):
        _main(monkeypatch, tmp_path, "--check")


def test_plots_of_a_series(tmp_path):
    record = _record(10.0, 20.0)["groups"]["g"]
    record["cases"]["d"] = {k: {**v, "milliseconds": 4 * v["milliseconds"]} for k, v in record["cases"]["c"].items()}
    record["pixels"] = {"c": 224, "d": 448}
    report.plot(record, tmp_path / "plot.svg")
    text = (tmp_path / "plot.svg").read_text()
    assert text.count("1.00") >= 2 and text.count("0.00") >= 2  # time grows with the pixels, memory does not
