"""What `.venv` was made from and whether it is whole, by the stamp inside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from typing import Any, Mapping

from environment.machine import probe
from environment.project import LOCK_FILE, REVISION, ROOT, VENV, VENV_PYTHON, SetupError, locked, present_packages

STAMP = VENV / ".stamp.json"


def made_from(minor: str) -> dict[str, Any]:
    """Everything that an environment of this Python depends on; when any of it changes, the environment is stale."""
    contents = b"\0".join((ROOT / name).read_bytes() for name in (LOCK_FILE.name, "setup.cfg", "pyproject.toml"))
    return {
        "revision": REVISION,
        "venv": str(VENV),
        "python": minor,
        "files": hashlib.sha256(contents).hexdigest(),
        "packages": present_packages(),
        "locked": list(locked()),
    }


def read_stamp() -> dict[str, Any]:
    try:
        stamp = json.loads(STAMP.read_bytes())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(state: str, origin: Mapping[str, Any]) -> None:
    """States: "changing" (who finds it knows of an interruption), "usable" (every package is whole), "complete"."""
    unfinished = STAMP.with_suffix(".part")
    unfinished.write_text(json.dumps({"state": state, **origin}, indent=1))
    os.replace(unfinished, STAMP)


def is_current(requested: str) -> bool:
    """Whether there is nothing to set up, for the interpreter that was asked for (or "")."""
    stamp = read_stamp()
    wanted = {"state": "complete", **made_from(str(stamp.get("python")))}
    return stamp == wanted and interpreter_fits(stamp, requested)


def can_update(requested: str) -> bool:
    """Whether `.venv` is whole and only has to follow the lock file, rather than be made anew."""
    stamp = read_stamp()
    whole = stamp.get("state") in ("usable", "complete")
    made_here = (stamp.get("revision"), stamp.get("venv")) == (REVISION, str(VENV))
    return whole and made_here and interpreter_fits(stamp, requested)


def interpreter_fits(stamp: Mapping[str, Any], requested: str) -> bool:
    """Whether the interpreter of `.venv` still runs and is of the recorded version, which is the one asked for."""
    commands = [str(VENV_PYTHON), requested] if requested else [str(VENV_PYTHON)]
    found = [probe(command) for command in commands]
    return all(python is not None and python.minor == stamp["python"] for python in found)


def no_longer_locked() -> list[str]:
    """Packages that an earlier lock file put into `.venv` and the present one does not name."""
    return [name for name in read_stamp().get("locked", []) if name not in locked()]


def refuse_link() -> None:
    """Stop where `.venv` leads elsewhere: what is there belongs to another checkout."""
    if VENV.is_symlink():
        raise SetupError(
            f"{VENV} is a link to {os.readlink(str(VENV))}, which this set-up would change: remove the link and run "
            "the command again."
        )


def empty_venv(origin: Mapping[str, Any]) -> None:
    """Leave nothing in `.venv` but the stamp, which says that it is being changed."""
    if VENV.exists() and any(VENV.iterdir()) and not STAMP.exists():
        raise SetupError(
            f"{VENV} was not made by this set-up: move it away and run the command again "
            "(an environment of your own takes this project with: pip install -e '.[mm]')."
        )
    VENV.mkdir(exist_ok=True)
    write_stamp("changing", origin)
    for entry in VENV.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != STAMP:
            entry.unlink()
