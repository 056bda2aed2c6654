"""Two tiny data sets without a fault, as configs that a test may break."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from checks.report import Report, check_config
from mmengine.config import Config
from mmengine.registry import init_default_scope

SPLITS = ("train", "val", "test")
CLASSES = ("cat", "dog")


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (24, 32, 3)).astype(np.uint8)


class DataSet:
    """A folder of data, and the config that reads it."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder, self.config = folder, config

    def edit(self, split: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the annotations of a split."""
        file = self.folder / f"{split}.json"
        record = json.loads(file.read_text())
        change(record)
        file.write_text(json.dumps(record))

    def check(self, *splits: str, thorough: bool = False) -> Report:
        config = Config(self.config)
        init_default_scope(config.default_scope)
        return check_config(config, splits or SPLITS, thorough)


@pytest.fixture
def detection(tmp_path: Path) -> DataSet:
    """Two images in each split, each with a cat and a dog; ids that are not contiguous; boxes with masks."""
    loaders = {}
    for number, split in enumerate(SPLITS):
        (tmp_path / split).mkdir()
        record: dict[str, list[Any]] = {"images": [], "annotations": []}
        for i in (0, 1):
            cv2.imwrite(str(tmp_path / split / f"{i}.png"), picture(10 * number + i))
            image = 7 * i + 3
            record["images"].append({"id": image, "file_name": f"{i}.png", "width": 32, "height": 24})
            for category in (5, 9):
                polygon = [4, 6, 12, 6, 12, 16, 4, 16]
                annotation = {"id": 100 * i + category, "image_id": image, "category_id": category, "iscrowd": 0}
                record["annotations"].append({**annotation, "bbox": [4, 6, 8, 10], "segmentation": [polygon]})
        record["categories"] = [{"id": 5, "name": "cat"}, {"id": 9, "name": "dog"}]
        (tmp_path / f"{split}.json").write_text(json.dumps(record))
        dataset = {"type": "CocoDataset", "data_root": str(tmp_path), "metainfo": {"classes": CLASSES}}
        pipeline = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations", "with_bbox": True}]
        loaders[f"{split}_dataloader"] = {
            "dataset": {**dataset, "ann_file": f"{split}.json", "data_prefix": {"img": split}, "pipeline": pipeline}
        }
    return DataSet(tmp_path, {"default_scope": "mmdet", "data_help": "draw them", **loaders})


@pytest.fixture
def segmentation(tmp_path: Path) -> DataSet:
    """Two images in each split, with label maps of 0 and 1 and ignored pixels."""
    loaders = {}
    for number, split in enumerate(SPLITS):
        for folder in (split, f"{split}_labels"):
            (tmp_path / folder).mkdir()
        for i in (0, 1):
            cv2.imwrite(str(tmp_path / split / f"{i}.png"), picture(10 * number + i))
            labels = np.tile(np.array([0, 1, 255, 1], np.uint8), (24, 8))
            cv2.imwrite(str(tmp_path / f"{split}_labels/{i}.png"), labels)
        dataset = {"type": "BaseSegDataset", "data_root": str(tmp_path), "metainfo": {"classes": CLASSES}}
        prefix = {"img_path": split, "seg_map_path": f"{split}_labels"}
        pipeline = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]
        loaders[f"{split}_dataloader"] = {
            "dataset": {**dataset, "img_suffix": ".png", "data_prefix": prefix, "pipeline": pipeline}
        }
    return DataSet(tmp_path, {"default_scope": "mmseg", **loaders})
