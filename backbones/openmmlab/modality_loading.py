"""Steps of pipelines that load images of several modalities, and pairs of two dates, into one packed image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from mmengine.registry import TRANSFORMS

from backbones.remote_sensing import ModalitySpec, read_pair

__all__ = ["LoadModalities", "LoadPair"]

Missing = Literal["error", "mean"]


@TRANSFORMS.register_module()
class LoadModalities:
    """Load the files of a place, one for each modality, as one image: the bands of all, one behind the other.

    It stands where ``LoadImageFromFile`` does in the pipelines of mmdet, mmseg and mmrotate; their steps (``Resize``,
    ``Pad``, ``RandomFlip``, ``RandomCrop``) take any number of channels, those that change colours take three. The data
    set lists the images of one modality; those of the others have the same name, but for the suffix, in folders beside
    its own.

    Args:
        modalities: Specs of what is loaded, dicts of the arguments of
            :class:`~backbones.remote_sensing.ModalitySpec`, in the order that the network has them: all or some of its
            own.
        folders: By modality, the folder of its files, relative to the one above that of the listed image, as in
            ``dict(sar="sar")``. At most one modality has none: the listed image is of it.
        bands: By modality, the names of the bands of its files, in their order; for files that tell none, or others.
        missing: What comes of a place without a file of a modality: ``"error"``, or ``"mean"``, an image of the spec's
            means, which the network normalises to zeros.

    Writes:
        ``img``, float32 ``(H, W, all bands)`` in the units of the specs, ``img_shape`` and ``ori_shape``.

    Raises:
        TypeError, ValueError: An argument does not fit; in use, images differ in size or place, or their values cannot
            be of the modality: the message names file, band, unit and range.
        FileNotFoundError: A file is not there, or a modality has several of that name.

    Example:
        >>> import tempfile, cv2
        >>> root = Path(tempfile.mkdtemp())
        >>> for folder, channels in (("optical", 3), ("radar", 1)):
        ...     (root / folder).mkdir()
        ...     _ = cv2.imwrite(str(root / folder / "a.png"), np.random.randint(0, 255, (40, 50, channels), np.uint8))
        >>> specs = [
        ...     dict(name="optical", bands=["R", "G", "B"], unit="uint8", mean=120.0, std=58.0),
        ...     dict(name="sar", bands=["VV"], unit="uint8", mean=100.0, std=40.0),
        ... ]
        >>> step = LoadModalities(specs, folders=dict(sar="radar"))
        >>> step(dict(img_path=str(root / "optical/a.png")))["img"].shape
        (40, 50, 4)
    """

    def __init__(
        self,
        modalities: Sequence[ModalitySpec | Mapping[str, Any]],
        folders: Mapping[str, str] | None = None,
        bands: Mapping[str, Sequence[str]] | None = None,
        missing: Missing = "error",
    ) -> None:
        self.modalities = tuple(ModalitySpec.of(given) for given in modalities)
        names = [spec.name for spec in self.modalities]
        self.folders, self.bands = dict(folders or {}), dict(bands or {})
        if not names or len(set(names)) < len(names):
            raise ValueError(f"modalities must be at least one, of different names, got {names}")
        for what, given in (("folders", self.folders), ("bands", self.bands)):
            if unknown := set(given) - set(names):
                raise ValueError(f"{what} names {sorted(unknown)}, which are not among the modalities {names}")
        if len(listed := [name for name in names if name not in self.folders]) > 1:
            raise ValueError(f"folders must name those of all modalities but the listed one, and lacks {listed}")
        if missing not in get_args(Missing):
            raise ValueError(f"missing must be one of {get_args(Missing)}, got {missing!r}")
        self.missing = missing

    def files(self, listed: str | Path) -> dict[str, Path | None]:
        """The file of each modality beside a listed image; None where there is none and that is no error.

        Raises:
            FileNotFoundError: There is none, or there are several.
        """
        listed = Path(listed)
        found: dict[str, Path | None] = {}
        for spec in self.modalities:
            if spec.name not in self.folders:
                if not listed.is_file():
                    raise FileNotFoundError(f"image of modality {spec.name!r} is not there: {listed}")
                found[spec.name] = listed
                continue
            folder = listed.parent.parent / self.folders[spec.name]
            same = folder / listed.name
            partners = [same] if same.is_file() else _of_stem(folder, listed.stem)
            if len(partners) != 1 and not (self.missing == "mean" and not partners):
                what = f"are several: {', '.join(p.name for p in partners)}" if partners else "is none"
                raise FileNotFoundError(
                    f"{listed} needs one partner of modality {spec.name!r} in {folder}: there {what}"
                )
            found[spec.name] = partners[0] if partners else None
        return found

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Load what belongs to ``results["img_path"]``."""
        files = self.files(results["img_path"])
        there = {name: file for name, file in files.items() if file is not None}
        if not there:
            raise FileNotFoundError(f"{results['img_path']} has no file of any of {list(files)}")
        images = {name: np.moveaxis(x, 0, -1) for name, x in read_pair(there, self.modalities, self.bands).items()}
        size = next(iter(images.values())).shape[:2]
        parts = [
            images.get(s.name, np.broadcast_to(np.float32(s.mean), (*size, len(s.bands)))) for s in self.modalities
        ]
        return {**results, "img": np.concatenate(parts, -1), "img_shape": size, "ori_shape": size}

    def __repr__(self) -> str:
        names = [spec.name for spec in self.modalities]
        return f"LoadModalities(modalities={names}, folders={self.folders}, missing={self.missing!r})"


