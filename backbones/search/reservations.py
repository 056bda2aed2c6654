"""How workers that ask at the same moment get different proposals, with nothing between them but the storage."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from backbones.search.parameters import Value

__all__ = ["SEEN", "compact", "proposed", "reserve"]

#: Attributes of a trial: what was proposed for it, whether that will stay so, and which trials the proposal had seen.
PROPOSAL, SETTLED, SEEN = (f"backbones.search:{name}" for name in ("proposal", "settled", "seen"))
#: For how long a proposal that may still change is waited for; its worker may have died.
PATIENCE = 2.0


def proposed(trial: FrozenTrial) -> Mapping[str, Value]:
    """What is stored for a trial, or will be once its objective has asked for it."""
    early = {**trial.system_attrs.get(PROPOSAL, {}), **trial.system_attrs.get("fixed_params", {})}
    return {**early, **trial.params} if early and not trial.state.is_finished() else trial.params or early


def reserve(
    study: optuna.Study,
    trial: FrozenTrial,
    propose: Callable[[set[Any]], dict[str, Value]],
    identity: Callable[[dict[str, Value]], Any],
    seen: str,
) -> dict[str, Value]:
    """Propose what no other worker proposes at the same time.

    Each writes its proposal, reads those of the others, and settles where none is equal. Of two equal ones that could
    both still change the later trial's changes, and the earlier trial waits for it. So whichever wrote last sees the
    other, and no two settle on the same.

    Args:
        study: Of the trial.
        trial: What is proposed for.
        propose: Makes a proposal other than those of the given identities, if it can.
        identity: Of a proposal.
        seen: The trials that it depends on, for the record.
    """
    storage = study._storage
    storage.set_trial_system_attr(trial._trial_id, SEEN, seen)
    others: set[Any] = set()
    until = None
    while True:
        found = propose(others)
        storage.set_trial_system_attr(trial._trial_id, PROPOSAL, found)
        if identity(found) in others:  # every combination is taken: a duplicate is what is left
            return found
        while rival := _rival(storage.get_all_trials(study._study_id, deepcopy=False), trial, identity, found):
            until = until or time.monotonic() + PATIENCE
            if rival.system_attrs.get(SETTLED) or rival.number < trial.number or time.monotonic() > until:
                break
            time.sleep(0.01)
        if rival is None:
            storage.set_trial_system_attr(trial._trial_id, SETTLED, True)
            return found
        others.add(identity(found))


def _rival(
    trials: Sequence[FrozenTrial],
    mine: FrozenTrial,
    identity: Callable[[dict[str, Value]], Any],
    found: dict[str, Value],
) -> FrozenTrial | None:
    """Another worker's trial of the same proposal."""
    sought = identity(found)
    for trial in trials:
        running = trial.state == TrialState.RUNNING and trial.number != mine.number
        if running and PROPOSAL in trial.system_attrs and identity(trial.system_attrs[PROPOSAL]) == sought:
            return trial
    return None


def compact(numbers: Sequence[int]) -> str:
    """Rising numbers as ranges.

    Example:
        >>> compact([0, 1, 2, 5, 7, 8])
        '0-2,5,7-8'
    """
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
