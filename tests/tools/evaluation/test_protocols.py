"""Every protocol trains exactly what it says, from the weights it says."""

import copy

import pytest
import torch
from evaluation.assembly import Contender
from evaluation.costs import model_costs, speeds
from evaluation.maps import Maps, stride_of
from evaluation.protocols import PROTOCOLS, linear_model
from evaluation.trained import backbone_of
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from small_tasks import NANO, VIT, entry_of

pytestmark = pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``:UserWarning")
TRAINED = [name for name in PROTOCOLS if name != "given"]
TASKS = ["detection", "segmentation"]


@pytest.fixture(scope="module")
def contenders(ready, pretrained):
    return {name: Contender(task, entry_of(NANO, pretrained, TRAINED)) for name, task in ready.items()}


def build(config):
    init_default_scope(config["default_scope"])
    model = MODELS.build(Config(dict(config)).model)
    model.init_weights()
    return model


def bare(name):
    for part in ("net.", "base_model.model.", "base_layer."):
        name = name.replace(part, "")
    return name


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("protocol", TRAINED)
def test_what_trains(protocol, task, contenders, pretrained):
    torch.manual_seed(1)
    contender = contenders[task]
    config = contender.training(protocol, 1.0, 0, 1.0)
    model = build(config)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    backbone = {n for n in trained if n.startswith("backbone.")}
    everything = {n for n, _ in model.named_parameters()}
    assert trained - backbone == {n for n in everything if not n.startswith("backbone.")}  # neck and heads, always
    own = {n for n in everything if n.startswith("backbone.")}
    if protocol in ("scratch", "scratch_split", "full"):
        assert backbone == own
    elif protocol in ("linear", "frozen"):
        assert not backbone
    elif protocol == "lora":
        assert len(contender.maps.linears) == 30 and backbone == {
            f"backbone.net.base_model.model.{layer}.lora_{part}.default.weight"
            for layer in contender.maps.linears
            for part in "AB"
        }
    else:
        assert backbone and backbone == {n for n in own if "moppa_" in n and "base_layer" not in n}

    weights = torch.load(pretrained, weights_only=True)
    found = {bare(n): p for n, p in model.backbone.named_parameters()}
    drawn = [n for n, t in weights.items() if n in found and found[n].shape == t.shape]
    same = [torch.equal(found[n], weights[n]) for n in drawn]
    assert len(same) > 100 and (not any(same) if protocol.startswith("scratch") else all(same))
    assert ("RouteRegularizationHook" in str(config.get("custom_hooks"))) == (protocol == "moppa")


@pytest.mark.parametrize("protocol", TRAINED)
def test_the_rate_is_everythings_or_the_backbones(protocol, contenders):
    configs = [contenders["segmentation"].training(protocol, 1.0, 0, rate) for rate in (1.0, 3.0)]
    model = build(configs[0])
    one, three = (
        {
            parameter: (group["lr"], group["weight_decay"])
            for group in build_optim_wrapper(model, Config(config).optim_wrapper).optimizer.param_groups
            for parameter in group["params"]
        }
        for config in configs
    )
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            times = 3.0 if name.startswith("backbone.") or not PROTOCOLS[protocol].of_backbone else 1.0
            assert three[parameter][0] == pytest.approx(times * one[parameter][0]), name
            assert three[parameter][1] == one[parameter][1], name  # no rule for decay is lost


@pytest.mark.parametrize("task", TASKS)
def test_linear_heads_are_linear(task, contenders):
    """What maps add to the outputs at zero is doubled with them."""
    model = build(contenders[task].training("linear", 1.0, 0, 1.0)).eval()
    torch.manual_seed(0)
    maps = [torch.randn(1, c, n, n) for c, n in zip(contenders[task].maps.channels, (16, 8, 4, 2), strict=True)]

    def outputs(scale):
        scaled = tuple(scale * m for m in maps)
        if task == "segmentation":
            return [model.decode_head(scaled)]
        return [output for kind in model.bbox_head(model.neck(scaled)) for output in kind]

    with torch.no_grad():
        for zero, one, two in zip(outputs(0.0), outputs(1.0), outputs(2.0), strict=True):
            torch.testing.assert_close(two - zero, 2 * (one - zero), atol=1e-4, rtol=1e-4)
            assert (one - zero).abs().max() > 1e-3


@pytest.mark.parametrize("task", TASKS)
def test_linear_heads_learn_and_predict(task, contenders):
    model = build(contenders[task].training("linear", 1.0, 0, 1.0)).train()
    samples = [contenders[task].ready.data_set("train")[i] for i in (0, 1)]
    packed = {name: [sample[name] for sample in samples] for name in ("inputs", "data_samples")}
    batch = model.data_preprocessor(packed, True)
    loss, _ = model.parse_losses(model(**batch, mode="loss"))
    loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    tested = contenders[task].ready.tested
    packed = {name: [tested[0][name]] for name in ("inputs", "data_samples")}
    assert len(model.eval().test_step(packed)) == 1


