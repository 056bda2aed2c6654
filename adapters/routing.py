r"""The route regularisation, its schedule, ablation, and gains computed once: what one does to a whole network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from adapters.layer import MoPPALayer
from adapters.unit import MoPPAUnit

__all__ = ["RouteSchedule", "leave_out_priors", "precompute", "route_regularization", "routes"]


def _layers(model: nn.Module) -> list[tuple[str, MoPPALayer]]:
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, MoPPALayer)]
    if not found:
        raise ValueError("this model has no MoPPA adapter: make one with peft.get_peft_model(model, MoPPAConfig(...))")
    return found


def _units(model: nn.Module) -> Iterator[tuple[str, str, MoPPAUnit]]:
    """Module name, adapter name and unit of every active adapter."""
    for name, layer in _layers(model):
        for adapter in () if layer.disable_adapters else layer.active_adapters:
            if adapter in layer.moppa_unit:
                yield name, adapter, layer.moppa_unit[adapter]


def route_regularization(model: nn.Module) -> Tensor:
    r"""What to add to the loss so that no prior dominates early: :math:`-\lambda(e) \sum_\ell H_\ell`.

    .. math::  H = -\overline{a \log(a + 10^{-8})}, \qquad
               \lambda(e) = \lambda_0\, \frac{\max(1 - e/E,\ 1/2) - 1/2}{1/2}

    with the mean over priors and heads, and :math:`\lambda_0` the config's ``route_weight``. The schedule falls from
    :math:`\lambda_0` to 0 over the first half of training, if a :class:`RouteSchedule` tells how far training is.

    Args:
        model: A network with MoPPA adapters, also wrapped in others.

    Returns:
        A scalar; zero for a weight of 0.

    Raises:
        ValueError: The model has no MoPPA adapter.
        RuntimeError: Routes of the input come from a pass that kept no graph, and would not be regularised.
    """
    total: Tensor | None = None
    for _, _, unit in _units(model):
        weight = unit.route_weight * max(1.0 - 2.0 * unit.progress, 0.0)
        if weight > 0:
            term = -weight * unit.router.entropy()
            if torch.is_grad_enabled() and unit.router.logits.requires_grad and not term.requires_grad:
                raise RuntimeError(
                    "the route regularisation would have no gradient: routes of router='input' are those of the last "
                    "forward pass, which kept no graph; checkpoint with use_reentrant=False, and not under no_grad"
                )
            total = term if total is None else total + term
    if total is None:
        return next(iter(model.parameters())).new_zeros(())
    return total


class RouteSchedule:
    """Tells the route regularisation how far training is.

    Args:
        model: A network with MoPPA adapters.
        epochs: E, or a number of updates.

    Raises:
        ValueError: ``epochs`` is not positive, or the model has no MoPPA adapter.

    Example::

        schedule = RouteSchedule(model, epochs=100)
        for epoch in range(100):
            schedule.step(epoch)
            ...  # loss = criterion(model(x), y) + route_regularization(model)
    """

    def __init__(self, model: nn.Module, epochs: int) -> None:
        if epochs < 1:
            raise ValueError(f"epochs must be >= 1, got {epochs}")
        _layers(model)
        self.model, self.epochs = model, epochs

    def step(self, epoch: float) -> None:
        """Set the epoch that begins, counted from 0; fractions are fine, and so are updates for both."""
        if epoch < 0:
            raise ValueError(f"epoch must be >= 0, got {epoch}")
        for _, layer in _layers(self.model):
            for unit in layer.moppa_unit.values():
                unit.progress = min(epoch / self.epochs, 1.0)


def routes(model: nn.Module, adapter_name: str = "default") -> dict[str, Tensor]:
    """An active adapter's weights of the priors, ``(K, heads)`` for each unit, by the name of the adapted module.

    Raises:
        ValueError: The model has no MoPPA adapter, or its routes depend on the input.
    """
    return {name: unit.router.weights(None).detach() for name, of, unit in _units(model) if of == adapter_name}


@contextmanager
def leave_out_priors(model: nn.Module, *names: str) -> Iterator[None]:
    """Switch priors off inside a ``with`` block, to see what each contributes; the others share their weight.

    Raises:
        ValueError: A name is not among the priors, or none would be left.
    """
    with ExitStack() as stack:
        for _, _, unit in _units(model):
            stack.enter_context(unit.router.leaving_out(frozenset(names)))
        yield


@torch.no_grad()
def precompute(model: nn.Module, images: Tensor, *args: Any, **kwargs: Any) -> None:
    """Compute the gains once for the grids these images lead to, for faster inference.

    Gains that depend on the input stay as they are. What was computed serves only while the adapter is as it was:
    training mode, changed or loaded weights, switched-off priors, settings, hooks and gradients make them be computed
    again. (Writing in place to ``parameter.data`` goes unnoticed; call it again then.)

    Args:
        model: A network with MoPPA adapters; it is put into evaluation mode.
        images: A batch of the size to come; one image will do. Further arguments are passed to the model.
    """
    units = [unit for _, layer in _layers(model) for unit in layer.moppa_unit.values()]
    model.eval()
    for unit in units:
        unit.forget()
        unit.storing = not unit.operator.input_conditioned
    try:
        model(images, *args, **kwargs)
    finally:
        for unit in units:
            unit.storing = False
