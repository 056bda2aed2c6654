"""Several things at once: one per process or GPU, what another command is at later, and failures at the end."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

import torch

from evaluation.locks import Busy

Item = TypeVar("Item", bound=Hashable)


def environments(processes: int) -> list[dict[str, str]]:
    """What each of several processes finds in its environment: a GPU of its own, or its share of the cores."""
    if torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
        return [{"CUDA_VISIBLE_DEVICES": devices[i % len(devices)]} for i in range(processes)]
    if processes == 1 or "OMP_NUM_THREADS" in os.environ:
        return [{} for _ in range(processes)]
    return [{"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes))} for _ in range(processes)]


def work_through(
    items: Iterable[Item],
    do: Callable[[Item, dict[str, str]], None],
    places: list[dict[str, str]],
    pause: float = 2.0,
) -> dict[Item, str]:
    """Do all items, as many at once as there are places; returns what has failed, and why.

    Args:
        items: In the order in which they begin.
        do: Does one, at a place. What raises :class:`~evaluation.locks.Busy` comes again at the end.
        places: The environment of each process.
        pause: Seconds to wait after that.
    """
    waiting, failed, guard = deque(items), dict[Item, str](), threading.Lock()

    def work(place: dict[str, str]) -> None:
        while True:
            with guard:
                if not waiting:
                    return
                item = waiting.popleft()
            try:
                do(item, place)
            except Busy:
                with guard:
                    waiting.append(item)
                time.sleep(pause)
            except (Exception, SystemExit) as error:  # a command that fails exits; others go on
                with guard:
                    failed[item] = str(error) or type(error).__name__

    threads = [threading.Thread(target=work, args=(place,), daemon=True) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # so that Ctrl-C is heard
            thread.join(0.5)
    return failed
