"""Label maps whose values are not the numbers of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.registry import TRANSFORMS

__all__ = ["MapLabels"]


@TRANSFORMS.register_module()
class MapLabels:
    """Turn the values of a label map into labels: ``values[i]`` becomes ``i``, and what is ``ignored`` becomes 255.

    It follows ``LoadAnnotations`` in the pipelines of training and of testing, so that losses and metrics pass over the
    same pixels. 255 is ignored in any case, unless it is a value of a class.

    Args:
        values: The values of the classes, in the order of ``metainfo.classes``; of 0 to 255.
        ignored: Values that are no class.

    Raises:
        ValueError: A value is out of range or stands twice; in use, a label map has another value.

    Example:
        >>> import numpy as np
        >>> step = MapLabels(values=[7, 8, 26], ignored=[0])
        >>> step(dict(gt_seg_map=np.array([[7, 26], [0, 255]], np.uint8)))["gt_seg_map"].tolist()
        [[0, 2], [255, 255]]
    """

    def __init__(self, values: Sequence[int], ignored: Sequence[int] = ()) -> None:
        stated = [*values, *ignored]
        if (
            not values
            or not all(isinstance(v, int) and 0 <= v <= 255 for v in stated)
            or len(set(stated)) < len(stated)
        ):
            raise ValueError(f"values and ignored must be different integers of 0 to 255, got {values} and {ignored}")
        self.values, self.ignored = tuple(values), tuple(ignored)
        self._table = np.full(256, -1, np.int16)
        self._table[[255, *ignored]] = 255
        self._table[list(values)] = np.arange(len(values))

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Map ``results["gt_seg_map"]``, where there is one."""
        if "gt_seg_map" not in results:
            return results
        labels = results["gt_seg_map"]
        mapped = self._table[labels]
        if (mapped < 0).any():
            others = ", ".join(map(str, np.unique(labels[mapped < 0])))
            where = results.get("seg_map_path", "a label map")
            raise ValueError(f"{where} has values that are neither a class nor ignored: {others}")
        return {**results, "gt_seg_map": mapped.astype(np.uint8)}

    def __repr__(self) -> str:
        return f"MapLabels(values={self.values}, ignored={self.ignored})"
