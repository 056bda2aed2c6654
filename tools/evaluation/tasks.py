"""A task made ready: its config with all paths found, its data, and which images train, choose and test."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import DATASETS, MODELS, init_default_scope

from backbones.training.files import write_whole
from evaluation.config_files import config_text, read_config
from evaluation.entries import Task
from evaluation.locks import locked

#: The kinds of tasks, by the scope of their configs, and what they are compared by where nothing else is said.
KINDS = {"mmdet": ("detection", "box AP"), "mmseg": ("segmentation", "mIoU")}


@dataclass
class ReadyTask:
    """A task whose config has been read; data sets are opened when they are needed.

    Attributes:
        task: What the YAML file says.
        folder: Of the study, for the lists of images.
    """

    task: Task
    folder: Path

    def __post_init__(self) -> None:
        where = f"tasks.{self.task.name}"
        self._written: set[Path] = set()
        try:
            self.config = read_config(self.task.config, self.task.cfg_options, "train", self.task.test)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        scope = self.config.get("default_scope")
        if scope not in KINDS:
            raise ValueError(f"{where}.config: default_scope must be one of {', '.join(KINDS)}, got {scope!r}")
        self.kind, standard = KINDS[scope]
        self.metric = self.task.metric or standard
        if (self.metric in ("mIoU", "F1")) != (self.kind == "segmentation"):
            raise ValueError(f"{where}.metric: {self.metric} is no metric of {self.kind}")

    @property
    def text(self) -> str:
        """The config, whole."""
        return config_text({key: value for key, value in self.config.to_dict().items() if key != "work_dir"})

    def check_data(self, chooses: bool, shares: Sequence[float]) -> None:
        """Whether learning rates can be chosen where they must, and shares of the training images be taken.

        Raises:
            ValueError: They cannot, or predictions on the images that are tested could not be stored.
        """
        self.settings("train")
        if self.kind == "detection":
            self._coco_file(self.task.test)
            if min(shares) < 1 or (chooses and self.task.choose != "val"):
                self._coco_file("train")
            for split in {"train", self.task.test, *(["val"] if chooses and self.task.choose == "val" else [])}:
                self._check_classes(split)
        tested = self._images_of(self.tested, "are tested")
        if chooses:
            loader, changed = self.choose_settings()
            chosen = self._images_of(self.opened({**self.settings(loader), **changed}), "choose")
            chosen, tested = ({path.resolve() for path in paths} for paths in (chosen, tested))
            if shared := chosen & tested:
                what = "the images" if shared == chosen else f"{len(shared)} images, such as {min(shared)},"
                where = f"{'val' if self.task.choose == 'val' else 'train'}_dataloader"
                raise ValueError(f"tasks.{self.task.name}.choose: {what} of {where} are those that are tested")

    # --- data ---------------------------------------------------------------------------------------------------

    def settings(self, split: str) -> dict[str, Any]:
        """Of the data set of a loader, within what wraps it.

        Raises:
            ValueError: There is none, or it is put together from several.
        """
        found = innermost((self.config.get(f"{split}_dataloader") or {}).get("dataset") or {})
        if "datasets" in found and split == self.task.test and self.task.part is not None:
            if self.task.part >= len(found["datasets"]):
                raise ValueError(f"tasks.{self.task.name}.part must be below {len(found['datasets'])}")
            found = found["datasets"][self.task.part]
        if not found or "datasets" in found:
            what = "is put together from several data sets: say which with part" if found else "is missing"
            raise ValueError(f"tasks.{self.task.name}: {split}_dataloader.dataset {what}")
        return found

    def opened(self, settings: dict[str, Any]) -> Any:
        """The data set of these settings.

        Raises:
            ValueError: A file or folder of it is not there or cannot be read.
        """
        init_default_scope(self.config.default_scope)  # another task may have set its own since
        try:
            return DATASETS.build({**copy.deepcopy(settings), "lazy_init": False})
        except OSError as error:
            raise ValueError(
                f"tasks.{self.task.name}: its data cannot be read: {error}; look with check_dataset.py"
            ) from error

    def data_set(self, split: str) -> Any:
        """The data set of a loader, opened.

        Raises:
            ValueError: It has no images.
        """
        found = self.opened({**self.settings(split), "serialize_data": False})
        if not len(found):
            raise ValueError(f"tasks.{self.task.name}: {split}_dataloader finds no images; look with check_dataset.py")
        return found

    @cached_property
    def tested(self) -> Any:
        """The data set that is tested."""
        return self.data_set(self.task.test)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes.

        Raises:
            ValueError: The data set has none.
        """
        if not (found := self.tested.metainfo.get("classes")):
            raise ValueError(f"tasks.{self.task.name}: {self.task.test}_dataloader.dataset.metainfo names no classes")
        return tuple(found)

    @cached_property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the first image that is tested, as the network gets it."""
        return self._prepared(self.tested[0], training=False)

    @cached_property
    def training_size(self) -> tuple[int, int]:
        """The same of an image that trains, which may be cropped or padded."""
        return self._prepared(self.data_set("train")[0], training=True)

    @cached_property
    def channels(self) -> int:
        """Of images, as the network gets them."""
        return self.tested[0]["inputs"].shape[0]

    def _prepared(self, sample: dict[str, Any], training: bool) -> tuple[int, int]:
        init_default_scope(self.config.default_scope)
        batch = {"inputs": [sample["inputs"]], "data_samples": [sample["data_samples"]]}
        prepared = MODELS.build(self.config.model.data_preprocessor)(batch, training=training)["inputs"]
        height, width = prepared.shape[-2:]
        return height, width

    # --- splits -------------------------------------------------------------------------------------------------

    @cached_property
    def images(self) -> tuple[list[str], list[str]]:
        """The training images as the loader sees them, and those that choose where they are held out; by name."""
        data = self.data_set("train")
        names = [self._name(data, i) for i in range(len(data))]
        choose = self.task.choose
        if choose is None or choose == "val":
            return names, []
        count = choose if isinstance(choose, int) else max(1, round(choose * len(names)))
        if count >= len(names):
            raise ValueError(f"tasks.{self.task.name}.choose: {count} of {len(names)} training images leave none")
        order = np.random.default_rng(0).permutation(len(names))
        held = set(order[:count].tolist())
        return [n for i, n in enumerate(names) if i not in held], [n for i, n in enumerate(names) if i in held]

    def _name(self, data: Any, index: int) -> str:
        info = data.get_data_info(index)
        if self.kind == "detection":
            return str(info["img_id"])
        path, folder = info["img_path"], data.data_prefix.get("img_path") or ""
        return str(Path(path).relative_to(folder))[: -len(data.img_suffix)]

    def train_settings(self, share: float, seed: int) -> dict[str, Any]:
        """What changes in the training data set for a share of the labels that a seed draws."""
        names, held = self.images
        if share < 1:
            order = np.random.default_rng([1, seed]).permutation(len(names))
            kept = set(order[: max(1, round(share * len(names)))].tolist())
            names = [name for i, name in enumerate(names) if i in kept]
        elif not held:
            return {}
        return self._listed("train", names, f"train_share{share:g}" + f"_seed{seed}" * (share < 1))

    def choose_settings(self) -> tuple[str, dict[str, Any]]:
        """The loader that choosing is like, and what changes in its data set.

        Raises:
            ValueError: The task does not say what chooses.
        """
        choose, name = self.task.choose, f"tasks.{self.task.name}"
        if choose is None:
            raise ValueError(f"{name}.choose is missing: learning rates are searched, on images that are not tested")
        if choose == "val":
            return "val", {}
        source = self.settings("train")
        taken = {
            key: source[key]
            for key in ("data_root", "data_prefix", "img_suffix", "img_suffix2", "seg_map_suffix")
            if key in source
        }
        return self.task.test, {**taken, "indices": None, **self._listed("train", self.images[1], "choose")}

    def _images_of(self, data: Any, which: str) -> list[Path]:
        """The images of a data set that is predicted on.

        Raises:
            ValueError: One is missing, or its label map; or two have one name, by which alone mmseg stores predictions.
        """
        infos, name = [data.get_data_info(i) for i in range(len(data))], f"tasks.{self.task.name}"
        images = [Path(info["img_path"]) for info in infos]
        truths: list[Path] = []
        if self.kind == "segmentation":
            names = [image.stem for image in images]
            if len(set(names)) < len(names):
                raise ValueError(f"{name}: two images that {which} are called {_twice(names)}")
            if not all(info.get("seg_map_path") for info in infos):
                raise ValueError(f"{name}: images that {which} have no label maps: data_prefix.seg_map_path is missing")
            truths = [Path(info["seg_map_path"]) for info in infos]
        absent = None if data.backend_args else next((p for p in (*images, *truths) if not p.is_file()), None)
        if absent:
            raise ValueError(f"{name}: {absent} is missing, of what images that {which} need; see check_dataset.py")
        return images

    def _listed(self, split: str, names: list[str], stem: str) -> dict[str, Any]:
        """Write down images, as annotations of these alone or as a list of names, and read the data from there."""
        suffix = ".txt" if self.kind == "segmentation" else ".json"
        path = self.folder / "splits" / (self.task.trained_by or self.task.name) / f"{stem}{suffix}"
        if path not in self._written:
            with locked(path.with_suffix(".lock"), wait=True):
                text = "".join(f"{name}\n" for name in names)
                if self.kind == "detection":
                    coco, kept = json.loads(self._coco_file(split).read_text()), set(names)
                    coco["images"] = [image for image in coco["images"] if str(image["id"]) in kept]
                    coco["annotations"] = [a for a in coco["annotations"] if str(a["image_id"]) in kept]
                    text = json.dumps(coco)
                if not path.is_file() or path.read_text() != text:
                    write_whole(path, lambda part: part.write_text(text))
            self._written.add(path)
        return {"ann_file": str(path), "indices": None}

    def _coco_file(self, split: str) -> Path:
        settings = self.settings(split)
        path = Path(settings.get("data_root") or "", settings.get("ann_file") or "")
        if path.suffix != ".json":
            reads = f"tasks.{self.task.name}: {split}_dataloader reads {path.name or 'no file'}"
            raise ValueError(f"{reads}; shares, held-out images and results need COCO annotations (.json)")
        return path.absolute()

    def _check_classes(self, split: str) -> None:
        """mmdet numbers labels in the order of a file, and names them in that of the config."""
        settings = self.settings(split)
        path = Path(settings.get("data_root") or "", settings.get("ann_file") or "")
        if path.suffix != ".json":
            return
        listed = [c["name"] for c in json.loads(path.read_text())["categories"] if c["name"] in self.classes]
        if listed != list(self.classes):
            raise ValueError(
                f"tasks.{self.task.name}: classes are {', '.join(self.classes)} in the config and {', '.join(listed)} "
                f"in {path}; mmdet needs all of them, in the order of the file"
            )

    def annotations(self, settings: dict[str, Any]) -> str:
        """SHA-256 of what a data set with these settings says is in its images: the file, or all label maps."""
        digest = hashlib.sha256()
        if self.kind == "detection":
            path = Path(settings.get("data_root") or "", settings.get("ann_file") or "")
            digest.update(path.read_bytes() if path.is_file() else b"")
            return digest.hexdigest()
        data = self.opened(settings)
        for i in range(len(data)):
            info = data.get_data_info(i)
            digest.update(Path(info["img_path"]).name.encode())
            digest.update(Path(info["seg_map_path"]).read_bytes())
        return digest.hexdigest()


def innermost(settings: Any) -> Any:
    """The settings of a data set within what wraps it."""
    while "dataset" in settings:
        settings = settings["dataset"]
    return settings


def _twice(names: Sequence[str]) -> str:
    return next(name for i, name in enumerate(names) if name in names[:i])
