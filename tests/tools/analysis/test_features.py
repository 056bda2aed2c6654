"""Spectra of known fields, learned quantities that were set, and costs counted by hand."""

import math

import numpy as np
import pytest
import scipy.fft
import torch
from analysis.costs import stage_costs
from analysis.features import spectrum, stage_spectra
from analysis.physics import learned_physics
from mmengine.registry import MODELS
from torch import nn

import adapters.openmmlab
import backbones.openmmlab  # noqa: F401 (registers)

NANO = {"type": "VHeat", "arch": {"dims": (8, 16), "depths": (1, 2)}, "img_size": 32, "out_indices": (0, 1)}


def build(**changes):
    torch.manual_seed(0)
    return MODELS.build({**NANO, **changes}).eval()


def test_rings_of_known_amplitude():
    n, m = np.mgrid[:32, :24]
    ring = np.ceil(8 * np.hypot(n / 32, m / 24)).clip(max=9)
    signs = np.random.default_rng(0).choice([-1, 1], ring.shape)
    field = scipy.fft.idctn(signs * np.exp(ring), norm="ortho")
    found = spectrum(torch.tensor(field)[None, None].expand(2, 3, -1, -1) + 100, rings=8)  # the mean does not count
    np.testing.assert_allclose(found.log_amplitude, range(1, 9), atol=1e-9)
    assert (found.waves > torch.arange(8) / 8).all() and (found.waves <= torch.arange(1, 9) / 8).all()


def test_amplitudes_scale_and_smooth_fields_fall():
    noise = torch.randn(8, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    once, tenfold = spectrum(noise), spectrum(10 * noise)
    torch.testing.assert_close(tenfold.log_amplitude, once.log_amplitude + math.log(10), atol=1e-5, rtol=0)
    torch.testing.assert_close(tenfold.relative, once.relative, atol=1e-5, rtol=0)
    assert once.relative.abs().max() < 0.1  # noise is flat
    assert once.log_amplitude[-1].item() == pytest.approx(math.log(2 / math.pi) / 2, abs=0.02)  # of E |N(0, 1)|
    smooth = spectrum(nn.functional.avg_pool2d(noise, 3, 1, 1)).relative
    assert smooth[6] < -0.5 and (smooth[1:7].diff() < 0).all()


def test_every_stage_has_one():
    found = stage_spectra(build(), torch.randn(2, 3, 64, 64), rings=4)
    assert [len(s.waves) for s in found] == [4, 4]
    with pytest.raises(ValueError, match=r"maps must be .*, got \(1, 4, 1, 1\)"):
        spectrum(torch.zeros(1, 4, 1, 1))


def test_learned_quantities_are_those_that_were_set():
    net = build(type="VMix")
    for i, stage in enumerate(net.stages):
        for block in stage.blocks:
            mixture = block.mixer.operator
            mixture.weights.logits.data.copy_(torch.tensor([0.2, 0.3, 0.5]).log()[:, None].expand(3, 8 * (i + 1)))
            heat, wave, _ = mixture.terms
            heat.diffusivity.linear.weight.data.zero_()
            heat.diffusivity.linear.bias.data.copy_(torch.linspace(0.1, 0.9, 8 * (i + 1)))
            wave.damping.raw.data.fill_(math.log(math.expm1(0.25)))
    found = {(q.layer, q.name): q for q in learned_physics(net, torch.randn(1, 3, 32, 32))}
    layers = [f"stages.{i}.blocks.{j}.mixer.operator" for i, j in ((0, 0), (1, 0), (1, 1))]
    assert list(dict.fromkeys(layer.partition(".terms")[0] for layer, _ in found)) == layers
    for layer in layers:
        weights = [found[layer, f"weights: {name}"].mean for name in ("Heat", "Wave", "Poisson")]
        assert weights == pytest.approx([0.2, 0.3, 0.5])
        k = found[f"{layer}.terms.0", "diffusivity"]
        assert (
            (k.operator, k.mean) == ("Heat", pytest.approx(0.5))
            and 0.1 < k.low + 1e-6 < 0.2
            and 0.8 < k.high - 1e-6 < 0.9
        )
        damping = found[f"{layer}.terms.1", "damping"]
        assert (damping.low, damping.mean, damping.high) == pytest.approx((0.25,) * 3)
    assert found[f"{layers[0]}.terms.0", "diffusivity"].count == 8 * 8 * 8  # modes and channels


def test_each_axis_has_a_line_of_its_own():
    net = build(type="VHeat", per_axis=True, diffusivity="channel")
    for block in (block for stage in net.stages for block in stage.blocks):
        for axis, value in enumerate((0.2, 0.7)):
            block.mixer.operator.diffusivity[axis].raw.data.fill_(math.log(math.expm1(value)))
    means = {name: [q.mean for q in learned_physics(net, torch.randn(1, 3, 32, 32)) if q.name == name]
             for name in ("diffusivity[0]", "diffusivity[1]")}  # fmt: skip
    assert means == {"diffusivity[0]": pytest.approx([0.2] * 3), "diffusivity[1]": pytest.approx([0.7] * 3)}


def test_routes_and_gates_of_adapters():
    net = MODELS.build({"type": "AdaptedBackbone", "backbone": NANO, "adapter": {"type": "MoPPA"}}).eval()
    units = [m for m in net.modules() if isinstance(m, adapters.unit.MoPPAUnit)]
    for unit in units:
        unit.router.logits.data.copy_(torch.tensor([9.0, 0.0, 0.0])[:, None].expand_as(unit.router.logits))
        unit.router.temperature.data.fill_(1.0)
        unit.gate.value.data.fill_(0.3)
    found = learned_physics(net, torch.randn(1, 3, 32, 32))
    gates = [q.mean for q in found if q.name == "gate"]
    assert gates == pytest.approx([0.3 * unit.gate.scale for unit in units]) and len(gates) == 3
    heat = [q.mean for q in found if q.name == "weights: heat"]
    assert heat == pytest.approx([1 / (1 + 2 * math.exp(-9))] * 3)
    assert {q.name for q in found} >= {"diffusivity", "speed", "screening", "weights: poisson"}


def test_networks_without_operators_have_no_physics():
    assert learned_physics(nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8)) == []


