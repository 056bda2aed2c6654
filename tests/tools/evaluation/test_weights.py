"""Checkpoints fit, or it is said that they do not."""

import pytest
import torch
from evaluation.assembly import Contender
from evaluation.weights import check_whole, load_backbone, starts_trained, with_checkpoint, without_checkpoint
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from small_tasks import NANO, entry_of

pytestmark = pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``:UserWarning")
RESNET = {
    "type": "mmseg.ResNet",
    "depth": 18,
    "base_channels": 4,
    "init_cfg": {"type": "Pretrained", "checkpoint": "x"},
}
TIMM = {"type": "TimmBackbone", "model_name": "resnet10t", "options": {"pretrained": True, "num_classes": 2}}


def saved(path, net, prefix="", **meta):
    torch.save({"state_dict": {f"{prefix}{n}": t for n, t in net.state_dict().items()}, "meta": meta}, path)
    return path


def build(config):
    torch.manual_seed(3)
    return MODELS.build(without_checkpoint(config))


def test_a_start_from_scratch_names_no_weights():
    assert "init_cfg" not in without_checkpoint(RESNET) and "init_cfg" in RESNET
    assert without_checkpoint(TIMM)["options"] == {"num_classes": 2}
    adapted = without_checkpoint({"type": "AdaptedBackbone", "backbone": RESNET})
    assert "init_cfg" not in adapted["backbone"]


def test_weights_that_are_drawn_are_no_trained_ones():
    drawn = {"type": "Kaiming", "layer": "Conv2d"}
    assert starts_trained(RESNET) and starts_trained(TIMM) and starts_trained({"type": "A", "pretrained": "a.pth"})
    assert starts_trained({"type": "AdaptedBackbone", "backbone": {**RESNET, "init_cfg": [drawn, RESNET["init_cfg"]]}})
    assert not starts_trained({**RESNET, "init_cfg": drawn}) and not starts_trained({**RESNET, "init_cfg": [drawn]})
    assert not starts_trained(without_checkpoint(RESNET)) and not starts_trained(without_checkpoint(TIMM))
    assert not starts_trained(without_checkpoint({"type": "A", "pretrained": "a.pth"}))


@pytest.mark.parametrize("prefix", ["", "backbone."])
@pytest.mark.parametrize("backbone", [NANO, RESNET])
def test_backbones_come_from_files_of_their_own_and_of_whole_models(backbone, prefix, tmp_path):
    net = build(backbone)
    path = saved(tmp_path / "a.pth", net, prefix)
    torch.manual_seed(4)
    loaded = load_backbone(backbone, path, "mmseg")
    assert all(torch.equal(p, net.state_dict()[n]) for n, p in loaded.named_parameters())


def test_networks_of_timm_come_from_timms_files_and_from_models_trained_here(tmp_path):
    import timm

    theirs = timm.create_model("resnet10t", num_classes=2)
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    loaded = load_backbone(TIMM, tmp_path / "timm.pth", "mmseg")
    assert torch.equal(loaded.net.conv1[0].weight, theirs.conv1[0].weight)
    ours = saved(tmp_path / "ours.pth", build(TIMM), "backbone.")
    assert with_checkpoint(TIMM, ours)["init_cfg"]["checkpoint"] == str(ours)
    again = load_backbone(TIMM, ours, "mmseg")
    assert torch.equal(again.net.layer2[0].conv1.weight, build(TIMM).net.layer2[0].conv1.weight)


@pytest.mark.parametrize("backbone", [NANO, RESNET, TIMM])
def test_files_of_other_networks_are_refused(backbone, tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"conv.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(ValueError, match=r"checkpoint .*other\.pth does not fit: "):
        load_backbone(backbone, path, "mmseg")
    with pytest.raises(ValueError, match=r"checkpoint .*other\.pth does not fit: "):
        load_backbone(backbone, saved(path, torch.nn.Linear(2, 2), "backbone."), "mmseg")


def test_a_whole_model_fits_its_config_and_its_classes(ready, tmp_path):
    contender = Contender(ready["segmentation"], entry_of(NANO, protocols=["scratch"]))
    config = contender.model("scratch", None)
    model, classes = MODELS.build(config.model), ready["segmentation"].classes
    check_whole(saved(tmp_path / "a.pth", model, dataset_meta={"classes": classes}), config, classes)
    other = saved(tmp_path / "b.pth", model, dataset_meta={"classes": ("sky", *classes[1:])})
    with pytest.raises(ValueError, match="has 11 classes, the data have 11, the first that differs is 'sky' and not"):
        check_whole(other, config, classes)
    with pytest.raises(ValueError, match="has 11 classes, the data have 10"):
        check_whole(tmp_path / "a.pth", config, classes[:-1])
    with pytest.raises(ValueError, match=r"is not of this config: it lacks \d+ of \d+ parameters"):
        check_whole(saved(tmp_path / "c.pth", model.backbone, "backbone."), config, classes)


@pytest.mark.parametrize("loads", [("backbone",), ("backbone", "neck"), ("neck",)])
def test_the_neck_comes_from_a_file_where_that_is_asked_for(loads, ready, tmp_path):
    config = ready["detection"].config.model
    torch.manual_seed(4)
    parts = {"backbone": MODELS.build(NANO), "neck": MODELS.build({**config.neck, "type": "mmdet.FPN"})}
    state = {f"{part}.{n}": t for part, net in parts.items() for n, t in net.state_dict().items()}
    state |= {f"{part}.{n}": torch.rand_like(t) for part, net in parts.items() for n, t in drawn(net)}
    torch.save(state, tmp_path / "w.pth")
    contender = Contender(
        ready["detection"], entry_of(NANO, tmp_path / "w.pth", ["full", "scratch", "scratch_split"], loads=loads)
    )
    contender.check_checkpoint(0)
    for protocol in ("full", "scratch", "scratch_split"):
        init_default_scope("mmdet")
        model = MODELS.build(Config(contender.training(protocol, 1.0, 0, 1.0)).model)
        model.init_weights()
        for part in parts:
            same = [torch.equal(t, state[f"{part}.{n}"]) for n, t in drawn(getattr(model, part))]
            taken = protocol == "full" and part in loads
            assert len(same) > 10 and (all(same) if taken else not any(same)), (protocol, part)


def drawn(module):
    """The tensors of a module that are no statistics."""
    return [(n, t) for n, t in module.state_dict().items() if "running_" not in n and "num_batches" not in n]


def test_a_neck_that_does_not_fit_is_named(ready, tmp_path):
    task = ready["detection"]
    net = saved(tmp_path / "net.pth", MODELS.build(NANO), "backbone.")
    with pytest.raises(ValueError, match=r"entries\.e, task detection: loads: checkpoint .*net\.pth has no neck"):
        Contender(task, entry_of(NANO, net, ["full"], loads=("backbone", "neck"))).check_checkpoint(0)
    narrow = MODELS.build({**task.config.model.neck, "type": "mmdet.FPN", "out_channels": 8})
    file = saved(tmp_path / "narrow.pth", narrow, "neck.")
    with pytest.raises(ValueError, match=r"the neck of checkpoint .*narrow\.pth does not fit: .* is \(8, 32, 1, 1\)"):
        Contender(task, entry_of(NANO, file, ["full"], loads=("neck",))).check_checkpoint(0)
    bare = entry_of(NANO, file, ["full"], loads=("neck",))
    with pytest.raises(ValueError, match="loads: the model must have one neck, got none"):
        Contender(ready["segmentation"], bare).check_checkpoint(0)
