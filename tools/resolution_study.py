"""Which rule should carry vHeat's spectral embeddings to pictures of another size than in training?

    python tools/resolution_study.py [--seeds 0 1 2] [--starts fresh structured] [--out work_dirs/resolution]

Trains vheat_nano at 128 px with tools/train_classifier.py on digits in front of photographs and measures the same
weights with both rules at other sizes, to which the pictures are resized. A fresh embedding hardly learns to tell modes
apart in so short a training, so there is a second start, from a strong and smooth one. A run takes about ten minutes
on one busy core; what is complete is not repeated. Writes OUT/table.md; docs/resolution.md says what was seen.
"""

from __future__ import annotations

import argparse

from files.arguments import output_folder
from files.paths import DATA, RUNS
from scenes.digit_pictures import write_pictures
from studies.resolution import STARTS, format_tables, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS))
    parser.add_argument("--out", type=output_folder, default=RUNS / "resolution")
    args = parser.parse_args()
    data = DATA / "digit_pictures"
    write_pictures(data)
    results = {s: [run(s, seed, data, args.out / s / f"seed{seed}") for seed in args.seeds] for s in args.starts}
    table = format_tables(results, args.seeds)
    (args.out / "table.md").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()
