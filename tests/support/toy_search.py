"""A task for tools/search.py that takes moments: a "training" of four steps, each of which it keeps.

As a program, ``toy_search.py FOLDER VALUES SEED``, it is that training. What is in the environment tells it to
misbehave: TOY_SCORE is written instead of a score, TOY_PAUSE is seconds before a step beyond the first two of a trial
with x = 3, TOY_CRASH the x that crashes, TOY_KILL the x that is killed after its
second step, also when it goes on from there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

STEPS = 4


def _log(folder: Path) -> Path:
    return folder / "scores.txt"


def scores(folder: Path) -> list[float]:
    return [float(line) for line in _log(folder).read_text().split()] if _log(folder).exists() else []


def train(folder: Path, values: dict[str, dict[str, int]], seed: int) -> None:
    """Go on from the steps that are there."""
    x, y = values["a"]["x"], values["b"]["y"]
    if os.environ.get("TOY_CRASH") == str(x):
        sys.exit("RuntimeError: the toy broke")
    begun = len(scores(folder))
    with (folder / "starts.txt").open("a") as file:
        file.write(f"{begun}\n")
    if bad := os.environ.get("TOY_SCORE"):
        _log(folder).write_text(bad)
        return
    for step in range(begun, STEPS):
        if step == 2 and os.environ.get("TOY_KILL") == str(x):
            os.kill(os.getpid(), signal.SIGKILL)
        if step == 2 and x == 3:
            time.sleep(float(os.environ.get("TOY_PAUSE", 0)))
        with _log(folder).open("a") as file:
            file.write(f"{x * (y + 1) + step - STEPS + 0.01 * seed}\n")


if __name__ == "__main__":
    if sys.argv[1] == "test":
        print(json.dumps({"top1": scores(Path(sys.argv[2]))[-1] - 1}))
    else:
        train(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]))
else:
    from searching.task import Task

    from backbones.search import Agent, Limit, Ordinal, Space

    TASK = Task(
        space=Space(
            a=Agent(x=Ordinal([1, 2, 3]), limits=Limit(lambda values: 1000 * values["x"], 3000, "toy costs")),
            b=Agent(y=Ordinal([0, 1, 2])),
        ),
        default={"a": {"x": 3}, "b": {"y": 0}},
        command=lambda values, folder, seed: [sys.executable, __file__, str(folder), json.dumps(values), str(seed)],
        scores=scores,
        test=lambda folder: [sys.executable, __file__, "test", str(folder)],
        export=lambda values, seed: {"toy": repr(values)},
    )
