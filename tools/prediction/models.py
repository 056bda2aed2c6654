"""A config and a checkpoint as a model ready to predict, and the classes that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import Tensor, nn

from backbones.openmmlab.safe_reading import load_from_local, read_safely
from prediction.drawing import Colour, colours


class Trained(NamedTuple):
    """A model with its weights, in evaluation mode, and what it was trained to tell apart."""

    model: nn.Module
    classes: tuple[str, ...]
    palette: list[Colour]

    @property
    def task(self) -> str:
        return "segmentation" if is_segmentor(self.model) else "detection"


def load_trained(config: Config, checkpoint: Path) -> Trained:
    """The config's model with a checkpoint's weights; nothing is unpickled.

    Classes and palette are the checkpoint's, or the config's where it has none.

    Raises:
        ValueError: The file cannot be read safely or belongs to another model, the number of classes differs, or the
            model is neither a detector of mmdet nor a segmentor of mmseg.
    """
    read_safely()
    init_default_scope(config.get("default_scope") or "mmengine")
    model = revert_sync_batchnorm(MODELS.build(config.model)).eval()
    read = load_from_local(str(checkpoint), "cpu")
    load_weights(model, read.get("state_dict", read), checkpoint.name)
    meta = {key.lower(): value for key, value in (read.get("meta", {}).get("dataset_meta") or {}).items()}
    whose = checkpoint.name
    if not meta.get("classes"):
        meta, whose = dataset_meta(config), "the config's data set"
    names, count = tuple(map(str, meta.get("classes") or ())), class_count(model)
    if len(names) != count:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise ValueError(f"the model tells {count} classes apart, and {whose} names {len(names)} ({shown})")
    return Trained(model, names, colours(meta.get("palette"), count))


def load_weights(model: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Load exactly the tensors of a model.

    Raises:
        ValueError: Some are missing, are another model's or have other shapes; the message names the first of each.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    try:
        model.load_state_dict(state)
    except RuntimeError:
        told = _differences(model.state_dict(), state)
        raise ValueError(f"{name} is not a checkpoint of this config's model: {told}") from None


def _differences(own: dict[str, Tensor], state: dict[str, Tensor]) -> str:
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if state[key].shape != own[key].shape
    ]
    wrong = {
        "missing": [key for key in own if key not in state],
        "unknown": [key for key in state if key not in own],
        "of other shape": sorted(shapes),
    }
    told = [
        f"{len(keys)} tensors {what} ({keys[0]}{', ...' * (len(keys) > 1)})" for what, keys in wrong.items() if keys
    ]
    return "; ".join(told)


def is_segmentor(model: nn.Module) -> bool:
    """Whether it is one of mmseg's segmentors; False for mmdet's detectors.

    Raises:
        ValueError: It is neither.
    """
    if hasattr(model, "decode_head"):
        return True
    if hasattr(model, "roi_head") or hasattr(model, "bbox_head"):
        return False
    raise ValueError(f"{type(model).__name__} is neither a detector of mmdet nor a segmentor of mmseg")


def class_count(model: nn.Module) -> int:
    """How many classes a detector or segmentor tells apart, background of a segmentor included."""
    if is_segmentor(model):
        return model.num_classes
    head = (model.roi_head if hasattr(model, "roi_head") else model).bbox_head
    return (head[0] if isinstance(head, nn.ModuleList) else head).num_classes  # a cascade has several


def last_dataset(config: Config) -> dict[str, Any]:
    """The innermost data set of a config's ``test_dataloader``, the first of several; empty where there is none."""
    dataset = (config.get("test_dataloader") or {}).get("dataset") or {}
    while "dataset" in dataset or dataset.get("datasets"):
        dataset = dataset["dataset"] if "dataset" in dataset else dataset["datasets"][0]
    return dataset


def dataset_meta(config: Config) -> dict[str, Any]:
    """Classes and palette of a config's data set, which need not be there."""
    dataset = last_dataset(config)
    if not dataset:
        return dict(config.get("metainfo") or {})
    return dict(DATASETS.build({**dataset, "lazy_init": True, "pipeline": []}).metainfo)


def image_pipeline(config: Config) -> Sequence[dict[str, Any]]:
    """The transforms of a config's test images, loading first; those of truth are left out.

    Raises:
        ValueError: The config has none, or they do not begin with loading an image.
    """
    pipeline = last_dataset(config).get("pipeline") or config.get("test_pipeline") or []
    first = pipeline[0]["type"].rpartition(".")[2] if pipeline else ""
    if first == "LoadPair":
        raise ValueError(
            "the config is for pairs of images: tools/test.py CONFIG CHECKPOINT --show-dir DIR draws changes"
        )
    if not first.startswith("LoadImage") and first != "LoadModalities":
        raise ValueError("the config's test pipeline must begin with a transform that loads an image")
    return [step for step in pipeline if "Annotations" not in step["type"] and "MapLabels" not in step["type"]]
