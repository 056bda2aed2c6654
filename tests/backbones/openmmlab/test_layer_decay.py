import pytest
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

import backbones.openmmlab  # noqa: F401 (registers)


class Detector(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(4, 4)


def build(layer_decay=0.5, model=None, **paramwise):
    net = (
        MODELS.build({"type": "VHeat", "arch": "nano", "img_size": 64, "frozen_stages": 0}) if model is None else model
    )
    config = {
        "type": "OptimWrapper",
        "constructor": "LayerDecayConstructor",
        "optimizer": {"type": "AdamW", "lr": 1.0, "weight_decay": 0.1},
        "paramwise_cfg": {"layer_decay": layer_decay, **paramwise},
    }
    detector = Detector(net)
    groups = build_optim_wrapper(detector, config).optimizer.param_groups
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    return {name: found[id(p)] for name, p in detector.named_parameters() if p.requires_grad}


def test_rates_fall_towards_the_input():
    rates = {name: lr for name, (lr, _) in build().items()}
    assert rates["head.weight"] == 1
    order = ["stem.conv1", "stages.0.blocks.0.mixer.proj", "stages.1.downsample.conv", "stages.1.blocks.0.mlp.fc1"]
    order += ["stages.2.blocks.0.mlp.fc1", "stages.2.blocks.2.mlp.fc1", "stages.3.blocks.0.mlp.fc1"]
    values = [rates[f"backbone.{name}.weight"] for name in order[1:]]
    assert values == sorted(values) and values[0] < values[-1] < 1
    assert rates["backbone.stages.2.blocks.1.mlp.fc1.weight"] == 2 * rates["backbone.stages.2.blocks.0.mlp.fc1.weight"]
    assert len({lr for name, lr in rates.items() if ".stages.2.blocks.1." in name}) == 1


def test_other_options_still_hold():
    found = build(0.7, norm_decay_mult=0.0, bias_decay_mult=0.0)
    assert found["backbone.stages.1.blocks.0.norm1.weight"][1] == 0 and found["head.bias"][1] == 0
    assert found["backbone.stages.1.blocks.0.mlp.fc1.weight"][1] == 0.1
    assert all(lr == 1 for lr, _ in build(1.0).values())


@pytest.mark.parametrize("value", [None, 0, 1.5, "0.8"])
def test_bad_decay(value):
    with pytest.raises(ValueError, match=r"paramwise_cfg.layer_decay must be in \(0, 1\], got"):
        build(value)


def test_backbones_without_layers_are_named():
    with pytest.raises(ValueError, match="layer_decay needs a model whose backbone has a group_matcher, got Linear"):
        build(model=nn.Linear(2, 2))
