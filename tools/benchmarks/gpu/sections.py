"""The sections by name, in the order they run."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.gpu.kernel import operators, parity
from benchmarks.gpu.measuring import Row
from benchmarks.gpu.networks import graphs, inference, large, training

SECTIONS: dict[str, Callable[[int], list[Row]]] = {
    "parity": parity,
    "operator": operators,
    "graphs": graphs,
    "inference": inference,
    "training": training,
    "large": large,
}
