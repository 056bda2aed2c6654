"""What others' tools do works on vHeat (all families: `make compatibility`), and what does not work is found."""

from __future__ import annotations

import pytest
import torch
from compatibility import other_tools, torch_tools
from compatibility.other_tools import NotInstalled
from compatibility.subject import Subject
from compatibility.table import CHECKS, outcome
from torch import nn

from backbones import HiViT
from backbones.remote_sensing import RSVHeat

pytestmark = pytest.mark.filterwarnings("ignore")  # of tools that are old, or older than torch
FAMILIES = ["vheat_nano", *(pytest.param(f"{f}_nano", marks=pytest.mark.sweep) for f in ("vwave", "vtail", "vmix"))]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("check", [c for part in CHECKS.values() for c in part], ids=lambda c: c.__name__)
def test_it_works(check, name):
    try:
        check(Subject(name))
    except NotInstalled as error:
        assert str(error) in ("openvino", "thop", "torchinfo", "ptflops", "fvcore.nn")


class _Small(Subject):
    """HiViT, Fast-iTPN or RS-vHeat, tiny."""

    def net(self, **options):
        torch.manual_seed(0)
        if self.name == "rs_vheat":
            arch = {"dims": (8, 12, 16, 20), "depths": (1, 1, 1, 1)}
            return RSVHeat(arch, img_size=64, num_classes=5).eval()
        arch = {"embed_dim": 32, "depths": (1, 1, 2), "num_heads": 2}
        return HiViT(**arch, form=self.name, relative_bias=self.name == "hivit", img_size=64, num_classes=5).eval()

    def images(self, *size, batch=2):
        x = torch.rand(batch, 4, *(size or (64, 64)), generator=torch.Generator().manual_seed(1))
        if self.name == "rs_vheat":  # colours of bytes, and radar in dB
            return x * torch.tensor([255, 255, 255, -20.0]).reshape(4, 1, 1)
        return 2 * x[:, :3] - 1


@pytest.mark.parametrize("name", ["hivit", "fast", "rs_vheat"])
@pytest.mark.parametrize(
    "check",
    [torch_tools.hooks, torch_tools.quantise, torch_tools.pruning, other_tools.lora, other_tools.offloading],
    ids=lambda c: c.__name__,
)
def test_it_works_on_other_networks(check, name):
    check(_Small(name))


class _Unseen(nn.Module):
    """A network that reads a layer's weight without calling it."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return nn.functional.linear(x.mean((2, 3)), self.head.weight)


@pytest.mark.parametrize("check", [torch_tools.hooks, torch_tools.counters, torch_tools.quantise])
def test_a_layer_that_is_not_called_is_found(check, monkeypatch):
    monkeypatch.setattr(Subject, "net", lambda self, **options: _Unseen().eval())
    assert outcome(check, Subject("unseen")) != "yes"
