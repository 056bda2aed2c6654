"""The spectral networks as backbones of OpenMMLab: maps of several stages, frozen stages, weights by ``init_cfg``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mmengine.registry import MODELS

from backbones.archs import resolve_arch
from backbones.families import Family, on_register
from backbones.network import SpectralNet
from backbones.openmmlab.dense import Dense
from backbones.operators import OperatorSpec, operator_factories, operator_options
from spectral_ops import SpectralOperator

__all__ = ["CLASSES", "DenseSpectralNet"]


class DenseSpectralNet(Dense, SpectralNet):
    """A :class:`~backbones.network.SpectralNet` that returns normed maps of several stages, as necks expect them.

    Base of ``VHeat`` and its relatives, ``dict(type="VHeat", arch="tiny", img_size=512)``. An operator of your own gets
    such a class by :func:`backbones.register`. Whatever a family's operator takes beside the width is an argument of
    its backbone: ``dict(type="VHeat", diffusivity="channel")``.

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
            ``resize="pad"`` (default ``"bicubic"``) for embeddings stored at another size and an optional
            ``prefix="backbone."`` that must stand before its names in the file, also as a list of this one dict; None
            starts from scratch.
        operator: Instead of the family's, one for all stages or a list with one for each, by names and options as in
            ``["wave", "wave", dict(type="heat", diffusivity="channel"), "heat"]``.
        **options: Further arguments of the family's operator, such as ``diffusivity`` of VHeat, see
            :func:`~backbones.heat_operator`.

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
        init_cfg: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
        operator: OperatorSpec | Sequence[OperatorSpec] | None = None,
        **options: Any,
    ) -> None:
        make_operator = getattr(type(self), "operator", None)
        accepted = () if operator is not None or make_operator is None else operator_options(make_operator)
        if unknown := sorted(set(options).difference(accepted)):
            raise TypeError(f"{type(self).__name__} got an unexpected keyword argument {unknown[0]!r}")
        if operator is None and make_operator is None:
            raise TypeError("DenseSpectralNet has no operator of its own: use VHeat or a relative, or give operator=")
        super().__init__(
            partial(make_operator, **options) if operator is None else operator_factories(operator),
            **resolve_arch(arch),
            img_size=img_size,
            in_chans=in_chans,
            num_classes=0,
            drop_path_rate=drop_path_rate,
            embed_resize=embed_resize,
        )
        self.make_dense(out_indices, frozen_stages=frozen_stages, init_cfg=init_cfg)
        self.set_grad_checkpointing(with_cp)


#: The class of every family by its name in configs.
CLASSES: dict[str, type[DenseSpectralNet]] = {}


def _define(family: Family) -> None:
    """Make the class of a family, registered under its title."""
    text = f"{family.title} for dense prediction. {family.summary} Arguments: see :class:`DenseSpectralNet`."
    members = {"operator": staticmethod(family.operator), "__doc__": text, "__module__": __name__}
    if family.title in MODELS.module_dict:
        raise ValueError(f"title {family.title!r} is taken: OpenMMLab knows {MODELS.module_dict[family.title]}")
    CLASSES[family.title] = type(family.title, (DenseSpectralNet,), members)
    MODELS.register_module()(CLASSES[family.title])


def __getattr__(name: str) -> type[DenseSpectralNet]:
    """The classes are attributes of this module, also those that come later."""
    if name in CLASSES:
        return CLASSES[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


on_register(_define)