@pytest.mark.parametrize("task", TASKS)
def test_plain_networks_get_a_pyramid_but_for_linear_heads(task, ready):
    contender = Contender(ready[task], entry_of(VIT, protocols=["scratch"]))
    assert contender.maps.plain and contender.maps.strides == (8,) * 4 and contender.maps.levels == (4, 8, 16, 32)
    model = build(contender.model("scratch", None))
    maps = model.backbone(torch.zeros(1, 3, 64, 64))
    maps = (model.neck[0] if task == "detection" else model.neck)(maps)
    assert [tuple(m.shape[1:]) for m in maps] == [(32, n, n) for n in (16, 8, 4, 2)]
    linear = build(contender.model("linear", None))
    assert "Feature2Pyramid" not in str(linear)
    if task == "detection":
        anchors, pyramids = linear.bbox_head.prior_generator, model.rpn_head.prior_generator
        sides = [[(b[:, 2] - b[:, 0]).mean().item() for b in g.base_anchors] for g in (anchors, pyramids)]
        assert sides[0] == pytest.approx(sides[1])  # as large as on the pyramid's levels
        assert anchors.strides == [(8, 8)] * 4


def test_other_widths_reach_neck_and_heads(ready):
    wide = {**NANO, "arch": {"dims": [8, 16, 24, 40], "depths": [1, 1, 1, 1]}}
    detector, segmentor = (
        Contender(ready[t], entry_of(wide, protocols=["scratch"])).model("scratch", None) for t in TASKS
    )
    assert detector.model.neck.in_channels == [8, 16, 24, 40] == segmentor.model.decode_head.in_channels
    assert segmentor.model.auxiliary_head.in_channels == 24
    model = build(segmentor).eval()
    assert model.decode_head(model.backbone(torch.zeros(1, 3, 64, 64))).shape == (1, 11, 16, 16)


@pytest.mark.parametrize("pixels", [64, 90, 96, 192, 225, 240, 333, 480])
@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_strides_of_sizes_that_they_do_not_divide(pixels, stride):
    padded = torch.nn.Conv2d(1, 1, stride, stride, padding=0)(torch.zeros(1, 1, pixels, -pixels % stride + pixels))
    assert stride_of(pixels, padded.shape[2]) == stride_of(pixels, padded.shape[3]) == stride
    assert stride_of(224, 16) == 14  # a transformer's patches


def test_what_does_not_fit_is_said(ready, pretrained):
    def refused(backbone, match, protocols=("scratch",)):
        with pytest.raises(ValueError, match=match):
            Contender(ready["detection"], entry_of(backbone, protocols=protocols))

    refused({"type": "NoSuchNet"}, "entries.e, task detection: the backbone cannot be built: .*NoSuchNet")
    refused({**NANO, "out_indices": [0, 1]}, "returns 2 maps, the task's model takes 4")
    refused({**NANO, "arch": "huge"}, "cannot be built: .*arch must be one of")
    refused({**VIT, "options": {**VIT["options"], "dynamic_img_size": False}}, "cannot take images of 96 x 96 px")
    refused({"type": "TimmBackbone", "model_name": "resnet10t"}, r"strides \(2, 4, 8, 16\), the task's model takes")
    adapted = {"type": "AdaptedBackbone", "backbone": NANO}
    refused(adapted, "'frozen' freezes a backbone, and this one is adapted already", ["frozen"])
    contender = Contender(ready["detection"], entry_of(NANO, pretrained.with_name("none.pth"), ["full"]))
    with pytest.raises(ValueError, match=r"entries\.e, task detection: no such checkpoint"):
        contender.check_checkpoint(0)


def test_an_entrys_own_config_gives_model_optimizer_and_hooks(ready, root, pretrained):
    own = {"detection": root / "configs/digit_scenes/mask-rcnn_vheat-n-moppa_fpn.py"}
    contender = Contender(ready["detection"], entry_of(None, pretrained, ["full"], config=own))
    config = contender.training("full", 1.0, 0, 3.0)
    trained = {n for n, p in build(config).named_parameters() if p.requires_grad and n.startswith("backbone.")}
    assert trained and all("moppa_" in name for name in trained)
    assert config["custom_hooks"] == [{"type": "RouteRegularizationHook"}]
    assert config["train_dataloader"]["batch_size"] == 2 and config["train_cfg"]["max_iters"] == 2  # the task's
    with pytest.raises(ValueError, match="its config is of mmdet, the task of mmseg"):
        Contender(ready["segmentation"], entry_of(None, config={"segmentation": own["detection"]}, protocols=["full"]))


