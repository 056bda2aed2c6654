"""Devices without float64, such as Apple's: nothing of a float32 network is ever made in it there, nor exported."""

from __future__ import annotations

import pytest
import timm
import torch
from timm_models import create, every, names
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from backbones import ITPN, HiViT
from backbones.pretraining import BlockUnits, FrequencyHiding, RandomUnits, Views, random_sectors
from backbones.pretraining.itpn_decoders import PixelDecoder
from backbones.remote_sensing import RSVHeat, frequency_bands
from spectral_ops import Bounded, Softplus, cosine_basis, laplacian_eigenvalues, sine_basis


class _Doubles(TorchDispatchMode):
    """The operations that make float64 on the meta device, which stands in for one that has none."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
        self.found += [str(func) for t in tensors if t.dtype == torch.float64 and t.device.type == "meta"]
        return result


@every
def test_a_network_on_such_a_device(name):
    with _Doubles() as doubles, torch.device("meta"):
        net = timm.create_model(name, num_classes=3)
        for module in net.modules():
            if hasattr(module, "reset_parameters") and not isinstance(module, nn.Sequential):
                module.reset_parameters()
        net.init_weights()
        net(torch.ones(2, 3, 64, 96)).sum().backward()
        net.eval()(torch.ones(2, 3, 64, 96, dtype=torch.float16).float())
        if name not in ("vtail_nano",):  # whose gains depend on the input
            net.reparameterize([64])
            with torch.no_grad():
                net(torch.ones(2, 3, 64, 64))
    assert not doubles.found


ENCODER = {"embed_dim": 32, "depths": (1, 1, 1), "num_heads": 2, "img_size": 64, "init": "xavier"}
#: Networks of other rooms, and the images that they take.
OTHERS = {
    "hivit": (lambda: HiViT(**ENCODER, relative_bias=True), 3),
    "fast": (lambda: HiViT(**ENCODER, form="fast"), 3),
    "itpn": (lambda: ITPN(**ENCODER, pyramid_dim=8), 3),
    "pixels": (lambda: PixelDecoder(8, 8, (4, 4), 16, 1, 2), 0),
    "mean": (lambda: RSVHeat("nano", img_size=64, num_classes=3), 4),
    "concat": (lambda: RSVHeat("nano", img_size=64, num_classes=3, fusion="concat", modality_dropout=0.5), 4),
}


@pytest.mark.parametrize("name", OTHERS)
def test_networks_of_other_rooms(name):
    make, channels = OTHERS[name]
    with _Doubles() as doubles, torch.device("meta"):
        net = make()
        for module in net.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        if channels:
            found = net(torch.ones(2, channels, 64, 96))
            sum(each.sum() for each in (found if isinstance(found, list | tuple) else [found])).backward()
    assert not doubles.found


@pytest.mark.parametrize("options", [{}, {"constant": "both"}, {"pad": "power-of-two"}])
def test_bands_of_frequencies(options):
    with _Doubles() as doubles:
        for band in frequency_bands(torch.ones(1, 2, 20, 30, device="meta"), [0.2, 0.5], **options):
            assert band.shape == (1, 2, 20, 30) and band.device.type == "meta"
    assert not doubles.found


@pytest.mark.parametrize(
    "mask", [RandomUnits(), BlockUnits(), *(FrequencyHiding(hide) for hide in ("bands", "sectors", "units"))]
)
def test_masks_are_drawn_on_the_cpu_whatever_the_default_device_is(mask):
    expected = mask(2, (64, 64), generator=torch.Generator().manual_seed(0))
    with torch.device("meta"):
        found = mask(2, (64, 64), generator=torch.Generator().manual_seed(0))
        assert random_sectors((8, 8), 0.3).device.type == "cpu"
    ours, theirs = (vars(drawn) if isinstance(drawn, Views) else {"mask": drawn} for drawn in (found, expected))
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor) if tensor is not None else ours[name] is None


def test_constants_and_resets():
    with _Doubles() as doubles:
        for make in (cosine_basis, sine_basis, laplacian_eigenvalues):
            assert make(7, device="meta").dtype == torch.float32
        for quantity in (Softplus(0.3, (4,)), Bounded(0.7, 0.25, 1.0, (4,))):
            quantity.to("meta").reset_parameters()
    assert not doubles.found


def _no_doubles_exported(name, sizes):
    net, x = create(name, num_classes=3).eval(), torch.randn(2, 3, 64, 96)
    graph = torch.export.export(net, (x,), dynamic_shapes=sizes).graph
    values = [leaf for node in graph.nodes for leaf in tree_leaves(node.meta.get("val"))]
    assert not [v for v in values if isinstance(v, torch.Tensor) and v.dtype == torch.float64]


@every
def test_exports_hold_none(name):
    _no_doubles_exported(name, None)


@names("vheat_nano", "vtail_nano", "vmix_nano")  # every operator is in one of them
def test_exports_of_any_size_hold_none(name):
    _no_doubles_exported(name, {"x": {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}})
