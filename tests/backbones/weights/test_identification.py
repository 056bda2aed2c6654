"""Whose tensors these are: families told apart, the network of each, and strangers."""

from __future__ import annotations

import itertools

import pytest
import timm
import torch
from torch import nn

import backbones
from backbones import ARCHS, FAMILIES, SpectralNet, network_like
from backbones.operators import DIFFUSIVITIES
from backbones.weights.identification import describe
from spectral_ops import FractionalHeat, Softplus

SMALL = {"dims": (8, 12, 16, 20), "depths": (1, 2, 1, 1)}

#: Every family, and vHeat with every diffusivity that leaves tensors.
KINDS = [(name, {}) for name in FAMILIES] + [("vheat", {"diffusivity": d}) for d in ("free", "channel")]
_ids = ["-".join([name, *options.values()]) for name, options in KINDS]


def create(name, arch="nano", **options):
    torch.manual_seed(0)
    return timm.create_model(f"{name}_{arch}", num_classes=5, img_size=64, **options)


def title(name, options, size="_nano"):
    return f"a {name}{size}" + "".join(f" with {n}={v!r}" for n, v in options.items())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    for key, (name, options) in zip(_ids, KINDS, strict=True):
        torch.save(create(name, **options).state_dict(), folder / f"{key}.pth")
    return folder


# -- families ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "arch"), [(*kind, "nano") for kind in KINDS] + [("vwave", {}, arch) for arch in ARCHS]
)
def test_every_family_and_size_by_name(name, options, arch):
    with torch.device("meta"):
        state = timm.create_model(f"{name}_{arch}", **options).state_dict()
        other = timm.create_model(f"{name}_{arch}", **SMALL, **options).state_dict()
    assert describe(state) == title(name, options, f"_{arch}")
    assert describe(other) == title(name, options, " of widths (8, 12, 16, 20) and depths (1, 2, 1, 1)")


@pytest.mark.parametrize("road", ["load_checkpoint", "pretrained"])
@pytest.mark.parametrize(("theirs", "ours"), list(itertools.permutations(range(len(KINDS)), 2)))
def test_no_family_takes_the_weights_of_another(theirs, ours, road, files):
    (name, options), path = KINDS[ours], files / f"{_ids[theirs]}.pth"
    with pytest.raises(ValueError) as caught:
        if road == "load_checkpoint":
            net = create(name, **options)
            before = {n: t.clone() for n, t in net.state_dict().items()}
            try:
                backbones.load_checkpoint(net, path)
            finally:
                assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())
        else:
            create(name, **options, pretrained=True, pretrained_cfg_overlay={"file": str(path)})
    message = str(caught.value)
    assert message.startswith(f"cannot load {path}: the weights do not fit the model: stages.")
    assert message.endswith(f"The file is {title(*KINDS[theirs])}, the model {title(*KINDS[ours])}")


@pytest.mark.parametrize("norms", [{}, {"norm_placement": "post", "layer_scale": 0.5}], ids=["pre", "post"])
@pytest.mark.parametrize(("name", "options"), KINDS, ids=_ids)
def test_the_network_of_a_state_dict(name, options, norms):
    net = create(name, **SMALL, in_chans=4, mlp_ratio=2.0, **norms, **options).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    found = network_like(net.state_dict()).eval()
    found.load_state_dict(net.state_dict())
    x = torch.randn(1, 4, 64, 96)
    assert torch.equal(found(x), net(x))


@pytest.mark.parametrize("name", ["vheat", "vwave", "vtail_static"])
def test_a_network_with_stored_gains_beside_its_physics(name):
    net = create(name)
    net.reparameterize([64])
    assert describe(net.state_dict()) == f"a {name}_nano"


def test_a_file_that_lacks_something_is_known_by_the_rest():
    state = create("vwave").state_dict()
    del state["stages.3.blocks.0.mixer.operator.speed.raw"]
    assert describe(state) == "a vwave_nano"
    state = {n: t for n, t in create("vheat").state_dict().items() if "embedding" not in n}
    assert describe(state) == "a vheat_nano"
    with pytest.raises(ValueError, match=r"not those of a whole vHeat or a relative: .*embedding are missing"):
        network_like(state)


# -- what no family is known for --------------------------------------------------------------------------------------


@pytest.mark.parametrize("diffusivity", ["constant", 0.3])
def test_operators_that_learn_nothing(diffusivity):
    state = create("vheat", diffusivity=diffusivity).state_dict()
    assert describe(state) == "a network of size nano whose operators learn nothing"
    with pytest.raises(ValueError, match=r"do not tell which operator to build: .*whose operators learn nothing"):
        network_like(state)


def test_an_operator_of_ones_own():
    with torch.device("meta"):
        net = SpectralNet(lambda c: FractionalHeat(0.5, Softplus(0.5, (c,)), dims=(1, 2)), **ARCHS["tiny"])
    expected = "a network of size tiny with an operator of no family (order.raw)"
    assert describe(net.state_dict()) == expected
    with pytest.raises(ValueError, match=r"with an operator of no family \(order.raw\)"):
        network_like(net.state_dict())


def test_a_family_for_each_stage():
    names = dict(zip((8, 12, 16, 20), ("vheat", "vwave", "vwave", "vpoisson"), strict=True))
    with torch.device("meta"):
        net = SpectralNet(lambda c: FAMILIES[names[c]].operator(c), **SMALL)
    assert describe(net.state_dict()).endswith("whose stages are vheat, vwave, vwave, vpoisson")
    with pytest.raises(ValueError, match="do not tell which operator to build"):
        network_like(net.state_dict())


def test_gains_serve_every_family(tmp_path):
    net = create("vwave").eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    net.reparameterize([64], keep_source=False)
    state = net.state_dict()
    assert describe(state) == "a network of size nano that holds gains only"
    torch.save(state, tmp_path / "x.pth")
    x = torch.randn(1, 3, 64, 64)
    for found in (network_like(state).eval(), create("vwave").eval()):
        backbones.load_checkpoint(found, tmp_path / "x.pth")
        assert torch.equal(found(x), net(x))


def test_families_added_later_are_known(monkeypatch):
    def operator(channels):
        return FractionalHeat(0.5, Softplus(0.5, (channels,)), dims=(1, 2))

    monkeypatch.setitem(FAMILIES, "vlevy", backbones.Family("VLevy", operator, ""))
    state = SpectralNet(operator, **SMALL, img_size=64).state_dict()
    assert describe(state).startswith("a vlevy of widths")
    network_like(state).load_state_dict(state)


def test_every_diffusivity_is_walked_here():
    assert set(DIFFUSIVITIES) == {"embedding", "constant"} | {d["diffusivity"] for _, d in KINDS if d}


@pytest.mark.parametrize("state", [{}, {"stem.0.weight": 1, "stages.0.blocks.0.norm1.weight": 2, "a": 3, "b": 4}])
def test_strangers(state):
    state = {name: torch.zeros(size) for name, size in state.items()}
    names = "stem.0.weight, stages.0.blocks.0.norm1.weight, a, ..." if state else "none at all"
    assert describe(state) == f"no network of this project ({names})"
    with pytest.raises(ValueError, match="these tensors are of no network of this project"):
        network_like(state)


def test_a_path_is_no_state_dict():
    with pytest.raises(TypeError, match=r"state must be .*backbones\.read_weights\(PATH\)\[0\] is, got 'best\.pth'"):
        network_like("best.pth")
