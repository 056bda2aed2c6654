"""Tables, plots and comparisons of what tools/benchmark.py recorded."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any, NamedTuple

Record = dict[str, Any]

#: How the names of our own contenders begin.
OWN = ("ours", "matmul (ours)", "MoPPA", "vheat", "vwave", "vtail", "vpoisson", "vmix")


class Pair(NamedTuple):
    """Two contenders of a case, one of ours and another."""

    group: str
    case: str
    ours: str
    other: str


class Slower(NamedTuple):
    """A contender of ours, and the part that is left of its speed."""

    group: str
    case: str
    ours: str
    left: float


def format_tables(record: Record) -> str:
    """Markdown: the environment, and a table for each group."""
    environment = record["environment"]
    lines = ["# Measured", "", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in environment.items()), ""]
    for group in record["groups"].values():
        lines += [f"## {group['title']}", "", f"Commit {group['commit']}.", "", *_table(group["cases"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(cases: dict[str, Any]) -> list[str]:
    names = list(dict.fromkeys(name for case in cases.values() for name in case))
    memory = any(figure["peak_mib"] is not None for case in cases.values() for figure in case.values())
    columns = ["", *names]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for title, case in cases.items():
        lines.append(f"| {title} | {' | '.join(_cell(case, name, memory) for name in names)} |")
    return lines


def _cell(case: dict[str, Any], name: str, memory: bool) -> str:
    if name not in case:
        return "-"
    figure, first = case[name], next(iter(case))
    time = figure["milliseconds"]
    text = f"{time:.0f} ms" if time >= 100 else f"{time:.3g} ms"
    if name != first:
        text += f", **{time / case[first]['milliseconds']:.2f}**"
    if memory and figure["peak_mib"] is not None:
        text += f", {figure['peak_mib']:.0f} MiB"
    if figure["error"] is not None:
        text += f", {figure['error']:.0e}"
    return text


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


def ratios(record: Record) -> dict[Pair, float]:
    """How much faster each contender of ours is than each of the others; than our first where there are no others."""
    found: dict[Pair, float] = {}
    for group_name, group in record["groups"].items():
        for title, case in group["cases"].items():
            own = [name for name in case if name.startswith(OWN)]
            for name in own:
                for other in [name for name in case if name not in own] or own[:1]:
                    if other != name:
                        pair = Pair(group_name, title, name, other)
                        found[pair] = case[other]["milliseconds"] / case[name]["milliseconds"]
    return found


def regressions(now: dict[Pair, float], reference: dict[Pair, float], tolerance: float) -> list[Slower]:
    """Which of ours are slower than in the reference, in the median beside the others of their case.

    A contender of ours that became slower did so beside all of them; one of them that became faster is of no concern.
    """
    changes: dict[tuple[str, str, str], list[float]] = {}
    for pair, ratio in now.items():
        if pair in reference:
            changes.setdefault(pair[:3], []).append(ratio / reference[pair])
    medians = {contender: statistics.median(values) for contender, values in changes.items()}
    return [Slower(*contender, median) for contender, median in medians.items() if median < 1 - tolerance]
