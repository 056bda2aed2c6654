"""What others' tools do works on vHeat (all families: `make compatibility`), and what does not work is found."""

from __future__ import annotations

import pytest
from compatibility import other_tools, timm_tools, torch_tools
from compatibility.other_tools import NotInstalled
from compatibility.subject import OURS, Subject
from compatibility.table import CHECKS, outcome
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore")  # of tools that are old, or older than torch
FAMILIES = ["vheat_nano", *(pytest.param(f"{f}_nano", marks=pytest.mark.sweep) for f in ("vwave", "vtail", "vmix"))]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("check", [c for part in CHECKS.values() for c in part], ids=lambda c: c.__name__)
def test_it_works(check, name):
    try:
        check(Subject(name))
    except NotInstalled as error:
        assert str(error) in ("openvino", "thop", "torchinfo", "ptflops", "fvcore.nn")


@pytest.mark.parametrize("name", [OURS["hivit"], OURS["fastitpn"], OURS["rs_vheat"]])
@pytest.mark.parametrize(
    "check",
    [
        *(torch_tools.hooks, torch_tools.quantise, torch_tools.pruning, other_tools.lora, other_tools.offloading),
        *(timm_tools.training, timm_tools.groups, timm_tools.hub_folder, timm_tools.transfer),
    ],
    ids=lambda c: c.__name__,
)
def test_it_works_on_networks_of_other_rooms(check, name):
    check(Subject(name))


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
