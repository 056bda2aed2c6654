"""What the models of masked pre-training share: the mask of a batch, the count of updates, and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backbones.pretraining.masks import Mask, check_mask, hidden_pixels, mask_from_keep, unit_grid
from backbones.pretraining.targets import UnitTarget
from backbones.pretraining.teacher import Features
from spectral_ops.scalars import as_int

__all__ = ["Course", "masked_mse"]

#: Of a hidden unit in a picture, of 255.
_GREY = 127.0


class Course:
    """Mixin of a module that is trained on masked images; it is set up by ``_make_course``.

    Attributes:
        mask: Draws masks.
        data_preprocessor: From images as they come to those that the model sees.
        steps: How many updates there were, a buffer.
        total_steps: How many there will be, by :meth:`schedule`.
    """

    def _make_course(
        self, mask: Mask, data_preprocessor: nn.Module | None, in_chans: int, *, keep_steps: bool = True
    ) -> None:
        """Begin.

        Args:
            mask: Draws masks.
            data_preprocessor: None for images that come as the model sees them.
            in_chans: Channels of the images.
            keep_steps: The count of updates is part of the state dict.
        """
        self.mask = mask
        self.in_chans = as_int(in_chans)
        self.data_preprocessor = nn.Identity() if data_preprocessor is None else data_preprocessor
        self.total_steps: int | None = None
        self.register_buffer("steps", torch.zeros((), dtype=torch.long), persistent=keep_steps)

    def _teaching(self) -> tuple[Features | None, nn.Module]:
        """The features that are predicted, if any, and the network whose moving average may be their teacher."""
        raise NotImplementedError

    def _whole_maps(self, images: Tensor) -> Sequence[Tensor]:
        """The maps ``(B, C, H', W')`` that a detector would see of whole images."""
        raise NotImplementedError

    def schedule(self, total_steps: int) -> None:
        """Say how many updates the training has, on which momentum and weights of features depend.

        Raises:
            ValueError: It is no positive int.
        """
        given = f"got {total_steps!r}"
        total = as_int(total_steps)
        if total is None or total < 1:
            raise ValueError(f"total_steps must be a positive int, {given}")
        self.total_steps = total

    def after_update(self) -> None:
        """Say that the optimizer has made a step: the teacher follows.

        Raises:
            TeacherCollapse: Its targets have become alike.
            RuntimeError: There is a schedule to follow, and :meth:`schedule` was not called.
        """
        features, backbone = self._teaching()
        if features is not None and features.scheduled:
            features.after_update(backbone, int(self.steps), self._total())
        self.steps += 1

    def _total(self) -> int:
        if self.total_steps is None:
            raise RuntimeError("features follow a schedule: call model.schedule(total_steps) before training")
        return self.total_steps

    def _now(self) -> tuple[int, int | None]:
        """How many updates there were and will be; at the start a moving average is made equal to its network."""
        features, backbone = self._teaching()
        steps, total = int(self.steps), self.total_steps
        if features is not None and features.scheduled:
            total = self._total() if self.training else total
            if features.averaged and steps == 0:  # weights may have been loaded since it was made
                features.restart(backbone)
        return steps, total

    def _prepared(self, images: Tensor) -> Tensor:
        """Images as the backbone takes them."""
        prepared: Tensor = self.data_preprocessor(images)
        return prepared

    def _hidden_units(self, images: Tensor, keep: Tensor | None, mask: Tensor | None) -> Tensor:
        """The mask of a batch, explicit or drawn, on its device."""
        if images.ndim != 4 or images.shape[1] != self.in_chans:
            raise ValueError(f"images must have shape (B, {self.in_chans}, H, W), got {tuple(images.shape)}")
        if not len(images):
            raise ValueError(f"images must be one at least, got {tuple(images.shape)}")
        if not images.is_floating_point():
            raise TypeError(
                f"images must be normalised floating-point numbers, got {images.dtype}: give a data_preprocessor, "
                "Normalise for example"
            )
        shape = (len(images), *unit_grid(images.shape[2:], self.mask.unit))
        if keep is not None and mask is not None:
            raise ValueError("give keep= or mask=, not both")
        if keep is not None:
            mask = mask_from_keep(keep, shape)
        elif mask is None:
            mask = self.mask(len(images), images.shape[2:])
        return check_mask(mask, shape).to(images.device)

    def shown_mask(self, batch: int, size: Sequence[int]) -> Any:
        """A mask that :meth:`columns` takes, drawn as those of the training."""
        return self.mask(batch, size)

    def columns(self, images: Tensor, mask: Tensor) -> list[Tensor]:
        """Pictures ``(B, C, H, W)``, 0..255, of images on that scale: they, what is seen of them, and it with the rest.

        Args:
            images: As the data preprocessor takes them.
            mask: Bool, ``(B, h, w)``.

        Raises:
            ValueError: There is no target that images can be restored from.
        """
        seen = torch.where(hidden_pixels(mask, self.mask.unit), _GREY, images.float())
        return [images, seen, self.reconstruct(images, mask=mask)]

    def _picture(self, target: UnitTarget, predicted: Tensor, images: Tensor, units: Tensor) -> Tensor | None:
        """Images with their hidden units as predicted, as they were before the data preprocessor if it can ``undo``.

        Args:
            target: What was predicted.
            predicted: ``(B, h, w, channels)``.
            images: As the model sees them.
            units: The mask.

        Returns:
            None where images cannot be restored from the target.
        """
        restored = target.restore(predicted.to(torch.promote_types(images.dtype, torch.float32)), images)
        if restored is None:
            return None
        restored = torch.where(hidden_pixels(units, self.mask.unit), restored.to(images.dtype), images)
        undo: Callable[[Tensor], Tensor] | None = getattr(self.data_preprocessor, "undo", None)
        return restored if undo is None else undo(restored)


def masked_mse(predicted: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
    """The mean squared error over hidden cells ``(B, h, w, 1)``; 0 where there is none."""
    error = (predicted.to(target.dtype) - target).square().mean(-1, keepdim=True)
    return torch.where(hidden, error, 0.0).sum() / hidden.sum().clamp(min=1)
