"""RS-vHeat as a backbone of OpenMMLab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor

from backbones.openmmlab.dense import Dense
from backbones.operators import OperatorSpec
from backbones.remote_sensing import OPTICAL, SAR, ModalitySpec, network

__all__ = ["RSVHeat"]


@MODELS.register_module()
class RSVHeat(Dense, network.RSVHeat):
    """A :class:`backbones.remote_sensing.RSVHeat` that returns normed maps of several stages, as necks expect them.

    It normalises images itself, by its modalities: the data preprocessor must have neither ``mean`` nor ``std``, and
    its images have the bands of all modalities, one behind the other, in their units.

    Args:
        arch: ``"nano"``, ``"tiny"``, ``"small"``, ``"base"``, or a dict as of
            :class:`~backbones.remote_sensing.RSVHeat`.
        modalities: Dicts of the arguments of :class:`~backbones.remote_sensing.ModalitySpec`.
        inputs: The names of the modalities whose bands packed images hold; all by default. A network of several
            modalities can so be tested, or trained further, with some of them.
        out_indices: Stages to return, ascending; the output of stage i passes a LayerNorm of its own.
        img_size: Image size the learned maps are stored for; inputs of other size work.
        fusion, modality_dropout, drop_path_rate, operator: See :class:`~backbones.remote_sensing.RSVHeat`.
        frozen_stages: Freeze the stems and this many stages: -1 nothing, 0 the stems, i the stems and stages 1..i.
        with_cp: Checkpoint activations.
        init_cfg: As of :class:`~backbones.openmmlab.DenseSpectralNet`.

    Returns:
        For images ``(B, all bands of inputs, H, W)``, or a dict of some modalities, a tuple of maps ``(B, C_i, H_i,
        W_i)``, one for each entry of ``out_indices``, contiguous in that order; ``out_channels`` are the C_i.

    Raises:
        TypeError, ValueError: An argument or images do not fit.

    Example:
        >>> import torch
        >>> radar = dict(name="sar", bands=["VV", "VH"], unit="dB", mean=[-11.0, -17.0], std=5.0)
        >>> net = MODELS.build(dict(type="RSVHeat", arch="nano", modalities=[radar], img_size=64, out_indices=(1, 3)))
        >>> [tuple(f.shape) for f in net(torch.full((1, 2, 64, 96), -12.0))], net.out_channels
        ([(1, 64, 8, 12), (1, 256, 2, 3)], [64, 256])
    """

    def __init__(
        self,
        arch: str | dict[str, Any] = "base",
        *,
        modalities: Sequence[ModalitySpec | Mapping[str, Any]] = (OPTICAL, SAR),
        inputs: Sequence[str] | None = None,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        img_size: int | tuple[int, int] = 224,
        fusion: network.Fusion = "mean",
        modality_dropout: float = 0.0,
        drop_path_rate: float = 0.0,
        operator: OperatorSpec | Sequence[OperatorSpec] | None = None,
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            arch,
            modalities=modalities,
            img_size=img_size,
            fusion=fusion,
            modality_dropout=modality_dropout,
            drop_path_rate=drop_path_rate,
            operator=operator,
        )
        self.make_dense(out_indices, frozen_stages=frozen_stages, init_cfg=init_cfg)
        self.set_grad_checkpointing(with_cp)
        names = [spec.name for spec in self.modalities]
        given = names if inputs is None else [inputs] if isinstance(inputs, str) else list(inputs)
        if not given or len(set(given)) < len(given) or not set(given) <= set(names):
            raise ValueError(f"inputs must be some of the modalities {names}, got {inputs!r}")
        self.inputs = tuple(name for name in names if name in given)

    def forward(self, x: Tensor | Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        if isinstance(x, Tensor) and len(self.inputs) < len(self.modalities):
            x = self._split(x)
        return super().forward(x)

    def _split(self, x: Tensor) -> dict[str, Tensor]:
        """Packed images of some modalities by their names."""
        widths = [len(spec.bands) for spec in self.modalities if spec.name in self.inputs]
        if x.ndim != 4 or x.shape[1] != sum(widths):
            raise ValueError(
                f"packed images of {', '.join(self.inputs)} must have shape (B, {sum(widths)}, H, W), got "
                f"{tuple(x.shape)}"
            )
        return dict(zip(self.inputs, x.split(widths, 1), strict=True))

    @property
    def out_channels(self) -> list[int]:
        """Channels of the maps that are returned."""
        return [self.feature_info[i]["num_chs"] for i in self.out_indices]
