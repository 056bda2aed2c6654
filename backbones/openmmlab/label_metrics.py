"""Metrics of label maps beside mmseg's: of the class of changes alone, and by groups of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from torch import Tensor

__all__ = ["ChangeMetric", "GroupedIoU"]


class _Confusions(BaseMetric):
    """Collects the group of each image and how often which class was taken for which, ``(true, predicted)``."""

    def __init__(self, ignore_index: int, collect_device: str, prefix: str | None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ignore_index = ignore_index

    def group(self, sample: Mapping[str, Any]) -> str:
        """What an image is counted among."""
        return ""

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Count the pixels of a batch."""
        count = len(self.dataset_meta["classes"])
        for sample in data_samples:
            found = sample["pred_sem_seg"]["data"].squeeze().long().cpu()
            truth = sample["gt_sem_seg"]["data"].squeeze().long().cpu()
            known = truth != self.ignore_index
            pairs = truth[known] * count + found[known]
            counts = torch.bincount(pairs, minlength=count * count)
            self.results.append((self.group(sample), counts.reshape(count, count)))

    def confusion(self, results: Sequence[tuple[str, Tensor]]) -> Tensor:
        """The sum over images, float64."""
        return torch.stack([counts for _, counts in results]).sum(0).double()


@METRICS.register_module()
class ChangeMetric(_Confusions):
    r"""F1, precision, recall and IoU of the pixels that have changed, in percent, over all images of a set.

    .. math::
        F_1 = \frac{2\,TP}{2\,TP + FP + FN} \qquad
        \mathrm{IoU} = \frac{TP}{TP + FP + FN}

    These are the figures of LEVIR-CD and its like; mmseg's ``mFscore`` is the mean of the classes, in which the many
    pixels without change hide the few with it. A ratio of nothing to nothing is 0.

    Args:
        changed: Number of the class.
        ignore_index: Label of pixels that do not count.
        collect_device, prefix: See mmengine's ``BaseMetric``.
    """

    default_prefix = "change"

    def __init__(
        self, changed: int = 1, ignore_index: int = 255, collect_device: str = "cpu", prefix: str | None = None
    ) -> None:
        super().__init__(ignore_index, collect_device, prefix)
        self.changed = changed

    def compute_metrics(self, results: list[tuple[str, Tensor]]) -> dict[str, float]:
        """The figures of all that was counted."""
        confusion = self.confusion(results)
        hits = confusion[self.changed, self.changed].item()
        true, found = confusion[self.changed].sum().item(), confusion[:, self.changed].sum().item()
        ratios = {
            "F1": (2 * hits, true + found),
            "precision": (hits, found),
            "recall": (hits, true),
            "IoU": (hits, true + found - hits),
        }
        return {name: 100 * part / whole if whole else 0.0 for name, (part, whole) in ratios.items()}


@METRICS.register_module()
class GroupedIoU(_Confusions):
    """mIoU, mAcc and aAcc in percent for each group of images, and for each class its IoU.

    An image belongs to the group whose folder is in its path, so that conditions which one test set joins are reported
    apart: ``groups=dict(clear="optical_clear", cloudy="optical_cloudy")`` gives ``clear/mIoU`` and ``cloudy/mIoU``.
    Classes that neither the truth nor the prediction of a group has do not count in its means, as in mmseg.

    Args:
        groups: Names of folders, by group.
        ignore_index: Label of pixels that do not count.
        collect_device, prefix: See mmengine's ``BaseMetric``.

    Raises:
        ValueError: An image is in none of the folders, or in several.
    """

    def __init__(
        self,
        groups: Mapping[str, str],
        ignore_index: int = 255,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(ignore_index, collect_device, prefix)
        self.groups = dict(groups)

    def group(self, sample: Mapping[str, Any]) -> str:
        folders = Path(sample["img_path"]).parts[:-1]
        found = [name for name, folder in self.groups.items() if folder in folders]
        if len(found) != 1:
            raise ValueError(f"{sample['img_path']} must be in one of the folders {list(self.groups.values())}")
        return found[0]

    def compute_metrics(self, results: list[tuple[str, Tensor]]) -> dict[str, float]:
        """The figures of all that was counted."""
        metrics: dict[str, float] = {}
        for name in self.groups:
            if not (some := [each for each in results if each[0] == name]):
                continue
            confusion = self.confusion(some)
            hits, true = confusion.diagonal(), confusion.sum(1)
            ious, recalls = 100 * hits / (true + confusion.sum(0) - hits), 100 * hits / true
            metrics[f"{name}/mIoU"] = ious.nanmean().item()
            metrics[f"{name}/mAcc"] = recalls.nanmean().item()
            metrics[f"{name}/aAcc"] = (100 * hits.sum() / true.sum()).item()
            metrics |= {f"{name}/IoU {c}": v for c, v in zip(self.dataset_meta["classes"], ious.tolist(), strict=True)}
        return metrics
