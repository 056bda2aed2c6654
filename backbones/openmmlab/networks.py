"""The spectral networks as backbones of OpenMMLab: maps of several stages, frozen stages, weights by ``init_cfg``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from torch import Tensor, nn

from backbones.archs import ARCHS
from backbones.weights.loading import load_checkpoint
from backbones.families import FAMILIES, Family, operator_options
from backbones.network import SpectralNet
from spectral_ops import SpectralOperator

__all__ = ["CLASSES", "DenseSpectralNet"]


class DenseSpectralNet(SpectralNet):
    """A :class:`~backbones.network.SpectralNet` that returns normed maps of several stages, as necks expect them.

    Base of ``VHeat`` and its relatives, ``dict(type="VHeat", arch="tiny", img_size=512)``. A backbone with an operator
    of your own is a subclass::

        @MODELS.register_module()
        class VCauchy(DenseSpectralNet):
            operator = staticmethod(lambda channels: FractionalHeat(Softplus(0.5, (channels,)), 0.5, dims=(1, 2)))

    Whatever its operator takes beside the width is an argument of the backbone: ``dict(type="VHeat",
    diffusivity="channel")``.

    Args:
        arch: ``"nano"``, ``"tiny"``, ``"small"``, ``"base"``, or a dict with ``dims``, ``depths`` and optionally
            ``norm_placement``, ``layer_scale``, ``mlp_ratio``, ``init_std``.
        out_indices: Stages to return, ascending; the output of stage i passes a LayerNorm of its own.
        img_size: Image size the spectral embeddings are stored for; inputs of other size work.
        in_chans: Channels of the image.
        drop_path_rate: Of the last block.
        embed_resize: ``"bicubic"`` or ``"pad"``: how embeddings are carried to maps of other size when running.
        frozen_stages: Freeze the stem and this many stages: -1 nothing, 0 the stem, i the stem and stages 1..i.
        with_cp: Checkpoint activations.
        init_cfg: ``dict(type="Pretrained", checkpoint=PATH)`` loads an official or own file safely, with an optional
            ``resize="pad"`` (default ``"bicubic"``) for embeddings stored at another size; None starts from scratch.
        **options: Further arguments of the operator, such as ``diffusivity`` of VHeat, see
            :func:`~backbones.families.heat_operator`.

    Returns:
        For images ``(B, in_chans, H, W)`` a tuple of maps ``(B, dims[i], H_i, W_i)``, one per entry of ``out_indices``,
        contiguous in that order.

    Raises:
        ValueError: An argument does not fit. Unknown arguments are a ``TypeError``.

    Example:
        >>> import torch
        >>> net = MODELS.build(dict(type="VHeat", arch="nano", img_size=128))
        >>> [tuple(f.shape) for f in net(torch.randn(1, 3, 128, 96))]
        [(1, 32, 32, 24), (1, 64, 16, 12), (1, 128, 8, 6), (1, 256, 4, 3)]
    """

    #: From a width to the operator of a block.
    operator: Callable[..., SpectralOperator]

    def __init__(
        self,
        arch: str | dict[str, Any] = "tiny",
        *,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        embed_resize: str = "bicubic",
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if not hasattr(type(self), "operator"):
            raise TypeError("DenseSpectralNet has no operator of its own: use VHeat or a relative, or subclass it")
        unknown = set(options).difference(operator_options(type(self).operator))
        if unknown:
            raise TypeError(f"{type(self).__name__} got an unexpected keyword argument {sorted(unknown)[0]!r}")
        super().__init__(
            partial(type(self).operator, **options),
            **_resolve_arch(arch),
            img_size=img_size,
            in_chans=in_chans,
            num_classes=0,
            drop_path_rate=drop_path_rate,
            embed_resize=embed_resize,
        )
        del self.norm, self.head
        count = len(self.stages)
        indices = tuple(out_indices)
        if not indices or sorted(set(indices)) != list(indices) or not all(0 <= i < count for i in indices):
            raise ValueError(f"out_indices must be ascending stages out of 0..{count - 1}, got {out_indices}")
        if not -1 <= frozen_stages <= count:
            raise ValueError(f"frozen_stages must be between -1 and {count}, got {frozen_stages}")
        self.out_indices = indices
        self.frozen_stages = frozen_stages
        self.init_cfg = _check_init_cfg(init_cfg)
        self.stages = self.stages[: indices[-1] + 1]
        self.out_norms = nn.ModuleDict(
            {str(i): nn.LayerNorm(self.feature_info[i]["num_chs"], eps=1e-5) for i in indices}
        )
        self.set_grad_checkpointing(with_cp)
        self._freeze()

    def init_weights(self) -> None:
        """Load ``init_cfg``'s checkpoint; called by OpenMMLab once the model is built."""
        if self.init_cfg is None:
            return
        report = load_checkpoint(self, self.init_cfg["checkpoint"], resize=self.init_cfg.get("resize", "bicubic"))
        MMLogger.get_current_instance().info(f"{type(self).__name__}: loaded {self.init_cfg['checkpoint']}; {report}")

    def _frozen_parts(self) -> list[nn.Module]:
        return [self.stem, *self.stages[: self.frozen_stages]] if self.frozen_stages >= 0 else []

    def _freeze(self) -> None:
        for part in self._frozen_parts():
            part.eval()
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> DenseSpectralNet:
        """As in torch, but frozen stages stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features = self.forward_stages(x)
        # mmcv's RoIAlign reads the memory of its input as contiguous NCHW whatever the strides say, and convolutions
        # pass a channels-last layout on: a permuted view would silently feed RoI heads with scrambled features.
        return tuple(self.out_norms[str(i)](features[i]).permute(0, 3, 1, 2).contiguous() for i in self.out_indices)


def _resolve_arch(arch: str | dict[str, Any]) -> dict[str, Any]:
    accepted = {"dims", "depths", "norm_placement", "layer_scale", "mlp_ratio", "init_std"}
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(f"arch must be one of {sorted(ARCHS)} or a dict, got {arch!r}")
        return ARCHS[arch]
    if not {"dims", "depths"} <= set(arch) <= accepted:
        raise ValueError(f"arch as a dict needs dims and depths and accepts {sorted(accepted)}, got {sorted(arch)}")
    return dict(arch)


def _check_init_cfg(init_cfg: dict[str, Any] | None) -> dict[str, Any] | None:
    if init_cfg is None:
        return None
    if init_cfg.get("type") != "Pretrained" or not {"checkpoint"} <= set(init_cfg) - {"type"} <= {
        "checkpoint",
        "resize",
    }:
        raise ValueError(
            "init_cfg must be None or dict(type='Pretrained', checkpoint=PATH, resize='bicubic' | 'pad' | None), "
            f"got {dict(init_cfg)}"
        )
    return dict(init_cfg)


def _define(family: Family) -> type[DenseSpectralNet]:
    """The class of a family, registered under its title."""
    text = f"{family.title} for dense prediction. {family.summary} Arguments: see :class:`DenseSpectralNet`."
    members = {"operator": staticmethod(family.operator), "__doc__": text, "__module__": __name__}
    cls = type(family.title, (DenseSpectralNet,), members)
    MODELS.register_module()(cls)
    return cls


#: The class of every family by its name in configs.
CLASSES = {family.title: _define(family) for family in FAMILIES.values()}
globals().update(CLASSES)