def test_costs_by_hand():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 4, 4, bias=False)
            self.stages = nn.ModuleList([nn.Conv2d(8, 8, 1), nn.Conv2d(8, 16, 2, 2)])
            self.stages[0].requires_grad_(False)
            self.scale = nn.Parameter(torch.ones(16, 1, 1))

        def forward(self, x):
            for part in (self.stem, *self.stages):
                x = part(x)
            return (self.scale * x,)

    found = {cost.part: (cost.macs, cost.parameters, cost.trained) for cost in stage_costs(Net().train(), (32, 16))}
    assert found == {
        "stem": (8 * 4 * 8 * 48, 384, 384),
        "stages.0": (8 * 4 * 8 * 8, 72, 0),
        "stages.1": (4 * 2 * 16 * 32, 528, 528),
        "rest": (0, 16, 16),
        "total": (8 * 4 * 8 * 48 + 8 * 4 * 64 + 8 * 512, 1000, 928),
    }


@pytest.mark.parametrize(
    ("backbone", "parts"),
    [
        (NANO, ["stem", "stages.0", "stages.1", "out_norms"]),
        ({"type": "AdaptedBackbone", "backbone": NANO}, ["net.stem", "net.stages.0", "net.stages.1", "net.out_norms"]),
        (
            {"type": "TimmBackbone", "model_name": "vit_tiny_patch16_224", "out_indices": (1,)},
            ["net.model.patch_embed", "net.model.blocks.0", "net.model.blocks.1"],
        ),
    ],
)
def test_stages_are_found_behind_wrappers(backbone, parts):
    size = 224 if backbone["type"] == "TimmBackbone" else 32
    net = MODELS.build(backbone)
    *each, rest, total = stage_costs(net, size)
    assert [cost.part for cost in each] == parts and rest.macs == 0
    assert total.macs == sum(cost.macs for cost in each) > 0
    assert total.parameters == sum(p.numel() for p in net.parameters())
    assert total.trained == (0 if backbone["type"] == "AdaptedBackbone" else total.parameters)


def test_attention_is_counted():
    """Of one block of width 192 on 197 tokens: four linears, and two products of attention."""
    net = MODELS.build({"type": "TimmBackbone", "model_name": "vit_tiny_patch16_224", "out_indices": (0,)})
    block = next(cost for cost in stage_costs(net, 224) if cost.part.endswith("blocks.0"))
    assert block.macs == 197 * 12 * 192**2 + 2 * 197**2 * 192
