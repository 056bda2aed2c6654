"""The equations: released and exact units against dense computations that know nothing of this library's operators."""

import numpy as np
import pytest
import timm
import torch
from peft import get_peft_model
from quick_draws import QuickDraws
from scipy.fft import dctn, idctn

import adapters


@pytest.fixture
def vit(randomise):
    """ViT with 3 heads of 64 channels on a grid of 4 x 6, adapted and randomised."""

    def build(**options):
        torch.manual_seed(0)
        net = timm.create_model("vit_tiny_patch16_224", img_size=(64, 96), depth=2, num_classes=5)
        model = get_peft_model(net, adapters.MoPPAConfig(**options)).eval()
        randomise(model)
        return model

    return build


def _softplus(raw):
    return np.log1p(np.exp(raw.detach().double().numpy()))


def _routes(router):
    logits = (router.logits / router.temperature).detach().double().numpy()
    e = np.exp(logits - logits.max(0))
    return e / e.sum(0)


def _eigenvalues(height, width):
    n, m = np.arange(height)[:, None], np.arange(width)[None]
    return (np.pi * n / height) ** 2 + (np.pi * m / width) ** 2


def _expect(x, gain, prefix=1, height=4, width=6):
    """Tokens through the gain (H, W, heads, width of a head), by scipy; prefix tokens pass by."""
    tokens = x.double().numpy()
    out = tokens.copy()
    grid = tokens[:, prefix:].reshape(len(tokens), height, width, *gain.shape[2:])
    spectrum = dctn(grid, axes=(1, 2), norm="ortho")
    out[:, prefix:] = idctn(spectrum * gain, axes=(1, 2), norm="ortho").reshape(out[:, prefix:].shape)
    return out


def _unit(model, layer=1):
    return model.base_model.model.blocks[layer].norm1.moppa_unit["default"]


def _run(model, unit, x):
    model(torch.randn(1, 3, 64, 96))  # tells the token grid
    with torch.no_grad():
        return unit(x)


def test_released_equations(vit):
    model = vit(physics="released", init="released")
    unit = _unit(model)
    shared = model.base_model.moppa_shared["default"]["4x6x3"]
    heat, wave, poisson = unit.priors.values()
    times = [
        m.time.detach().double().numpy() for op in (heat, wave, poisson) for m in op.children() if hasattr(m, "time")
    ]
    k = [getattr(shared, f"k_{b}").detach().double().numpy() for b in ("heat", "wave", "poisson")]
    tau = [np.maximum(kb[..., None] * tb, 0) for kb, tb in zip(k, times, strict=True)]
    lam = _eigenvalues(4, 6)[..., None, None]
    a = _routes(unit.router)[..., None]
    gain = a[0] * np.exp(-lam * tau[0]) + a[1] * np.cos(lam * tau[1]) + a[2] * tau[2]
    assert gain.shape == (4, 6, 3, 64)
    x = torch.randn(2, 25, 192)
    np.testing.assert_allclose(_run(model, unit, x).numpy(), _expect(x, gain), atol=2e-5)


def test_exact_equations(vit):
    model = vit(scale=0.7)
    unit = _unit(model)
    heat, wave, poisson = unit.priors.values()
    lam = _eigenvalues(4, 6)[..., None, None]
    k, t = _softplus(heat.diffusivity.raw)[:, None], _softplus(heat.time.raw)
    c, s = _softplus(wave.speed.raw)[:, None], _softplus(wave.time.raw)
    q = 0.1 + _softplus(poisson.terms[0].screening.raw)[:, None]
    f = _softplus(poisson.factor.raw)
    a = _routes(unit.router)[..., None]
    mixture = a[0] * np.exp(-lam * k * t) + a[1] * np.cos(c * s * np.sqrt(lam)) + a[2] * f / (lam + q**2)
    gate = 0.7 * unit.gate.value.detach().double().numpy()[:, None]
    x = torch.randn(2, 25, 192)
    np.testing.assert_allclose(_run(model, unit, x).numpy(), _expect(x, 1 + gate * (mixture - 1)), atol=2e-5)


