"""What a block is: a factory's answer to where it stands, one operator or one per stage, blocks of any kind."""

from __future__ import annotations

import pytest
import timm
import torch
from mmengine.registry import MODELS
from torch import nn

import backbones
from backbones import SpectralNet, families, load_checkpoint, spectral_blocks
from backbones.blocks import Mlp
from backbones.openmmlab import CLASSES
from backbones.operators import OPERATORS, heat_operator, operator_factories, wave_operator
from spectral_ops import FractionalHeat, Heat, Softplus, SpectralEmbedding, SpectralMixer, Wave

HEAT = Heat(0.5, dims=(1, 2))
SIZES = {"dims": (8, 16, 16, 24), "depths": (1, 2, 1, 2), "num_classes": 3, "img_size": 64}


class Attention(nn.Module):
    """A block without a spectral operator, that says nothing of learned maps or masks."""

    def __init__(self, channels):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn, self.mlp = nn.MultiheadAttention(channels, 4, batch_first=True), Mlp(channels, 2 * channels)

    def forward(self, x):
        tokens = self.norm1(x).flatten(1, 2)
        x = x + self.attn(tokens, tokens, tokens, need_weights=False)[0].view_as(x)
        return x + self.mlp(self.norm2(x))


def hybrid(**options):
    heat = spectral_blocks(heat_operator)
    return SpectralNet(
        block=lambda place: Attention(place.channels) if place.stage == 3 else heat(place), **{**SIZES, **options}
    )


def test_a_factory_is_told_where_each_block_stands():
    places = []
    heat = spectral_blocks(heat_operator)
    SpectralNet(block=lambda place: (places.append(place), heat(place))[1], drop_path_rate=0.5, **SIZES)
    assert [tuple(p)[:4] for p in places] == [
        (0, 0, 8, (16, 16)),
        (1, 0, 16, (8, 8)),
        (1, 1, 16, (8, 8)),
        (2, 0, 16, (4, 4)),
        (3, 0, 24, (2, 2)),
        (3, 1, 24, (2, 2)),
    ]
    assert [round(p.drop_path, 6) for p in places] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_blocks_without_a_spectral_mixer_run_deploy_and_load(tmp_path, randomise):
    net = randomise(hybrid()).eval()
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = net(x)
        assert net.stages[3].learned == () and net.stages[0].learned == ("embedding",)
        net.reparameterize([(64, 96)])
        torch.testing.assert_close(net(x), expected)
        net.unreparameterize()
        assert torch.equal(net(x), expected)
        path = tmp_path / "hybrid.pth"
        torch.save(net.state_dict(), path)
        other = hybrid()
        load_checkpoint(other, path)
        assert torch.equal(other.eval()(x), expected)
        net.reparameterize([(64, 96)], keep_source=False)
        torch.testing.assert_close(net(x), expected)
    net.train().set_grad_checkpointing()
    net(x).sum().backward()
    assert net.stages[3].blocks[1].attn.in_proj_weight.grad.any()


@pytest.mark.parametrize("road", ["net", "timm"])
def test_an_operator_for_each_stage(road):
    kinds = ["wave", "wave", {"type": "heat", "diffusivity": "channel"}, "heat"]
    if road == "net":
        net = SpectralNet(operator_factories(kinds), **SIZES)
    else:
        net = timm.create_model("vheat_nano", operator=kinds, num_classes=3, img_size=64)
    found = [{type(block.mixer.operator) for block in stage.blocks} for stage in net.stages]
    assert found == [{Wave}, {Wave}, {Heat}, {Heat}]
    assert isinstance(net.stages[2].blocks[0].mixer.operator.diffusivity, Softplus)
    assert [stage.embedding is not None for stage in net.stages] == [False, False, False, True]
    x = torch.randn(1, 3, 64, 64)
    expected = net.eval()(x)
    net.reparameterize([64])
    torch.testing.assert_close(net(x), expected)


def test_equal_widths_may_have_different_operators():
    """A function of the width alone could not tell stages 1 and 2 of these sizes apart."""
    net = SpectralNet([wave_operator, heat_operator, wave_operator, heat_operator], **SIZES)
    kinds = [type(stage.blocks[0].mixer.operator) for stage in net.stages]
    assert SIZES["dims"][1] == SIZES["dims"][2] and kinds == [Wave, Heat, Wave, Heat]


