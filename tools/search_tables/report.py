"""What a comparison says: tables of all arms after some numbers of trials, and their regret over trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from reports.tables import markdown

from search_tables.arms import ARMS, BUDGETED
from search_tables.comparison import against, holm, mean_ranks
from search_tables.curves import Curves
from search_tables.tables import JOINT

#: What all others are compared with, and what the columns call it.
REFERENCES = {"tpe": "TPE", "ma2ml": "the default MA2ML"}

#: By arm and table, the regret of each seed.
Regrets = Mapping[str, Mapping[str, Mapping[int, float]]]


def report(curves: Curves, tables: Sequence[str], seeds: Mapping[str, int], at: int) -> str:
    """Markdown tables of all arms after ``at`` trials: ranks and regrets, and each arm against both references.

    Two arms are compared on the seeds that both have, and ranked on those that all have.

    Args:
        curves: The searches.
        tables: Which are compared.
        seeds: How many seeds of each arm count, where they are there.
        at: Trials.
    """
    regrets = {arm: {t: curves.regrets(t, arm, n, at) for t in tables} for arm, n in seeds.items()}
    regrets = {arm: of for arm, of in regrets.items() if any(of.values())}
    if not regrets:
        return f"No search of {at} trials is there."
    common = {t: set.intersection(*(set(of[t]) for of in regrets.values())) for t in tables}
    ranked = {
        arm: {t: [of[t][s] for s in sorted(common[t])] for t in tables if common[t]} for arm, of in regrets.items()
    }
    ranks = mean_ranks(ranked) if any(common.values()) else {}
    order = sorted(regrets, key=lambda arm: ranks.get(arm, 0.0))
    rows = {arm: [ARMS[arm], *_alone(regrets[arm], ranks.get(arm))] for arm in order}
    pairs = _span([len(c) for c in common.values()])
    head = [f"{at} trials", "seeds", f"mean rank ({pairs} seeds)", "mean regret, %"]
    parts = []
    for reference, name in REFERENCES.items():
        if reference in regrets:
            for title, cells in _columns(regrets, reference, tables).items():
                head.append(f"better than {name}, {title} tables")
                for arm in rows:
                    rows[arm].append(cells.get(arm, ""))
            parts.append(markdown(head, rows.values()))
            head, rows = [f"{at} trials"], {arm: [ARMS[arm]] for arm in order}
    return "\n\n".join(parts or [markdown(head, rows.values())])


def _alone(regrets: Mapping[str, Mapping[int, float]], rank: float | None) -> list[str]:
    whole = all(regrets.values())
    mean = 100 * float(np.mean([np.mean(list(of.values())) for of in regrets.values()])) if whole else None
    numbers = [("-", rank, ".2f"), ("-", mean, ".3f")]
    shown = [none if value is None else f"{value:{form}}" for none, value, form in numbers]
    return [_span([len(of) for of in regrets.values()]), *shown]


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low}-{high}"


def _columns(regrets: Regrets, reference: str, tables: Sequence[str]) -> dict[str, dict[str, str]]:
    """By group of tables and arm, how it does against the reference."""
    found: dict[str, dict[str, str]] = {}
    for title, names in {"all": tables, "joint": [name for name in tables if name in JOINT]}.items():
        pairs = {}
        for arm in (arm for arm in regrets if arm != reference):
            both = {t: sorted(set(regrets[arm][t]) & set(regrets[reference][t])) for t in names}
            both = {t: seeds for t, seeds in both.items() if seeds}
            if both:
                sides = ({t: [regrets[a][t][s] for s in of] for t, of in both.items()} for a in (arm, reference))
                pairs[arm] = against(*sides)
        adjusted = dict(zip(pairs, holm([pair.p for pair in pairs.values()]), strict=True))
        if pairs:
            found[title] = {
                arm: f"{f.better:.2f} [{f.low:.2f}, {f.high:.2f}], p = {adjusted[arm]:.2g}, n = {f.pairs}"
                for arm, f in pairs.items()
            }
    return found


def draw(
    path: Path, curves: Curves, tables: Sequence[str], seeds: Mapping[str, int], trials: int, cuts: Sequence[int]
) -> None:
    """Draw the mean regret of each arm over trials, all tables alike, on logarithmic axes, as an SVG file.

    Arms that divide their trials are marks at the numbers that they were told, ``cuts``.
    """
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for number, arm in enumerate(seeds):
        style = {"color": f"C{number % 10}", "ls": ["-", "--"][number // 10 % 2], "label": ARMS[arm]}
        if arm in BUDGETED:
            points = {at: _mean([curves.regrets(t, arm, seeds[arm], at).values() for t in tables]) for at in cuts}
            known = {at: y for at, y in points.items() if y is not None}
            axes.plot(list(known), list(known.values()), "o:", **{**style, "ls": ":"})
            continue
        found = {t: [curves.of((t, arm, seed), trials) for seed in range(seeds[arm])] for t in tables}
        whole = {t: [curve for curve in of if curve is not None] for t, of in found.items()}
        if all(whole.values()):
            mean = 100 * np.mean([np.mean(of, 0) for of in whole.values()], 0)
            axes.plot(np.arange(1, len(mean) + 1), np.where(mean > 0, mean, np.nan), **style)
    axes.set(xlabel="trials", ylabel="mean regret, %")
    if any(np.isfinite(line.get_ydata()).any() for line in axes.lines):
        axes.set(xscale="log", yscale="log")  # which matplotlib refuses to draw without a number
        axes.legend(fontsize=7)
    else:
        axes.set_title(f"No search of {trials} trials with a regret above zero is there.")
    with plt.rc_context({"svg.hashsalt": "regrets", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def _mean(of_tables: Sequence[object]) -> float | None:
    values = [list(of) for of in of_tables]
    return 100 * float(np.mean([np.mean(of) for of in values])) if all(values) else None
