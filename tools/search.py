"""Search augmentation, architecture and hyper-parameters together, after MA2ML, reconstructed.

    python tools/search.py run FOLDER --trials 40      a search on few digits, some minutes on two cores
    python tools/search.py run FOLDER                  one more worker, now or after a crash
    python tools/search.py status FOLDER               how far it is, and why what failed did
    python tools/search.py report FOLDER               FOLDER/report.html; tests the winner, which is frozen then
    python tools/search.py export FOLDER               the winner as a timm call, a training command and a config
    python tools/search.py repair FOLDER               cuts a half-written last line off the journal

--trials is the number of all trainings: those of the search, trial 0 being the default recipe, and those of the finals,
in which the five best are trained three times more. A worker that is killed loses nothing but its time: the next one,
or one that runs beside it, goes on from the trial's checkpoint, once. --task scenes segments digit scenes by
OpenMMLab, scenes:100 in trainings of 100 updates; --task takes a Python file with a task of one's own, too.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, fields
from pathlib import Path

import optuna
from files.arguments import any_path
from files.whole import write_json
from searching.finals import run_finals, run_tests, winner
from searching.page import report, status
from searching.study import PRUNERS, SAMPLERS, Search, SearchError, Settings, create, repair
from searching.worker import Stopped, work

from backbones.training.files import write_whole


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "status", "report", "export", "repair"):
        commands.add_parser(name).add_argument("folder", type=any_path)
    add = commands.choices["run"].add_argument
    add("--task", help="'digits', the default, 'scenes', or a Python file that defines TASK")
    add("--trials", type=int, help="trainings in all; default 40")
    add("--finalists", type=int, help="default 5")
    add("--repeats", type=int, help="trainings of each finalist; default 3")
    add("--sampler", choices=list(SAMPLERS), help="default ma2ml")
    add("--pruner", choices=list(PRUNERS), help="default none")
    add("--seed", type=int, help="default 0")
    return parser.parse_args(argv)


def settings(args: argparse.Namespace, folder: Path) -> Settings:
    """What the command line says, and for the rest what the folder's search has, or the defaults.

    Raises:
        SearchError: One more worker is asked for, of a search that is not there.
    """
    given = {f.name: getattr(args, f.name) for f in fields(Settings) if getattr(args, f.name) is not None}
    if Path(given.get("task", "")).suffix:  # a worker may be started in another folder
        given["task"] = str(any_path(given["task"]).resolve())
    known = {"task": "digits", "trials": 40}
    if (folder / "search.json").exists():
        known = asdict(Search(folder).settings)
    elif not given:
        raise SearchError(f"there is no search in {folder}; --task or --trials begins one")
    return Settings(**{**known, **given})


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder: Path = args.folder
    try:
        if args.command == "repair":
            print(repair(folder))
            return
        if args.command == "run":
            asked = settings(args, folder)
            folder.mkdir(parents=True, exist_ok=True)
            create(folder, asked)
        search = Search(folder)
        if args.command == "run":
            search.task.prepare()
            work(search)
            run_finals(search)
            winner(search)
        if args.command in ("run", "status"):
            print(status(search))
            return
        chosen = winner(search)
        if chosen is None:
            raise SearchError(f"the search is not over; `tools/search.py run {folder}` goes on with it")
        if args.command == "export":
            texts = search.task.export(chosen["values"], search.settings.seed) if search.task.export else {}
            write_json(folder / "winner-values.json", chosen["values"])
            for title, text in texts.items():
                print(f"# {title}\n{text}\n")
        if args.command == "report":
            page = report(search, run_tests(search))
            write_whole(folder / "report.html", lambda part: part.write_text(page))
            print(folder / "report.html")
    except Stopped as stop:
        print(f"stopped by {stop}; the same command goes on", file=sys.stderr)
        sys.exit(143)
    except (SearchError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