class Guided(SpectralMixer):
    """A mixer that takes a second learned map of its stage."""

    def shares(self, sizes=None):
        return (*super().shares(sizes), "guide")

    def forward(self, x, embedding=None, *, guide, visible=None):
        return super().forward(x + guide, embedding, visible=visible)


class Cells(nn.Module):
    """A learned map over cells."""

    def __init__(self, sizes, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*sizes, channels))

    def forward(self, sizes):
        return nn.functional.interpolate(self.weight.permute(2, 0, 1)[None], size=list(sizes))[0].permute(1, 2, 0)


def test_learned_maps_of_ones_own():
    net = SpectralNet(block=spectral_blocks(heat_operator, mixer=Guided), maps={"guide": Cells}, **SIZES).eval()
    x = torch.randn(1, 3, 64, 96)
    assert net.stages[1].learned == ("embedding", "guide") and "stages.1.guide.weight" in net.state_dict()
    expected = net(x)
    net.stages[1].guide.weight.data.mul_(2)
    assert not torch.allclose(net(x), expected)
    net.stages[1].guide.weight.data.div_(2)
    net.reparameterize([(64, 96)], keep_source=False)
    torch.testing.assert_close(net(x), expected)
    assert net.stages[1].learned == ("guide",) and net.stages[1].embedding is None
    layers = timm.models.group_parameters(net, net.group_matcher())
    assert layers["stages.1.guide.weight"] == layers["stages.1.downsample.conv.weight"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SpectralNet([heat_operator] * 3, **SIZES), ValueError, "operator has 3 entries for 4 stages"),
        (lambda: SpectralNet(**SIZES), TypeError, "operator must be a function from a width to an operator.*got None"),
        (lambda: SpectralNet(HEAT, **SIZES), TypeError, r"operator must be a function .*, got Heat\(diffusivity"),
        (lambda: SpectralNet([HEAT] * 4, **SIZES), TypeError, r"operator must be a function .*, got Heat\(diffusivity"),
        (lambda: SpectralNet("heat", **SIZES), TypeError, "operator must be a function .*, got 'heat'"),
        (lambda: spectral_blocks(HEAT), TypeError, r"operator must be a function .*, got Heat\(diffusivity"),
        (lambda: spectral_blocks([HEAT]), TypeError, r"operator must be a function .*, got Heat\(diffusivity"),
        (
            lambda: spectral_blocks(heat_operator, SpectralMixer(8, HEAT)),
            TypeError,
            "mixer must be a function from a width and an operator to a mixer, .*, got SpectralMixer",
        ),
        (
            lambda: SpectralNet(block=Attention(8), **SIZES),
            TypeError,
            "block must be a function from a Place to a block, .*, got Attention",
        ),
        (
            lambda: SpectralNet(heat_operator, maps={"e": SpectralEmbedding((7, 7), 8)}, **SIZES),
            TypeError,
            r"maps\['e'\] must be a function from \(sizes, channels\) to a map, .*, got SpectralEmbedding",
        ),
        (
            lambda: timm.create_model("vheat_nano", operator=HEAT),
            TypeError,
            r"operator must be a name, .* or a function from a width to an operator, got Heat\(diffusivity",
        ),
        (
            lambda: MODELS.build({"type": "VHeat", "arch": "nano", "operator": HEAT}),
            TypeError,
            r"operator must be a name, .* or a function from a width to an operator, got Heat\(diffusivity",
        ),
        (lambda: backbones.register("vinstance", HEAT), TypeError, "operator must be a function from a width"),
        (
            lambda: SpectralNet(Heat(0.5, dims=(1, 2)), block=spectral_blocks(heat_operator), **SIZES),
            ValueError,
            "block= decides on operator, mlp_ratio, norm_placement and layer_scale",
        ),
        (
            lambda: SpectralNet(block=spectral_blocks(heat_operator, mixer=Guided), **SIZES),
            ValueError,
            r"blocks of stage 0 share \['guide'\], maps makes \['embedding'\]",
        ),
        (lambda: operator_factories("heta"), ValueError, "operator must be one of .*'heat'.*got 'heta'"),
        (lambda: operator_factories(["heat", 3]), TypeError, "operator must be a name, a dict.*got 3"),
        (lambda: operator_factories({"type": "wave", "speed": 2}), TypeError, "operator 'wave' has no option 'speed'"),
        (lambda: operator_factories(Heat(0.5)), TypeError, "operator must be a name, a dict.*got Heat"),
        (
            lambda: timm.create_model("vheat_nano", operator="wave", diffusivity="free"),
            TypeError,
            r"operator= has options of its own: \['diffusivity'\] cannot be given beside it",
        ),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_every_named_operator_makes_a_network():
    for name in OPERATORS:
        net = SpectralNet(operator_factories(name), dims=(8,), depths=(1,), num_classes=2)
        assert net(torch.randn(1, 3, 32, 32)).shape == (1, 2)


