"""Predictions over their image: masks, boxes and names, or the colours of classes."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from prediction.instances import Instances, decode

Colour = tuple[int, int, int]


def colours(given: object, count: int) -> list[Colour]:
    """A palette of ``count`` colours, red first: the given one where it is long enough, or hues far from each other."""
    if isinstance(given, (list, tuple)) and len(given) >= count:
        return [tuple(int(value) for value in colour) for colour in given[:count]]
    golden = 0.618034
    made = (colorsys.hsv_to_rgb(golden * i % 1, 0.85, (1.0, 0.75)[i % 2]) for i in range(count))
    return [tuple(round(255 * value) for value in colour) for colour in made]


def draw_instances(
    image: np.ndarray, found: Instances, classes: Sequence[str], palette: Sequence[Colour]
) -> np.ndarray:
    """Objects on an image ``(H, W, 3)``, blue first; the surest lie on top."""
    drawn = np.ascontiguousarray(image[..., ::-1]).copy()
    found = found.chosen(np.argsort(found.scores, kind="stable"))
    for runs, label in zip(found.masks or (), found.labels, strict=bool(found.masks)):
        mask = decode(runs)
        drawn[mask] = (0.5 * drawn[mask] + 0.5 * np.array(palette[label])).astype(np.uint8)
    canvas = Image.fromarray(drawn)
    pen = ImageDraw.Draw(canvas)
    line = max(1, round(min(image.shape[:2]) / 300))
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), max(9, 5 * line + 4))
    for box, score, label in zip(found.boxes.tolist(), found.scores, found.labels, strict=True):
        pen.rectangle(box, outline=palette[label], width=line)
        text, (x, y) = f"{classes[label]} {score:.2f}", box[:2]
        x = max(0, min(x, image.shape[1] - pen.textlength(text, font)))
        field = pen.textbbox((x, y), text, font, anchor="lb")
        if field[1] < 0:  # no room above
            field = pen.textbbox((x, 0), text, font, anchor="lt")
        pen.rectangle(field, fill=palette[label])
        light = sum(weight * value for weight, value in zip((0.299, 0.587, 0.114), palette[label], strict=True))
        pen.text(field[:2], text, "black" if light > 128 else "white", font, anchor="lt")
    return np.asarray(canvas)[..., ::-1]


def draw_labels(image: np.ndarray, labels: np.ndarray, palette: Sequence[Colour]) -> np.ndarray:
    """Labels ``(H, W)`` as colours, half transparent, on an image ``(H, W, 3)``, blue first."""
    return (0.5 * image + 0.5 * np.array(palette, np.float32)[labels][..., ::-1]).astype(np.uint8)
