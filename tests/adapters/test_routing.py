"""Routers: weights, regularisation with its schedule, prior dropout and ablation."""

import math

import pytest
import torch
import torch.utils.checkpoint

import adapters
from adapters.layer import MoPPALayer
from adapters.router import Router
from spectral_ops import Grid


def _units(model):
    return [m.moppa_unit["default"] for m in model.modules() if isinstance(m, MoPPALayer)]


def test_regularisation_and_its_schedule(adapt):
    model = adapt("vit", route_weight=0.04)
    expected = 0.0
    for unit in _units(model):
        a = torch.softmax(unit.router.logits / unit.router.temperature, 0)
        expected = expected + (a * (a + 1e-8).log()).mean()  # -H
    value = adapters.route_regularization(model)
    torch.testing.assert_close(value, 0.04 * expected)
    value.backward()
    assert all(u.router.logits.grad.any() for u in _units(model))
    schedule = adapters.RouteSchedule(model, epochs=100)
    for epoch, factor in ((0, 1.0), (10, 0.8), (25, 0.5), (50, 0.0), (75, 0.0), (120, 0.0)):
        schedule.step(epoch)
        torch.testing.assert_close(adapters.route_regularization(model).detach(), 0.04 * factor * expected.detach())
    assert not adapters.route_regularization(adapt("vit")).any()
    with pytest.raises(ValueError, match="epochs must be >= 1"):
        adapters.RouteSchedule(model, 0)


def test_the_regularisation_rewards_balance():
    router = Router(("heat", "wave"), 1, 4, temperature=1.0)
    with torch.no_grad():
        router.logits.copy_(torch.tensor([[0.0], [0.0]]))
        balanced = router.entropy()
        router.logits.copy_(torch.tensor([[50.0], [0.0]]))
        assert balanced > router.entropy()
        assert math.isclose(balanced, math.log(2) / 2, rel_tol=1e-5) and abs(router.entropy()) < 1e-6


def test_conditioned_routes_see_each_sample(adapt, images):
    model = adapt("vit", router="input", route_weight=0.1)
    router = _units(model)[0].router
    pooled = torch.randn(2, 192)
    routes = router.weights(pooled)
    assert routes.shape == (3, 2, 3) and not torch.allclose(routes[:, 0], routes[:, 1])
    torch.testing.assert_close(routes.sum(0), torch.ones(2, 3))
    both = model(images("vit"))
    torch.testing.assert_close(model(images("vit")[:1]), both[:1], rtol=1e-4, atol=1e-5)  # no sample sees another
    with pytest.raises(ValueError, match="those of its last forward pass in training"):
        adapters.route_regularization(model)
    model.train()(images("vit"))
    adapters.route_regularization(model).backward()
    assert router.direction.grad.any()
    images = images("vit").requires_grad_()
    torch.utils.checkpoint.checkpoint(model, images, use_reentrant=False)
    adapters.route_regularization(model).backward()
    torch.utils.checkpoint.checkpoint(model, images, use_reentrant=True)
    with pytest.raises(RuntimeError, match="would have no gradient"):
        adapters.route_regularization(model)
    with torch.no_grad():
        assert adapters.route_regularization(model) < 0


def test_prior_dropout_leaves_at_least_one():
    torch.manual_seed(0)
    router = Router(("heat", "wave", "poisson"), 2, 4, dropout=0.7)
    counts = torch.zeros(4)
    for _ in range(300):
        routes = router.weights(None, dropout=True)
        counts[int((routes[:, 0] > 0).sum())] += 1
        torch.testing.assert_close(routes.sum(0), torch.ones(2))
    assert counts[0] == 0 and all(counts[1:] > 0)
    assert (router.weights(None) > 0).all()
    assert (router.eval()(Grid((2, 2), torch.float32, torch.device("cpu"))) > 0).all()


def test_ablation(adapt, images):
    model, x = adapt("vit"), images("vit")
    full, routes = model(x), adapters.routes(model)
    assert set(routes) == {"base_model.model.blocks.0.norm1", "base_model.model.blocks.1.norm1"}
    with adapters.leave_out_priors(model, "wave"):
        without = adapters.routes(model)
        assert all((r[1] == 0).all() for r in without.values())
        assert not torch.allclose(model(x), full, atol=1e-3)
    assert torch.equal(model(x), full)
    for names in (("magnet",), ("heat", "wave", "poisson")):
        with (
            pytest.raises(ValueError, match="priors to leave out must be some, not all, of"),
            adapters.leave_out_priors(model, *names),
        ):
            pass
    assert torch.equal(model(x), full)


@torch.no_grad()
def test_prior_dropout_that_is_switched_on_below_stored_gains_acts(adapt, images, randomise):
    """As where predictions are drawn: all in evaluation mode but for what leaves priors out."""
    model, x = adapt("vit", prior_dropout=0.5).eval(), images("vit")
    randomise(model)
    expected = model(x)
    adapters.precompute(model, x)
    routers = [unit.router.train() for unit in _units(model)]
    assert len({float(model(x).sum()) for _ in range(8)}) > 1
    for router in routers:
        router.eval()
    torch.testing.assert_close(model(x), expected)
