"""What of a network an adapter's weights depend on, as its config file tells it."""

from __future__ import annotations

from typing import Any

from adapters.config import MoPPAConfig
from adapters.targets import Target

__all__ = ["check_signature", "signature"]


def signature(target: Target, grid: tuple[int, int] | None) -> dict[str, Any]:
    """What of a module the adapter's weights depend on, as it is written to the config file."""
    facts: dict[str, Any] = {"channels": target.channels}
    if target.unit:
        facts["heads"] = target.heads
    if target.rows:
        facts["rows"] = target.rows
    if target.physics:
        facts["physics"] = True
    if grid is not None:
        facts["grid"] = list(grid)
    return facts


def check_signature(config: MoPPAConfig, found: dict[str, dict[str, Any]]) -> None:
    """Compare a loaded config's modules with those of this network.

    Raises:
        ValueError: They differ; the message says in what.
    """
    saved = config.adapted
    if saved is None or saved == found:
        return
    missing, extra = sorted(set(saved) - set(found)), sorted(set(found) - set(saved))
    differing = [f"{n}: saved {saved[n]}, here {found[n]}" for n in saved if n in found and saved[n] != found[n]]
    parts = [
        f"not here: {', '.join(missing[:3])} ({len(missing)})" if missing else "",
        f"not in the file: {', '.join(extra[:3])} ({len(extra)})" if extra else "",
        f"different: {'; '.join(differing[:3])} ({len(differing)})" if differing else "",
    ]
    raise ValueError(f"this adapter was saved for another network or grid; {', '.join(p for p in parts if p)}")
