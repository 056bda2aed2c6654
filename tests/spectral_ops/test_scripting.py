"""TorchScript: a scripted mixer and embedding at sizes they were not compiled with, also without Python's modules."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn

import spectral_ops as so

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

LAYOUT = {"dims": (1, 2)}
OPERATORS = {
    "embedding": lambda: so.Heat(so.FromEmbedding(4), **LAYOUT),
    "free": lambda: so.Heat(so.SoftplusEmbedding(), **LAYOUT),
    "expression": lambda: (
        0.5 * so.Heat(0.3, **LAYOUT) + so.Wave(so.Softplus(1.0, (4,)), 2.0, 0.3, **LAYOUT) @ so.Poisson(0.4, **LAYOUT)
    ),
    "input-conditioned": lambda: so.Mixture(
        [so.Heat(0.5, **LAYOUT), so.FractionalHeat(so.FromEmbedding(4), **LAYOUT)], weights=so.InputRouter(4, 2)
    ),
    "cold walls": lambda: so.Plate(0.5, 1.2, 0.4, boundary="dirichlet", **LAYOUT),
}


class Stage(nn.Module):
    def __init__(self, operator, rule="bicubic"):
        super().__init__()
        self.embedding = so.SpectralEmbedding((7, 6), 4, rule)
        self.mixer = so.SpectralMixer(4, operator)
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, x):
        return self.mixer(x, self.embedding([x.shape[1], x.shape[2]]))


def saved(module):
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(module), file)
    file.seek(0)
    return torch.jit.load(file)


@pytest.mark.parametrize("name", OPERATORS)
def test_any_size(name, draw):
    torch.manual_seed(0)
    stage = Stage(OPERATORS[name]())
    modules = dict(stage.mixer.named_modules())
    script = saved(stage.mixer)
    assert dict(stage.mixer.named_modules()) == modules  # the layer itself is left as it is
    for shape in ((2, 7, 6, 4), (1, 1, 1, 4), (3, 5, 40, 4), (1, 40, 1, 4)):
        x, embedding = draw(*shape, dtype=torch.float32), draw(*shape[1:], dtype=torch.float32)
        torch.testing.assert_close(script(x, embedding), stage.mixer(x, embedding), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rule", ["bicubic", "pad"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_embeddings_are_resized(rule, dtype, draw):
    stage = Stage(OPERATORS["embedding"](), rule).to(dtype)
    embedding, script = stage.embedding, saved(stage.embedding)
    for sizes in ((7, 6), (3, 9), (10, 4)):
        found, expected = script(list(sizes)), embedding(sizes)
        assert torch.equal(found, expected) and found.dtype == expected.dtype
    script, x = saved(stage), draw(2, 9, 5, 4, dtype=dtype)
    y = script(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y, stage(x), rtol=2e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-2)


def test_training(draw):
    stage = Stage(OPERATORS["input-conditioned"]())
    x = draw(2, 9, 5, 4, dtype=torch.float32)
    expected = torch.autograd.grad(stage(x).square().sum(), list(stage.parameters()))
    script = torch.jit.script(stage)  # shares the parameters
    found = torch.autograd.grad(script(x).square().sum(), list(stage.parameters()))
    for name, a, b in zip(dict(stage.named_parameters()), found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3, msg=name)


def test_stored_gains_are_refused():
    mixer = so.SpectralMixer(4, so.Precomputed(so.Heat(0.3, **LAYOUT)))
    with pytest.raises(ValueError, match=r"torch.jit.script cannot choose among the gains.*unreparameterize\(\)"):
        torch.jit.script(mixer)
