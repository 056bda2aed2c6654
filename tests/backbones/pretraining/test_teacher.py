"""Teachers: schedules by hand, what they follow, what never touches them, and the alarm."""

from __future__ import annotations

import copy
import math

import pytest
import timm
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from backbones.pretraining import (
    Features,
    FrozenTeacher,
    MaskedPretraining,
    MovingAverage,
    PretrainingHead,
    TeacherCollapse,
)
from backbones.pretraining.students import levels_of
from backbones.pretraining.teacher import momentum_at, warm_up_at


def images(seed=0):
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


def test_schedules_by_hand():
    for t in range(101):
        assert momentum_at(t, 100) == pytest.approx(0.995 - 0.005 * math.cos(math.pi * t / 100))
    assert momentum_at(0, 7, 0.9) == pytest.approx(0.9) and momentum_at(200, 100) == 1
    assert [warm_up_at(t, 20) for t in (0, 1, 2)] == [0, 0, 0]
    assert [warm_up_at(t, 20) for t in (3, 4, 5)] == pytest.approx([0.25, 0.5, 0.75])
    assert [warm_up_at(t, 20) for t in (6, 7, 20)] == [1, 1, 1]
    features = Features(warm_up=(0.5, 0.5))
    assert [features.weight(t, 4) for t in range(4)] == [0, 0, 1, 1] and features.weight(0, None) == 1
    assert Features(nn.Linear(1, 1)).weight(0, 100) == 1 and not Features(nn.Linear(1, 1)).scheduled
    assert Features(nn.Linear(1, 1), warm_up=(0.1, 0.3)).scheduled


def test_the_moving_average_by_hand(make_model):
    """Weights after updates that are known, and the weights of the loss on the way."""
    model = make_model(target_generator={"pixels": 1.0, "features": 2.0})
    model.schedule(10)
    first = {n: p.detach().clone() for n, p in model.backbone.named_parameters()}
    expected, factors = dict(first), []
    for t in range(10):
        parts = model.losses(images(t))
        plain = model.target_generator.weights["features"]
        factors.append(model.target_generator.weight("features", t, 10) / plain)
        assert (parts["features"] == 0) == (t <= 1)
        with torch.no_grad():
            for i, p in enumerate(model.backbone.parameters()):
                p.add_(0.01 * (t + 1) * (i % 3 - 1))
        model.after_update()
        m = 1 - 0.01 * 0.5 * (1 + math.cos(math.pi * t / 10))
        now = dict(model.backbone.named_parameters())
        expected = {n: m * expected[n] + (1 - m) * now[n].detach() for n in expected}
    assert factors == pytest.approx([0, 0, 0.5, 1, 1, 1, 1, 1, 1, 1])
    held = dict(model.target_generator.features.teacher.net.named_buffers())
    for name, value in expected.items():
        torch.testing.assert_close(held[name], value)
    assert int(model.steps) == 10
    assert any(not torch.allclose(held[n], now[n]) for n in expected)


def test_at_first_it_is_the_backbone_whatever_was_loaded(make_model, randomise):
    model = make_model(target_generator={"features": 1.0}).eval()
    randomise(model.backbone, 7)  # as a file would
    targets = []
    model.target_generator.register_forward_hook(lambda module, args, found: targets.extend(found["features"]))
    model(images())
    for target, m in zip(targets, model.backbone.forward_stages(images()), strict=True):
        torch.testing.assert_close(target, nn.functional.layer_norm(m, m.shape[-1:], eps=1e-6))


def test_statistics_are_taken_over():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    teacher = MovingAverage(net)
    net(torch.randn(2, 3, 8, 8) + 3)
    before = teacher.net[0].weight.clone()
    nn.init.ones_(net[0].weight)
    teacher.update(net, 0.75)
    torch.testing.assert_close(teacher.net[0].weight, 0.75 * before + 0.25)
    assert torch.equal(teacher.net[1].running_mean, net[1].running_mean) and net[1].num_batches_tracked == 1
    assert teacher.net[1].num_batches_tracked == 1


def test_nothing_trains_it_and_checkpoints_hold_it(make_model):
    model = make_model(target_generator={"pixels": 1.0, "features": 1.0}, network={"drop_path_rate": 0.5})
    model.schedule(10)
    teacher = model.target_generator.features.teacher
    assert not list(teacher.parameters())
    assert not {id(b) for b in teacher.buffers()} & {id(p) for p in model.parameters()}
    model.train()
    assert model.backbone.training and not any(m.training for m in teacher.modules())
    before = [b.clone() for b in teacher.buffers()]
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.5)
    model(images()).backward()
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.buffers(), strict=True))
    model.after_update()
    names = {n for n in model.state_dict() if n.startswith("target_generator.features.teacher.")}
    assert len(names) == len(model.backbone.state_dict())
    other = make_model(target_generator={"pixels": 1.0, "features": 1.0})
    other.load_state_dict(model.state_dict())
    assert int(other.steps) == 1
    x = images(1)
    found = [m.target_generator.features(x) for m in (model.eval(), other.eval())]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_teacher_sees_what_the_student_does_not(make_model):
    model = make_model(target_generator={"features": 1.0}).eval()
    seen = []
    model.target_generator.features.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x = images()
    loss = model(x)
    loss.backward()
    assert torch.equal(seen[0], x)


