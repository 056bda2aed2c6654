"""Train backbones of about the same size on digit scenes, with the same heads, budget and seeds, and tabulate them.

    python tools/compare_backbones.py [--backbones vheat convnext ...] [--seeds 0 1 2] [--tasks detection segmentation]

Every run is tools/train.py on a config of configs/digit_scenes with only the backbone exchanged, in a folder of its own
below --out; runs that are complete are not repeated, so a stopped sweep goes on where it was. One detection run takes
three to four minutes on two cores, one segmentation run two. Writes --out/table.md, with the backbones' parameters,
multiply-accumulates and speed of inference, which are measured when all runs are complete.
"""

from __future__ import annotations

import argparse

from files.arguments import any_path
from files.paths import RUNS
from scenes.data_set import make_digit_scenes
from studies.comparison import BACKBONES, costs, format_table, measure
from training.commands import say
from training.runs import METRICS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--iterations", type=int, help="training iterations; the default is the configs'")
    parser.add_argument("--out", type=any_path, default=RUNS / "compare")
    args = parser.parse_args()
    make_digit_scenes()
    results: dict[str, dict[str, list[float]]] = {}
    for name in args.backbones:
        row: dict[str, list[float]] = {}
        for task in args.tasks:
            for seed in args.seeds:
                folder = args.out / task / name / f"seed{seed}"
                found = measure(task, name, seed, args.iterations, folder)
                found[f"{task} (s)"] = found.pop("seconds")
                for metric, value in found.items():
                    row.setdefault(metric, []).append(value)
        results[name] = row
        (args.out / "table.md").write_text(format_table(results, args.seeds) + "\n")
    for name, row in costs(args.backbones).items():
        results[name].update(row)
    table = format_table(results, args.seeds)
    (args.out / "table.md").write_text(table + "\n")
    say(table)


if __name__ == "__main__":
    main()
