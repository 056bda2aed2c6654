"""MoPPA in Hugging Face's Trainer."""

from __future__ import annotations

from typing import Any

from adapters.routing import RouteSchedule, route_regularization

__all__ = ["RouteRegularizationMixin"]


class RouteRegularizationMixin:
    """Adds :func:`adapters.route_regularization` to the training loss of ``transformers.Trainer``, with its schedule.

    The Trainer takes the loss that the model returns, and knows nothing of ``route_weight``. Put this before it; it
    takes the Trainer's arguments. The loss of a batch is its mean then, also where gradients are accumulated.

    Raises:
        ValueError: The model has no MoPPA adapter, or there is a ``compute_loss_func``: add it there yourself.

    Example::

        from transformers import Trainer

        class RouteTrainer(adapters.RouteRegularizationMixin, Trainer):
            pass

        RouteTrainer(model, arguments, train_dataset=images).train()
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.compute_loss_func is not None:  # type: ignore[attr-defined]
            raise ValueError(
                "compute_loss_func says what the loss is: add adapters.route_regularization(model) there, divided by "
                "the number of accumulated batches"
            )
        RouteSchedule(self.model, 1)  # type: ignore[attr-defined]  # refuses a model without an adapter
        self.model_accepts_loss_kwargs = False  # the Trainer then divides the loss by the number of accumulated batches

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        """The loss of the Trainer, in training with the regularisation."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)  # type: ignore[misc]
        if model.training:
            state = self.state  # type: ignore[attr-defined]
            RouteSchedule(model, max(state.max_steps, 1)).step(state.global_step)
            loss = loss + route_regularization(model).to(loss.device)
        return (loss, outputs) if return_outputs else loss
