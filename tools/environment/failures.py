"""The likely cause of a failed command and what to do about it, from what the command printed."""

from __future__ import annotations

import re

from environment.project import ROOT, SUPPORTED, listed

FAILURES = (
    (
        r"The environment is wrong: .*",
        "{0}",
    ),
    (
        r"No space left on device|Disk quota exceeded",
        "The disk is full: free some space and run the command again.",
    ),
    (
        r"Read-only file system|Permission denied",
        f"A file cannot be written: {ROOT} and pip's cache must be writable for you.",
    ),
    (
        r"Killed signal terminated program|[Oo]ut of memory|Cannot allocate memory",
        "The memory ran out: compile with fewer jobs by running MAX_JOBS=1 make setup",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed",
        "The package registry's certificate is not trusted: if a proxy replaces it, set PIP_CERT to the proxy's "
        "certificate file and run the command again.",
    ),
    (
        r"NewConnectionError|NameResolutionError|name resolution|ConnectTimeout|ReadTimeout|Read timed out|ProxyError|"
        r"Network is unreachable|Connection refused|Connection reset|Connection aborted|IncompleteRead|"
        r"\b(?:403|407|429|50\d) (?:Client|Server) Error",
        "The package registry cannot be reached: check the network and pip's index and proxy settings "
        "(pip config list), then run the command again.",
    ),
    (
        r"No matching distribution found for ([^\s;]+)",
        "The package registry has no {1} for this machine: 64-bit Linux with Python "
        f"{listed(SUPPORTED)} is needed, and an index of your own (pip config list) must offer the same versions.",
    ),
    (
        r"ninja: build stopped|error: command .* failed|fatal error:",
        "mmcv did not compile: a C++17 compiler is needed (GCC 9 or later); CXX=/path/to/c++ make setup selects one.",
    ),
)


def explain(output: str, status: int) -> str:
    """One line, for a command that printed `output` and ended with this exit status (negative: by a signal)."""
    for pattern, message in FAILURES:
        found = re.search(pattern, output)
        if found:
            return message.format(found[0], *found.groups())
    if status < 0:
        return f"A command was ended from outside (signal {-status}), or memory ran out: run the command again."
    return "A command failed for an unknown reason: the end of the log says more."
