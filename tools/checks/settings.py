"""What other parts of a config say of the data: the numbers of classes of heads, and the file that a metric reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from checks.findings import Findings
from checks.view import View


def check_settings(config: Config, view: View, findings: Findings) -> None:
    """Compare the model's heads and the split's metrics with a data set."""
    classes = len(view.classes)
    for place, head in class_heads(config.get("model")):
        if classes and head["num_classes"] != classes:
            findings.add("class-count", view.split, f"{place}.num_classes is {head['num_classes']}, of {classes}")
    metrics = config.get(f"{view.split}_evaluator") or []
    for metric in metrics if isinstance(metrics, (list, tuple)) else [metrics]:
        truth, own = metric.get("ann_file"), view.dataset.ann_file
        if truth and own and Path(truth).absolute() != Path(own).absolute():
            findings.add("truth-differs", view.split, f"{view.split}_evaluator reads {truth}, the data are {own}")


def class_heads(settings: Any, place: str = "model") -> Iterator[tuple[str, dict[str, Any]]]:
    """All heads of a model that say how many classes there are, with their places in the config."""
    if isinstance(settings, dict):
        if place.rstrip("0123456789.").endswith("head") and isinstance(settings.get("num_classes"), int):
            yield place, settings
        for key, value in settings.items():
            yield from class_heads(value, f"{place}.{key}")
    elif isinstance(settings, (list, tuple)):
        for i, value in enumerate(settings):
            yield from class_heads(value, f"{place}.{i}")
