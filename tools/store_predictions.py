"""Test a checkpoint by several configs in one process, for tools/evaluate_transfer.py.

python tools/store_predictions.py CHECKPOINT FOLDER ...

Each FOLDER holds a config.py, as tools/test.py takes it, whose evaluator stores predictions there; FOLDER/done.json is
written once all are. Where one fails, its reason is shown, the others are tested, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

from files.arguments import existing_file, existing_folder
from files.whole import write_json
from training.commands import end_with_parent
from training.openmmlab import build_runner, load_config


def test(parser: argparse.ArgumentParser, checkpoint: Path, folder: Path) -> None:
    start = time.monotonic()
    args = argparse.Namespace(config=folder / "config.py", cfg_options={}, work_dir=folder / "run")
    args.launcher, args.local_rank = "none", 0
    config = load_config(parser, args, "test")
    config.load_from, config.resume = str(checkpoint), False
    build_runner(config).test()
    write_json(folder / "done.json", {"seconds": time.monotonic() - start})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("checkpoint", type=existing_file)
    parser.add_argument("folders", type=existing_folder, nargs="+", metavar="FOLDER")
    args = parser.parse_args()
    failed = False
    for folder in args.folders:
        try:
            test(parser, args.checkpoint, folder)
        except (Exception, SystemExit):  # whatever a model or a metric raises
            traceback.print_exc()
            failed = True
    sys.exit(int(failed))


if __name__ == "__main__":
    end_with_parent()
    main()