@TRANSFORMS.register_module()
class LoadPair:
    """Load two images of a place, before and after, as one: the channels of both, one behind the other.

    It is for change detection with mmseg's data sets of pairs (``BaseCDDataset``), whose images may be of any kind that
    the steps load, and it needs no GDAL. :class:`Siamese` takes the two apart again.

    Args:
        before: The step that loads ``img_path``, ``dict(type="LoadImageFromFile")`` or
            ``dict(type="LoadModalities", ...)`` for example.
        after: The step that loads ``img_path2``; the same by default.

    Raises:
        ValueError: In use, there is but one image, or the two have different sizes or channels.
        FileNotFoundError: One of the two is not there.

    Example:
        >>> import tempfile, cv2
        >>> root = Path(tempfile.mkdtemp())
        >>> pair = {}
        >>> for key, name in (("img_path", "a.png"), ("img_path2", "b.png")):
        ...     pair[key] = str(root / name)
        ...     _ = cv2.imwrite(pair[key], np.random.randint(0, 255, (20, 30, 3), np.uint8))
        >>> spec = dict(name="optical", bands=["R", "G", "B"], unit="uint8", mean=120.0, std=58.0)
        >>> LoadPair(dict(type="LoadModalities", modalities=[spec]))(pair)["img"].shape
        (20, 30, 6)
    """

    def __init__(self, before: dict[str, Any], after: dict[str, Any] | None = None) -> None:
        self.before = TRANSFORMS.build(before)
        self.after = TRANSFORMS.build(before if after is None else after)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Load what belongs to ``results["img_path"]`` and ``results["img_path2"]``."""
        for key in ("img_path", "img_path2"):
            if key not in results:
                raise ValueError(
                    f"a pair needs img_path and img_path2, got {sorted(results)}: functions that give one image cannot "
                    f"be used, tools/test.py --show-dir draws changes"
                )
            if not Path(results[key]).is_file():
                raise FileNotFoundError(f"{results[key]} is not there, of the pair {_pair(results)}")
        first = self.before(dict(results))
        second = self.after({**results, "img_path": results["img_path2"]})
        if first["img"].shape != second["img"].shape:
            shapes = f"{first['img'].shape} and {second['img'].shape} (height, width, channels)"
            raise ValueError(f"a pair must have one size, but {_pair(results)} are {shapes}")
        return {**first, "img": np.concatenate([first["img"], second["img"]], -1)}

    def __repr__(self) -> str:
        return f"LoadPair(before={self.before}, after={self.after})"


def _pair(results: dict[str, Any]) -> str:
    return f"{results['img_path']} and {results['img_path2']}"


def _of_stem(folder: Path, stem: str) -> list[Path]:
    return sorted(file for file in folder.glob(f"{_literal(stem)}.*") if file.stem == stem) if folder.is_dir() else []


def _literal(text: str) -> str:
    """A part of a pattern that means itself."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
