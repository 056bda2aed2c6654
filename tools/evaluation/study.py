"""A study from its file to its report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from files.whole import write_json

from evaluation.analyses import conditions
from evaluation.assembly import Contender
from evaluation.checks import one_of
from evaluation.conditions import Outcome, items, outcomes_of
from evaluation.entries import Study
from evaluation.locks import locked
from evaluation.results import Row, collect
from evaluation.runs import Case, Found, Runs
from evaluation.tasks import ReadyTask
from evaluation.work import environments, work_through


class RunningStudy:
    """What a YAML file asks for, in a folder.

    Args:
        study: The file.
        folder: Where everything goes.
        only: The entries that are run and reported; None is all.
        tasks: The tasks that are run and reported; None is all.
        report_only: Whether nothing may be run.

    Raises:
        ValueError: Something does not fit: entries and tasks, checkpoints, or the folder.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        only: Sequence[str] | None = None,
        tasks: Sequence[str] | None = None,
        report_only: bool = False,
    ) -> None:
        self.study, self.folder, self.report_only = study, folder, report_only
        names = [one_of(name, "--only", list(study.entries)) for name in only or study.entries]
        entries = [study.entries[name] for name in dict.fromkeys(names)]
        if tasks:
            tasks = [one_of(name, "--tasks", list(study.tasks)) for name in tasks]
            entries = [replace(entry, tasks=tuple(t for t in entry.tasks if t in tasks)) for entry in entries]
            entries = [entry for entry in entries if entry.tasks]
            if not entries:
                raise ValueError(f"--tasks: none of the entries takes part in {', '.join(tasks)}")
        if report_only and not (folder / "study.json").is_file():
            raise FileNotFoundError(f"there is nothing to report on in {folder}")
        taken = {name for entry in entries for name in entry.tasks}
        self.tasks = {name: ReadyTask(task, folder) for name, task in study.tasks.items() if name in taken}
        self._compare_folder({entry.name for entry in entries})
        self.contenders = {(t, e.name): Contender(self.tasks[t], e) for e in entries for t in e.tasks}
        self.cases = [
            Case(task, entry.name, protocol, share, seed)
            for seed in study.seeds  # first, so that all learning rates are searched at once
            for entry in entries
            for task in entry.tasks
            for protocol in entry.protocols
            for share in (study.shares if protocol != "given" else (1.0,))
            if protocol != "given" or seed == study.seeds[0]
        ]
        self._check()
        if not report_only:
            self._compare_folder({entry.name for entry in entries}, write=True)
        self.runs = Runs(folder, self.contenders, only_there=report_only)
        self.found: dict[Case, Found] = {}
        self.tested: list[Outcome] = []

    def _check(self) -> None:
        """What is sure to fail fails now, before anything runs."""
        for contender in self.contenders.values():
            seeds = self.study.seeds if "{seed}" in (contender.entry.checkpoint or "") else self.study.seeds[:1]
            searched = (0,) if contender.entry.searches else ()
            for seed in dict.fromkeys((*searched, *seeds)):
                contender.check_checkpoint(seed)
            contender.ready.check_data(contender.entry.searches, self.study.shares)

    def _compare_folder(self, entries: set[str], write: bool = False) -> None:
        """The folder is of this study, which may have grown; what has is written down.

        Raises:
            ValueError: A task or an entry was something else when the folder was made.
        """
        path = self.folder / "study.json"
        now = self.study.definition()
        now["tasks"] = {name: {**now["tasks"][name], "config_text": task.text} for name, task in self.tasks.items()}
        now["entries"] = {name: value for name, value in now["entries"].items() if name in entries}
        now = json.loads(json.dumps(now))
        if not write and not path.is_file():
            return
        with locked(path.with_suffix(".lock"), wait=True):
            then = json.loads(path.read_text()) if path.is_file() else {"tasks": {}, "entries": {}}
            for kind, things in now.items():
                for name in things.keys() & then[kind].keys():
                    _unchanged(then[kind][name], things[name], f"{kind}.{name}", self.folder)
            if write:
                write_json(path, {kind: {**then[kind], **things} for kind, things in now.items()})

    def run(self, processes: int) -> list[str]:
        """Do all that is not done; a line for each case that failed."""

        def finish(case: Case, environment: dict[str, str]) -> None:
            self.found[case] = self.runs.finish(case, environment)

        places = environments(processes)
        failed = work_through(self.cases, finish, places)
        if not self.found and failed:
            raise ValueError("nothing could be done; " + "; ".join(f"{c}: {why}" for c, why in failed.items()))
        lines = [f"{case}: {why}" for case, why in failed.items()]
        wanted = conditions(self.study.analyses)

        def test(item: tuple[Case, tuple[int, ...]], environment: dict[str, str]) -> None:
            case, those = item[0], [wanted[number] for number in item[1]]
            metric = self.tasks[case.task].metric
            self.tested += outcomes_of(self.runs, case, self.found[case], those, environment, metric)

        failed_tests = work_through(items(self.found, wanted), test, places)
        for (case, numbers), why in failed_tests.items():
            names = ", ".join(" ".join(map(str, wanted[number].name)) for number in numbers)
            lines.append(f"{case}, {wanted[numbers[0]].analysis} {names}: {why}")
        return lines

    def rows(self) -> list[Row]:
        """The results of what has been done."""
        return collect(self.cases, self.found, self.runs)

    def report(self) -> str:
        """Write the report; returns its tables as Markdown."""
        from evaluation.report import write_report

        with locked(self.folder / "report.lock", wait=True):
            return write_report(self)


def _unchanged(then: dict[str, Any], now: dict[str, Any], name: str, folder: Path) -> None:
    for key in now:
        if then.get(key) == now[key]:
            continue
        if key == "config_text":
            raise ValueError(
                f"{name}: the config file says something else than when {folder} was made: give another --out"
            )
        if isinstance(then.get(key), dict) and isinstance(now[key], dict):
            _unchanged(
                {**dict.fromkeys(now[key]), **then[key]},
                {**dict.fromkeys(then[key]), **now[key]},
                f"{name}.{key}",
                folder,
            )
        raise ValueError(
            f"{name}.{key} was {then.get(key)!r} when {folder} was made and is {now[key]!r} now: give another --out"
        )
