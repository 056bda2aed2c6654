"""Make the "digit scenes" data set: real handwritten digits on real photographs, with boxes, masks and label maps.

    python tools/make_digit_scenes.py [--style day] [--out data/digit_scenes] [--size 96] [--train 3000] [--val 200]
                                      [--seed 0]

Digits come from scikit-learn (1,797 scans of 8 x 8), photographs from scikit-image and scikit-learn; all ship inside
the installed packages, so nothing is downloaded. Training and validation share no digit bitmap and no photograph
region: digits are split by bitmap, and every photograph is cut in two with a gap between. Overlaps are resolved front
to back, so boxes and masks are those of the visible part. The same arguments give the same files.

The style "night" is for transfer: the same digits, dim and of little contrast, on other photographs (from scikit-image,
matplotlib and mmdetection's imgaug), darkened and blue, with more noise; by default in data/digit_scenes_night.

Writes OUT/{train,val}/*.png, OUT/{train,val}_labels/*.png (0 background, 1 + digit otherwise),
OUT/{train,val}.json (COCO instances) and OUT/meta.json (the arguments, written last).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from _files import make_data_set

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_OUT = ROOT / "data" / "digit_scenes"
CLASSES = tuple(str(d) for d in range(10))
#: Photographs that ship inside scikit-image's wheel and hold no digits or text of their own.
PHOTOGRAPHS = [
    *("astronaut", "brick", "camera", "cell", "chelsea", "coffee", "coins", "grass", "gravel", "hubble_deep_field"),
    *("immunohistochemistry", "moon", "retina", "rocket"),
]
#: Part of a photograph's longer side given to training, and the start of the part given to validation.
TRAIN_END, VAL_START = 0.68, 0.70
#: An instance keeps at least this share of its ink.
MIN_VISIBLE = 0.8
DIGITS_PER_SCENE = (5, 9)
#: Height of a digit's 8 x 8 bitmap in parts of the scene, and photograph pixels per scene pixel.
DIGIT_HEIGHT, PHOTOGRAPH_SCALE = (0.22, 0.34), (0.8, 2.0)


@dataclass
class Instance:
    """One digit in a scene."""

    label: int
    mask: np.ndarray


@dataclass(frozen=True)
class Style:
    """How scenes look.

    Attributes:
        photographs: Loads the backgrounds, (H, W, 3) or (H, W) uint8 arrays, RGB.
        light: What the photographs' channels are multiplied by.
        ink: Lowest and highest colour of digits, RGB.
        contrast: A digit's luminance differs at least by this from the mean of what is behind it.
        noise: Standard deviation of the noise over everything.
    """

    photographs: Callable[[], list[np.ndarray]]
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ink: tuple[tuple[float, float, float], tuple[float, float, float]] = ((0, 0, 0), (255, 255, 255))
    contrast: float = 100
    noise: float = 4


def _day() -> list[np.ndarray]:
    from skimage import data
    from sklearn.datasets import load_sample_images

    return [getattr(data, name)() for name in PHOTOGRAPHS] + list(load_sample_images().images)


def _night() -> list[np.ndarray]:
    from matplotlib import get_data_path
    from skimage import data

    imgaug = find_spec("imgaug")  # found, not imported: that takes seconds
    if imgaug is None or imgaug.origin is None:
        raise ModuleNotFoundError("the style 'night' takes a photograph from imgaug, which mmdetection brings")
    files = [Path(get_data_path()) / "sample_data" / "grace_hopper.jpg", Path(imgaug.origin).parent / "quokka.jpg"]
    photographs = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]
    return [data.stereo_motorcycle()[0], data.clock(), *photographs]


STYLES = {
    "day": Style(_day),
    "night": Style(_night, light=(0.3, 0.35, 0.55), ink=((20, 20, 20), (180, 180, 180)), contrast=45, noise=8),
}


def load_photographs(style: str = "day") -> list[np.ndarray]:
    """The photographs of a style as (H, W, 3) uint8 arrays in RGB."""
    from skimage import color

    images = STYLES[style].photographs()
    return [np.ascontiguousarray(color.gray2rgb(i) if i.ndim == 2 else i[..., :3]).astype(np.uint8) for i in images]


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Digit bitmaps in [0, 1], (N, 8, 8), without repeats, and their labels."""
    from sklearn import datasets

    digits = datasets.load_digits()
    _, first = np.unique(digits.images.reshape(len(digits.images), -1), axis=0, return_index=True)
    first.sort()
    return digits.images[first] / 16.0, digits.target[first]


