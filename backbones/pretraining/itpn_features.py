"""iTPN's pre-training of HiViT and its pyramid by a teacher's features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.hivit import HiViT
from backbones.hivit.layers import UNIT
from backbones.pretraining.itpn import MaskedITPN, kept_pixels
from backbones.pretraining.itpn_decoders import FeatureDecoder, filled
from backbones.pretraining.masks import BlockUnits, Mask, unit_grid
from backbones.pretraining.teacher import Features

__all__ = ["ITPNFeaturePretraining"]

LossOn = Literal["all", "hidden"]


class ITPNFeaturePretraining(MaskedITPN):
    r"""HiViT and its pyramid are trained together to predict a teacher's features of images that they see in part.

    The teacher sees the whole image; its map of stride 16, each position normalised over its channels, is the target
    t. In the student's last stage hidden units have a mask token and their position. It predicts t twice: from the sum
    of the pyramid's levels, p, and from the tokens after 3/4 of the last stage's blocks through two blocks more, q:

    .. math::

        L = \frac1{N d} \sum_{u,c} \bigl( \mathrm{SmoothL1}(p_{uc} - t_{uc}) + \mathrm{SmoothL1}(q_{uc} - t_{uc}) \bigr)

    over all N units or the hidden ones.

    Args:
        arch, img_size, pyramid_dim, pyramid_depth: As of :class:`ITPNPretraining`; E a multiple of 16.
        teacher: None for the moving average of the backbone, which then needs :meth:`schedule` and
            :meth:`after_update`; else what :class:`FrozenTeacher` takes: a module with timm's ``feature_info``, a timm
            name or a dict. It must have a map of stride 16, and sees the images as the student does.
        leak: True as published: hidden units pass the first two stages, and the pyramid's lateral layers see them.
            False: they are left out there, and the lateral layers see a mask token of each level.
        loss_on: ``"all"`` units as published, or the ``"hidden"`` ones.
        momentum, alarm: Of the moving average, see :class:`Features`.
        mask: Draws masks of units of 16 px; by default blocks of 75 of 196 units together, that share of other grids.
        data_preprocessor, drop_path_rate, in_chans, norm_eps: As of :class:`ITPNPretraining`.

    Attributes:
        steps: How many updates there were, a buffer.
        features: The target, with its teacher.

    Shape:
        As of :class:`ITPNPretraining`; the prediction is p, as wide as the teacher's map, the pyramid has all units.

    Raises:
        TypeError, ValueError: An argument does not fit, or the teacher's map is not of the size of the units.

    Source:
        Y. Tian et al., *Integrally Pre-Trained Transformer Pyramid Networks*, CVPR 2023, arXiv 2211.12735; the moving
        average as teacher and the form without leak are this project's.

    Example:
        >>> arch = dict(embed_dim=32, depths=(1, 1, 4), num_heads=2)
        >>> model = ITPNFeaturePretraining(arch, img_size=64, pyramid_dim=8, leak=False)
        >>> model.schedule(total_steps=2)
        >>> optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     model(torch.randn(2, 3, 64, 64)).loss.backward()
        ...     _ = optimizer.step()
        ...     model.after_update()
        >>> list(model.losses(torch.randn(1, 3, 64, 64)))
        ['pyramid', 'deep']
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "base",
        *,
        img_size: int | tuple[int, int] = 224,
        pyramid_dim: int = 256,
        pyramid_depth: int = 2,
        teacher: nn.Module | str | Mapping[str, Any] | None = None,
        leak: bool = False,
        loss_on: LossOn = "all",
        momentum: float = 0.99,
        alarm: float = 0.3,
        mask: Mask | None = None,
        data_preprocessor: nn.Module | None = None,
        drop_path_rate: float = 0.0,
        in_chans: int = 3,
        norm_eps: float = 1e-6,
    ) -> None:
        if loss_on not in get_args(LossOn):
            raise ValueError(f"loss_on must be one of {get_args(LossOn)}, got {loss_on!r}")
        super().__init__(
            arch,
            img_size=img_size,
            pyramid_dim=pyramid_dim,
            pyramid_depth=pyramid_depth,
            mask=BlockUnits(UNIT, 75 / 196) if mask is None else mask,
            data_preprocessor=data_preprocessor,
            drop_path_rate=drop_path_rate,
            in_chans=in_chans,
            norm_eps=norm_eps,
            keep_steps=True,
        )
        self.leak, self.loss_on = leak, loss_on
        self.features = Features(teacher, strides=(UNIT,), momentum=momentum, warm_up=(0.0, 0.0), alarm=alarm)
        trunk = HiViT(**self._trunk_options, num_classes=0)
        trunk.prune_intermediate_layers([0, 1, 2])
        self.features.prepare(trunk)
        if self.features.averaged:
            self.features.teacher.restart(self)
        else:
            self._check_teacher()
        width, heads = self.num_features, self.stages[2].blocks[0].attn.heads
        self.decoder = FeatureDecoder(pyramid_dim, width, self.features.channels[0], heads, norm_eps=norm_eps)
        self.mask_token = nn.Parameter(torch.empty(width))
        widths = () if leak else (width // 4, width // 2)
        self.local_tokens = nn.ParameterList(torch.empty(n) for n in widths)
        self._init_linears(self.decoder)
        self._init_tokens()

    def _init_tokens(self) -> None:
        for token in (*self.local_tokens, self.mask_token):
            nn.init.normal_(token, std=0.02)

    def init_weights(self) -> None:
        """Draw all parameters anew. A frozen teacher stays as it is, a moving average becomes equal to the network."""
        taught = {name: tensor.clone() for name, tensor in self.features.state_dict().items()}
        super().init_weights()
        self._init_tokens()
        self.features.load_state_dict(taught)
        if self.features.averaged:
            self.features.teacher.restart(self)

    def _check_teacher(self) -> None:
        """Raise unless the teacher's map of an image of the stored size has a cell for each unit."""
        images = self.stem.conv.weight.new_zeros(1, self.in_chans, *self.img_size)
        name = type(self.features.teacher.net).__name__
        try:
            found = tuple(self.features(images)[0].shape[1:3])
        except RuntimeError as error:
            raise ValueError(f"the teacher {name} cannot take images of {tuple(images.shape)}: {error}") from error
        if found != self.grid:
            raise ValueError(f"the teacher {name} has a map of {found} cells where there are {self.grid} units")

    def _teaching(self) -> tuple[Features | None, nn.Module]:
        return self.features, self

    def facts(self) -> dict[str, Any]:
        teacher = "moving average" if self.features.averaged else type(self.features.teacher.net).__name__
        told = {"targets": "features", "teacher": teacher, "leak": self.leak, "loss_on": self.loss_on}
        return {**super().facts(), **told}

    def reconstruct(self, images: Tensor, *, keep: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """There are no pictures.

        Raises:
            ValueError: Always, as of every model that predicts no pixels.
        """
        raise ValueError("images cannot be restored from features: ITPNPretraining predicts pixels")

    def _learnt(
        self, images: Tensor, units: Tensor, keep: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, tuple[Tensor, Tensor, Tensor]]:
        self._now()
        grid, count = unit_grid(images.shape[2:], UNIT), units[0].numel()
        target = self.features(images)[0].flatten(1, 2)
        if target.shape[1] != count:
            raise ValueError(f"the teacher's map has {target.shape[1]} cells where there are {count} units")
        first, second, tokens = self._locals(images, units, keep)
        tokens = list(self.stages[2].activations(tokens, grid))
        inner, last = tokens[3 * len(self.stages[2].blocks) // 4], tokens[-1]
        pyramid = self.pyramid(first, second, last)
        prediction, deep = self.decoder(pyramid, inner, grid)
        counted = torch.ones_like(units) if self.loss_on == "all" else units
        losses = {name: _smooth(p, target, counted) for name, p in (("pyramid", prediction), ("deep", deep))}
        return losses, prediction, pyramid

    def _kept(self, units: Tensor) -> Tensor:
        """With the published leak all units are computed, and masks may show more of one image than of another."""
        return units.new_empty(len(units), 0, dtype=torch.long) if self.leak else super()._kept(units)

    def _locals(self, images: Tensor, units: Tensor, keep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What pyramid and last stage see of all units: the first two maps, and the tokens."""
        if self.leak:
            first, second, tokens = self.local_stages(self.embed(images))
            hidden = units.flatten(1)[..., None]
            return first, second, torch.where(hidden, self.mask_token.to(tokens.dtype), tokens)
        seen = self.local_stages(self.embed(kept_pixels(images, keep)))
        places = (*self.local_tokens, self.mask_token)
        first, second, tokens = (filled(x, t, keep, units[0].numel()) for x, t in zip(seen, places, strict=True))
        return first, second, tokens


def _smooth(predicted: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """The mean smooth L1 loss over the counted units."""
    error = F.smooth_l1_loss(predicted.to(target.dtype), target, reduction="none").mean(-1)
    return torch.where(counted.flatten(1), error, 0.0).sum() / counted.sum()
