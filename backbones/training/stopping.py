"""Signals that ask a training to stop: the first is obeyed at the next update, a later one at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from torch import distributed
from torch.utils.data import DataLoader

__all__ = ["EXIT_CODE", "Stop", "StopRequest", "leave_signals_to_the_parent"]

#: Of a process that saved and stopped because it was asked to: that of a process ended by SIGTERM.
EXIT_CODE = 143
#: SIGTERM comes from schedulers and `kill`, SIGUSR1 from SLURM's ``--signal`` some minutes before the end.
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]


#: Seconds in which signals count as one: schedulers signal all processes, and torchrun passes its own on.
_ONE = 2.0


class Stop(SystemExit):
    """Everything is saved, and the process ends with :data:`EXIT_CODE`."""

    def __init__(self) -> None:
        super().__init__(EXIT_CODE)


class StopRequest:
    """Whether a signal has asked any of the processes to stop.

    Example:
        >>> request = StopRequest()
        >>> with request.listening():
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     print(request.agreed(), request.name)
        True SIGTERM
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._since = 0.0
        self._group: Any = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Within it the first signal is noted; one that comes more than two seconds later ends the process."""
        if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
            # On the CPU, so that nothing waits for a GPU's queue.
            self._group = distributed.new_group(backend="gloo")
        if threading.current_thread() is not threading.main_thread():  # where Python lets nobody set handlers
            yield
            return
        before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.name is None:
            self.name, self._since = signal.Signals(number).name, time.monotonic()
        elif time.monotonic() - self._since > _ONE:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def agreed(self) -> bool:
        """Whether to stop, the same in all processes; all must ask at the same place."""
        if self._group is None:
            return self.name is not None
        asked = torch.tensor(self.name is not None, dtype=torch.int32)
        distributed.all_reduce(asked, distributed.ReduceOp.MAX, group=self._group)
        if asked and self.name is None:
            self.name = "a signal to another process"
        return bool(asked)


class _Worker:
    """A worker's start: only its parent ends it, for schedulers send their signals to all processes of a job."""

    def __init__(self, then: Callable[[int], object] | None) -> None:
        self.then = then

    def __call__(self, worker: int) -> None:
        if hasattr(signal, "sigwaitinfo"):  # elsewhere nobody can tell who sent a signal
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Thread(target=self._obey_the_parent, daemon=True).start()
        if self.then is not None:
            self.then(worker)

    @staticmethod
    def _obey_the_parent() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)


def leave_signals_to_the_parent(loader: DataLoader[Any]) -> None:
    """Make a loader's workers ones that only their parent ends, from their first instant on."""
    start = loader._get_iterator

    def start_without_signals() -> Any:
        if not hasattr(signal, "sigwaitinfo"):
            return start()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # which workers inherit
        try:
            return start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    loader.worker_init_fn = _Worker(loader.worker_init_fn)
    loader._get_iterator = start_without_signals  # type: ignore[method-assign]