# -- families of one's own --------------------------------------------------------------------------------------------


def cauchy(channels, order=0.5):
    """Fractional heat, its diffusivity learned per channel."""
    return FractionalHeat(Softplus(0.5, (channels,)), order, dims=(1, 2))


@pytest.fixture
def family():
    """A family for one test: timm and this project forget it afterwards."""
    made = backbones.register("vfractional", cauchy, source="arXiv:0000.00000")
    yield made
    del backbones.FAMILIES["vfractional"]
    for arch in backbones.ARCHS:
        name = f"vfractional_{arch}"
        timm.models._registry._model_entrypoints.pop(name)
        delattr(families, name)
    for registry in (CLASSES, MODELS._module_dict):
        registry.pop("VFractional", None)


def test_a_family_in_one_call(family):
    assert (family.title, family.summary) == ("VFractional", "Fractional heat, its diffusivity learned per channel.")
    assert {f"vfractional_{arch}" for arch in backbones.ARCHS} <= set(timm.list_models("vfractional*"))
    net = timm.create_model("vfractional_nano", num_classes=2, order=0.7)
    assert net.stages[0].blocks[0].mixer.operator.order == 0.7
    assert net.pretrained_cfg["paper_ids"] == "arXiv:0000.00000" and net(torch.randn(1, 3, 64, 64)).shape == (1, 2)
    maps = timm.create_model("vfractional_nano", features_only=True)(torch.randn(1, 3, 64, 64))
    assert [m.shape[1] for m in maps] == [32, 64, 128, 256]
    with pytest.raises(RuntimeError, match="No pretrained weights exist for vfractional_nano"):
        timm.create_model("vfractional_nano", pretrained=True)


def test_a_family_is_a_backbone_of_openmmlab(family):
    net = MODELS.build(dict(type="VFractional", arch="nano", img_size=64, out_indices=(1, 3), order=0.7))
    assert [m.shape[1] for m in net(torch.randn(1, 3, 64, 64))] == [64, 256]
    assert net.stages[0].blocks[0].mixer.operator.order == 0.7
    with pytest.raises(TypeError, match="VFractional got an unexpected keyword argument 'speed'"):
        MODELS.build(dict(type="VFractional", arch="nano", speed=1.0))


def test_an_operator_for_each_stage_in_a_config():
    net = MODELS.build(dict(type="VHeat", arch="nano", img_size=64, operator=["wave", "heat", "poisson", "heat"]))
    kinds = [type(stage.blocks[0].mixer.operator).__name__ for stage in net.stages]
    assert kinds == ["Wave", "Heat", "Poisson", "Heat"] and len(net(torch.randn(1, 3, 64, 64))) == 4
    with pytest.raises(TypeError, match="VHeat got an unexpected keyword argument 'diffusivity'"):
        MODELS.build(dict(type="VHeat", arch="nano", operator="wave", diffusivity="free"))


def test_a_family_is_registered_once(family):
    with pytest.raises(
        ValueError, match=r"'vfractional' .VFractional. cannot be registered: vfractional, vfractional_nano"
    ):
        backbones.register("vfractional", cauchy)
    with pytest.raises(ValueError, match=r"'vother' .VHeat. cannot be registered: vheat exists already"):
        backbones.register("vother", cauchy, title="VHeat")
    with pytest.raises(ValueError, match="name must be an identifier, got 'v-other'"):
        backbones.register("v-other", cauchy)
    with pytest.raises(TypeError, match="operator must be a function from a width"):
        backbones.register("vother", lambda: Heat(0.5, dims=(1, 2)))


