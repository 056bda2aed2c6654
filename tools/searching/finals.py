"""What follows a search: the best are trained again, the winner is frozen, and only then the test set is opened."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from evaluation.locks import Busy, locked
from files.whole import write_json
from optuna.trial import FrozenTrial
from training.commands import say

from searching.study import Search, SearchError
from searching.worker import Check, last_line, last_score, stopping, train

#: Trainings of the winner and of the default recipe that are tested.
TESTS = 5


def finalists(search: Search) -> list[FrozenTrial]:
    """The best trials of the search, by the score that they had in it."""
    return search.complete()[: search.settings.finalists]


def run_finals(search: Search) -> None:
    """Train the finalists that nobody trains now with seeds that the search has not seen."""
    with stopping() as check:
        for repeat in range(1, search.settings.repeats + 1):
            for trial in finalists(search):
                _result(search, f"finals/{trial.number:04d}-{repeat}", trial, search.settings.seed + repeat, check)


def winner(search: Search) -> dict[str, Any] | None:
    """The finalist with the best mean of its new trainings, frozen when it is first asked for; None before the last.
    Fewer that failed come first, whatever the mean of the others.

    The score that it had in the search does not count: the best of many is best by luck, too.
    """
    path = search.folder / "winner.json"
    with search.deciding():  # nobody extends the search now
        if path.exists():
            return json.loads(path.read_text())
        if not search.over():
            return None
        rows = []
        for trial in finalists(search):
            known = [_known(search, f"finals/{trial.number:04d}-{r + 1}") for r in range(search.settings.repeats)]
            found = [row for row in known if row is not None]
            if len(found) < len(known):
                return None
            row = {"trial": trial.number, "search_score": trial.value}
            row["scores"] = [each["score"] for each in found if "score" in each]
            row["failed"] = [each["error"] for each in found if "error" in each]
            rows.append(row)
        if not rows:
            trials = search.complete()[:1]
            rows = [{"trial": t.number, "search_score": t.value, "scores": [t.value], "failed": []} for t in trials]
        rows = [row for row in rows if row["scores"]]
        if not rows:
            raise SearchError("no trial is complete, so there is no winner; tools/search.py status says why")
        best = max(rows, key=lambda row: (-len(row["failed"]), statistics.mean(row["scores"]), -row["trial"]))
        trial = next(t for t in search.complete() if t.number == best["trial"])
        chosen = {**best, "values": search.space.read(trial.params), "finalists": rows}
        write_json(path, chosen)
        search.study.set_user_attr("winner", best["trial"])
        return chosen


def run_tests(search: Search) -> dict[str, list[dict[str, float]]] | None:
    """Train winner and default with new seeds and test each training once; None where the task has no test set.

    Returns:
        For ``"winner"`` and ``"default"`` a list of validation and test scores.
    """
    chosen = winner(search)
    if chosen is None or search.task.test is None:
        return None
    found: dict[str, list[dict[str, float]]] = {}
    arms = {"winner": chosen["values"], "default": search.task.default}
    with stopping() as check:
        for name, values in arms.items():
            found[name] = []
            for repeat in range(TESTS):
                seed = search.settings.seed + 100 + repeat
                row = _result(search, f"tests/{name}-{repeat}", values, seed, check, tested=True)
                if row is None:
                    raise SearchError("another command trains what is tested; come back when it is done")
                if "error" in row:
                    path = search.folder / "tests" / f"{name}-{repeat}.json"
                    raise SearchError(f"{path}: {row['error']}; without that file it is tried again")
                found[name].append({"validation": row["score"], "test": row["test"]})
    return found


def _known(search: Search, name: str) -> dict[str, Any] | None:
    path = search.folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _result(
    search: Search, name: str, of: Any, seed: int, check: Check, *, tested: bool = False
) -> dict[str, Any] | None:
    """The score of a training, done now where it is not there; None where another command is at it."""
    try:
        with locked(search.folder / f"{name}.lock"):
            if (known := _known(search, name)) is not None:
                return known
            values = search.space.read(of.params) if isinstance(of, FrozenTrial) else of
            folder = search.folder / name
            say(f"{name}: training")
            code = train(search.task.command(values, folder, seed), folder, check=check)
            if code and code < 0:  # it was killed, and goes on
                code = train(search.task.command(values, folder, seed), folder, check=check)
            score, reason = last_score(search, folder)
            failed = code or score is None
            row: dict[str, Any] = (
                {"error": (code and last_line(folder)) or reason or f"it ended with {code}"}
                if failed
                else {"score": score}
            )
            if tested and "score" in row:
                row |= _tested(search, folder, check)
            write_json(search.folder / f"{name}.json", row)
            return row
    except Busy:
        return None


def _tested(search: Search, folder: Path, check: Check) -> dict[str, Any]:
    assert search.task.test is not None
    if train(search.task.test(folder), folder / "test", check=check):
        return {"error": f"its test failed: {last_line(folder / 'test')}"}
    try:
        return {"test": float(json.loads(last_line(folder / "test"))[search.task.measure])}
    except (ValueError, KeyError, TypeError) as error:
        return {"error": f"its test gave no score: {error}"}
