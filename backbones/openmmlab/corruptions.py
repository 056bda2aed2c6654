"""Common corruptions as a transform of OpenMMLab's pipelines, the same for an image whenever and wherever it runs."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mmengine.registry import TRANSFORMS

__all__ = ["CORRUPTIONS", "CommonCorruption"]

#: The names of the fifteen by group.
CORRUPTIONS: dict[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
_NAMES = tuple(name for names in CORRUPTIONS.values() for name in names)
_SMALLEST = 32
_OWN_GENERATOR = ("impulse_noise", "glass_blur")  # the others draw from numpy's global one


@TRANSFORMS.register_module()
class CommonCorruption:
    """One of the fifteen common corruptions, at one of five severities.

    It stands behind ``LoadImageFromFile`` in a test pipeline. Its randomness is seeded by the image's ``img_id`` or,
    where there is none, its file name, with the corruption and the severity: results do not depend on the order of the
    images, the number of workers or what else draws random numbers, which go on as if nothing had been drawn.

    Args:
        name: One of :data:`CORRUPTIONS`, such as ``"fog"``.
        severity: 1 to 5.
        channel_order: Of the images: ``"bgr"``, as OpenMMLab loads them, or ``"rgb"``.
        seed: Another one draws other noise.

    Shape:
        ``results["img"]``: ``(H, W, 3)``, uint8, of at least 32 x 32 px; it is replaced by one of the same shape.

    Raises:
        ValueError: An argument is none of these, or an image does not fit.
        ImportError: The package imagecorruptions-imaug, which draws them, is not installed.

    Example:
        >>> corrupt = TRANSFORMS.build(dict(type="CommonCorruption", name="contrast", severity=5))
        >>> image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
        >>> grey = corrupt(dict(img=image, img_id=7))["img"]
        >>> grey.shape, bool(grey.std() < 0.1 * image.std())
        ((48, 64, 3), True)

    Source:
        D. Hendrycks and T. Dietterich, *Benchmarking Neural Network Robustness to Common Corruptions and
        Perturbations*, ICLR 2019, arXiv 1903.12261.
    """

    def __init__(
        self, name: str, severity: int = 1, channel_order: Literal["bgr", "rgb"] = "bgr", seed: int = 0
    ) -> None:
        if name not in _NAMES:
            raise ValueError(f"name must be one of {', '.join(_NAMES)}, got {name!r}")
        if isinstance(severity, bool) or severity not in range(1, 6):
            raise ValueError(f"severity must be 1, 2, 3, 4 or 5, got {severity!r}")
        if channel_order not in ("bgr", "rgb"):
            raise ValueError(f"channel_order must be 'bgr' or 'rgb', got {channel_order!r}")
        try:
            from imagecorruptions import corrupt
        except ImportError as error:
            raise ImportError(
                "CommonCorruption needs the package imagecorruptions-imaug: pip install imagecorruptions-imaug"
            ) from error
        self._corrupt = corrupt
        self.name, self.severity, self.channel_order, self.seed = name, int(severity), channel_order, seed

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        image = _checked(results["img"])
        reverse = self.channel_order == "bgr"
        seed = self._seed(results)
        given = {"seed": seed} if self.name in _OWN_GENERATOR else {}
        before = np.random.get_state()
        np.random.seed(seed)
        try:
            rgb = np.ascontiguousarray(image[..., ::-1] if reverse else image)
            changed = self._corrupt(rgb, corruption_name=self.name, severity=self.severity, **given)
        finally:
            np.random.set_state(before)
        return {**results, "img": np.ascontiguousarray(changed[..., ::-1] if reverse else changed)}

    def _seed(self, results: dict[str, Any]) -> int:
        image = results.get("img_id")
        if image is None:
            image = Path(results["img_path"]).name if results.get("img_path") else ""
        return zlib.crc32(f"{image}/{self.name}/{self.severity}/{self.seed}".encode())

    def __repr__(self) -> str:
        return f"CommonCorruption(name={self.name!r}, severity={self.severity})"


def _checked(image: Any) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        given = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"CommonCorruption takes images of uint8 (H, W, 3), as they are loaded, got {given}")
    if min(image.shape[:2]) < _SMALLEST:
        raise ValueError(
            f"CommonCorruption takes images of at least {_SMALLEST} x {_SMALLEST} px, got {image.shape[0]} x "
            f"{image.shape[1]}: the corruptions are not defined below"
        )
    return image
