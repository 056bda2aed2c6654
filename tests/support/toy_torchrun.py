"""A task for tools/search.py whose training are two processes of torchrun, which stop together when they are asked to.

As a program, FOLDER, it is one of them. It never ends by itself.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path


def scores(folder: Path) -> list[float]:
    path = folder / "scores.txt"
    return [float(line) for line in path.read_text().split()] if path.exists() else []


def train(folder: Path) -> None:
    from torch import distributed

    from backbones.training.stopping import Stop, StopRequest

    distributed.init_process_group("gloo")
    request, step = StopRequest(), 0
    with request.listening():
        while not request.agreed():
            step += 1
            if distributed.get_rank() == 0:
                with (folder / "scores.txt").open("a") as file:
                    file.write(f"{step}\n")
            time.sleep(0.05)
    (folder / f"stopped-{distributed.get_rank()}.txt").write_text(f"{step}")
    distributed.destroy_process_group()
    raise Stop


if __name__ == "__main__":
    train(Path(sys.argv[1]))
else:
    from searching.task import Task

    from backbones.search import Agent, Ordinal, Space

    TASK = Task(
        space=Space(a=Agent(x=Ordinal([1, 2, 3]))),
        default={"a": {"x": 1}},
        command=lambda values, folder, seed: [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *(__file__, str(folder)),
        ],
        scores=scores,
    )
