"""Tests of a config under other conditions: corrupted images, and images of other size.

Each function changes the config it is given, as ``training.testing.augment`` does for flips and scales at test time.
"""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from backbones.openmmlab import CommonCorruption

_IMPORT = "backbones.openmmlab"


def corrupt(config: Config, name: str, severity: int) -> None:
    """Test on corrupted images.

    Args:
        config: Of mmdet or mmseg.
        name, severity: See :class:`backbones.openmmlab.CommonCorruption`.

    Raises:
        ValueError: The test pipeline loads no images from files, or loads floats; or there is no such corruption.
    """
    CommonCorruption(name, severity)  # which checks them
    pipeline = _test_pipeline(config)
    at = _loading(pipeline)
    if pipeline[at].get("to_float32"):
        raise ValueError("corruptions are of 8 bits: LoadImageFromFile of the test pipeline has to_float32=True")
    pipeline.insert(at + 1, {"type": "CommonCorruption", "name": name, "severity": severity})
    imports = config.get("custom_imports") or {"imports": []}
    if _IMPORT not in imports["imports"]:
        config.custom_imports = {**imports, "imports": [*imports["imports"], _IMPORT]}


def at_scale(config: Config, factor: float) -> None:
    """Test on images whose sides are ``factor`` times what the config's test pipeline makes of them.

    The sizes of its ``Resize`` are multiplied; where it has none, one is put behind the loading. Truth stays as it is:
    mmdet and mmseg bring predictions back to the size of the file.

    Args:
        config: Of mmdet or mmseg.
        factor: Such as 0.5, 1 or 2.

    Raises:
        ValueError: ``factor`` is not positive, or the test pipeline loads no images from files, has several ``Resize``
            or one with neither ``scale`` nor ``scale_factor``.
    """
    if not 0 < factor < float("inf"):
        raise ValueError(f"factor must be positive, got {factor}")
    pipeline = _test_pipeline(config)
    at = _loading(pipeline)
    resizes = [step for step in pipeline if _name(step).endswith("Resize") or _name(step) == "ResizeShortestEdge"]
    if not resizes:
        pipeline.insert(at + 1, {"type": "Resize", "scale_factor": float(factor), "keep_ratio": True})
        return
    (step, *more), key = resizes, next((k for k in ("scale", "scale_factor") if resizes[0].get(k) is not None), "")
    if more or _name(step) != "Resize" or not key:
        names = [_name(each) for each in resizes]
        raise ValueError(f"at_scale takes test pipelines with one Resize of a scale or scale_factor, this has {names}")
    step[key] = _times(step[key], factor, whole=key == "scale")


def _times(size: Any, factor: float, whole: bool) -> Any:
    if isinstance(size, (tuple, list)):
        return tuple(_times(each, factor, whole) for each in size)
    return max(1, round(size * factor)) if whole else size * factor


def _test_pipeline(config: Config) -> list[Any]:
    dataset = (config.get("test_dataloader") or {}).get("dataset")
    while dataset is not None and "dataset" in dataset:
        dataset = dataset.dataset
    if dataset is None or "pipeline" not in dataset:
        raise ValueError("the config must have a test_dataloader with a data set that has a pipeline")
    dataset.pipeline = list(dataset.pipeline)
    return dataset.pipeline


def _loading(pipeline: list[Any]) -> int:
    names = [_name(step) for step in pipeline]
    if "LoadImageFromFile" not in names:
        raise ValueError(f"the test pipeline must have LoadImageFromFile, it has {names}")
    return names.index("LoadImageFromFile")


def _name(step: Any) -> str:
    """The transform's name without its scope; new configs name classes."""
    kind = step["type"]
    return kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__
