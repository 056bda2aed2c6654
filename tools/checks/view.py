"""What a config sees of a split: the framework's own data set, its classes and paths, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS
from training.data_sets import data_sets

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class View:
    """One data set of a split; ``kind`` is "coco", "labels" or None where it cannot be checked."""

    split: str
    name: str
    kind: str | None
    dataset: Any = None
    pipeline: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their labels."""
        return tuple(self.dataset.metainfo.get("classes") or ())

    @property
    def loads_bands(self) -> bool:
        """Whether images are of several modalities, or pairs."""
        return bool(self.pipeline) and self.pipeline[0]["type"].rpartition(".")[2] in ("LoadModalities", "LoadPair")

    @property
    def turns_images(self) -> bool:
        """Whether loading turns images as their EXIF data say."""
        loads = [step for step in self.pipeline if step["type"].endswith("LoadImageFromFile")]
        return not any("ignore_orientation" in step.get("color_type", "color") for step in loads)

    def steps(self, kind: str) -> Compose:
        """The steps of one type in the pipeline, alone."""
        return Compose([step for step in self.pipeline if step["type"].rpartition(".")[2] == kind])


@dataclass(frozen=True)
class Picture:
    """An image and what its annotation says of it."""

    path: Path
    label: str
    size: tuple[int, int] | None = None


def views(config: Config, split: str) -> list[View]:
    """The data sets of a split; one for each part where the config concatenates some.

    Raises:
        KeyError: The config has no such split.
    """
    loader = config.get(f"{split}_dataloader")
    if not loader or not loader.get("dataset"):
        raise KeyError(split)
    return [_view(each, split) for each in data_sets(loader.dataset)]


def _view(settings: dict[str, Any], split: str) -> View:
    name = str(settings.get("type"))
    if settings.get("backend_args"):
        return View(split, f"{name} behind backend_args", None)
    pipeline = list(settings.get("pipeline") or ())
    dataset = DATASETS.build({**settings, "pipeline": [], "lazy_init": True})
    return View(split, name, _kind(dataset), dataset, pipeline)


def _kind(dataset: Any) -> str | None:
    """By whose methods it loads, so that a data set with annotations of another form is not taken for one of these."""

    def owner(method: str) -> str:
        return next((cls.__name__ for cls in type(dataset).__mro__ if method in vars(cls)), "")

    if owner("load_data_list") == "CocoDataset" == owner("parse_data_info"):
        return "coco"
    return "labels" if owner("load_data_list") in ("BaseSegDataset", "BaseCDDataset") else None
