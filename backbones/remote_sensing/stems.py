"""One stem for each modality: what turns its images, in their own unit, into maps that all of them share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from backbones.blocks import MIN_IMAGE_SIZE, Stem
from backbones.remote_sensing.modalities import ModalitySpec, checking

__all__ = ["ModalityStem", "ModalityStems"]


def _checked_values(images: Tensor, spec: ModalitySpec) -> Tensor:
    """Images, if they can be of a modality. One node of a torch.fx graph."""
    spec.check_shape(images)
    if checking():
        spec.check(images)
    return images


def _checked_packed(images: Tensor, specs: tuple[ModalitySpec, ...]) -> Tensor:
    """Packed images, if they have the channels of these modalities. One node of a torch.fx graph."""
    count = sum(len(spec.bands) for spec in specs)
    if images.ndim != 4 or images.shape[1] != count:
        bands = "; ".join(f"{spec.name}: {', '.join(spec.bands)}" for spec in specs)
        raise ValueError(
            f"packed images must have shape (B, {count}, H, W), the bands of all modalities ({bands}), got "
            f"{tuple(images.shape)}; give some of them as a dict of modality to images"
        )
    return images


fx.wrap("_checked_values")
fx.wrap("_checked_packed")


class ModalityStem(Stem):
    """A :class:`~backbones.blocks.Stem` for images of a modality, which it checks and normalises.

    Args:
        spec: Of the modality. Its description is a buffer, so that it is in every checkpoint; where a state dict
            describes another modality, loading is an error.
        channels: Of the map.
        place: Of the modality among those of the network.

    Raises:
        ValueError: The images are not of that modality, see :meth:`ModalitySpec.check`; graphs that are traced,
            compiled or exported look at shapes alone.
    """

    def __init__(self, spec: ModalitySpec, channels: int, place: int = 0) -> None:
        super().__init__(len(spec.bands), channels)
        self.spec = spec
        self.place = place
        self.register_buffer("description", spec.to_tensor(place))

    def reset_parameters(self) -> None:
        """Write the description anew, where ``to_empty`` has left nothing of it."""
        self.description.copy_(self.spec.to_tensor(self.place))

    def misfit(self, description: Tensor) -> str:
        """Why weights with this description are not for this stem, ``""`` where they are."""
        try:
            theirs, _ = ModalitySpec.from_tensor(description)
        except ValueError as error:
            return str(error)
        difference = theirs.difference(self.spec)
        return difference and f"modality {self.spec.name!r} has in the file and in the model {difference}"

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        # Not the buffer: in a copy, moving averages over buffers have made other bytes of it.
        destination[f"{prefix}description"] = self.spec.to_tensor(self.place).to(self.description.device)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        name = f"{prefix}description"
        if name in state_dict:
            if reason := self.misfit(state_dict[name]):
                error_msgs.append(f"{name}: {reason}")
            # The place may be another one, and the description longer or shorter by it: the model's own stays.
            own = self.spec.to_tensor(self.place).to(self.description.device)
            state_dict = {**state_dict, name: own}
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        if visible is not None:  # hidden pixels may be anything
            mean = x.new_tensor(self.spec.mean).reshape(-1, 1, 1)
            x = torch.where(visible, x, mean)
        return self.embedded(self.spec.normalised(_checked_values(x, self.spec)), visible)

    def embedded(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """The map of images that are normalised already, bands of frequencies for example."""
        return super().forward(x, visible)

    def extra_repr(self) -> str:
        return f"bands={self.spec.bands}, unit={self.spec.unit!r}"


class ModalityStems(nn.ModuleDict):
    """The stems of a network's modalities, by name.

    Args:
        specs: Of the modalities, in the order of the channels of packed images.
        channels: Of the maps.

    Raises:
        ValueError: There is no modality, or two have the same name.
    """

    def __init__(self, specs: Iterable[ModalitySpec], channels: int) -> None:
        specs = tuple(specs)
        names = [spec.name for spec in specs]
        if not specs or len(set(names)) != len(names):
            raise ValueError(f"modalities must be at least one, of different names, got {names}")
        super().__init__({spec.name: ModalityStem(spec, channels, i) for i, spec in enumerate(specs)})

    @property
    def specs(self) -> tuple[ModalitySpec, ...]:
        """Of the modalities, in their order."""
        return tuple(stem.spec for stem in self.values())

    def unpacked(self, images: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Images by modality, in the order of the modalities.

        Args:
            images: A dict of some of them, or one tensor with the channels of all.

        Raises:
            ValueError: A modality is not known, or none is given, or the channels are not theirs, or their images are
                of different number or size.
        """
        if not isinstance(images, Mapping):
            return self._split(images)
        if not images or (unknown := [name for name in images if name not in self]):
            given = f"{unknown} are not known" if images else "none is given"
            raise ValueError(f"images must be of some of the modalities {list(self)}: {given}")
        images = {name: images[name] for name in self if name in images}
        for name, each in images.items():
            self[name].spec.check_shape(each)
            if min(each.shape[2:]) < MIN_IMAGE_SIZE:
                raise ValueError(
                    f"images of modality {name!r} must be at least {MIN_IMAGE_SIZE} px high and wide, got "
                    f"{tuple(each.shape)}"
                )
        first, *others = images.items()
        for name, each in others:
            if each.shape[0] != first[1].shape[0] or each.shape[2:] != first[1].shape[2:]:
                raise ValueError(
                    f"the images of all modalities must be pairs of the same size: {first[0]!r} is "
                    f"{tuple(first[1].shape)}, {name!r} {tuple(each.shape)}"
                )
        return images

    def _split(self, images: Tensor) -> dict[str, Tensor]:
        parts = _checked_packed(images, self.specs).split([len(spec.bands) for spec in self.specs], 1)
        return {name: parts[i] for i, name in enumerate(self)}

    def forward(self, images: Mapping[str, Tensor], visible: Mapping[str, Tensor] | None = None) -> Tensor:
        """The maps of all images, one modality behind the other: ``(modalities * B, H/4, W/4, C)``.

        Args:
            images: Of some modalities, as :meth:`unpacked` gives them.
            visible: Bool masks ``(B, 1, H, W)`` of their pixels, by modality.
        """
        visible = visible or {}
        return torch.cat([self[name](each, visible.get(name)) for name, each in images.items()])
