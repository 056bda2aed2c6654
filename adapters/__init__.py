"""MoPPA, a mixture of physical priors as an adapter for vision models. Importing the package registers it with PEFT."""

from adapters.blocks import BLOCKS, Block, register_block
from adapters.config import MoPPAConfig
from adapters.huggingface import RouteRegularizationMixin
from adapters.layer import MoPPALayer
from adapters.model import MoPPAModel
from adapters.priors import PRIORS, Quantities, register_prior
from adapters.registration import register
from adapters.routing import RouteSchedule, leave_out_priors, precompute, route_regularization, routes

register("moppa", MoPPAConfig, MoPPAModel)

__all__ = [
    "BLOCKS",
    "PRIORS",
    "Block",
    "MoPPAConfig",
    "MoPPALayer",
    "MoPPAModel",
    "Quantities",
    "RouteRegularizationMixin",
    "RouteSchedule",
    "leave_out_priors",
    "precompute",
    "register_block",
    "register_prior",
    "route_regularization",
    "routes",
]
