"""The losses in the cosine domain, by hand."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from backbones.pretraining import ContrastHead, scored_error, spectral_weight
from backbones.pretraining.frequency_losses import retrieved, spread_within


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("slope", [0.0, 2.0, 3.0])
def test_weight(slope):
    u, v = np.mgrid[:5, :7]
    rho = np.sqrt(u**2 / 25 + v**2 / 49) / np.sqrt(2)
    expected = (rho + 0.02) ** (slope / 2)
    found = spectral_weight((5, 7), slope).numpy()
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-6)


@pytest.mark.parametrize("pixels", [False, True])
def test_errors_of_scored_modes(pixels):
    y, x = noise(3, 2, 8, 12), noise(3, 2, 8, 12, seed=1)
    scored = noise(3, 8, 12, seed=2) > 0
    scored[1] = True
    scored[2] = False
    hidden = noise(3, 1, 8, 12, seed=3) > 0 if pixels else None
    weight = spectral_weight((8, 12))
    spatial, spectral = scored_error(y, x, scored, hidden, weight)
    for i in range(3):
        e, s = (y - x)[i].numpy(), scored[i].numpy()
        h = hidden[i].numpy() if pixels else np.ones((1, 8, 12), bool)
        spectrum = dctn(e * h, axes=(1, 2), norm="ortho") * s
        expected = (weight.numpy() * abs(spectrum))[:, s].mean() if s.any() else 0.0
        assert float(spectral[i]) == pytest.approx(expected, abs=1e-12)
        back = idctn(spectrum, axes=(1, 2), norm="ortho")
        expected = abs(back).mean() / h.mean()
        assert float(spatial[i]) == pytest.approx(expected, abs=1e-12)


def test_seen_modes_do_not_count():
    y, x = noise(2, 3, 8, 8), noise(2, 3, 8, 8, seed=1)
    scored = noise(2, 8, 8, seed=2) > 0
    more = torch.from_numpy(
        idctn(noise(2, 3, 8, 8, seed=3).numpy() * ~scored[:, None].numpy(), axes=(2, 3), norm="ortho")
    )
    weight = spectral_weight((8, 8))
    for a, b in zip(
        scored_error(y, x, scored, None, weight), scored_error(y + more, x, scored, None, weight), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_they_are_in_float32_under_autocast():
    y, x = noise(1, 1, 64, 64).float(), noise(1, 1, 64, 64, seed=1).float()
    scored, weight = torch.ones(1, 64, 64, dtype=torch.bool), spectral_weight((64, 64))
    plain = scored_error(y, x, scored, None, weight)
    with torch.autocast("cpu", torch.bfloat16):
        found = scored_error(y, x, scored, None, weight)
        half = scored_error(y.bfloat16(), x, scored, None, weight)
    assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=True))
    assert all(each.dtype == torch.float32 for each in half)


def test_infonce_of_views_of_one_kind():
    a, b = noise(5, 6), noise(5, 6, seed=1)
    kinds = torch.tensor([0, 0, 1, 1, 1])
    head = ContrastHead(6, temperature=0.5, width=4).double()
    za, zb = (head.compared(z).detach().numpy() for z in (a, b))
    np.testing.assert_allclose(np.linalg.norm(za, axis=1), 1)
    losses = []
    for first, second in ((za, zb), (zb, za)):
        for i in range(5):
            others = [j for j in range(5) if kinds[j] == kinds[i]]
            similar = np.exp(second[others] @ first[i] / 0.5)
            losses.append(-np.log(similar[others.index(i)] / similar.sum()))
    assert head(a, b, kinds).item() == pytest.approx(np.mean(losses))


def test_cosine_has_no_gradient_through_the_other_side():
    a, b = noise(4, 6).requires_grad_(), noise(4, 6, seed=1).requires_grad_()
    kinds = torch.zeros(4)
    cosine = torch.nn.functional.cosine_similarity
    plain = ContrastHead(6, "cosine", stop_gradient=False).double()
    torch.testing.assert_close(plain(a, b, kinds), 1 - cosine(a, b).mean())
    assert not list(plain.parameters())
    head = ContrastHead(6, "cosine").double()
    q = head.net
    expected = 1 - (cosine(q(a), b) + cosine(q(b), a)).mean() / 2
    torch.testing.assert_close(head(a, b, kinds), expected)
    (found,) = torch.autograd.grad(head(a, b, kinds), a)
    (expected,) = torch.autograd.grad(1 - cosine(q(a), b.detach()).mean() / 2, a)
    torch.testing.assert_close(found, expected)


def test_retrieval_and_spread():
    a = torch.nn.functional.normalize(noise(6, 8), dim=1)
    b = torch.nn.functional.normalize(noise(6, 8, seed=1), dim=1)
    kinds = torch.tensor([0, 0, 0, 1, 1, 2])
    right = []
    for first, second in ((a, b), (b, a)):
        for i in range(5):  # the sixth has nobody to be taken for
            others = [j for j in range(6) if kinds[j] == kinds[i]]
            right.append(others[int((second[others] @ first[i]).argmax())] == i)
    assert float(retrieved(a, b, kinds)) == pytest.approx(np.mean(right))
    assert float(retrieved(a, a, kinds)) == 1 and retrieved(a[:1], b[:1], kinds[:1]).isnan()
    assert spread_within(noise(400, 64), torch.zeros(400)) == pytest.approx(1.0, abs=0.02)
    shifted = noise(2, 64)[[0] * 3 + [1] * 3]  # each group alike, and groups different
    assert float(spread_within(shifted, torch.tensor([0, 0, 0, 1, 1, 1]))) == pytest.approx(0, abs=1e-6)
    assert spread_within(shifted[:1], torch.tensor([0])).isnan()


@pytest.mark.parametrize(
    "given, message", [({"kind": "mse"}, "contrast must be one of"), ({"temperature": 0}, "temper")]
)
def test_bad_arguments(given, message):
    with pytest.raises(ValueError, match=message):
        ContrastHead(4, **given)
