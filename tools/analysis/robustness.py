"""How much of a metric is left under common corruptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backbones.openmmlab import CORRUPTIONS

SEVERITIES = (1, 2, 3, 4, 5)
NAMES = tuple(name for names in CORRUPTIONS.values() for name in names)


@dataclass(frozen=True)
class Robustness:
    """A metric on clean and on corrupted images.

    Attributes:
        clean: The metric on clean images.
        mpc: Mean performance under corruption.
        rpc: Relative performance under corruption, ``mpc / clean`` in percent; nan where clean is 0.
        by_corruption: Means over the severities.
        by_group: Means over the corruptions of noise, blur, weather and digital.
        by_severity: Means over the corruptions, at severity 1, 2, ...
        complete: Whether all fifteen corruptions at all five severities are in.
    """

    clean: float
    mpc: float
    rpc: float
    by_corruption: dict[str, float]
    by_group: dict[str, float]
    by_severity: tuple[float, ...]
    complete: bool


def robustness(clean: float, corrupted: Mapping[str, Sequence[float]]) -> Robustness:
    r"""Sum up what a metric becomes under corruptions.

    With P the metric, :math:`\mathrm{mPC} = \frac{1}{N_c N_s} \sum_c \sum_s P_{c, s}` over corruptions c and severities
    s, and :math:`\mathrm{rPC} = \mathrm{mPC} / P_\mathrm{clean}`.

    Args:
        clean: The metric without corruption.
        corrupted: The metric by name of the corruption, at severity 1, 2, ...; of each the same number.

    Raises:
        ValueError: There is nothing, a corruption is unknown, or the numbers of severities differ.

    Example:
        >>> found = robustness(50.0, {"fog": [40.0, 30.0], "snow": [30.0, 20.0]})
        >>> found.mpc, found.rpc, found.by_severity
        (30.0, 60.0, (35.0, 25.0))

    Source:
        C. Michaelis et al., *Benchmarking Robustness in Object Detection: Autonomous Driving when Winter is Coming*,
        2019, arXiv 1907.07484.
    """
    if unknown := sorted(set(corrupted) - set(NAMES)):
        raise ValueError(f"corruptions must be of {', '.join(NAMES)}, got {unknown[0]!r}")
    counts = {len(values) for values in corrupted.values()}
    if len(counts) != 1 or not 1 <= min(counts) <= max(counts) <= len(SEVERITIES):
        raise ValueError(
            f"each corruption must have values of severity 1, 2, ... up to 5, got numbers {sorted(counts)}"
        )
    names = [name for name in NAMES if name in corrupted]
    values = np.array([corrupted[name] for name in names], float)
    means = dict(zip(names, values.mean(1).tolist(), strict=True))
    groups = {group: [means[name] for name in those if name in means] for group, those in CORRUPTIONS.items()}
    mpc = float(values.mean())
    return Robustness(
        clean=clean,
        mpc=mpc,
        rpc=100 * mpc / clean if clean else float("nan"),
        by_corruption=means,
        by_group={group: float(np.mean(those)) for group, those in groups.items() if those},
        by_severity=tuple(values.mean(0).tolist()),
        complete=values.shape == (len(NAMES), len(SEVERITIES)),
    )