def test_the_alarm(make_model):
    model = make_model(target_generator=[{"type": "features", "alarm": 0.5, "warm_up": (0, 0)}])
    model.schedule(100)
    features = model.target_generator.features
    model(images())
    maps = [nn.functional.layer_norm(m, m.shape[-1:], eps=1e-6) for m in model.backbone.forward_stages(images())]
    expected = torch.stack([m.flatten(1, 2).std(1, correction=0).mean() for m in maps]).mean().detach()
    torch.testing.assert_close(features.spread, expected)
    model.after_update()
    model(images(1))
    model.after_update()  # all is well
    teacher = features.teacher.net
    with torch.no_grad():  # every map becomes nearly the same at all positions
        for stage in teacher.stages:
            stage.blocks[-1].mlp.fc2.bias.add_(1e3 * torch.randn_like(stage.blocks[-1].mlp.fc2.bias))
    model(images())
    with pytest.raises(
        TeacherCollapse, match=r"collapsed after 2 updates: .* below 0\.5 of the \d\.\d+ when they first"
    ) as e:
        model.after_update()
    assert e.value.updates == 2 and e.value.spread < 0.5 * e.value.start == pytest.approx(0.5 * float(expected))
    features.alarm = 0
    model.after_update()


def test_the_alarm_compares_with_when_the_features_first_counted_fully(make_model):
    model = make_model(target_generator={"features": 1.0})
    model.schedule(10)
    features, seen = model.target_generator.features, []
    for t in range(5):
        model(images(t))
        features.spread.fill_(1.0 / (t + 1))
        seen.append(float(features.spread_at_start))
        model.after_update()
    assert seen == pytest.approx([0, 0, 0, 0, 1 / 4])  # the weight is 1 from update 3 on
    model(images())
    features.spread.fill_(0.29 / 4)
    with pytest.raises(TeacherCollapse, match="after 5 updates"):
        model.after_update()


def test_features_over_positions(make_model):
    model = make_model(target_generator=[{"type": "features", "norm": "instance"}]).eval()
    x = images()
    for found, m in zip(model.target_generator(x)["features"], model.backbone.forward_stages(x), strict=True):
        m = m.permute(0, 3, 1, 2)
        torch.testing.assert_close(found.permute(0, 3, 1, 2), nn.functional.instance_norm(m, eps=1e-6))
    with pytest.raises(ValueError, match="norm must be 'layer' or 'instance', got 'batch'"):
        Features(norm="batch")


# -- frozen teachers --------------------------------------------------------------------------------------------------


def resnet():
    torch.manual_seed(1)
    return timm.create_model("resnet10t", features_only=True, out_indices=(1, 2, 3, 4)).eval()


def test_a_timm_network_with_features_only(make_model):
    net = resnet()
    model = make_model(target_generator=[{"type": "features", "teacher": net}])
    x = images()
    targets = model.target_generator(x)["features"]
    assert [t.shape[-1] for t in targets] == [64, 128, 256, 512] == model.target_generator.features.channels
    for target, m in zip(targets, net(x), strict=True):
        m = m.permute(0, 2, 3, 1)
        torch.testing.assert_close(target, nn.functional.layer_norm(m, m.shape[-1:], eps=1e-6))
    assert model(x).isfinite()  # no schedule is needed
    with pytest.raises(RuntimeError, match="each model needs targets of its own"):
        make_model(target_generator=model.target_generator)
    before = copy.deepcopy(model.target_generator.state_dict())
    model.after_update()
    after = model.target_generator.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before)


@pytest.mark.parametrize("features_only", [False, True])
def test_networks_of_this_project(features_only, make_backbone, randomise):
    backbone = make_backbone()
    net = randomise(
        make_backbone("vwave", features_only=True, num_classes=None) if features_only else make_backbone("vwave")
    )
    teacher = FrozenTeacher(net, levels_of(backbone)[1:])
    assert teacher.channels == [12, 16, 20] and not list(teacher.parameters())
    inner = net.model if features_only else net
    for a, b in zip(teacher(images()), inner.forward_stages(images())[1:], strict=True):
        torch.testing.assert_close(a, b)
    nn.init.zeros_(inner.stem.conv1.weight)  # it is a copy
    assert teacher.net.state_dict()[("model." if features_only else "") + "stem.conv1.weight"].any()


