"""How workers that ask at the same moment get different proposals, with nothing between them but the storage."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
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
    """What is stored for a trial, or will be, or would have been, once its objective has asked for all of it."""
    early = {**trial.system_attrs.get(PROPOSAL, {}), **trial.system_attrs.get("fixed_params", {})}
    if trial.state == TrialState.COMPLETE:
        return trial.params or early
    return {**early, **trial.params}


def reserve(
    study: optuna.Study,
    trial: FrozenTrial,
    propose: Callable[[set[Any]], dict[str, Value]],
    identity: Callable[[Mapping[str, Value]], Any],
    taken: Collection[Any],
    ended: Collection[int],
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
        taken: The identities that ``propose`` knows of by itself.
        ended: The numbers of the trials among these that will not change.
    """
    storage = study._storage
    others: set[Any] = set()
    until = None
    while True:
        found = propose(others)
        mine = identity(found)
        storage.set_trial_system_attr(trial._trial_id, PROPOSAL, found)
        if mine in others or mine in taken:  # every combination is taken: a duplicate is what is left
            return found
        while rival := _rival(storage.get_all_trials(study._study_id, deepcopy=False), trial, identity, mine, ended):
            until = until or time.monotonic() + PATIENCE
            may_change = rival.state == TrialState.RUNNING and PROPOSAL in rival.system_attrs
            settled = not may_change or rival.system_attrs.get(SETTLED)
            if settled or rival.number < trial.number or time.monotonic() > until:
                break
            time.sleep(0.01)
        if rival is None:
            storage.set_trial_system_attr(trial._trial_id, SETTLED, True)
            return found
        others.add(mine)


def _rival(
    trials: Sequence[FrozenTrial],
    of: FrozenTrial,
    identity: Callable[[Mapping[str, Value]], Any],
    mine: Any,
    ended: Collection[int],
) -> FrozenTrial | None:
    """Another worker's trial of the same proposal; it may have ended in the meantime."""
    mine_and_ended = {of.number, *ended}
    for trial in trials:
        if trial.number not in mine_and_ended and identity(proposed(trial)) == mine:
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
