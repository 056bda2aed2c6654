"""Whether two sets of outputs of one image are the same but for rounding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Differing", "compare", "paste"]

#: Of dense outputs: the largest difference over the largest value. Of boxes: pixels. Of scores of boxes.
DENSE, PIXELS, SCORE = 1e-3, 0.05, 1e-3
#: Of masks: the share of their pixels.
MASKS = 0.01
#: Of objects: the share that may be missing on either side, where a threshold lies between two roundings.
MISSING = 0.02


class Differing(ValueError):
    """What was exported gives something else; the message says how much."""


def compare(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], size: tuple[int, int]) -> tuple[float, int]:
    """The largest difference, and how many objects were compared.

    Args:
        found: Outputs of what was exported, by name.
        expected: Those of :func:`~backbones.openmmlab.export.models.reference`.
        size: Height and width of the image.

    Raises:
        Differing: They differ by more than rounding.
    """
    if "boxes" in expected:
        return _compare_objects(found, expected, size), len(expected["boxes"])
    worst = 0.0
    for name, values in expected.items():
        if found[name].shape != values.shape:
            raise Differing(f"{name} has the shape {tuple(found[name].shape)} instead of {tuple(values.shape)}")
        worst = max(worst, float((found[name] - values).abs().max() / values.abs().max().clamp(min=1e-12)))
    if not worst <= DENSE:
        raise Differing(f"the outputs differ by {worst:.1e} of their largest value")
    return worst, 0


def _compare_objects(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], size: tuple[int, int]) -> float:
    apart = (found["boxes"][:, None] - expected["boxes"]).abs().amax(2)  # a row for each that was found
    alike = (found["labels"][:, None] == expected["labels"]) & (apart <= PIXELS)
    alike &= (found["scores"][:, None] - expected["scores"]).abs() <= SCORE
    missing, foreign = ~alike.any(0), ~alike.any(1)
    if len(missing) == len(foreign) > 0 and alike.any():  # the list may be full: rounding chooses who is the last
        last = torch.minimum(found["scores"].min(), expected["scores"].min()) + SCORE
        missing, foreign = missing & (expected["scores"] > last), foreign & (found["scores"] > last)
    if missing.sum() + foreign.sum() > MISSING * (len(missing) + len(foreign)):
        raise Differing(
            f"{int(missing.sum())} of {len(missing)} objects are missing and {int(foreign.sum())} of {len(foreign)} "
            "are not the model's"
        )
    rows = alike.any(1).nonzero()[:, 0]
    if not len(rows):
        return 0.0
    columns = apart.masked_fill(~alike, torch.inf)[rows].argmin(1)
    if "masks" in expected:
        whole = paste(found["masks"][rows], found["boxes"][rows], size) >= 0.5
        masks = expected["masks"][columns]
        wrong = float((whole != masks).sum() / (whole | masks).sum().clamp(min=1))
        if wrong > MASKS:
            raise Differing(f"{wrong:.1%} of the pixels of the masks differ")
    return float(apart[rows, columns].max())


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks ``(n, h, w)`` of the cells of their boxes as probabilities ``(n, H, W)`` in the whole image, linearly.

    Args:
        masks: Probabilities.
        boxes: ``(n, 4)``, x0, y0, x1, y1 in pixels.
        size: H and W.

    Example:
        >>> paste(torch.ones(1, 2, 2), torch.tensor([[1.0, 0.0, 3.0, 2.0]]), (2, 4))[0]
        tensor([[0., 1., 1., 0.],
                [0., 1., 1., 0.]])
    """
    x0, y0, x1, y1 = boxes[:, :, None].unbind(1)
    y = (torch.arange(size[0], device=boxes.device) + 0.5 - y0) / (y1 - y0) * 2 - 1
    x = (torch.arange(size[1], device=boxes.device) + 0.5 - x0) / (x1 - x0) * 2 - 1
    y, x = (torch.where(side.isinf(), 0, side) for side in (y, x))  # of boxes without extent, as in mmdet
    shape = (len(boxes), *size)
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], 3)
    return F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0]
