"""HiViT and iTPN as backbones of OpenMMLab: stage maps for a neck, or the pre-trained pyramid in place of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from backbones.hivit import ITPN as PyramidNetwork
from backbones.hivit import HiViT
from backbones.hivit.archs import resolve_arch
from backbones.openmmlab.dense import Dense
from spectral_ops.scalars import as_int

__all__ = ["ITPN", "DenseHiViT"]

_OUTPUTS = ("pyramid", "concat")
_POOLS = {"avg": F.avg_pool2d, "max": F.max_pool2d}


@MODELS.register_module(name="HiViT")
class DenseHiViT(Dense, HiViT):
    """:class:`~backbones.HiViT` for dense prediction: normed maps of its stages, strides 4, 8 and 16, for a neck.

    Args:
        arch: ``"base"`` or ``"large"``, ``"fast_tiny"``, ``"fast_small"``, ``"fast_base"`` or ``"fast_large"``, or a
            dict with ``embed_dim``, ``depths``, ``num_heads`` and optionally ``form``.
        out_indices: Stages to return, ascending; the output of stage i passes a LayerNorm of its own.
        img_size: Image size that positions and biases are stored for; inputs of other size work.
        in_chans: Channels of the image.
        relative_bias: Biases by relative position in the attention.
        norm_eps: Of the network's LayerNorms.
        drop_path_rate: Of the last block.
        frozen_stages: Freeze the stem and this many stages: -1 nothing, 0 the stem, i the stem and stages 1..i.
        with_cp: Checkpoint activations.
        init_cfg: ``dict(type="Pretrained", checkpoint=PATH)`` loads an official or own file safely, with the options
            ``resize`` and ``leave_out`` of :func:`backbones.load_checkpoint`, also as a list of this one dict.

    Returns:
        For images ``(B, in_chans, H, W)`` a tuple of contiguous maps ``(B, C_i, H_i, W_i)``.

    Raises:
        ValueError: An argument does not fit.

    Example:
        >>> arch = dict(embed_dim=32, depths=(1, 1, 2), num_heads=2)
        >>> net = MODELS.build(dict(type="HiViT", arch=arch, img_size=64))
        >>> [tuple(f.shape) for f in net(torch.randn(1, 3, 64, 96))]
        [(1, 8, 16, 24), (1, 16, 8, 12), (1, 32, 4, 6)]
    """

    def __init__(
        self,
        arch: str | dict[str, Any] = "base",
        *,
        out_indices: Sequence[int] = (0, 1, 2),
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        relative_bias: bool = False,
        norm_eps: float = 1e-6,
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            **resolve_arch(arch),
            img_size=img_size,
            in_chans=in_chans,
            num_classes=0,
            relative_bias=relative_bias,
            norm_eps=norm_eps,
            drop_path_rate=drop_path_rate,
        )
        self.make_dense(out_indices, frozen_stages=frozen_stages, init_cfg=init_cfg)
        self.set_grad_checkpointing(with_cp)


@MODELS.register_module()
class ITPN(Dense, PyramidNetwork):
    """HiViT with its pre-trained pyramid, a backbone that needs no neck.

    Args:
        arch: As of :class:`DenseHiViT`.
        img_size: Image size that positions and biases are stored for; inputs of other size work.
        in_chans: Channels of the image.
        pyramid_dim: Width F of the levels.
        pyramid_depth: Blocks of each level below the top; published detectors have 1, pixel pre-training 2.
        num_outs: 3 to 5: the levels of strides 4, 8 and 16, then 32 and 64, each pooled 2 x 2 from the one before.
        relative_bias: Biases by relative position in the attention; published detectors have none. Each block keeps a
            number for every head and pair of units: for 800 x 1333 px and base, half a gigabyte in float32.
        norm_eps: Of all LayerNorms: 1e-5 in published detectors, 1e-6 in pre-training.
        out: ``"pyramid"`` for detectors, ``"concat"`` for UPerNet: each level with the map of its stage behind it.
        pool: ``"avg"`` or ``"max"``: how the pooled outputs are made.
        drop_path_rate: Of the last block.
        frozen_stages: As of :class:`DenseHiViT`. The pyramid is never frozen.
        with_cp: Checkpoint the activations of the stages.
        init_cfg: As of :class:`DenseHiViT`. A file without pyramid needs ``leave_out=["pyramid.*"]``.

    Returns:
        For images ``(B, in_chans, H, W)`` a tuple of ``num_outs`` contiguous maps ``(B, C_i, H_i, W_i)``, F wide;
        with ``"concat"`` F + E/4, F + E/2 and F + E (the pooled ones, too).

    Raises:
        ValueError: An argument does not fit, or images are too small for the pooled outputs.

    Example:
        >>> arch = dict(embed_dim=32, depths=(1, 1, 2), num_heads=2)
        >>> net = MODELS.build(dict(type="ITPN", arch=arch, img_size=64, pyramid_dim=8))
        >>> [tuple(f.shape) for f in net(torch.randn(1, 3, 64, 128))]
        [(1, 8, 16, 32), (1, 8, 8, 16), (1, 8, 4, 8), (1, 8, 2, 4), (1, 8, 1, 2)]
    """

    def __init__(
        self,
        arch: str | dict[str, Any] = "base",
        *,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        pyramid_dim: int = 256,
        pyramid_depth: int = 1,
        num_outs: int = 5,
        relative_bias: bool = False,
        norm_eps: float = 1e-5,
        out: str = "pyramid",
        pool: str = "avg",
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        if as_int(num_outs) not in (3, 4, 5):
            raise ValueError(f"num_outs must be 3, 4 or 5, got {num_outs!r}")
        for name, value, accepted in (("out", out, _OUTPUTS), ("pool", pool, tuple(_POOLS))):
            if value not in accepted:
                raise ValueError(f"{name} must be one of {accepted}, got {value!r}")
        super().__init__(
            **resolve_arch(arch),
            pyramid_dim=pyramid_dim,
            pyramid_depth=pyramid_depth,
            img_size=img_size,
            in_chans=in_chans,
            relative_bias=relative_bias,
            norm_eps=norm_eps,
            drop_path_rate=drop_path_rate,
        )
        self.num_outs = num_outs
        self.out = out
        self.pool = pool
        self.make_dense((0, 1, 2), frozen_stages=frozen_stages, init_cfg=init_cfg, norms=False)
        self.set_grad_checkpointing(with_cp)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        levels, maps = self.forward_levels(x)
        if self.out == "concat":
            levels = [torch.cat(pair, -1) for pair in zip(levels, maps, strict=True)]
        outs = [level.permute(0, 3, 1, 2).contiguous() for level in levels]  # contiguous: see Dense.forward
        for _ in range(self.num_outs - 3):
            if min(outs[-1].shape[2:]) < 2:
                raise ValueError(
                    f"images of {tuple(x.shape[2:])} px are too small for {self.num_outs} outputs: a map of "
                    f"{tuple(outs[-1].shape[2:])} cells cannot be pooled 2 x 2"
                )
            outs.append(_POOLS[self.pool](outs[-1], 2))
        return tuple(outs)
