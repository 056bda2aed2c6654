"""The token mixer around an operator, against the same layer written out channels-first with scipy's transform."""

from __future__ import annotations

import copy

import pytest
import scipy.fft
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectral_ops import FromEmbedding, Heat, SpectralEmbedding, SpectralMixer


@pytest.fixture
def mixer() -> SpectralMixer:
    """In float64 with every parameter random: at their initial values the norm does nothing."""
    mixer = SpectralMixer(6, Heat(FromEmbedding(6), dims=(1, 2)), kernel_size=5, norm_eps=1e-3).double()
    for parameter in mixer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return mixer


def reference(mixer: SpectralMixer, x: Tensor, embedding: Tensor) -> Tensor:
    def linear(layer, x):
        return torch.einsum("bchw,dc->bdhw", x, layer.weight) + layer.bias[:, None, None]

    x = F.conv2d(x.movedim(-1, 1), mixer.dwconv.weight, mixer.dwconv.bias, padding=2, groups=6)
    gate = linear(mixer.gate, x)
    gain = mixer.operator.gain(x.shape[-2:], embedding=embedding, dtype=torch.float64).permute(2, 0, 1)
    options = {"type": 2, "norm": "ortho", "axes": (-2, -1)}
    spectrum = scipy.fft.dctn(linear(mixer.value, x).detach().numpy(), **options) * gain.detach().numpy()
    y = torch.from_numpy(scipy.fft.idctn(spectrum, **options))
    mean, variance = y.mean(1, keepdim=True), y.var(1, keepdim=True, correction=0)
    y = (y - mean) / (variance + 1e-3).sqrt() * mixer.norm.weight[:, None, None] + mixer.norm.bias[:, None, None]
    return linear(mixer.proj, y * gate * torch.sigmoid(gate)).movedim(1, -1)


@pytest.mark.parametrize("shape", [(2, 7, 8, 6), (1, 1, 1, 6), (3, 5, 1, 6)])
def test_against_the_layer_written_out(shape, mixer, draw):
    x, embedding = draw(*shape), draw(*shape[1:])
    y = mixer(x, embedding)
    assert y.shape == shape and mixer(x[:0], embedding).shape == (0, *shape[1:])
    torch.testing.assert_close(y, reference(mixer, x, embedding), rtol=1e-12, atol=1e-12)


def test_channels_first_views_and_copies(mixer, draw):
    x, embedding = draw(2, 6, 7, 8).movedim(1, -1), draw(7, 8, 6)
    expected = mixer(x.contiguous(), embedding)
    torch.testing.assert_close(mixer(x, embedding), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(copy.deepcopy(mixer)(x, embedding), mixer(x, embedding))


def test_channels_last_all_the_way(mixer, draw):
    """The operator and every linear see contiguous tensors, so none of them copies."""
    seen = []
    for layer in (mixer.value, mixer.gate, mixer.operator, mixer.norm, mixer.proj):
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous()))
    mixer.float()(draw(2, 7, 8, 6, dtype=torch.float32), draw(7, 8, 6, dtype=torch.float32))
    assert seen == [True] * 5


def test_gradients(mixer, draw):
    x, embedding = draw(1, 2, 3, 6).requires_grad_(), draw(2, 3, 6).requires_grad_()
    assert torch.autograd.gradcheck(mixer, (x, embedding), fast_mode=True)
    gradients = torch.autograd.grad(mixer(x, embedding).square().sum(), [*mixer.parameters(), x, embedding])
    assert all(g.abs().max() > 0 for g in gradients)


@pytest.mark.parametrize(("dtype", "autocast"), [(torch.bfloat16, False), (torch.float32, True)])
def test_half_precision(dtype, autocast, mixer, draw):
    x, embedding = draw(2, 14, 14, 6), draw(14, 14, 6)
    expected = mixer(x, embedding)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        y = mixer.to(dtype)(x.to(dtype), embedding.to(dtype))
    assert y.dtype == torch.bfloat16
    assert (y - expected).norm() / expected.norm() < 0.05


def test_export_with_dynamic_sizes(draw):
    class Stage(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = SpectralEmbedding((7, 7), 6)
            self.mixer = SpectralMixer(6, Heat(FromEmbedding(6), dims=(1, 2)))

        def forward(self, x):
            return self.mixer(x, self.embedding(x.shape[1:3]))

    stage, dynamic = Stage(), torch.export.Dim.DYNAMIC
    x = draw(2, 9, 8, 6, dtype=torch.float32)
    program = torch.export.export(stage, (x,), dynamic_shapes=({0: dynamic, 1: dynamic, 2: dynamic},)).module()
    for shape in ((2, 9, 8, 6), (3, 7, 7, 6), (5, 5, 12, 6)):
        x = draw(*shape, dtype=torch.float32)
        torch.testing.assert_close(program(x), stage(x))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"operator": nn.Identity()}, TypeError, "operator must be a SpectralOperator, got Identity"),
        ({"operator": Heat()}, ValueError, r"operator must act on dims=\(1, 2\).*got dims=\(-2, -1\)"),
        ({"kernel_size": 4}, ValueError, "kernel_size must be odd and positive, got 4"),
        ({"kernel_size": -1}, ValueError, "kernel_size must be odd and positive, got -1"),
        ({"kernel": 3}, TypeError, "unexpected keyword argument 'kernel'"),
    ],
)
def test_errors_name_the_argument(arguments, error, message):
    with pytest.raises(error, match=message):
        SpectralMixer(**{"channels": 6, "operator": Heat(dims=(1, 2)), **arguments})


def test_an_operator_of_other_width_is_named(draw):
    mixer = SpectralMixer(6, Heat(torch.ones(4), dims=(1, 2)))
    with pytest.raises(ValueError, match=r"gain of shape \(7, 8, 4\) .*: 4 against 6 in dimension 3"):
        mixer(draw(2, 7, 8, 6, dtype=torch.float32))
