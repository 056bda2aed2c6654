"""Contenders of a case do the same work: the public formulation is vHeat, operators give equal results, blocks run."""

import pytest
import timm
import torch
from benchmarks import remote_sensing
from benchmarks.case import Absent, Case
from benchmarks.comparison import ratios
from benchmarks.groups import groups
from benchmarks.measuring import relative_error
from benchmarks.networks import blocks
from benchmarks.pretraining import itpn_pretraining, spectral_pretraining
from benchmarks.public import PublicVHeat
from benchmarks.records import measure

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
                assert relative_error(public(images), expected.double()) < 1e-5
                public.precompute(stage_sizes(size))
        for stage in public.layers:
            for block in stage:
                if hasattr(block, "op"):
                    block.op.k_exp = None


@pytest.mark.parametrize("name", ["transforms", "spectral", "operator", "linear"])
def test_operators_are_compared_on_equal_results(name):
    case = groups(CPU)[name].cases[3]  # the smallest map
    found = measure(case, CPU, rounds=2, seconds=0.0)
    assert set(case.compared) <= set(found)
    for contender in case.compared:
        assert found[contender]["error"] < 1e-5


def test_every_group_makes_cases_with_names_of_their_own():
    for group in groups(CPU).values():
        assert len({case.name for case in group.cases}) == len(group.cases) > 0


@pytest.mark.parametrize("train", [False, True])
def test_blocks_run(train):
    runs, _ = blocks(7, 64, 1, train).make(CPU)
    for run in runs.values():
        run()


@pytest.mark.parametrize("case", [spectral_pretraining, pytest.param(itpn_pretraining, marks=pytest.mark.sweep)])
def test_steps_of_pretraining_run(case):
    runs, _ = case(1).make(CPU)
    assert len(runs) == 3
    for run in runs.values():
        run()


def test_large_images_are_measured_with_their_memory(monkeypatch):
    two = {title: remote_sensing.CONTENDERS[title] for title in ("ours", "Swin-B, growing windows")}
    monkeypatch.setattr(remote_sensing, "CONTENDERS", two)
    found = measure(remote_sensing.large_images(128), CPU, rounds=1, seconds=0.0)
    assert set(found) == {"ours", "Swin-B, growing windows"}
    assert all(figure["milliseconds"] > 0 and figure["peak_mib"] > 1 for figure in found.values())


def test_contenders_that_cannot_run_are_recorded_with_the_reason():
    ones = torch.ones(3, dtype=torch.float64)
    made = {"ours": lambda: ones.float(), "other": lambda: 2 * ones.float(), "third": Absent("not installed")}
    case = Case("c", lambda device: (made, {"ours": ones, "other": 4 * ones}))
    found = measure(case, CPU, rounds=1, seconds=0.0)
    assert list(found) == list(made)
    assert (found["ours"]["error"], found["other"]["error"]) == (0.0, 0.5)
    assert found["third"]["absent"] == "not installed" and found["third"]["milliseconds"] is None
    assert list(ratios({"groups": {"g": {"cases": {"c": found}}}})) == [("g", "c", "ours", "other")]
