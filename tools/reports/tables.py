"""How tables are written and errors given, everywhere: the mean, and the standard error of the mean behind ±."""

from __future__ import annotations

import html as markup
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Mean(NamedTuple):
    """A mean and its standard error; that of one value is not a number."""

    value: float
    error: float


def mean_and_error(values: Sequence[float]) -> Mean:
    """Mean of independent values: the error is their standard deviation over the root of their number."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Mean(statistics.mean(values), error)


def mean_of(parts: Sequence[Mean]) -> Mean:
    """Mean of independent means."""
    return Mean(statistics.mean(m.value for m in parts), math.sqrt(sum(m.error**2 for m in parts)) / len(parts))


def shown(mean: Mean | None, form: str = ".1f") -> str:
    """``"12.3 ± 0.4"``; without the error where there is none, and ``"-"`` for None."""
    if mean is None:
        return "-"
    error = "" if math.isnan(mean.error) else f" ± {mean.error:{form.lstrip('+')}}"
    return f"{mean.value:{form}}{error}"


def over_seeds(seeds: Sequence[int]) -> str:
    """What the figures of a table are, for the line below it."""
    return f"mean ± standard error over seeds {', '.join(map(str, seeds))} (n = {len(seeds)})"


def markdown(head: Sequence[object], rows: Iterable[Sequence[object]], aligned: bool = False) -> str:
    """A table as Markdown; ``aligned`` pads the cells of a column to one width, for a terminal."""
    lines = [[str(cell) for cell in cells] for cells in (head, *rows)]
    if not aligned:
        return "\n".join([line(lines[0]), "|---" * len(lines[0]) + "|", *map(line, lines[1:])])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [line([cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]) for cells in lines]
    return "\n".join([padded[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *padded[1:]])


def line(cells: Sequence[str]) -> str:
    """One row of a table as Markdown, for tables that are printed row by row."""
    return f"| {' | '.join(cells)} |"


def html(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table as HTML."""

    def tagged(cells: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{markup.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{tagged(head, 'th')}{''.join(tagged(row, 'td') for row in rows)}</table>"
