"""Running checks and writing what they found."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Sequence

from compatibility import other_tools, timm_tools, torch_tools
from compatibility.other_tools import NotInstalled
from compatibility.subject import Check, Subject

__all__ = ["CHECKS", "outcome", "table"]

#: By the title of their part.
CHECKS: dict[str, list[Check]] = {
    "timm's scripts and utilities": timm_tools.CHECKS,
    "torch": torch_tools.CHECKS,
    "PEFT, accelerate, converters and counters": other_tools.CHECKS,
}


def outcome(check: Check, subject: Subject) -> str:
    """``"yes"``, or what went wrong in a few words."""
    quiet = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            warnings.simplefilter("ignore")
            check(subject)
    except NotInstalled as error:
        return f"{error} is not installed"
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        return f"{type(error).__name__}: {first[:100]}".replace("|", "/")
    return "yes"


def table(columns: dict[str, Sequence[str]], report: Callable[[str], None] = print) -> str:
    """Markdown: a row for each check, a column for each group of models, where one outcome speaks for all alike."""
    lines = []
    for title, checks in CHECKS.items():
        lines += [f"## {title}", "", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for check in checks:
            cells = []
            for names in columns.values():
                found = {name: outcome(check, Subject(name)) for name in names}
                alike = len(set(found.values())) == 1
                cells.append(next(iter(found.values())) if alike else "; ".join(f"{n}: {o}" for n, o in found.items()))
            label = (check.__doc__ or check.__name__).strip().splitlines()[0]
            lines.append(f"| {label} | {' | '.join(cells)} |")
            report(lines[-1])
        lines.append("")
    return "\n".join(lines)
