"""What a pre-training in the cosine domain makes of hidden frequencies, as images and as pictures."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from backbones.pretraining.hiding import Views
from backbones.remote_sensing import network
from spectral_ops import dctn, idctn
from spectral_ops.modes import evaluating

__all__ = ["FrequencyPictures"]

#: Of a place in a picture where there is nothing, and pictures of a modality.
_WHITE, _COLUMNS = 255.0, 5
#: How many standard deviations a picture shows to both sides of the mean.
_SHOWN = 2.5


class FrequencyPictures:
    """Mixin of :class:`~backbones.pretraining.FrequencyPretraining`: its predictions to look at."""

    @torch.no_grad()
    def reconstruct(self, images: network.Images, *, views: Views | None = None) -> dict[str, dict[str, Tensor]]:
        """What is seen of images and what becomes of the rest, by modality, all normalised.

        Args:
            images, views: As for :meth:`losses`.

        Returns:
            For each modality that is there ``"image"``, ``"seen"``, ``"predicted"`` and ``"restored"``, ``(B, C, H,
            W)``: the image with its hidden modes or pixels as predicted. Samples without the modality are NaN.
        """
        if isinstance(images, Mapping):
            images = self.packed(images)
        images = self._prepared(images)
        views = self._hidden_units(images, None, views)
        with evaluating(self):
            there, normalised, maps, encoded = self._encoded(images, views)
            predicted = self._predicted(maps, encoded, images.shape[2:])
        found = {}
        for name, image in normalised.items():
            mine, guess = views.of(there[name]), predicted[name].to(image.dtype)
            if mine.pixels is not None:
                parts = {"seen": image.masked_fill(mine.pixels, 0.0), "restored": guess.where(mine.pixels, image)}
            else:
                kept = mine.kept.any(1, keepdim=True).to(image.dtype)
                seen, error = (idctn(dctn(x, dims=(-2, -1)) * kept, dims=(-2, -1)) for x in (image, guess))
                parts = {"seen": seen, "restored": seen + guess - error}
            every = {"image": image, "predicted": guess, **parts}
            full = {key: x.new_full((len(images), *x.shape[1:]), torch.nan) for key, x in every.items()}
            for key, x in every.items():
                full[key][there[name]] = x
            found[name] = full
        return found

    def shown_mask(self, batch: int, size: Sequence[int]) -> Views:
        """Views of which something is hidden of each image."""
        hiding = copy.copy(self.mask)
        hiding.clean = 0.0
        return hiding(batch, size)

    def columns(self, images: Tensor, views: Views) -> list[Tensor]:
        """Pictures ``(B, 3, H, W)``, 0..255: for each modality the image, what is seen, and it with the rest predicted,
        then the hidden part and its prediction.

        Args:
            images: As the data preprocessor takes them.
            views: What is hidden.
        """
        blank = torch.full((len(images), 3, *images.shape[2:]), _WHITE)
        found = []
        for spec in self.modalities:
            parts = self.reconstruct(images, views=views).get(spec.name)
            if parts is None:
                found += [blank] * _COLUMNS
                continue
            image, seen, restored = parts["image"], parts["seen"], parts["restored"]
            found += [_picture(x) for x in (image, seen, restored, image - seen, restored - seen)]
        return found


def _picture(x: Tensor) -> Tensor:
    """Normalised images as pictures, by their first three bands, or by one where they have fewer."""
    x = x[:, :3] if x.shape[1] >= 3 else x[:, :1].expand(-1, 3, -1, -1)
    return (127.5 + 127.5 / _SHOWN * x.float().cpu()).nan_to_num(_WHITE).clamp(0, 255)
