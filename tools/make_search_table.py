"""Make a table to compare searches on: all settings of augmentation, architecture and recipe on few digits.

    python tools/make_search_table.py                       (hours on one core; it says how many as it goes)
    python tools/make_search_table.py --shard 0/2 &         (two halves beside each other, here or on other machines)
    python tools/make_search_table.py --shard 1/2
    python tools/make_search_table.py --status              (how far it is, what is left, and the best settings)

Every training is a line of OUT/shard-*.jsonl: the numbers of the setting and the seed, validation accuracy and training
loss of every epoch, test accuracy, multiply-accumulates and seconds. The same command goes on where it was stopped, and
leaves out what any shard in OUT has. `tools/compare_search.py --tables ours` searches the table; what each search sees
is the validation accuracy of one seed, and what it is judged by the mean test accuracy of all.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from pathlib import Path

import torch
from evaluation.locks import Busy, locked
from files.arguments import output_folder
from reports.tables import markdown
from search_tables import few_digits as table
from searching.digits import write_few_digits


def shard(text: str) -> tuple[int, int]:
    """``"i/n"``: the part, from 0, and how many there are."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not int(found[1]) < int(found[2]):
        raise argparse.ArgumentTypeError(f"must be i/n with i from 0 to n - 1, got {text!r}")
    return int(found[1]), int(found[2])


def status(folder: Path) -> str:
    """How far the table is and what is left of it; of one that is complete, the best settings."""
    rows = table.read_rows(folder)
    numbers = len(table.settings()) * table.SEEDS
    lines = [f"{folder}: {len(rows)} of {numbers} trainings"]
    if not rows:
        return lines[0]
    seconds = statistics.mean(row["seconds"] for row in rows.values())
    lines[0] += (
        f", each {seconds:.1f} s of a core on average; "
        f"{seconds * (numbers - len(rows)) / 3600:.2f} hours of one core are left"
    )
    means = {}
    for setting in range(len(table.settings())):
        found = [rows[key] for seed in range(table.SEEDS) if (key := (setting, seed)) in rows]
        if found:
            means[setting] = [
                statistics.mean(v) for v in zip(*((r["test"], r["validation"][-1]) for r in found), strict=True)
            ]
    best = sorted(means, key=lambda setting: -means[setting][0])[:5]
    cells = [[n, *(f"{v:.2f}" for v in means[n]), table.values_of(table.settings()[n])] for n in best]
    return "\n\n".join([*lines, markdown(["setting", "test", "validation", "what it is"], cells)])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=output_folder, default=table.FOLDER, help="default %(default)s")
    parser.add_argument("--shard", type=shard, default=(0, 1), metavar="i/n", help="the part to train; default all")
    parser.add_argument("--at-most", type=int, metavar="N", help="trainings of this command")
    parser.add_argument("--status", action="store_true", help="say what is there, and train nothing")
    args = parser.parse_args(argv)
    folder, (part, parts) = args.out, args.shard
    if not args.status:
        torch.set_num_threads(1)
        write_few_digits()
        try:
            table.check(folder)
            with locked(folder / f"shard-{part:03d}-of-{parts:03d}.lock"):
                for setting, seed in table.jobs(folder, part, parts)[: args.at_most]:
                    row = table.add(folder, part, parts, setting, seed)
                    found = f"validation {row['validation'][-1]}, test {row['test']}, {row['seconds']} s"
                    print(f"setting {setting}, seed {seed}: {found}", file=sys.stderr, flush=True)
        except (table.OtherTable, Busy) as error:
            sys.exit(f"error: {error}" if isinstance(error, table.OtherTable) else "error: this shard is being made")
    print(status(folder))


if __name__ == "__main__":
    main()