def test_a_given_model_is_not_touched(ready, root, tmp_path):
    own = {"segmentation": root / "configs/digit_scenes/upernet_vheat-n.py"}
    model = build(Config.fromfile(own["segmentation"]))
    torch.save({"state_dict": model.state_dict()}, tmp_path / "a.pth")
    entry = entry_of(None, tmp_path / "a.pth", ["given"], config=own)
    contender = Contender(ready["segmentation"], entry)
    assert contender.model("given", None).model == Config.fromfile(own["segmentation"]).model
    torch.save({"state_dict": model.backbone.state_dict()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"entries\.e, task segmentation: checkpoint .* is not of this config"):
        contender.check_checkpoint(0)


def test_masks_do_not_choose_the_rate_of_a_model_without_any(ready, pretrained):
    task = copy.copy(ready["detection"])
    task.metric = "mask AP"
    with pytest.raises(ValueError, match=r"protocol 'linear' predicts no masks, and its learning rate would be chosen"):
        Contender(task, entry_of(NANO, pretrained, ["linear"]))
    Contender(task, entry_of(NANO, pretrained, ["linear"], rates={"linear": (1.0,)}))


def test_a_rate_that_cannot_be_set_is_said_before_anything_runs(ready, pretrained, tmp_path):
    task = copy.copy(ready["segmentation"])
    task.config = copy.deepcopy(task.config)
    task.config.optim_wrapper.constructor = "LayerDecayConstructor"
    task.config.optim_wrapper.paramwise_cfg.layer_decay = 0.9
    with pytest.raises(ValueError, match=r"is LayerDecayConstructor's: give this entry rates: \[1\]"):
        Contender(task, entry_of(NANO, pretrained, ["full"]))
    Contender(task, entry_of(NANO, pretrained, ["full"], rates={"full": (1.0,)}))


def test_networks_of_mmdet_take_part(ready, tmp_path):
    """Its ResNet returns nothing from ``eval()``."""
    resnet = {"type": "ResNet", "depth": 18, "base_channels": 4, "norm_eval": False}
    contender = Contender(ready["detection"], entry_of(resnet, protocols=["scratch"]))
    assert contender.maps.channels == (4, 8, 16, 32) and contender.net is not None
    assert model_costs(contender, "scratch", 0)["macs"] > 0
    assert speeds({"r": contender.net}, (64, 64), rounds=1, batch=1)["r"] > 0
    assert isinstance(backbone_of(contender, "scratch", 0), torch.nn.Module)


def test_heads_have_as_many_classes_as_the_data(ready, tmp_path, root):
    own = tmp_path / "own.py"
    own.write_text(
        f"_base_ = ['{root}/configs/digit_scenes/upernet_vheat-n.py']\nmodel = dict(auxiliary_head=dict(num_classes=7))"
    )
    entry = entry_of(None, protocols=["scratch"], config={"segmentation": own})
    with pytest.raises(ValueError, match=r"task segmentation: model.auxiliary_head.num_classes is 7, the data have 11"):
        Contender(ready["segmentation"], entry)


def test_a_linear_head_of_one_output_tells_two_classes_apart(ready):
    config = Config(ready["segmentation"].config.to_dict())
    config.model.decode_head.update(num_classes=2, out_channels=1, threshold=0.4)
    maps = Maps((4, 8), (4, 8), (4, 8))
    head = linear_model(config, maps, 2)["decode_head"]
    assert (head["num_classes"], head["out_channels"], head["threshold"]) == (2, 1, 0.4)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("protocol", TRAINED)
def test_no_file_of_the_tasks_config_is_loaded(protocol, task, ready, pretrained):
    """mmengine loads that of the whole model last, over the weights that the entry names."""
    file = {"type": "Pretrained", "checkpoint": "of-the-task.pth"}
    normal = {"type": "Normal", "layer": "Conv2d", "std": 0.01}
    own = copy.copy(ready[task])
    own.config = copy.deepcopy(own.config)
    model = own.config.model
    head = model.decode_head if task == "segmentation" else model.roi_head.bbox_head
    model.init_cfg, head.init_cfg, model.backbone.init_cfg = file, [normal, file], file
    if task == "segmentation":
        model.pretrained = "of-the-task.pth"  # as mmseg's configs say it
    contender = Contender(own, entry_of(NANO, pretrained, [protocol]))
    config = contender.training(protocol, 1.0, 0, 1.0)
    build(config)
    assert "of-the-task" not in str(config["model"])
    assert (str(pretrained) in str(config["model"])) == PROTOCOLS[protocol].pretrained
    if protocol != "linear":
        assert str(normal) in str(config["model"])  # how weights are drawn stays


def test_what_starts_trained_needs_weights(ready, pretrained, tmp_path):
    """A whole model's file is not that of its backbone."""
    config = copy.deepcopy(ready["segmentation"].config)
    config.model.init_cfg = {"type": "Pretrained", "checkpoint": str(pretrained)}
    config.dump(tmp_path / "own.py")
    entry = entry_of(None, None, ["full"], config={"segmentation": tmp_path / "own.py"})
    with pytest.raises(ValueError, match=r"entries\.e, .*'full' starts from trained weights, .* give checkpoint"):
        Contender(ready["segmentation"], entry)


@pytest.mark.parametrize(("protocol", "options"), [("lora", {"rr": 3}), ("moppa", {"priors": ["heet"]})])
def test_adapters_that_cannot_be_made(protocol, options, ready, pretrained):
    adapter = {protocol: {**PROTOCOLS[protocol].adapter, **options}}
    message = rf"entries\.e, task detection: adapters\.{protocol}: .* cannot be made: .*(rr|heet)"
    with pytest.raises(ValueError, match=message):
        Contender(ready["detection"], entry_of(NANO, pretrained, [protocol], adapters=adapter))
