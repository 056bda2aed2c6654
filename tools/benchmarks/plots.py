"""Plots of cases that form a series."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any


def exponent(sizes: list[float], values: list[float]) -> float:
    """The slope of the least-squares line through the logarithms."""
    x, y = [math.log(v) for v in sizes], [math.log(v) for v in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in x)


def series(group: dict[str, Any], key: str) -> dict[str, tuple[list[int], list[float]]]:
    """For each contender the image sides of a group's cases, and its figures there."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for title, case in group["cases"].items():
        side = group["pixels"].get(title)
        for name, figure in case.items():
            if side is not None and figure[key] is not None:
                sides, values = found.setdefault(name, ([], []))
                sides.append(side)
                values.append(figure[key])
    return {name: data for name, data in found.items() if len(data[0]) > 1}


def plot(group: dict[str, Any], path: Path) -> None:
    """Time and memory against resolution, logarithmic on both axes, with growth exponents in the number of pixels."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "benchmark", "svg.fonttype": "none"})
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, key, label in zip(axes, ("milliseconds", "peak_mib"), ("ms per image", "peak MiB"), strict=True):
        for name, (sides, values) in series(group, key).items():
            growth = exponent([side**2 for side in sides], values)
            packed = name.endswith("packed")
            style = {"linestyle": "--" if packed else "-", "linewidth": 2.2 if name.startswith("ours") else 1.2}
            axis.plot(sides, values, marker="o", markersize=3, label=f"{name}: N^{growth:.2f}", **style)
        axis.set(xscale="log", yscale="log", xlabel="image side (px)", ylabel=label)
        axis.set_xticks(sides, [str(side) for side in sides], minor=False)
        axis.set_xticks([], minor=True)
        axis.legend(fontsize=7)
    figure.suptitle(group["title"])
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
