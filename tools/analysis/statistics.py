"""Paired differences between two contenders: their mean, an interval, and a test by flipping signs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

#: Fewer pairs cannot give p <= 0.05, since the least p is 2 / 2^n.
ENOUGH = 6


@dataclass(frozen=True)
class Paired:
    """The difference first - second.

    Attributes:
        n: Number of pairs.
        difference: Mean difference.
        low, high: Interval of the mean difference, nan for one pair.
        confidence: That of the interval.
        p: Of the sign-flip test, two-sided.
        least_p: The smallest p that so many pairs can give, 2 / 2^n.
    """

    n: int
    difference: float
    low: float
    high: float
    confidence: float
    p: float
    least_p: float

    @property
    def descriptive(self) -> bool:
        """Whether there are too few pairs for any claim of significance at 0.05."""
        return self.n < ENOUGH

    def __str__(self) -> str:
        """As tables give it.

        Example:
            >>> print(paired([41.0, 43.5, 42.0], [40.0, 41.5, 40.5]))
            +1.50 [+1.00, +2.00], n = 3: descriptive
        """
        interval = "" if math.isnan(self.low) else f" [{self.low:+.2f}, {self.high:+.2f}]"
        claim = f"n = {self.n}: descriptive" if self.descriptive else f"n = {self.n}, p = {self.p:.3g}"
        return f"{self.difference:+.2f}{interval}, {claim}"


def paired(
    first: Sequence[float], second: Sequence[float], confidence: float = 0.95, resamples: int = 9999, seed: int = 0
) -> Paired:
    r"""Compare two contenders on the same seeds, folds or images, pair by pair.

    With differences :math:`d_i = a_i - b_i`, the interval is the bias-corrected and accelerated bootstrap's of their
    mean, which assumes that the pairs are independent draws and is rough for few of them. The test asks how often
    :math:`|\sum_i s_i d_i| \ge |\sum_i d_i|` for signs :math:`s_i = \pm 1`, all :math:`2^n` of them where these are no
    more than ``resamples``: its p is exact, and at least :math:`2 / 2^n`.

    Args:
        first, second: One value per pair, in the same order.
        confidence: Of the interval.
        resamples: Draws of the bootstrap, and of signs where not all are tried.
        seed: Of these draws.

    Raises:
        ValueError: The two are not of one length, empty or not finite.

    Example:
        >>> paired([3.0, 2.0, 4.0, 5.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]).p  # all are better: 2 of 64 signs
        0.03125

    Source:
        B. Efron, *Better bootstrap confidence intervals*, JASA 82 (1987) 171-185; E. J. G. Pitman, *Significance tests
        which may be applied to samples from any populations*, Suppl. J. R. Stat. Soc. 4 (1937) 119-130; both by scipy.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.ndim != 1 or a.shape != b.shape or not a.size:
        raise ValueError(f"first and second must be values of the same pairs, got shapes {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(f"first and second must be finite, got {first} and {second}")
    d = a - b
    low, high = _interval((d,), lambda x, axis=-1: x.mean(axis), d, confidence, resamples, seed)
    return Paired(len(d), float(d.mean()), low, high, confidence, _sign_flip(d, resamples, seed), 2 / 2 ** len(d))


def over_images(
    first: np.ndarray,
    second: np.ndarray,
    metric: Callable[[np.ndarray], float],
    confidence: float = 0.95,
    resamples: int = 999,
    seed: int = 0,
) -> tuple[float, float, float]:
    """The difference of a metric that is made of sums over images, and its BCa interval over the images.

    Images are drawn with replacement, the same for both. It says what other images of this kind would change, nothing
    of what another training would.

    Args:
        first, second: What adds up, of each image: ``(images, ...)``, such as confusion matrices.
        metric: From the sums to a number.
        confidence, resamples, seed: As in :func:`paired`.

    Returns:
        The difference of all images, and the lower and upper end.

    Raises:
        ValueError: The two differ in shape, or are of fewer than two images.

    Example:
        >>> a, b = np.array([[9, 10], [8, 10], [7, 10], [9, 10]]), np.array([[5, 10], [7, 10], [6, 10], [6, 10]])
        >>> difference, low, high = over_images(a, b, lambda sums: sums[0] / sums[1])
        >>> f"{difference:.3f} [{low:.2f}, {high:.2f}]"
        '0.225 [0.10, 0.35]'
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or len(first) < 2:
        raise ValueError(f"first and second must be sums of the same images, got {first.shape} and {second.shape}")

    def difference(images: np.ndarray, axis: int = -1) -> np.ndarray:
        drawn = np.moveaxis(np.asarray(images), axis, -1)
        values = [metric(first[i].sum(0)) - metric(second[i].sum(0)) for i in drawn.reshape(-1, drawn.shape[-1])]
        return np.array(values).reshape(drawn.shape[:-1])

    every = np.arange(len(first))
    single = np.array([difference(np.delete(every, i)) for i in every])
    return float(difference(every)), *_interval((every,), difference, single, confidence, resamples, seed)


def _interval(
    data: tuple[np.ndarray],
    statistic: Callable[..., np.ndarray],
    varies: np.ndarray,
    confidence: float,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    """BCa interval; where nothing varies it is a point, for which scipy has no acceleration."""
    if len(data[0]) < 2:
        return math.nan, math.nan
    if np.ptp(varies) <= 1e-12 * np.abs(varies).max():
        return (float(statistic(data[0])),) * 2
    options = {"confidence_level": confidence, "n_resamples": resamples, "method": "BCa", "vectorized": True}
    found = stats.bootstrap(data, statistic, rng=np.random.default_rng(seed), **options).confidence_interval
    return float(found.low), float(found.high)


def _sign_flip(d: np.ndarray, resamples: int, seed: int) -> float:
    if len(d) < 2:
        return 1.0  # of two signs both are as far from zero
    test = stats.permutation_test(
        (d,),
        lambda x, axis=-1: x.mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)
