"""The main job: train vHeat in mmdet and mmseg on digit scenes, evaluate, and write a report with pictures.

    python tools/demo.py [--out work_dirs/demo] [--seed 0] [--iterations N]

It runs tools/make_digit_scenes.py, then tools/train.py and tools/test.py for both configs of configs/digit_scenes, then
tools/report.py, and ends with a non-zero status where a measured value is below its floor. Full logs lie beside the
results.
"""

from __future__ import annotations

import argparse
import shutil
import time

from files.arguments import output_folder
from files.paths import RUNS
from scenes.data_set import make_digit_scenes
from training.commands import say
from training.runs import CONFIGS, train_and_test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=output_folder, default=RUNS / "demo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, help="training iterations; the default is the configs'")
    args = parser.parse_args()
    out = args.out
    start = time.monotonic()
    try:
        say("data set: digit scenes" + (" (written)" if make_digit_scenes(replace=False) else " (there already)"))
    except FileExistsError as error:
        parser.error(str(error))
    for task in CONFIGS:
        shutil.rmtree(out / task, ignore_errors=True)
        train_and_test(task, out / task, args.seed, args.iterations)
    say("writing the report")
    from reports.demo import below_floor, format_table, write_report  # heavy: only once everything else is done

    rows, report = write_report(out)
    say(f"\n{format_table(rows)}\n\nreport: {report}\ntotal: {(time.monotonic() - start) / 60:.1f} minutes")
    if low := below_floor(rows):
        say("\n" + "!" * 72 + "\nBELOW THE FLOOR: " + "; ".join(low) + "\n" + "!" * 72)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
