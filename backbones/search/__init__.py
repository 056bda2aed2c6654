"""Joint search over augmentation, architecture and hyper-parameters, after MA2ML, reconstructed: samplers of Optuna.

Needs ``pip install spectral-operators[search]``.
"""

try:
    import optuna  # noqa: F401
except ImportError as error:
    raise ImportError("backbones.search needs Optuna 5: pip install 'spectral-operators[search]'") from error

from backbones.search.agents import Agent
from backbones.search.limits import Infeasible, Limit, network_macs, network_parameters
from backbones.search.lite import MA2MLLiteSampler
from backbones.search.ma2ml import MA2MLSampler
from backbones.search.parameters import Choice, Float, IntRange, LogFloat, Ordinal
from backbones.search.space import OtherSpace, Space

__all__ = [
    "Agent",
    "Choice",
    "Float",
    "Infeasible",
    "IntRange",
    "Limit",
    "LogFloat",
    "MA2MLLiteSampler",
    "MA2MLSampler",
    "Ordinal",
    "OtherSpace",
    "Space",
    "network_macs",
    "network_parameters",
]