def _needs(channels, groups):
    """No default."""


def _any(channels, **options):
    """Whatever."""


def _classes(channels, num_classes=3):
    """timm's own argument."""


@pytest.mark.parametrize(
    ("operator", "error", "message"),
    [
        (_needs, TypeError, "must be named and have defaults, got groups"),
        (_any, TypeError, r"must be named and have defaults, got \*\*options"),
        (_classes, TypeError, "an operator's argument cannot be called 'num_classes'"),
        (cauchy, ValueError, "title 'TimmBackbone' is taken"),
        (cauchy, ValueError, "title must be an identifier, got 'Two Words'"),
    ],
)
def test_a_family_that_is_refused_leaves_nothing_behind(operator, error, message):
    title = "TimmBackbone" if "TimmBackbone" in message else "Two Words" if "Words" in message else None
    before = set(backbones.FAMILIES), set(timm.list_models()), set(MODELS.module_dict), set(CLASSES)
    with pytest.raises(error, match=message):
        backbones.register("vrefused", operator, title=title)
    assert before == (set(backbones.FAMILIES), set(timm.list_models()), set(MODELS.module_dict), set(CLASSES))


def test_a_family_is_an_attribute_of_the_openmmlab_package(family):
    assert backbones.openmmlab.VFractional is CLASSES["VFractional"]
    with pytest.raises(AttributeError, match="has no attribute 'VNowhere'"):
        _ = backbones.openmmlab.VNowhere


def test_files_that_several_families_could_have_written_are_not_guessed(family):
    """One number per channel under the same name: a fractional heat's order is in no tensor."""
    state = timm.create_model("vfractional_nano", num_classes=2).state_dict()
    with pytest.raises(
        ValueError, match=r"do not tell which operator.*with diffusivity='channel' or a vfractional_nano"
    ):
        backbones.network_like(state)


def test_stages_of_other_operators_are_not_taken_for_one_family():
    net = timm.create_model("vheat_nano", operator=["heat", {"type": "heat", "diffusivity": 0.5}, "heat", "heat"])
    with pytest.raises(ValueError, match="do not tell which operator to build"):
        backbones.network_like(net.state_dict())


def test_a_family_that_refuses_a_width_does_not_break_other_files(family, monkeypatch):
    def fussy(channels):
        raise ValueError("never")

    monkeypatch.setitem(backbones.FAMILIES, "vfussy", backbones.Family("VFussy", fussy, ""))
    net = backbones.network_like(timm.create_model("vwave_nano", num_classes=2).state_dict())
    assert isinstance(net.stages[0].blocks[0].mixer.operator, Wave)


@pytest.mark.parametrize("name", ["downsample", "maps", "blocks", "learned", "forward", "a b"])
def test_learned_maps_cannot_take_the_names_of_others(name):
    class Odd(SpectralMixer):
        def shares(self, sizes=None):
            return (name,)

    with pytest.raises(ValueError, match=f"a learned map cannot be called '{name}'"):
        SpectralNet(block=spectral_blocks(wave_operator, mixer=Odd), maps={name: Cells}, **SIZES)


def test_gains_of_a_network_with_a_further_map_load_again(tmp_path):
    def make():
        block = spectral_blocks(heat_operator, mixer=Guided)
        return SpectralNet(block=block, maps={"guide": SpectralEmbedding}, **SIZES)

    net, x = make().eval(), torch.randn(1, 3, 64, 64)
    net.reparameterize([64], keep_source=False)
    torch.save(net.state_dict(), tmp_path / "gains.pth")
    other = make().eval()
    load_checkpoint(other, tmp_path / "gains.pth")
    torch.testing.assert_close(other(x), net(x))


def test_physics_without_a_stored_gain_is_not_dropped():
    net = timm.create_model("vheat_nano")
    with pytest.raises(ValueError, match="sizes must name at least one image size"):
        net.reparameterize([], keep_source=False)
    net.stem.add_module("mixer", SpectralMixer(3, heat_operator(3)))
    with pytest.raises(ValueError, match=r"the physics of \['stem.mixer'\] cannot be dropped"):
        net.reparameterize([64], keep_source=False)
    assert isinstance(net.stages[0].blocks[0].mixer.operator, Heat)