@pytest.mark.filterwarnings("ignore:the unit of")  # behind a class token
def test_parallel_adds_the_gated_mixture(vit):
    model = vit(placement="parallel")
    attention = model.base_model.model.blocks[1].attn
    model(torch.randn(1, 3, 64, 96))
    x = torch.randn(2, 25, 192)
    unit = attention.moppa_unit["default"]
    gain = unit.operator.gain((4, 6)).detach().double().numpy().reshape(4, 6, 3, 64)
    change = _expect(x, gain)
    change[:, :1] = 0
    with torch.no_grad():
        expected = attention.base_layer(x).double().numpy() + change
        np.testing.assert_allclose(attention(x).numpy(), expected, atol=2e-5)


def test_released_parameters_of_vit_base():
    """Every shape of the published form: 9,936 parameters, and 224,976 with rescaling and SSF."""
    with QuickDraws():
        net, other = (timm.create_model("vit_base_patch16_224", num_classes=0) for _ in range(2))
    model = get_peft_model(net, adapters.MoPPAConfig(physics="released", init="released"))
    trained = {n: tuple(p.shape) for n, p in model.named_parameters() if p.requires_grad}
    shared = {n: s for n, s in trained.items() if "moppa_shared" in n}
    assert sorted(shared.values()) == [(14, 14, 12)] * 3
    layer = [s for n, s in trained.items() if ".blocks.3." in n]
    assert sorted(layer) == [(3, 12), (12,), (64,), (64,), (64,)]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 9_936

    full = get_peft_model(other, adapters.MoPPAConfig(physics="released", init="released", rescale=True, ssf=True))
    assert sum(p.numel() for p in full.parameters() if p.requires_grad) == 224_976


def test_initial_values_of_the_released_form():
    net = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    model = get_peft_model(net, adapters.MoPPAConfig(physics="released", init="released"))
    values = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    assert all((p == 1).all() for n, p in values.items() if "moppa_shared" in n)
    assert all((p == 5).all() for n, p in values.items() if "temperature" in n)
    for prior, mean, std in (("heat", 0.05, 0.01), ("wave", 0.05, 0.01), ("poisson", 0.5, 0.1)):
        times = torch.cat([p for n, p in values.items() if n.endswith("time") and f"priors.{prior}." in n])
        assert len(times) == 12 * 64
        assert abs(times.mean() - mean) < 4 * std / len(times) ** 0.5 and abs(times.std() / std - 1) < 0.1
    logits = torch.cat([p.flatten() for n, p in values.items() if "logits" in n])
    assert abs(logits.std() - 1) < 0.3


@pytest.mark.parametrize("physics", ["exact", "released"])
def test_another_grid(vit, physics):
    """At another size the exact physics keeps its constants; the released coefficients are resized."""
    model = vit(physics=physics)
    unit = _unit(model)
    gain = unit.operator.gain((5, 9))
    assert gain.shape == (5, 9, 192) and gain.isfinite().all()
    if physics == "exact":  # the same mode at the same eigenvalue: (0, 3) of 6 cells and (0, 6) of 12
        torch.testing.assert_close(unit.operator.gain((4, 12))[0, 6], unit.operator.gain((4, 6))[0, 3])


@pytest.mark.filterwarnings("ignore:the unit of")  # behind a class token
@pytest.mark.parametrize("prior", sorted(adapters.PRIORS))
def test_every_prior_alone(vit, prior):
    model = vit(priors=(prior,), placement="parallel" if prior == "identity" else "attention")
    out = model(torch.randn(2, 3, 64, 96))
    out.sum().backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.requires_grad and "router" not in n}
    assert grads and all(g is not None and g.isfinite().all() for g in grads.values())


def test_a_prior_of_ones_own(vit):
    from spectral_ops import FractionalHeat

    adapters.register_prior("tails", lambda q: FractionalHeat(q.per_head(1.0), 0.7, q.per_channel(0.1), **q.grid))
    try:
        assert "FractionalHeat" in repr(vit(priors=["heat", "tails"]))
        with pytest.raises(ValueError, match="already a prior called 'tails'"):
            adapters.register_prior("tails", lambda q: FractionalHeat(**q.grid))
        with pytest.raises(TypeError, match=r"build must be a function from Quantities .* got FractionalHeat\("):
            adapters.register_prior("mine", FractionalHeat(0.3, 0.7))
    finally:
        adapters.PRIORS.pop("tails")
