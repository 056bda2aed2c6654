"""Make MoPPA a method of PEFT: ``PeftType.MOPPA`` and the tables PEFT looks methods up in."""

from __future__ import annotations

from typing import Any

from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import PeftType, register_peft_method

__all__ = ["register"]


def register(name: str, config: type[PeftConfig], model: type[BaseTuner]) -> None:
    """Register an outside method. Calling it again with the same classes changes nothing.

    PEFT registers only names that its own ``PeftType`` holds, so the name becomes a member of that enumeration first.

    Raises:
        KeyError: Another method has the name or its prefix.
    """
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

    member = name.upper()
    if member in PeftType.__members__:
        kind = PeftType[member]
        if PEFT_TYPE_TO_CONFIG_MAPPING.get(kind) is config and PEFT_TYPE_TO_TUNER_MAPPING.get(kind) is model:
            return
    else:
        _extend(PeftType, member)
    register_peft_method(name=name, config_cls=config, model_cls=model)


def _extend(enumeration: Any, name: str) -> None:
    """Add a member whose value is its name to an enumeration of strings."""
    member = str.__new__(enumeration, name)
    member._name_ = name
    member._value_ = name
    member._sort_order_ = len(enumeration._member_names_)
    setattr(enumeration, name, member)  # before it counts as a member, which cannot be assigned to
    enumeration._member_names_.append(name)
    enumeration._member_map_[name] = member
    enumeration._value2member_map_[name] = member
