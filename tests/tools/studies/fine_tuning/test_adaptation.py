"""Every method has the size of its budget, trains the head, and starts as the bare network."""

import pytest
import torch
from studies.fine_tuning.adaptation import adapt, adapter_size, trained
from studies.fine_tuning.backbones import BACKBONES, HEADS, build
from studies.methods import BUDGETS, METHODS, TOLERANCE


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", METHODS)
def test_budgets(backbone, name):
    model = adapt(build(backbone, 5), backbone, name, 0)
    size = adapter_size(model, backbone)
    budget = METHODS[name].budget.get(backbone)
    if budget is not None:
        wanted = BUDGETS[backbone][budget]
        assert abs(size - wanted) <= TOLERANCE * wanted
    head = build(backbone, 5).get_submodule(HEADS[backbone])
    total = sum(p.numel() for p in trained(model).values())
    assert total == size + sum(p.numel() for p in head.parameters())  # every method trains the whole head
    assert (size == 0) == (name == "linear")
    assert not (METHODS[name].variant and budget)


#: Methods without gates start near the bare network only.
NEAR = ("moppa_released", "moppa_ungated", "moppa_all")


@pytest.mark.parametrize("name", [n for n in METHODS if n not in NEAR])
def test_methods_start_as_the_bare_network(name):
    torch.manual_seed(0)
    bare = build("vit", 5).eval()
    x = torch.randn(2, 3, 64, 64)
    expected = bare(x).detach()
    with torch.no_grad():
        got = adapt(bare, "vit", name, 0).eval()(x)
    torch.testing.assert_close(got, expected)
