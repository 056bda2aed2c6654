"""Compare backbones and ways to fine-tune them on dense tasks: trainings, predictions, and one report.

    python tools/evaluate_transfer.py ENTRIES.yaml [--out FOLDER] [--only ENTRY ...] [--tasks TASK ...] [--processes N]
    python tools/evaluate_transfer.py ENTRIES.yaml --report-only

The YAML file names tasks (any configs of mmdet or mmseg), entries (backbones and checkpoints), protocols, label shares
and seeds; docs/evaluation.md explains it. Everything that is done stays done: a command that was stopped goes on when
it is given again, and several can share a folder. Writes report.html, report.md and results.json to the folder.
"""

from __future__ import annotations

import argparse
import signal
from typing import NoReturn

import torch
from evaluation.entries import read_entries
from evaluation.study import RunningStudy
from files.arguments import existing_file, output_folder
from files.paths import RUNS
from training.commands import say, stop_all


def _stop(number: int, frame: object) -> NoReturn:
    """What was started does not go on alone."""
    stop_all()
    raise SystemExit(128 + number)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("entries", type=existing_file, metavar="ENTRIES.yaml")
    parser.add_argument("--out", type=output_folder, help="default: work_dirs/evaluation/NAME, by the name of the file")
    parser.add_argument("--only", nargs="+", metavar="ENTRY", help="of the entries, those that are run and reported")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="of the tasks, those that are run and reported")
    parser.add_argument("--report-only", action="store_true", help="run nothing: report on what is there")
    parser.add_argument("--processes", type=int, help="trainings at once; default: one, or one for each GPU")
    args = parser.parse_args()
    if args.processes is not None and args.processes < 1:
        parser.error(f"--processes must be at least 1, got {args.processes}")
    signal.signal(signal.SIGTERM, _stop)
    try:
        folder = args.out or RUNS / "evaluation" / args.entries.stem
        study = RunningStudy(read_entries(args.entries), folder, args.only, args.tasks, args.report_only)
        failed = study.run(args.processes or max(1, torch.cuda.device_count()))
        say(study.report())
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        stop_all()
        raise SystemExit("stopped; the same command goes on where it was") from None
    if failed:
        raise SystemExit("\n".join(["not everything could be done:", *failed]))


if __name__ == "__main__":
    main()
