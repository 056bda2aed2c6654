"""RS-vHeat: one spectral network that sees several modalities, each through a stem of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from backbones.archs import resolve_arch
from backbones.network import SpectralNet, stage_masks
from backbones.operators import OperatorSpec, operator_factories
from backbones.place import spectral_blocks
from backbones.remote_sensing.guidance import BilinearMap, GuidedMixer
from backbones.remote_sensing.modalities import OPTICAL, SAR, ModalitySpec
from backbones.remote_sensing.stems import ModalityStems

__all__ = ["FUSIONS", "Fusion", "Images", "RSVHeat"]

Fusion = Literal["mean", "concat"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)

#: By modality, or packed into one tensor.
Images = Tensor | Mapping[str, Tensor]


class RSVHeat(SpectralNet):
    r"""RS-vHeat (arXiv 2411.17984): vHeat with a stem for each modality, and a learned map that guides its mixers.

    Behind the stems everything is shared: the maps of all modalities pass the stages as one batch, and those of each
    stage are fused. Images come in the units of their :class:`~backbones.remote_sensing.ModalitySpec` and are
    normalised by it inside of the network; the specs are in every checkpoint. Where the paper is silent (fusion,
    missing modalities, units and statistics) the design is this project's.

    Args:
        arch: ``"nano"``, ``"tiny"``, ``"small"``, ``"base"`` (the published one), or a dict with ``dims``, ``depths``
            and optionally ``norm_placement``, ``layer_scale``, ``mlp_ratio``, ``init_std``.
        modalities: Their specs, or dicts of their arguments; by default colour pictures of bytes and radar in dB.
        img_size: Image size, int or ``(H, W)``, whose map sizes the learned maps are stored at. Other images work:
            maps are resized bilinearly, as published.
        num_classes: Width of the classifier; 0 for none.
        fusion: ``"mean"`` of the maps of the modalities that are there, or ``"concat"`` of their channels, in the order
            of the modalities, with zeros for those that are not.
        modality_dropout: Probability, in training, of leaving a modality of a sample out of the fusion; one of each
            sample always stays.
        global_pool, drop_path_rate, drop_rate, device, dtype: See :class:`~backbones.SpectralNet`.
        operator: Instead of heat, one for all stages or a list with one for each, by names and options as in
            ``["wave", "wave", dict(type="heat", diffusivity="channel"), "heat"]``.

    Attributes:
        in_chans: Channels of packed images.

    Shape:
        A dict of some of the modalities to ``(B, C, H, W)``, or one tensor ``(B, sum of all C, H, W)``, from 32 px;
        logits ``(B, num_classes)``, or pooled features ``(B, out_channels[-1])`` without classifier.

    Raises:
        TypeError, ValueError: An argument does not fit, or images are not of the modalities; the message names band,
            unit and range.

    Example:
        >>> net = RSVHeat("nano", img_size=64).eval()
        >>> optical, sar = torch.full((1, 3, 64, 96), 90.0), torch.full((1, 1, 64, 96), -11.0)
        >>> net({"optical": optical, "sar": sar}).shape, net({"sar": sar}).shape
        (torch.Size([1, 256]), torch.Size([1, 256]))
        >>> [tuple(m.shape) for m in net.forward_intermediates({"sar": sar}, intermediates_only=True)]
        [(1, 32, 16, 24), (1, 64, 8, 12), (1, 128, 4, 6), (1, 256, 2, 3)]
    """

    def __init__(
        self,
        arch: str | dict[str, Any] = "base",
        *,
        modalities: Sequence[ModalitySpec | Mapping[str, Any]] = (OPTICAL, SAR),
        img_size: int | tuple[int, int] = 224,
        num_classes: int = 0,
        fusion: Fusion = "mean",
        modality_dropout: float = 0.0,
        global_pool: str = "avg",
        drop_path_rate: float = 0.0,
        drop_rate: float = 0.0,
        operator: OperatorSpec | Sequence[OperatorSpec] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {FUSIONS}, got {fusion!r}")
        if not 0 <= modality_dropout < 1:
            raise ValueError(f"modality_dropout must be in [0, 1), got {modality_dropout}")
        if isinstance(modalities, (str, Mapping)) or not isinstance(modalities, Sequence):
            raise TypeError(f"modalities must be a list of ModalitySpec or dicts, got {modalities!r}")
        specs = [ModalitySpec.of(given) for given in modalities]
        options = dict(resolve_arch(arch))
        dims, depths, init_std = options.pop("dims"), options.pop("depths"), options.pop("init_std", 0.02)
        with contextlib.nullcontext() if device is None else torch.device(device):
            stems = ModalityStems(specs, dims[0])
        super().__init__(
            dims=dims,
            depths=depths,
            in_chans=sum(len(spec.bands) for spec in specs),
            num_classes=num_classes,
            global_pool=global_pool,
            img_size=img_size,
            drop_path_rate=drop_path_rate,
            drop_rate=drop_rate,
            init_std=init_std,
            block=spectral_blocks(
                operator_factories("heat" if operator is None else operator), mixer=GuidedMixer, **options
            ),
            stem=stems,
            maps={"embedding": BilinearMap, "guide": BilinearMap},
            device=device,
            dtype=dtype,
        )
        self.fusion = fusion
        self.modality_dropout = modality_dropout
        if fusion == "concat":
            self._widen(len(specs))

    def _widen(self, count: int) -> None:
        """Make room for the channels of this many modalities behind the stages."""
        for info in self.feature_info:
            info["num_chs"] *= count
        self.num_features *= count
        here = {"device": self.norm.weight.device, "dtype": self.norm.weight.dtype}
        self.norm = nn.LayerNorm(self.num_features, eps=self.norm.eps, **here)
        self.reset_classifier(self.num_classes)
        with torch.no_grad():
            self._init_linears()

    @property
    def modalities(self) -> tuple[ModalitySpec, ...]:
        """The specs, in the order of the channels of packed images."""
        return self.stem.specs

    @property
    def out_channels(self) -> list[int]:
        """Channels of the fused map of each stage."""
        return [info["num_chs"] for info in self.feature_info[: len(self.stages)]]

    # -- forward ----------------------------------------------------------------------------------------------------

    def forward_modalities(
        self, x: Images, last: int | None = None, *, visible: Tensor | Mapping[str, Tensor] | None = None
    ) -> dict[str, list[Tensor]]:
        """The channels-last output of each stage for each modality, before they are fused.

        Args:
            x: Images.
            last: Index of the last stage to run; all by default.
            visible: Bool masks ``(B, 1, H, W)`` of the pixels that the network sees, one for all modalities or one for
                each that is given, by name.

        Raises:
            ValueError: Images or masks do not fit.
        """
        images = self.stem.unpacked(x)
        if visible is not None and not isinstance(visible, Mapping):
            visible = dict.fromkeys(images, visible)
        if visible is None:
            features = self.forward_maps(self.stem(images), last)
        else:
            if set(visible) != set(images):
                raise ValueError(f"visible must have a mask for each of {list(images)}, got {list(visible)}")
            each = [stage_masks(images[name], visible[name], len(self.stages)) for name in images]
            masks = [torch.cat(stage) for stage in zip(*each, strict=True)]
            features = self.forward_maps(self.stem(images, visible), last, masks)
        count = len(images)
        parts = [feature.unflatten(0, (count, feature.shape[0] // count)) for feature in features]
        return {name: [part[i] for part in parts] for i, name in enumerate(images)}

    def forward_stages(
        self, x: Images, last: int | None = None, *, visible: Tensor | Mapping[str, Tensor] | None = None
    ) -> list[Tensor]:
        """The fused channels-last output of each stage up to ``last``; see :meth:`forward_modalities`."""
        maps = self.forward_modalities(x, last, visible=visible)
        kept = self._kept(next(iter(maps.values()))[0], len(maps))
        return [self._fused(dict(zip(maps, stage, strict=True)), kept) for stage in zip(*maps.values(), strict=True)]

    def _kept(self, like: Tensor, count: int) -> Tensor | None:
        """Which modality of which sample is fused, ``(count, B, 1, 1, 1)``; None for all."""
        if not (self.training and self.modality_dropout > 0 and count > 1):
            return None
        batch = like.shape[0]
        kept = torch.rand(count, batch, device=like.device) >= self.modality_dropout
        spare = torch.arange(count, device=like.device)[:, None] == torch.randint(count, (batch,), device=like.device)
        return (kept | (spare & ~kept.any(0))).to(like.dtype)[:, :, None, None, None]

    def _fused(self, maps: dict[str, Tensor], kept: Tensor | None) -> Tensor:
        if kept is not None:
            maps = {name: each * share for (name, each), share in zip(maps.items(), kept, strict=True)}
        if self.fusion == "concat":
            nothing = torch.zeros_like(next(iter(maps.values())))
            return torch.cat([maps.get(spec.name, nothing) for spec in self.modalities], -1)
        total = sum(maps.values())
        return total / (len(maps) if kept is None else kept.sum(0))
