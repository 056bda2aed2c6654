"""The most memory that this process has had."""

from __future__ import annotations

import re
import sys
from pathlib import Path

__all__ = ["peak_memory_of_process"]


def peak_memory_of_process() -> int | None:
    """Bytes of the largest resident memory; None on Windows, whose Python has no count of it.

    On Linux ``ru_maxrss`` is no answer: a process starts with what the one had that has started it.
    """
    status = Path("/proc/self/status")
    if status.is_file() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
