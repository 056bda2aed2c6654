"""The tables of a report, which Markdown and HTML have in common, and pictures, which HTML has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from matplotlib.figure import Figure
from reports.pages import picture
from reports.tables import html, markdown, mean_and_error, shown

from evaluation.protocols import PROTOCOLS
from evaluation.results import Difference, Row, name_of

#: Columns of the results, where there is something to show.
COLUMNS = (
    *("box AP", "box AP50", "box AP small", "box AP medium", "box AP large"),
    *("mask AP", "mask AP50", "mask AP small", "mask AP medium", "mask AP large", "mIoU", "F1", "mAcc", "aAcc"),
)


@dataclass(frozen=True)
class Table:
    """Cells with a title above and a note below."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""

    def markdown(self) -> str:
        """With the title as a heading."""
        return "\n\n".join(part for part in (f"### {self.title}", markdown(self.head, self.rows), self.note) if part)

    def html(self) -> str:
        """The same as HTML."""
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        return f"<h3>{self.title}</h3><div class='wide'>{html(self.head, self.rows)}</div>{note}"


@dataclass(frozen=True)
class Picture:
    """A figure with a title, which may be empty, and a caption."""

    title: str
    figure: Figure
    caption: str

    def html(self) -> str:
        """With the picture inside."""
        return f"<h3>{self.title}</h3>" * bool(self.title) + picture(self.figure, self.caption)


def _line(row: Row) -> list[str]:
    return [row.line.entry, PROTOCOLS[row.line.protocol].title, f"{100 * row.line.share:g} %"]


_LINE = ("entry", "protocol", "labels")


def results_table(rows: Sequence[Row]) -> Table:
    """The metrics of one task."""
    names = [n for n in COLUMNS if any(math.isfinite(v) for row in rows for v in row.values(n))]
    cells = []
    for row in rows:
        values = [_finite(row.values(n)) for n in names]
        seeds = f"{len(row.seeds)}" + f" (missing: {', '.join(map(str, row.missing))})" * bool(row.missing)
        cells.append([*_line(row), *(shown(mean_and_error(v) if v else None) for v in values), seeds])
    note = "In percent, on the images that are tested: mean ± standard error over seeds. - : nothing to measure."
    return Table("Results", [*_LINE, *names, "seeds"], cells, note)


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def differences_table(found: Sequence[Difference]) -> Table:
    """Paired differences of one task."""
    rows = []
    for d in found:
        p = d.found
        interval = "-" if math.isnan(p.low) else f"[{p.low:+.2f}, {p.high:+.2f}]"
        claim = f"{p.n} seed{'s' * (p.n > 1)}: descriptive" if p.descriptive else f"p = {p.p:.3g}"
        rows.append([d.what, d.metric, f"{p.difference:+.2f}", interval, claim])
    note = (
        "Differences seed by seed: their mean, its BCa bootstrap interval (95 %), and the two-sided sign-flip test. "
        "Fewer than six seeds cannot give p below 0.05, so they describe; p are not corrected for how many there are."
    )
    return Table("Differences", ["first - second", "metric", "difference", "interval", "says"], rows, note)


def costs_table(rows: Sequence[Row], costs: Mapping[str, dict[str, Any]]) -> Table:
    """Sizes and work."""
    cells = []
    for row in rows:
        c = costs[cost_key(row)]
        numbers = (c["trained"], c["parameters"], c["backbone_trained"], c["backbone"])
        cells.append([*_line(row)[:2], *(f"{n:,}" for n in numbers), f"{c['macs'] / 1e6:,.1f}"])
    head = [*_LINE[:2], "parameters trained", "in all", "backbone's trained", "backbone's", "backbone MMACs"]
    note = (
        "Multiply-accumulates of the backbone, adapter included, of one image as large as the first that is tested; "
        "transforms by FFT and element-wise work are not counted."
    )
    return Table("Sizes and work", head, _once(cells), note)


def speed_table(rows: Sequence[Row], speeds: Mapping[str, float]) -> Table:
    """What was fast, and took how much memory, on this machine."""
    cells = []
    for row in rows:
        numbers = [speeds.get(row.line.entry, math.nan)]
        numbers += [row.recorded(name) for name in ("images_per_s", "memory", "seconds", "MB")]
        forms = (".1f", ".1f", ",.0f", ",.0f", ".2f")
        texts = ["-" if math.isnan(n) else f"{n:{form}}" for n, form in zip(numbers, forms, strict=True)]
        cells.append([*_line(row), *texts])
    head = [*_LINE, "backbone images/s", "training images/s", "peak memory (MB)", "training (s)", "checkpoint (MB)"]
    note = (
        "Backbones alone in inference, batches of 8 in float32, taking turns in one process. What stands right of it "
        "was logged by the trainings, means over seeds, and depends on what else ran: median speed, largest memory "
        "(of the process on a CPU, of tensors on a GPU), the seconds of the command since the last resume."
    )
    return Table("Speed and memory", head, cells, note)


def rates_table(rows: Sequence[Row], metric: str) -> Table | None:
    """The learning rates that were tried."""
    cells = [
        [*_line(row), f"{row.rate:g}", ", ".join(f"{r:g}: {value:.1f}" for r, value in sorted(row.tried.items()))]
        for row in rows
        if row.tried
    ]
    note = (
        f"In multiples of the config's, with {metric} on the images that choose, seed 0. LoRA, MoPPA, full and from "
        f"scratch by a rate of the backbone: of its parameters, while neck and heads keep the config's; others: of "
        f"everything."
    )
    return Table("Learning rates", [*_LINE, "chosen", "tried"], cells, note) if cells else None


def classes_table(rows: Sequence[Row], name: str) -> Table | None:
    """A metric by class, mean over seeds."""
    rows = [row for row in rows if any(name in seed["metrics"]["classes"] for seed in row.seeds.values())]
    if not rows:
        return None
    tables = {name_of(row.line): [s["metrics"]["classes"][name] for s in row.seeds.values()] for row in rows}
    classes = list(dict.fromkeys(c for found in tables.values() for one in found for c in one))
    cells = []
    for c in classes:
        values = [_finite([one[c] for one in found]) for found in tables.values()]
        cells.append([c, *(f"{sum(v) / len(v):.1f}" if v else "-" for v in values)])
    return Table(f"{name} by class", ["class", *tables], cells, "In percent, mean over seeds.")


def cost_key(row: Row) -> str:
    """Of what all seeds and shares have in common."""
    return f"{row.line.task}/{row.line.entry}/{row.line.protocol}"


def _once(rows: Sequence[list[str]]) -> list[list[str]]:
    return list(map(list, dict.fromkeys(map(tuple, rows))))
