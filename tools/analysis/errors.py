"""What AP50 each kind of error costs, as TIDE counts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.matching import Scene, average_precision, match

#: The kinds of errors, of which every false detection and every missed annotation has one at most.
ERRORS = ("classification", "localisation", "both", "duplicate", "background", "missed")
#: All that is wrong on one side.
SPECIAL = ("false positive", "false negative")


@dataclass(frozen=True)
class ErrorAnalysis:
    """What detections would gain.

    Attributes:
        ap: AP at the foreground IoU, in percent.
        gains: What AP would rise by if all errors of a kind, and nothing else, were put right, in percentage points,
            by the names of :data:`ERRORS` and :data:`SPECIAL`.
        counts: How many errors there are of each of :data:`ERRORS`.
    """

    ap: float
    gains: dict[str, float]
    counts: dict[str, int]


@dataclass
class _Pool:
    """The detections of all images that count, one row each, and the annotations they are compared with.

    ``target`` is the annotation that an error of class or place would find if it were put right, numbered through all
    images, and for a right detection the one it found; -1 for others.
    """

    scores: list[float] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)  # "" is right
    target: list[int] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)  # labels of all annotations, without crowds


def error_analysis(
    scenes: Sequence[Scene], classes: Sequence[str], foreground: float = 0.5, background: float = 0.1
) -> ErrorAnalysis:
    r"""Sort all errors into six kinds, and put each kind right in turn.

    Of a false detection let s be the largest IoU with an annotation of its class, and o that with one of another:

    ================ ============================================= ==============================================
    kind             which                                         put right
    ================ ============================================= ==============================================
    localisation     background <= s < foreground                  it finds that annotation
    classification   o >= foreground                               it finds that annotation, with its class
    duplicate        s >= foreground: another has found it         left out
    background       s < background and o <= background            left out
    both             the others                                    left out
    missed           an annotation that nothing found, and no      not counted as truth
                     error of class or place would find
    ================ ============================================= ==============================================

    The first kind that fits counts. An annotation that is found already is not found again: what would find it is left
    out, and of several errors of class or place only the one of highest score finds it, the others being left out.
    Detections in crowds do not count. The special kinds leave all false detections out, and do not count any annotation
    that is not found. These are the rules of the authors' package too.

    Args:
        scenes, classes: Of :func:`analysis.matching.read_scenes`.
        foreground: IoU from which on a detection finds an annotation.
        background: IoU below which it has nothing to do with it.

    Raises:
        ValueError: The thresholds are not 0 < background < foreground <= 1.

    Source:
        D. Bolya et al., *TIDE: A General Toolbox for Identifying Object Detection Errors*, ECCV 2020, arXiv 2008.08115.
    """
    if not 0 < background < foreground <= 1:
        raise ValueError(f"thresholds must be 0 < background < foreground <= 1, got {background} and {foreground}")
    pool = _Pool()
    for scene in scenes:
        _add(pool, scene, foreground, background)
    scores, labels, target = np.array(pool.scores), np.array(pool.labels, int), np.array(pool.target, int)
    kinds, truth = np.array(pool.kinds, str), np.array(pool.truth, int)
    right = kinds == ""
    found = np.isin(np.arange(len(truth)), target[right])
    curable = (kinds == "localisation") | (kinds == "classification")
    missed = ~found & ~np.isin(np.arange(len(truth)), target[curable])
    cured_labels = np.append(truth, -1)[target]

    everything, all_truth = np.ones(len(scores), bool), np.ones(len(truth), bool)
    known = np.unique(truth)

    def ap(keep: np.ndarray, right: np.ndarray, labels: np.ndarray = labels, counted: np.ndarray = all_truth) -> float:
        """Over the classes that have truth; one that has none left is 0 while detections of it are."""
        values = []
        for label in known:
            mine, count = keep & (labels == label), np.count_nonzero(counted & (truth == label))
            if count or mine.any():
                values.append(average_precision(scores[mine], right[mine], count) if count else 0.0)
        return 100 * float(np.mean(values)) if values else (0.0 if len(known) else float("nan"))

    base = ap(everything, right)
    best = _best(curable & ~np.isin(target, target[right]), scores, target)
    fixed = {}
    for kind in ("localisation", "classification"):
        cured = best & (kinds == kind)
        fixed[kind] = ap((kinds != kind) | cured, right | cured, np.where(cured, cured_labels, labels))
    for kind in ("both", "duplicate", "background"):
        fixed[kind] = ap(kinds != kind, right)
    fixed["missed"] = ap(everything, right, counted=~missed)
    fixed["false positive"] = ap(right, right)
    fixed["false negative"] = ap(everything, right, counted=found)
    counts = {kind: int(np.count_nonzero(kinds == kind)) for kind in ERRORS} | {"missed": int(missed.sum())}
    return ErrorAnalysis(base, {kind: fixed[kind] - base for kind in (*ERRORS, *SPECIAL)}, counts)


def _add(pool: _Pool, scene: Scene, foreground: float, background: float) -> None:
    """Append an image's detections, each with its kind, and its annotations."""
    partner, ignored = match(scene, foreground)
    regular = np.flatnonzero(~scene.crowd)
    numbers = np.full(len(scene.truth), -1)
    numbers[regular] = len(pool.truth) + np.arange(len(regular))
    pool.truth += scene.truth[regular].tolist()
    for i in np.flatnonzero(~ignored):
        kind, target = "", partner[i]
        if target < 0:
            kind, target = _kind(scene.overlaps[i], scene.truth == scene.labels[i], regular, foreground, background)
        pool.scores.append(scene.scores[i])
        pool.labels.append(scene.labels[i])
        pool.kinds.append(kind)
        pool.target.append(numbers[target] if target >= 0 else -1)


def _kind(
    overlaps: np.ndarray, same: np.ndarray, regular: np.ndarray, foreground: float, background: float
) -> tuple[str, int]:
    """The kind of a false detection, and the annotation it would find if it were put right, or -1."""

    def largest(those: np.ndarray) -> tuple[float, int]:
        at = regular[those[regular]]
        return (float(overlaps[at].max()), int(at[overlaps[at].argmax()])) if len(at) else (0.0, -1)

    (s, own), (o, other) = largest(same), largest(~same)
    if background <= s < foreground:
        return "localisation", own
    if o >= foreground:
        return "classification", other
    if s >= foreground:
        return "duplicate", -1
    return ("background" if o <= background else "both"), -1


def _best(candidates: np.ndarray, scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Of the candidates for each annotation the one of highest score."""
    best, taken = np.zeros(len(scores), bool), set()
    for i in np.argsort(-scores, kind="stable"):
        if candidates[i] and target[i] not in taken:
            taken.add(target[i])
            best[i] = True
    return best
