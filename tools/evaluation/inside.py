"""What trained networks look like inside, where the YAML file asks for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from evaluation.results import Row

if TYPE_CHECKING:
    from evaluation.study import RunningStudy


def inside(study: RunningStudy, rows: Sequence[Row], asked: Collection[str]) -> Iterator[tuple[str, Figure, str]]:
    """Titles, figures and captions of the first seed of these rows."""
    yield from ()