def split_digits(labels: np.ndarray, seed: int, val_share: float = 0.2) -> dict[str, np.ndarray]:
    """Indices of the training and validation digits, stratified by class."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {"train": [], "val": []}
    for label in range(10):
        indices = rng.permutation(np.flatnonzero(labels == label))
        cut = round(len(indices) * val_share)
        parts["val"].append(indices[:cut])
        parts["train"].append(indices[cut:])
    return {name: np.concatenate(chunks) for name, chunks in parts.items()}


def region(photograph: np.ndarray, split: str) -> np.ndarray:
    """The part of a photograph that belongs to a split."""
    axis = 0 if photograph.shape[0] > photograph.shape[1] else 1
    length = photograph.shape[axis]
    part = slice(0, int(TRAIN_END * length)) if split == "train" else slice(int(VAL_START * length), length)
    return photograph[part] if axis == 0 else photograph[:, part]


def _background(rng: np.random.Generator, photographs: list[np.ndarray], size: int) -> np.ndarray:
    photograph = photographs[rng.integers(len(photographs))]
    side = int(min(*photograph.shape[:2], size * rng.uniform(*PHOTOGRAPH_SCALE)))
    top, left = (int(rng.integers(n - side + 1)) for n in photograph.shape[:2])
    crop = photograph[top : top + side, left : left + side]
    scene = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)
    return scene[:, ::-1].copy() if rng.random() < 0.5 else scene


def _stamp(rng: np.random.Generator, bitmap: np.ndarray, size: int) -> np.ndarray:
    """Opacity in [0, 1] of a digit drawn at random position, scale, aspect and tilt on a (size, size) canvas."""
    height = size * rng.uniform(*DIGIT_HEIGHT)
    scale = np.array([height / 8 * rng.uniform(0.8, 1.1), height / 8])
    angle = np.deg2rad(rng.uniform(-15, 15))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn * scale
    centre = rng.uniform(0.45 * height, size - 0.45 * height, 2)
    matrix = np.column_stack([linear, centre - linear @ np.array([3.5, 3.5])])
    opacity = cv2.warpAffine(bitmap.astype(np.float32), matrix, (size, size), flags=cv2.INTER_CUBIC)
    return np.clip(opacity * 2.2 - 0.5, 0, 1)


def _ink(rng: np.random.Generator, behind: np.ndarray, style: Style) -> np.ndarray:
    """A colour that contrasts with the mean of what it will cover."""
    while True:
        colour = rng.uniform(*style.ink)
        if abs(float((colour - behind) @ (0.299, 0.587, 0.114))) >= style.contrast:
            return colour


def draw_scene(
    rng: np.random.Generator,
    photographs: list[np.ndarray],
    bitmaps: np.ndarray,
    labels: np.ndarray,
    size: int,
    digits: tuple[int, int] = DIGITS_PER_SCENE,
    style: str = "day",
) -> tuple[np.ndarray, list[Instance]]:
    """One scene, (size, size, 3) RGB, with so many digits (lowest and highest number), and its visible instances."""
    look = STYLES[style]
    scene = _background(rng, photographs, size) * np.float32(look.light)
    instances: list[Instance] = []
    ink: list[float] = []
    wanted = int(rng.integers(digits[0], digits[1] + 1))
    for _ in range(10 * wanted):
        if len(instances) == wanted:
            break
        choice = int(rng.integers(len(labels)))
        opacity = _stamp(rng, bitmaps[choice], size)
        mask = opacity > 0.5
        remaining = [i.mask & ~mask for i in instances]
        if not mask.any() or any(r.sum() < MIN_VISIBLE * a for r, a in zip(remaining, ink, strict=True)):
            continue  # it would hide an earlier digit: try another place
        for instance, visible in zip(instances, remaining, strict=True):
            instance.mask = visible
        opacity = opacity[..., None] * rng.uniform(0.85, 1.0)
        scene = scene * (1 - opacity) + _ink(rng, scene[mask].mean(0), look) * opacity
        instances.append(Instance(int(labels[choice]), mask))
        ink.append(float(mask.sum()))
    scene += rng.normal(0, look.noise, scene.shape)
    return np.clip(scene, 0, 255).astype(np.uint8), instances


def _annotations(instances: list[Instance], image_id: int, first_id: int) -> Iterator[dict]:
    from pycocotools import mask as coco_mask

    for offset, instance in enumerate(instances):
        rle = coco_mask.encode(np.asfortranarray(instance.mask.astype(np.uint8)))
        yield {
            "id": first_id + offset,
            "image_id": image_id,
            "category_id": instance.label,
            "bbox": [float(v) for v in coco_mask.toBbox(rle)],
            "area": float(coco_mask.area(rle)),
            "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode()},
            "iscrowd": 0,
        }


def _write_split(out: Path, split: str, count: int, size: int, seed: int, style: str) -> None:
    photographs = [region(p, split) for p in load_photographs(style)]
    bitmaps, labels = load_digits()
    own = split_digits(labels, seed)[split]
    rng = np.random.default_rng([seed, ("train", "val").index(split)])
    coco: dict[str, list] = {"images": [], "annotations": []}
    (out / split).mkdir(parents=True)
    (out / f"{split}_labels").mkdir()
    for image_id in range(count):
        scene, instances = draw_scene(rng, photographs, bitmaps[own], labels[own], size, style=style)
        name = f"{image_id:05d}.png"
        label_map = np.zeros((size, size), np.uint8)
        for instance in instances:
            label_map[instance.mask] = 1 + instance.label
        cv2.imwrite(str(out / split / name), scene[..., ::-1])
        cv2.imwrite(str(out / f"{split}_labels" / name), label_map)
        coco["images"].append({"id": image_id, "file_name": name, "width": size, "height": size})
        coco["annotations"] += _annotations(instances, image_id, len(coco["annotations"]) + 1)
    coco["categories"] = [{"id": i, "name": name} for i, name in enumerate(CLASSES)]
    (out / f"{split}.json").write_text(json.dumps(coco))


def default_out(style: str) -> Path:
    """Where the data set of a style goes."""
    return DEFAULT_OUT if style == "day" else DEFAULT_OUT.with_name(f"{DEFAULT_OUT.name}_{style}")


def make_digit_scenes(
    out: Path | None = None, *, style: str = "day", size: int = 96, train: int = 3000, val: int = 200, seed: int = 0
) -> bool:
    """Write the data set, to :func:`default_out` or ``out``; returns False where the same one is already there.

    It is written to a neighbouring folder and moved into place when complete.

    Raises:
        ValueError: A size or count is out of range, or there is no such style.
        FileExistsError: ``out`` holds something else than such a data set.
    """
    if size < 64 or train < 1 or val < 1 or seed < 0:
        raise ValueError(f"size must be >= 64, train and val >= 1, seed >= 0; got {size=}, {train=}, {val=}, {seed=}")
    if style not in STYLES:
        raise ValueError(f"style must be one of {sorted(STYLES)}, got {style!r}")
    out = default_out(style) if out is None else out
    meta: dict[str, int | str] = {"size": size, "train": train, "val": val, "seed": seed, "version": 2}
    if style != "day":  # older data sets, which are all of that style, stay valid
        meta["style"] = style

    def fill(folder: Path) -> None:
        for split, count in (("train", train), ("val", val)):
            _write_split(folder, split, count, size, seed, style)

    return make_data_set(out, meta, "digit-scenes", fill)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--style", choices=STYLES, default="day")
    parser.add_argument("--out", type=Path, help="default data/digit_scenes, with the name of another style behind it")
    parser.add_argument("--size", type=int, default=96, help="image side in pixels, at least 64")
    parser.add_argument("--train", type=int, default=3000, help="number of training scenes")
    parser.add_argument("--val", type=int, default=200, help="number of validation scenes")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    out = args.out or default_out(args.style)
    try:
        made = make_digit_scenes(out, style=args.style, size=args.size, train=args.train, val=args.val, seed=args.seed)
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))
    print(f"{out}: {'written' if made else 'already there'}, {args.train} + {args.val} scenes of {args.size} px")


if __name__ == "__main__":
    main()