def test_a_vit_has_maps_of_stride_16_alone(make_model):
    options = {"model_name": "vit_tiny_patch16_224", "img_size": (64, 96), "embed_dim": 24, "num_heads": 3, "depth": 2}
    with pytest.raises(ValueError, match=r"maps of strides \[16\] and none of \[4, 8, 32\].*give strides="):
        make_model(target_generator=[{"type": "features", "teacher": options}])
    torch.manual_seed(0)
    model = make_model(target_generator=[{"type": "features", "teacher": options, "strides": [16]}])
    (target,) = model.target_generator(images())["features"]
    assert target.shape == (2, 4, 6, 24) and model(images()).isfinite()
    with pytest.raises(ValueError, match=r"teacher VisionTransformer cannot take images of \(1, 3, 32, 32\): Input"):
        model(torch.randn(1, 3, 32, 32), keep=torch.tensor([[0]]))


def test_maps_of_another_size(make_model):
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.feature_info = [{"num_chs": 3, "reduction": 16}]

        def forward(self, x):
            return [nn.functional.avg_pool2d(x, 16)[:, :, 1:]]

    model = make_model(target_generator=[{"type": "features", "teacher": Small(), "strides": (16,)}])
    with pytest.raises(ValueError, match=r"the teacher's map \(2, 3, 6, 3\) is not of the level's size \(2, 4, 6, 3\)"):
        model(images())


def test_errors():
    backbone = timm.create_model("vheat_nano", num_classes=0)
    with pytest.raises(
        TypeError, match=r"teacher must be a timm name, a dict or a module with feature_info, got Linear"
    ):
        MaskedPretraining(backbone, target_generator=[{"type": "features", "teacher": nn.Linear(1, 1)}])
    with pytest.raises(RuntimeError, match="Unknown model"):
        MaskedPretraining(backbone, target_generator=[{"type": "features", "teacher": "no_such_network"}])


def _compiled(net):
    for i, stage in enumerate(net.stages):
        net.stages[i] = torch.compile(stage, backend="eager")


def _checkpointed(net):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing

    apply_activation_checkpointing(net, check_fn=lambda module: module in list(net.stages))


def _parametrised(net):
    for module in list(net.modules()):
        if isinstance(module, nn.Linear):
            nn.utils.parametrizations.weight_norm(module)


@pytest.mark.parametrize("change", [_compiled, _checkpointed, _parametrised])
def test_the_moving_average_follows_what_others_have_wrapped(change):
    nets = [timm.create_model("vheat_nano", num_classes=0, img_size=64) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    teachers = [MovingAverage(net) for net in nets]
    change(nets[1])
    wanted = dict(nets[0].named_parameters())
    for name in wanted:
        path, _, leaf = name.rpartition(".")
        module = nets[1]
        for part in path.split("."):
            module = getattr(module, part)  # wrappers hand attributes on
        with torch.no_grad():
            wanted[name].mul_(1.5)
            if "parametrizations" in dict(module.named_children()) and leaf == "weight":
                module.weight = 1.5 * module.weight
            else:
                getattr(module, leaf).mul_(1.5)
    for teacher, net in zip(teachers, nets, strict=True):
        teacher.update(net, 0.5)
    for a, b in zip(teachers[0].net.buffers(), teachers[1].net.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    for name, mine in teachers[0].net.named_buffers():
        if name in wanted:
            torch.testing.assert_close(mine, wanted[name].detach() * (0.5 + 0.5 / 1.5))


def test_a_moving_average_without_its_backbone_says_so():
    net = timm.create_model("vheat_nano", num_classes=0, img_size=64)
    teacher = MovingAverage(net)
    before = [t.clone() for t in teacher.net.buffers()]
    net.stages[3] = nn.Identity()
    with pytest.raises(RuntimeError, match=r"cannot follow the backbone, which has no stages\.3\..* any more"):
        teacher.update(net, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.net.buffers(), strict=True))


@pytest.mark.parametrize("name", ["vheat_nano", "vtail_nano"])
def test_teachers_in_half_precision(name):
    """They run, but an average of them would stand still."""
    net = timm.create_model(name, num_classes=0, img_size=64)
    targets = [{"type": "pixels"}, {"type": "features", "warm_up": (0.0, 0.0)}]
    model = MaskedPretraining(net, head=PretrainingHead(decoder_dim=16), target_generator=targets).bfloat16()
    model.schedule(10)
    loss = model(images().bfloat16())
    loss.backward()
    assert loss.isfinite()
    with pytest.raises(RuntimeError, match="a moving average of half precision stands still"):
        model.after_update()


def test_adapters_that_are_put_in_later_are_not_passed_over():
    net = timm.create_model("vheat_nano", num_classes=0, img_size=64)
    teacher = MovingAverage(net)
    inject_adapter_in_model(LoraConfig(target_modules=["fc1"]), net)
    with pytest.raises(RuntimeError, match=r"which has got .*lora_A.* since"):
        teacher.update(net, 0.5)
