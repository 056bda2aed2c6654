"""How the processes of a training end."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch import distributed

from backbones.training.stopping import Stop


@contextmanager
def leaving_the_group() -> Iterator[None]:
    """A process that is done leaves its group and ends there and then; one that failed leaves it to Python.

    Else a thread of gloo's that is still there when Python takes itself apart may end the process by SIGABRT, and the
    others with it, after all work is done. Even behind ``destroy_process_group`` that was seen once.
    """
    code = 0
    try:
        yield
    except Stop as stop:
        if not distributed.is_initialized():
            raise
        code = stop.code
    if distributed.is_initialized():
        distributed.destroy_process_group()
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
