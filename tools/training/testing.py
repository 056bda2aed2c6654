"""What tools/test.py changes in a config: predictions are drawn, and images tested in several versions."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from training.data_sets import data_sets


def draw(config: Config, folder: Path | None, seconds: float | None) -> None:
    """Turn the framework's visualization hook on: pictures in a folder, in windows for some seconds, or both.

    Raises:
        ValueError: The config has no such hook, its images are no colour pictures, or there is no screen for windows.
    """
    hook = config.get("default_hooks", {}).get("visualization")
    if hook is None:
        raise ValueError("--show-dir and --show need default_hooks.visualization in the config")
    for dataset in data_sets(config.test_dataloader.dataset):
        if spec := _listed((dataset.get("pipeline") or [{}])[0]):
            raise ValueError(
                f"--show-dir and --show draw on pictures of bytes, but the images are {spec['name']!r} in "
                f"{spec['unit']}: tools/predict.py draws on those"
            )
    hook.draw = True
    if seconds is not None:
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise ValueError("--show needs a screen, and there is none (DISPLAY is not set): give --show-dir FOLDER")
        hook.update(show=True, wait_time=seconds)
    if folder is not None and config.get("default_scope") == "mmdet":
        hook.test_out_dir = str(folder)
    elif folder is not None:
        config.visualizer.save_dir = str(folder)


def augment(config: Config) -> None:
    """Test by the config's ``tta_pipeline`` and merge by its ``tta_model``.

    Raises:
        ValueError: The config lacks one of them, or predicts masks of instances, which mmdet does not merge.
    """
    if missing := [name for name in ("tta_model", "tta_pipeline") if name not in config]:
        raise ValueError(f"--tta needs {' and '.join(missing)} in the config")
    if (config.model.get("roi_head") or {}).get("mask_head") or config.model.get("mask_head"):
        raise ValueError("--tta is for boxes and segmentation: mmdet merges no masks of instances")
    # The model's own preprocessor, in whose place mmengine would put that of the config's top level, as bases have it.
    own = config.model.get("data_preprocessor")
    config.model = ConfigDict(**config.tta_model, module=config.model, data_preprocessor=own)
    for dataset in data_sets(config.test_dataloader.dataset):
        dataset.pipeline = config.tta_pipeline


def _listed(step: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The modality whose files a data set lists, where OpenCV, which the hooks read by, makes no picture of them."""
    step = step.get("before", step)
    listed = [spec for spec in step.get("modalities", ()) if spec["name"] not in (step.get("folders") or {})]
    return next((spec for spec in listed if spec["unit"] not in ("uint8", "counts")), None)
