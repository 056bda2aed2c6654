"""The comparison's configs build with only the backbone exchanged, and its table."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from studies import comparison as tool
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from training.runs import CONFIGS, METRICS

import backbones.openmmlab  # noqa: F401 (registers)


@pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``:UserWarning")
@pytest.mark.parametrize("task", METRICS)
@pytest.mark.parametrize("name", tool.BACKBONES)
def test_only_the_backbone_is_exchanged(name, task, tmp_path):
    tool.write_config(task, tool.BACKBONES[name], 3, 70, tmp_path / "config.py")
    config, base = Config.fromfile(tmp_path / "config.py"), Config.fromfile(CONFIGS[task])
    assert config.randomness.seed == 3 and config.train_cfg.max_iters == 70 == config.param_scheduler[1].end
    plain = name == "vit"
    for key in (
        set(base) - {"model", "randomness", "train_cfg", "param_scheduler"} - ({"custom_imports"} if plain else set())
    ):
        assert config[key] == base[key], key
    around = {"backbone", "neck", "decode_head", "auxiliary_head"} if plain else {"backbone"}
    assert {k: v for k, v in config.model.items() if k not in around} == {
        k: v for k, v in base.model.items() if k not in around
    }
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model).eval()
    # The counter sees attention only as the matrix products it is.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        maps = model.backbone(torch.zeros(1, 3, 96, 96))
    if plain:
        maps = (model.neck[0] if task == "detection" else model.neck)(maps)
        assert [tuple(m.shape[1:]) for m in maps] == [(64, 24, 24), (64, 12, 12), (64, 6, 6), (64, 3, 3)]
    else:
        assert [tuple(m.shape[1:]) for m in maps] == [(32, 24, 24), (64, 12, 12), (128, 6, 6), (256, 3, 3)]
    assert 50e6 < counter.get_total_flops() / 2 < 65e6  # about the same work


def test_table():
    results = {"a": {"mIoU": [40.0, 44.0]}, "b": {"mIoU": [50.0]}}
    assert tool.format_table(results, [0, 1]).splitlines()[2:] == [
        "| a | 42.0 ± 2.0 |",
        "| b | 50.0 |",
        "",
        "The mean ± standard error over seeds 0, 1 (n = 2).",
    ]


def test_complete_runs_are_not_repeated(tmp_path):
    (tmp_path / "result.json").write_text('{"mIoU": 41.0, "seconds": 3.0}')
    assert tool.measure("segmentation", "vheat", 0, None, tmp_path) == {"mIoU": 41.0, "seconds": 3.0}


def test_costs():
    found = tool.costs(["vheat", "vit"], rounds=1)
    assert found["vheat"]["params (M)"][0] == pytest.approx(1.885, abs=1e-3)
    assert found["vheat"]["MMACs"][0] == pytest.approx(57.04, abs=0.01)
    assert all(row["images/s"][0] > 0 for row in found.values())
