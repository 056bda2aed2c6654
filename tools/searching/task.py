"""What a search is of: a space, a default, and commands that train what was chosen."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.search import Space

Values = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Task:
    """What a search is of. One of one's own is a Python file that defines ``TASK``.

    Attributes:
        space: What is chosen.
        default: The recipe that a search has to beat; trial 0.
        command: From values, the folder of a trial and a seed to a command line that trains and goes on from the
            folder's checkpoint when it is given again. It ends with 0 when the training is complete.
        scores: From the folder to the validation scores so far, higher is better, one for each step; the last is the
            trial's.
        prepare: Makes the data.
        test: From the folder of a complete training to a command line whose last line of output is a JSON object with
            the test score; None where there is no test set. Nothing else is told where it lies.
        export: From values and the seed of the search to texts by title: how to use the winner.
        measure: What the test score is called in that object.
    """

    space: Space
    default: Values
    command: Callable[[Values, Path, int], list[str]]
    scores: Callable[[Path], list[float]]
    prepare: Callable[[], object] = lambda: None
    test: Callable[[Path], list[str]] | None = None
    export: Callable[[Values, int], dict[str, str]] | None = None
    measure: str = "top1"


def open_task(name: str) -> Task:
    """A task by its name, or of a Python file. ``scenes:100`` is ``scenes`` with trainings of 100 updates.

    Raises:
        ValueError: There is none.
    """
    if name == "digits":
        from searching.digits import TASK

        return TASK
    if scenes := re.fullmatch(r"scenes(?::([1-9]\d*))?", name):
        from searching.scenes import ITERATIONS, task

        return task(int(scenes[1] or ITERATIONS))
    path = Path(name)
    if path.suffix != ".py" or not path.is_file():
        raise ValueError(
            f"--task must be 'digits', 'scenes', 'scenes:UPDATES' or a Python file that defines TASK, got {name!r}"
        )
    found = runpy.run_path(str(path)).get("TASK")
    if not isinstance(found, Task):
        raise ValueError(f"{path} must define TASK, a searching.task.Task, got {found!r}")
    return found
