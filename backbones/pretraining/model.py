"""Masked pre-training of a backbone and its neck together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import repeat
from torch import Tensor, nn

from backbones.pretraining.course import Course, masked_mse
from backbones.pretraining.generator import TargetGenerator
from backbones.pretraining.heads import PretrainingHead, levels_of_neck
from backbones.pretraining.masks import Mask, RandomUnits, check_drawer, hidden_pixels
from backbones.pretraining.students import Fill, check_backbone, hidden_cells, levels_of, masked_maps
from backbones.pretraining.teacher import Features
from spectral_ops.modes import evaluating

__all__ = ["MaskedPretraining", "Normalise"]


class Normalise(nn.Module):
    """Images to zero mean and unit variance by the statistics of the data: ``(x - mean) / std``.

    Args:
        mean, std: Of the channels, on the scale of the images.

    Example:
        >>> normalise = Normalise([127.5], [127.5])
        >>> images = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2)
        >>> normalise(images), normalise.undo(normalise(images))
        (tensor([[[[-1.,  1.]]]]), tensor([[[[  0., 255.]]]]))
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if not len(mean) == len(std) or not all(s > 0 for s in std):
            raise ValueError(f"mean and std must be of as many channels and std above 0, got {mean} and {std}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        images = images if images.is_floating_point() else images.float()
        return (images - self.mean) / self.std

    def undo(self, images: Tensor) -> Tensor:
        """Back to the scale of the images."""
        return images * self.std + self.mean


class MaskedPretraining(Course, nn.Module):
    r"""Predicts what is hidden of an image from what is seen, through backbone and neck.

    .. math::

        L = \sum_{\text{targets}} w \cdot \frac{1}{|\text{hidden}|} \sum_{\text{hidden}} \lVert p - t \rVert^2 / n

    with n numbers for each hidden unit, or cell; the loss of features is the mean over levels. Units that are seen do
    not count. The modules stand in mmpretrain's five slots, and after training backbone and neck go together into a
    detector or segmentor: :func:`~backbones.pretraining.publish`.

    Args:
        backbone: A network of this project, or with fill ``"grey"`` any with timm's ``feature_info`` and
            ``forward_intermediates``. One for dense outputs brings its norms along.
        neck: Any module from a list of maps ``(B, C, H, W)`` to a sequence of such, mmdet's ``FPN`` for example;
            without batch norms. None trains the backbone alone.
        head: By default ``PretrainingHead()``.
        target_generator: Or what :class:`TargetGenerator` takes.
        data_preprocessor: From images as they come to images whose mean colour is 0, :class:`Normalise` for example; by
            default they are that already. Its method ``undo``, if it has one, is for :meth:`reconstruct`.
        mask: Draws masks; by default ``RandomUnits(16, 0.6)``.
        fill: What stands in hidden places: ``"remask"``, ``"token"`` or ``"grey"``, see
            :func:`~backbones.pretraining.masked_maps`.
        in_chans: Channels of the images.

    Attributes:
        steps: How many updates there were, a buffer.
        total_steps: How many there will be, by :meth:`schedule`.

    Shape:
        Images ``(B, in_chans, H, W)``, multiples of the mask's unit and of the targets' units.

    Raises:
        TypeError, ValueError: The parts do not fit each other; the message says which.

    Example:
        >>> import timm
        >>> backbone = timm.create_model("vheat_nano", num_classes=0, img_size=64)
        >>> model = MaskedPretraining(backbone, head=PretrainingHead(decoder_dim=32))
        >>> loss = model(torch.randn(2, 3, 64, 64))
        >>> loss.backward()
        >>> list(model.losses(torch.randn(1, 3, 64, 64), keep=torch.tensor([[0, 5, 10]])))
        ['pixels']

    With a moving average as teacher, the model is told how long it trains and when it was updated:

        >>> backbone = timm.create_model("vheat_nano", num_classes=0, img_size=64)
        >>> head = PretrainingHead(decoder_dim=32)
        >>> model = MaskedPretraining(backbone, head=head, target_generator=dict(pixels=1.0, features=1.0))
        >>> model.schedule(total_steps=2)
        >>> optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     model(torch.randn(2, 3, 64, 64)).backward()
        ...     _ = optimizer.step()
        ...     model.after_update()
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module | None = None,
        head: PretrainingHead | None = None,
        target_generator: TargetGenerator | Mapping[str, float] | Sequence[Mapping[str, Any]] | None = None,
        data_preprocessor: nn.Module | None = None,
        mask: Mask | None = None,
        *,
        fill: Fill = "remask",
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        check_backbone(backbone, fill)
        levels = levels_of(backbone)
        self.backbone, self.neck = backbone, neck
        self.fill: Fill = fill
        if getattr(backbone, "in_chans", in_chans) != in_chans:
            raise ValueError(f"in_chans is {in_chans!r} and the backbone's {backbone.in_chans}")
        mask = RandomUnits() if mask is None else mask
        check_drawer(mask)
        self._make_course(mask, data_preprocessor, in_chans)
        if not isinstance(target_generator, TargetGenerator):
            target_generator = TargetGenerator({"pixels": 1.0} if target_generator is None else target_generator)
        self.target_generator = target_generator
        for name, target in target_generator.units.items():
            if self.mask.unit % target.unit:
                raise ValueError(
                    f"the mask's unit of {self.mask.unit} px must be a multiple of the {target.unit} px of {name}: "
                    f"give {name} unit={self.mask.unit}, or a divisor of it"
                )
        if target_generator.features is not None:
            target_generator.features.prepare(backbone)
        self.head = PretrainingHead() if head is None else head
        norms: Any = getattr(backbone, "out_norms", None)
        if not hasattr(backbone, "forward_stages"):  # downstream, too, its maps go to the neck as they are
            norms = {str(level.index): nn.Identity() for level in levels}
        self.head.prepare(levels, levels_of_neck(neck, levels), target_generator, in_chans, norms)
        self.strides = [level.stride for level in levels]
        self.token = nn.Parameter(0.02 * torch.randn(_first_width(backbone))) if fill == "token" else None

    def _teaching(self) -> tuple[Features | None, nn.Module]:
        return self.target_generator.features, self.backbone

    def _whole_maps(self, images: Tensor) -> Sequence[Tensor]:
        return self._neck_maps(images, None)

    # -- forward ----------------------------------------------------------------------------------------------------

    def forward(self, images: Tensor, *, keep: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The loss, a scalar: the sum of :meth:`losses`."""
        return torch.stack(list(self.losses(images, keep=keep, mask=mask).values())).sum()

    def losses(self, images: Tensor, *, keep: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
        """The weighted losses by the name of their target.

        Args:
            images: ``(B, in_chans, H, W)``, as the data preprocessor takes them.
            keep: Int64, ``(B, K)``: row-major indices of the units that are seen.
            mask: Bool, ``(B, h, w)``: True where a unit is hidden. Without either one is drawn.

        Raises:
            TypeError, ValueError: Images or masks do not fit; see :mod:`backbones.pretraining.masks`.
            RuntimeError: :meth:`schedule` was not called.
        """
        images = self._prepared(images)
        return self._losses(images, self._hidden_units(images, keep, mask))

    def _losses(self, images: Tensor, units: Tensor) -> dict[str, Tensor]:
        steps, total = self._now()
        features = self.target_generator.features
        targets = self.target_generator(images)
        predicted = self._predicted(images, units)
        found = {}
        for name, target in targets.items():
            if isinstance(target, list):
                cells = hidden_cells(hidden_pixels(units, self.mask.unit), [level.stride for level in features.levels])
                pairs = zip(predicted[name], target, cells, strict=True)
                loss = torch.stack([masked_mse(p, _same_size(t, p), c) for p, t, c in pairs]).mean()
            else:
                squares = self.mask.unit // self.target_generator.units[name].unit
                hidden = repeat(units, "b h w -> b (h p) (w q) 1", p=squares, q=squares)
                loss = masked_mse(predicted[name], target, hidden)
            found[name] = loss * self.target_generator.weight(name, steps, total)
        return found

    def _predicted(self, images: Tensor, units: Tensor) -> dict[str, Any]:
        return self.head(self._neck_maps(images, units), images.shape[2:])

    def _neck_maps(self, images: Tensor, units: Tensor | None) -> Sequence[Tensor]:
        hidden = None if units is None else hidden_pixels(units, self.mask.unit)
        cells = [None] * len(self.strides) if hidden is None else hidden_cells(hidden, self.strides)
        maps = masked_maps(self.backbone, images, hidden, self.fill, self.token)
        dense = self.head.dense(maps, cells)
        return dense if self.neck is None else self.neck(dense)

    def maps(self, images: Tensor, *, keep: Tensor | None = None, mask: Tensor | None = None) -> Sequence[Tensor]:
        """The neck's maps: of whole images, as a detector sees them, or of what an explicit mask leaves.

        Args:
            images, keep, mask: As for :meth:`losses`, but nothing is drawn.
        """
        images = self._prepared(images)
        given = keep is not None or mask is not None
        return self._neck_maps(images, self._hidden_units(images, keep, mask) if given else None)

    # -- pictures ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def reconstruct(self, images: Tensor, *, keep: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The images with their hidden units as predicted, mean and scale of a unit being the true ones.

        Args:
            images, keep, mask: As for :meth:`losses`.

        Returns:
            ``(B, in_chans, H, W)``, on the scale of ``images`` where the data preprocessor can ``undo``.

        Raises:
            ValueError: No target is one that images can be restored from: pixels or dct.
        """
        normalised = self._prepared(images)
        units = self._hidden_units(normalised, keep, mask)
        with evaluating(self):
            predicted = self._predicted(normalised, units)
        for name, target in self.target_generator.units.items():
            if (picture := self._picture(target, predicted[name], normalised, units)) is not None:
                return picture
        raise ValueError(f"images cannot be restored from {list(self.target_generator.weights)}: pixels or dct can")


def _first_width(backbone: nn.Module) -> int:
    """The width of a backbone's first map."""
    return next(iter(backbone.feature_info))["num_chs"]


def _same_size(target: Tensor, predicted: Tensor) -> Tensor:
    if target.shape != predicted.shape:
        raise ValueError(f"the teacher's map {tuple(target.shape)} is not of the level's size {tuple(predicted.shape)}")
    return target
