"""What the resolution study measures, and its tables."""

import pytest
import timm
import torch
from scenes.digit_pictures import write_pictures
from studies import resolution as study
from timm.utils import init_distributed_device
from training.classification import create_network
from training.recipe import parse_arguments

from spectral_ops.embedding import RESIZE_RULES


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A few pictures of the study."""
    out = tmp_path_factory.mktemp("data") / "pictures"
    write_pictures(out, train=3, val=6)
    return out


def test_the_structured_start_differs_in_its_embeddings_alone():
    net = study.structured_start(3)
    study.random_seed(3)
    fresh = timm.create_model("vheat_nano", num_classes=10, img_size=study.TRAINED_AT).state_dict()
    for name, value in net.state_dict().items():
        if name.endswith("embedding.weight"):
            assert value.shape == fresh[name].shape and 0.3 < value.std() < 0.7
        else:
            assert torch.equal(value, fresh[name])


def test_what_each_rule_holds_fixed():
    # Where k is the same for all modes, bicubic keeps the gain of every frequency; pad lets the new modes decay less.
    net = timm.create_model("vheat_nano", num_classes=0, img_size=study.TRAINED_AT)
    for stage in net.stages:
        stage.embedding.weight.data = torch.randn(stage.embedding.weight.shape[2]).expand_as(stage.embedding.weight)
    bicubic, pad = (study.gain_changes(net, rule) for rule in ("bicubic", "pad"))
    assert bicubic["cycles per pixel"] < 1e-5 < 0.01 < pad["cycles per pixel"]
    # Pad keeps the k of every mode, whose eigenvalue is a quarter then: the gain becomes its fourth root.
    net = study.structured_start(0)
    study.gain_changes(net, "pad")
    for stage in net.stages:
        size = stage.embedding.weight.shape[0]
        for block in stage.blocks:
            before, after = (
                block.mixer.operator.gain((n, n), embedding=stage.embedding((n, n))) for n in (size, 2 * size)
            )
            torch.testing.assert_close(after[:size, :size], before**0.25, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_rules_agree_at_the_size_of_the_training_and_differ_elsewhere(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "SIZES", (study.TRAINED_AT, 160))
    torch.save(study.structured_start(0).state_dict(), tmp_path / "file.pth")
    command = ["--data-dir", str(pictures), *study.RECIPE, "--device", "cpu", "--evaluate", str(tmp_path / "file.pth")]
    args = parse_arguments(command, "")
    init_distributed_device(args)
    found = study.measure(create_network(args, 10), args)
    assert list(found) == list(RESIZE_RULES)
    assert found["bicubic"]["128"] == found["pad"]["128"]
    assert found["bicubic"]["160"] != found["pad"]["160"]


def test_tables(monkeypatch):
    monkeypatch.setattr(study, "SIZES", (128,))

    def measured(bicubic, pad):
        gain = {"cycles per pixel": 0.25, "cycles per picture": 0.5}
        return {
            rule: {"128": {"top1": top1, "loss": loss}, "gain": gain}
            for rule, (top1, loss) in {"bicubic": bicubic, "pad": pad}.items()
        }

    lines = study.format_tables({"fresh": [measured((90, 0.5), (91, 0.4)), measured((94, 0.7), (93, 0.7))]}, [0, 1])
    assert lines.splitlines() == [
        "| fresh, px | bicubic top-1 | pad top-1 | pad - bicubic | bicubic loss | pad loss | pad - bicubic |",
        "|---|---|---|---|---|---|---|",
        "| 128 | 92.0 ± 2.0 | 92.0 ± 1.0 | +0.0 ± 1.0 | 0.600 ± 0.100 | 0.550 ± 0.150 | -0.050 ± 0.050 |",
        "",
        "| change of gain at twice the side, at equal | cycles per pixel | cycles per picture |",
        "|---|---|---|",
        "| fresh, bicubic | 0.250 ± 0.000 | 0.500 ± 0.000 |",
        "| fresh, pad | 0.250 ± 0.000 | 0.500 ± 0.000 |",
        "",
        "The mean ± standard error over seeds 0, 1 (n = 2).",
    ]
    single = study.format_tables({"fresh": [measured((90, 0.5), (91, 0.4))]}, [0])
    assert single.splitlines()[2] == "| 128 | 90.0 | 91.0 | +1.0 | 0.500 | 0.400 | -0.100 |"


def test_complete_runs_are_not_repeated(tmp_path):
    (tmp_path / "measured.json").write_text('{"pad": {}}')
    assert study.run("fresh", 0, tmp_path / "no data", tmp_path) == {"pad": {}}
