"""What is done beside training and measuring, where the YAML file asks for it, and the conditions some of it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from analysis.robustness import NAMES, SEVERITIES
from analysis.variants import at_scale, corrupt
from mmengine.config import Config
from training.testing import augment

from evaluation.checks import distinct, keys, one_of, positive, whole_number

#: Each with its options and what they are where they are not given.
ANALYSES: dict[str, dict[str, Any]] = {
    "errors": {},
    "physics": {"small_modes": ()},
    "features": {},
    "receptive_field": {},
    "robustness": {"corruptions": NAMES, "severities": len(SEVERITIES)},
    "resolutions": {"factors": (0.5, 0.75, 1.5, 2.0)},
    "tta": {},
}


class Condition(NamedTuple):
    """Another test of what was trained.

    Attributes:
        analysis: That it belongs to.
        name: What differs: a corruption and its severity, a factor.
        change: Changes a config that tests.
    """

    analysis: str
    name: tuple[Any, ...]
    change: Callable[[Config], None]

    def changed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A config that tests under this condition.

        Raises:
            ValueError: The config does not allow it.
        """
        found = Config(dict(config))
        self.change(found)
        return found.to_dict()


def read_analyses(value: Any) -> dict[str, dict[str, Any]]:
    """What the YAML file says: a list of names, each of them alone or with options.

    Raises:
        ValueError: A name or an option is unknown.
    """
    if value is not None and not isinstance(value, list):
        raise ValueError(f"analyses must be a list, got {value!r}")
    found: dict[str, dict[str, Any]] = {}
    for item in value or []:
        name, options = next(iter(item.items())) if isinstance(item, dict) and len(item) == 1 else (item, {})
        name = one_of(name, "analyses", list(ANALYSES))
        where = f"analyses.{name}"
        if not isinstance(options, dict):
            raise ValueError(f"{where} must be a mapping of options, got {options!r}")
        keys(options, where, ANALYSES[name])
        found[name] = {**ANALYSES[name], **options}
    if options := found.get("robustness"):
        names = distinct(options["corruptions"], "analyses.robustness.corruptions", lambda n, at: one_of(n, at, NAMES))
        severities = whole_number(options["severities"], "analyses.robustness.severities", 1)
        if severities > len(SEVERITIES):
            raise ValueError(f"analyses.robustness.severities must be at most {len(SEVERITIES)}, got {severities}")
        found["robustness"] = {"corruptions": names, "severities": severities}
    if options := found.get("physics"):
        small = options["small_modes"]
        found["physics"] = {"small_modes": distinct(small, "analyses.physics.small_modes", positive) if small else ()}
    if options := found.get("resolutions"):
        found["resolutions"] = {"factors": distinct(options["factors"], "analyses.resolutions.factors", positive)}
    return found


def conditions(analyses: Mapping[str, Mapping[str, Any]]) -> list[Condition]:
    """The tests that analyses need beside that of clean images."""
    found = []
    if options := analyses.get("robustness"):
        found += [
            Condition("robustness", (name, severity), partial(corrupt, name=name, severity=severity))
            for name in options["corruptions"]
            for severity in SEVERITIES[: options["severities"]]
        ]
    if options := analyses.get("resolutions"):
        found += [Condition("resolutions", (f,), partial(at_scale, factor=f)) for f in options["factors"] if f != 1]
    if "tta" in analyses:
        found.append(Condition("tta", (), augment))
    return found
