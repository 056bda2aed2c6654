"""iTPN's pre-training of HiViT and its pyramid: pixels of the units that were left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from backbones.hivit import ITPN
from backbones.hivit.archs import resolve_arch
from backbones.hivit.layers import UNIT
from backbones.pretraining.course import Course, masked_mse
from backbones.pretraining.itpn_decoders import PixelDecoder
from backbones.pretraining.masks import Mask, RandomUnits, check_drawer, kept_units, unit_grid
from backbones.pretraining.targets import Pixels, UnitTarget
from backbones.pretraining.teacher import Features
from spectral_ops.modes import evaluating

__all__ = ["ITPNOutput", "ITPNPretraining", "MaskedITPN", "kept_pixels"]


class ITPNOutput(NamedTuple):
    """What iTPN's pre-training returns.

    Attributes:
        loss: A scalar.
        prediction: ``(B, L, channels)``, of all L units row by row.
        pyramid: The levels of strides 4, 8 and 16, ``(B, K, p, p, F)`` with p = 4, 2 and 1: of the K kept units in the
            order of ``keep``, ascending where none was given. In feature form of all units.
    """

    loss: Tensor
    prediction: Tensor
    pyramid: tuple[Tensor, Tensor, Tensor]


def kept_pixels(images: Tensor, keep: Tensor) -> Tensor:
    """The kept units of images side by side, ``(B, C, H, W) -> (B, C, 16, 16 * K)``.

    Args:
        images: Multiples of 16 px.
        keep: Indices of units, ``(B, K)``.

    Example:
        >>> kept_pixels(torch.arange(2.0).repeat_interleave(16).expand(1, 1, 16, 32), torch.tensor([[1, 0]])).shape
        torch.Size([1, 1, 16, 32])
    """
    every = rearrange(images, "b c (h p) (w q) -> b (h w) c p q", p=UNIT, q=UNIT)
    chosen = every[torch.arange(len(images), device=images.device)[:, None], keep]
    return rearrange(chosen, "b k c p q -> b c p (k q)")


class MaskedITPN(Course, ITPN):
    """The network that is pre-trained, and its masks; what it learns by is up to subclasses.

    It has no biases by relative position, and starts as masked autoencoders do: weights by Glorot's rule, positions as
    sines and cosines.

    Args:
        arch: ``"base"`` or ``"large"``, or a dict with ``embed_dim``, ``depths`` and ``num_heads``; the sizes of
            Fast-iTPN, ``"fast_base"`` for example, or ``form="fast"`` in the dict, are not those of published training.
        img_size: Image size that positions are stored for, int or ``(H, W)``, multiples of 16; they are resized for
            images of other size.
        pyramid_dim, pyramid_depth: Width of the levels, and blocks of each below the top.
        mask: Draws masks of units of 16 px.
        data_preprocessor: From images as they come to images as the network sees them.
        drop_path_rate, in_chans, norm_eps: Of the network.
        keep_steps: The count of updates is part of the state dict.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any],
        *,
        img_size: int | tuple[int, int],
        pyramid_dim: int,
        pyramid_depth: int,
        mask: Mask,
        data_preprocessor: nn.Module | None,
        drop_path_rate: float,
        in_chans: int,
        norm_eps: float,
        keep_steps: bool,
    ) -> None:
        options = {
            **resolve_arch(arch),
            "img_size": img_size,
            "drop_path_rate": drop_path_rate,
            "in_chans": in_chans,
            "norm_eps": norm_eps,
            "init": "xavier",
        }
        super().__init__(**options, pyramid_dim=pyramid_dim, pyramid_depth=pyramid_depth)
        self._trunk_options = options
        if self.img_size[0] % UNIT or self.img_size[1] % UNIT:
            raise ValueError(f"img_size must be multiples of {UNIT}, got {img_size!r}")
        check_drawer(mask)
        if mask.unit != UNIT:
            raise ValueError(f"mask must have units of {UNIT} px, which are the network's, got {mask}")
        self._make_course(mask, data_preprocessor, in_chans, keep_steps=keep_steps)

    def _choice(self, images: Tensor, keep: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The mask of a batch, and the indices of the units that it shows, in the order that was given."""
        units = self._hidden_units(images, keep, mask)
        return units, self._kept(units) if keep is None else keep.to(images.device)

    def _kept(self, units: Tensor) -> Tensor:
        """The indices of the units that a mask shows; it must show as many of each image."""
        return kept_units(units)

    def _whole_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        return super().forward(images)

    def network_tensors(self) -> dict[str, Tensor]:
        """The tensors of backbone and pyramid, without what only training needs."""
        parts = ("stem.", "stages.", "pyramid.")
        return {name: tensor for name, tensor in self.state_dict().items() if name.startswith(parts)}

    def forward(self, images: Tensor, *, keep: Tensor | None = None, mask: Tensor | None = None) -> ITPNOutput:
        """Loss, prediction and pyramid.

        Args:
            images: ``(B, in_chans, H, W)``, as the data preprocessor takes them; H and W multiples of 16.
            keep: Int64, ``(B, K)``: row-major indices of the units that are seen, in any order.
            mask: Bool, ``(B, h, w)``: True where a unit is hidden; it must show as many units of each image. Without
                either one is drawn.

        Raises:
            TypeError, ValueError: Images or masks do not fit; see :mod:`backbones.pretraining.masks`.
            RuntimeError: There is a schedule to follow, and :meth:`schedule` was not called.
        """
        images = self._prepared(images)
        losses, prediction, pyramid = self._learnt(images, *self._choice(images, keep, mask))
        return ITPNOutput(torch.stack(list(losses.values())).sum(), prediction, pyramid)

    def losses(self, images: Tensor, *, keep: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
        """The parts of the loss by name.

        Args:
            images, keep, mask: As for a call.
        """
        images = self._prepared(images)
        return self._learnt(images, *self._choice(images, keep, mask))[0]

    def _losses(self, images: Tensor, units: Tensor) -> dict[str, Tensor]:
        """The same of prepared images with this mask."""
        return self._learnt(images, units, self._kept(units))[0]

    def facts(self) -> dict[str, Any]:
        """What a published file says of the network and of its training, by name."""
        sizes = ("embed_dim", "depths", "num_heads", "form", "norm_eps")
        return {
            **{name: self._trunk_options[name] for name in sizes if name in self._trunk_options},
            "pyramid_dim": self.pyramid.channels,
            "pyramid_depth": len(self.pyramid.blocks[0]),
            "img_size": self.img_size,
            "unit": self.mask.unit,
            "ratio": self.mask.ratio,
            "steps": int(self.steps),
        }

    def _learnt(
        self, images: Tensor, units: Tensor, keep: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, tuple[Tensor, Tensor, Tensor]]:
        """The parts of the loss, prediction and pyramid."""
        raise NotImplementedError

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute block activations in backward instead of storing them, those of the decoder too."""
        super().set_grad_checkpointing(enable)
        self.decoder.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Positions and mask tokens."""
        return super().no_weight_decay() | {n for n, _ in self.named_parameters() if "token" in n}


class ITPNPretraining(MaskedITPN):
    r"""HiViT and its pyramid are trained together to predict the pixels of units that they do not see.

    Hidden units are left out: stem, stages and pyramid work on the kept ones alone, at 75 % a quarter of the work. The
    pyramid's levels, each through a norm and a linear layer :math:`e_l`, become one vector for each unit; where it is
    hidden each level has the mask token m. With fixed positions r, attention blocks, a norm and a linear layer behind,

    .. math::

        x_u &= r_u + \begin{cases} \sum_l e_l(u) & u\text{ kept} \\ 3m & u\text{ hidden} \end{cases}, \qquad
        p = \mathrm{linear}(\mathrm{norm}(\mathrm{blocks}(x))), \\
        L &= \frac{1}{|\text{hidden}|} \sum_{u\,\text{hidden}} \frac1n
            \Bigl\lVert p_u - \frac{v_u - \mu_u}{\sqrt{\sigma_u^2 + 10^{-6}}} \Bigr\rVert^2

    with the n = 768 values :math:`v_u` of a unit in the order (row, column, channel), their mean and unbiased variance.
    Official pre-training files load into it with all their tensors: :func:`~backbones.convert_checkpoint` gives them
    the names that it has, :func:`~backbones.load_checkpoint` reads and loads them, and
    :func:`~backbones.pretraining.publish` writes what a detector takes.

    Args:
        arch: ``"base"``, ``"large"``, or a dict with ``embed_dim``, ``depths`` and ``num_heads``.
        img_size: Image size that positions are stored for, int or ``(H, W)``, multiples of 16; images of other size
            work.
        pyramid_dim, pyramid_depth: Width of the levels, and blocks of each below the top. A detector needs the same.
        decoder_dim, decoder_depth, decoder_heads: Of the decoder's attention blocks.
        mask: Draws masks of units of 16 px; by default ``RandomUnits(16, 0.75)``.
        target: By default ``Pixels(16, floor=0)``, which is the equation above.
        data_preprocessor: From images as they come to images as the network sees them, :class:`Normalise` for example.
            Its method ``undo``, if it has one, is for :meth:`reconstruct`.
        drop_path_rate, in_chans, norm_eps: Of the network.

    Attributes:
        steps: How many updates there were; since nothing depends on it, it is no part of the state dict.

    Shape:
        Images ``(B, in_chans, H, W)``, multiples of 16; see :class:`ITPNOutput`.

    Raises:
        TypeError, ValueError: An argument does not fit.

    Source:
        Y. Tian et al., *Integrally Pre-Trained Transformer Pyramid Networks*, CVPR 2023, arXiv 2211.12735.

    Example:
        >>> arch = dict(embed_dim=32, depths=(1, 1, 2), num_heads=2)
        >>> model = ITPNPretraining(arch, img_size=64, pyramid_dim=8, decoder_dim=32, decoder_depth=1, decoder_heads=2)
        >>> loss, prediction, pyramid = model(torch.randn(2, 3, 64, 64), keep=torch.tensor([[3, 0], [1, 15]]))
        >>> loss.backward()
        >>> prediction.shape, [tuple(level.shape) for level in pyramid]
        (torch.Size([2, 16, 768]), [(2, 2, 4, 4, 8), (2, 2, 2, 2, 8), (2, 2, 1, 1, 8)])
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "base",
        *,
        img_size: int | tuple[int, int] = 224,
        pyramid_dim: int = 256,
        pyramid_depth: int = 2,
        decoder_dim: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        mask: Mask | None = None,
        target: UnitTarget | None = None,
        data_preprocessor: nn.Module | None = None,
        drop_path_rate: float = 0.0,
        in_chans: int = 3,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(
            arch,
            img_size=img_size,
            pyramid_dim=pyramid_dim,
            pyramid_depth=pyramid_depth,
            mask=RandomUnits(UNIT, 0.75) if mask is None else mask,
            data_preprocessor=data_preprocessor,
            drop_path_rate=drop_path_rate,
            in_chans=in_chans,
            norm_eps=norm_eps,
            keep_steps=False,
        )
        self.target = Pixels(UNIT, floor=0.0) if target is None else target
        if not isinstance(self.target, UnitTarget) or self.target.unit != UNIT:
            raise ValueError(f"target must be a target of units of {UNIT} px, got {target!r}")
        self.decoder = PixelDecoder(
            pyramid_dim,
            self.target.channels(in_chans),
            self.grid,
            decoder_dim,
            decoder_depth,
            decoder_heads,
            norm_eps=norm_eps,
        )
        self._init_linears(self.decoder)

    def _teaching(self) -> tuple[Features | None, nn.Module]:
        return None, self

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "targets": repr(self.target)}

    def _learnt(
        self, images: Tensor, units: Tensor, keep: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, tuple[Tensor, Tensor, Tensor]]:
        prediction, pyramid = self._predicted(images, keep)
        target = self.target(images)
        loss = masked_mse(prediction.unflatten(1, target.shape[1:3]), target, units[..., None])
        return {"pixels": loss}, prediction, pyramid

    def _predicted(self, images: Tensor, keep: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        grid = unit_grid(images.shape[2:], UNIT)
        pyramid = self.unit_levels(self.embed(kept_pixels(images, keep)), grid, keep)
        return self.decoder(pyramid, grid, keep), pyramid

    @torch.no_grad()
    def reconstruct(self, images: Tensor, *, keep: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The images with their hidden units as predicted, mean and scale of a unit being the true ones.

        Args:
            images, keep, mask: As for a call.

        Returns:
            ``(B, in_chans, H, W)``, on the scale of ``images`` where the data preprocessor can ``undo``.

        Raises:
            ValueError: Images cannot be restored from the target.
        """
        images = self._prepared(images)
        units, keep = self._choice(images, keep, mask)
        with evaluating(self):
            prediction, _ = self._predicted(images, keep)
        picture = self._picture(self.target, prediction.unflatten(1, units.shape[1:]), images, units)
        if picture is None:
            raise ValueError(f"images cannot be restored from {self.target}: pixels or dct can")
        return picture
