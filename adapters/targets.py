"""Where an adapter goes: the modules of a network, and what their inputs look like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from adapters.blocks import PATCHES, Block, block_of
from adapters.config import MoPPAConfig
from adapters.grid import GridReader, Layout, Sizes
from spectral_ops import Precomputed
from spectral_ops.holder import QuantityHolder

__all__ = ["GridSource", "Target", "bare_modules", "channels_first", "find_targets", "matches"]


_LAST_NORMS = ("norm", "fc_norm", "head.norm", "layernorm", "encoder.ln")
_STEMS = (*PATCHES, "stem.0", "stem.conv2")


@dataclass(frozen=True)
class GridSource:
    """Where a running network tells the grid of its sequences.

    Attributes:
        blocks: Names of the blocks that work on them.
        patches: Name of the module whose output (B, C, H, W) has the grid, where it is not the block's call that tells.
        reader: What tells it from that call.
    """

    blocks: tuple[str, ...]
    patches: str | None = None
    reader: GridReader | None = None


@dataclass
class Target:
    """A module to adapt.

    Attributes:
        unit: Whether it gets a unit.
        rows: The last rows of its weight that are changed, 0 for none.
        ssf: Whether its output is scaled and shifted.
        physics: Whether it is a quantity that gets a factor for each channel.
        channels: C of its input (of its output, for ``ssf`` or ``physics`` alone).
        heads: What C is split into.
        layout: Of its input.
        prefix: Tokens before the grid's.
        grid_from: Where the grid of a sequence comes from; the grid itself where it is fixed.
        shift: Whether its bias can be shifted.
    """

    unit: bool = False
    rows: int = 0
    ssf: bool = False
    physics: bool = False
    channels: int = 0
    heads: int = 1
    layout: Layout = "tokens"
    prefix: int = 0
    grid_from: GridSource | Sizes | None = None
    shift: bool = True


def channels_first(module: nn.Module) -> bool:
    """Whether a layer works on maps (B, C, H, W): Conv2d, BatchNorm2d, LayerNorm2d (timm's, torchvision's), ..."""
    return type(module).__name__.endswith("2d") or isinstance(module, nn.GroupNorm)


def bare_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules of a network by name, as they were before any adapter."""
    found: dict[str, nn.Module] = {}

    def visit(name: str, module: nn.Module) -> None:
        if isinstance(module, AuxiliaryTrainingWrapper):  # of another adapter's modules_to_save
            module = module.original_module
        found[name] = module = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
        for child_name, child in module.named_children():
            visit(_join(name, child_name), child)

    visit("", model)
    return found


def _ancestors(name: str) -> Iterator[str]:
    """Names of the modules around one, the nearest first; ``""`` is the network."""
    while name:
        name = name.rpartition(".")[0]
        yield name


def _join(parent: str, child: str) -> str:
    return f"{parent}.{child}" if parent else child


def matches(pattern: str | list[str] | set[str] | tuple[str, ...], name: str) -> bool:
    """PEFT's rule: a regular expression for the whole name, or a list of names and ends of names."""
    if isinstance(pattern, str):
        return re.fullmatch(pattern, name) is not None
    return any(name == entry or name.endswith(f".{entry}") for entry in pattern)


@dataclass
class _Search:
    modules: dict[str, nn.Module]
    config: MoPPAConfig
    blocks: dict[str, Block] = field(init=False)

    def __post_init__(self) -> None:
        self.blocks = {name: block for name, m in self.modules.items() if (block := block_of(m)) is not None}

    # -- which modules ----------------------------------------------------------------------------------------------

    def units(self) -> list[str]:
        """Names of the modules that get a unit."""
        automatic = [_join(name, getattr(block, self.config.placement)) for name, block in self.blocks.items()]
        wanted = self.config.target_modules
        if wanted == "auto":
            if not automatic:
                raise ValueError(
                    "target_modules='auto' found no block it knows; name modules instead, out of "
                    f"{_some([n for n, m in self.modules.items() if _width(m) and n])}, or make its blocks known by "
                    "adapters.register_block"
                )
            for block, name in zip(self.blocks, automatic, strict=True):
                if name not in self.modules:
                    inside = [child for child, _ in self.modules[block].named_modules() if child]
                    raise ValueError(
                        f"there is no {name}, which the registration of {type(self.modules[block]).__name__} names for "
                        f"placement={self.config.placement!r}; {block} has {_some(inside)}"
                    )
            return automatic
        assert wanted is not None
        names = [name for name in self.modules if name and matches(wanted, name)]
        entries = [wanted] if isinstance(wanted, str) else list(wanted)
        missing = [entry for entry in entries if not any(matches(_one(wanted, entry), name) for name in names)]
        if missing:
            known = [name for name in automatic if name in self.modules]
            candidates = known or [n for n, m in self.modules.items() if _width(m) and n]
            raise ValueError(
                f"target_modules: {missing} match no module of this network; candidates: {_some(candidates)}"
            )
        return names

    def linears(self) -> Iterator[str]:
        """Names of the linear layers to change."""
        for name, block in self.blocks.items():
            for child in block.linears:
                layer = self.modules.get(_join(name, child))
                if isinstance(layer, nn.Linear):
                    yield _join(name, child)
                elif isinstance(getattr(layer, "out_features", None), int):  # torch.ao's
                    raise ValueError(
                        f"rescale, rank: {_join(name, child)} is a {type(layer).__module__}.{type(layer).__name__}"
                        f"{_dtype(layer)}, through which no gradients go: adapt the network of floats, and quantise it "
                        "behind that for inference; or leave rescale and rank off"
                    )

    def affine(self) -> Iterator[str]:
        """Names of the modules whose output is scaled and shifted."""
        roots = {root for name in self.blocks for root in _ancestors(name)}
        ends = dict.fromkeys((*_LAST_NORMS, *_STEMS, *(end for block in self.blocks.values() for end in block.patches)))
        names = [_join(name, block.mlp_norm or block.mlp) for name, block in self.blocks.items()]
        names += [_join(root, end) for root in sorted(roots) for end in ends]
        for name in names:
            module = self.modules.get(name)
            if isinstance(module, (nn.LayerNorm, nn.Conv2d)):
                yield name

    def quantities(self) -> Iterator[tuple[str, int]]:
        """Names of the learned non-negative quantities of the blocks' own operators, and their channels."""
        for name, block in self.blocks.items():
            for child in block.operators:
                root = _join(name, child)
                for holder, module in self.modules.items():
                    if not (holder == root or holder.startswith(f"{root}.")) or not isinstance(module, QuantityHolder):
                        continue
                    if isinstance(module, Precomputed):
                        raise ValueError(
                            f"tune_physics: the gains of {holder} are precomputed: undo that before the network is "
                            "adapted (SpectralNet.unreparameterize)"
                        )
                    if bare := module.positive_parameters():
                        raise ValueError(
                            f"tune_physics: {bare[0]} of {holder} is an nn.Parameter, behind which no factor can "
                            "stand: make it a module that returns it, such as spectral_ops.Softplus"
                        )
                    for quantity in module.positive_modules():
                        yield _join(holder, quantity), _width_inside(self.modules[name]) or 0

    # -- what their inputs look like --------------------------------------------------------------------------------

    def enclosing(self, name: str) -> str | None:
        """The block around a module."""
        return next((parent for parent in (name, *_ancestors(name)) if parent in self.blocks), None)

    def describe(self, name: str, target: Target) -> None:
        """Fill in what a unit at this module has to know."""
        self._check_called(name)
        module, block = self.modules[name], self.enclosing(name)
        target.channels = _width(module) or (_width_inside(module) or 0)
        if not target.channels:
            raise ValueError(f"cannot tell the channels of {name}, a {type(module).__name__}: adapt a layer inside it")
        target.heads = self._heads(name, target.channels, block)
        if block is not None:
            if self.config.layout is not None:
                raise ValueError(
                    f"layout={self.config.layout!r} would have no effect on {name}, whose block tells what it takes"
                )
            given = self.blocks[block].input_of(name[len(block) + 1 if block else 0 :])
            if isinstance(given, tuple):  # windows
                target.grid_from = given
            elif callable(given):
                target.grid_from, target.prefix = GridSource((block,), reader=given), self._prefix(name)
            elif given == "tokens":
                self._tokens(name, target, self.blocks[block].patches)
            else:
                target.layout = given
        elif self.config.layout is not None:
            target.layout = self.config.layout
            if target.layout == "tokens":
                self._tokens(name, target, PATCHES)
        elif channels_first(module):
            target.layout = "NCHW"
        else:
            raise ValueError(
                f"cannot tell the layout of the input of {name}, a {type(module).__name__}: give layout='tokens', "
                "'NHWC' or 'NCHW'"
            )

    def _check_called(self, name: str) -> None:
        """Refuse a layer whose parent takes its weight and never calls it: a unit there would not run."""
        parent_name, _, child = name.rpartition(".")
        parent = self.modules[parent_name]
        separate_bias = getattr(parent, "q_bias", None) is not None and not getattr(parent, "qkv_bias_separate", False)
        if (child == "qkv" and separate_bias) or (child == "out_proj" and isinstance(parent, nn.MultiheadAttention)):
            raise ValueError(
                f"{parent_name}, a {type(parent).__name__}, reads the weight of {name} without calling it, so a unit "
                f"before it would never run: adapt {parent_name} instead"
            )
        self.check_not_at_once(name, "a unit before it", f"adapt {parent_name} instead")

    def check_not_at_once(self, name: str, part: str, advice: str) -> None:
        """Refuse a layer inside torch's own encoder layers, whose fast path reads weights and calls nothing."""
        parent_name = name.rpartition(".")[0]
        parent = self.modules[parent_name]
        if isinstance(parent, nn.TransformerEncoderLayer):
            raise ValueError(
                f"{parent_name}, a {type(parent).__name__}, computes everything at once in eval mode, without calling "
                f"{name}, so {part} would not run then: {advice}"
            )

    def _heads(self, name: str, channels: int, block: str | None) -> int:
        heads = self.config.num_heads
        if heads is None and block is not None:
            around = [m for n, m in self.modules.items() if n == block or n.startswith(f"{block}.")]
            for attribute in ("num_heads", "num_attention_heads"):
                heads = heads or next((getattr(m, attribute) for m in around if hasattr(m, attribute)), None)
        if heads is None:
            heads = channels // 32 if channels % 32 == 0 else 1
        if channels % heads:
            raise ValueError(f"num_heads={heads} does not divide the {channels} channels of {name}")
        if heads == channels and self.config.router == "input":
            raise ValueError(f"router='input' sees nothing of heads of one channel: num_heads={heads} at {name}")
        return heads

    def _tokens(self, name: str, target: Target, ends: tuple[str, ...]) -> None:
        target.layout = "tokens"
        patches = self._patches(name, ends)
        if patches is None:
            raise ValueError(
                f"the input of {name} is a token sequence, but no patch embedding tells its grid: no module around it "
                f"has one of the names {ends}"
            )
        blocks = (n for n, b in self.blocks.items() if b.takes_tokens and self._patches(n, b.patches) == patches)
        target.grid_from, target.prefix = GridSource(tuple(blocks), patches), self._prefix(name)

    def _patches(self, name: str, ends: tuple[str, ...]) -> str | None:
        """The patch embedding of the sequences that come to a module: the nearest one beside the modules around it."""
        for parent in _ancestors(name):
            beside = next((p for end in ends if (p := _join(parent, end)) in self.modules), None)
            inside = [n for n in self.modules if n.startswith(f"{parent}." if parent else "")]
            below = [n for n in inside if n.endswith(tuple(f".{end}" for end in ends))]
            if beside is not None or len(below) == 1:
                return beside or below[0]
        return None

    def _prefix(self, name: str) -> int:
        if self.config.num_prefix_tokens is not None:
            return self.config.num_prefix_tokens
        for parent in _ancestors(name):
            module = self.modules[parent]
            if isinstance(getattr(module, "num_prefix_tokens", None), int):
                return int(module.num_prefix_tokens)
            counts = {n.rpartition(".")[2]: p.shape for n, p in module.named_parameters() if "token" in n}
            single = sum(n in counts for n in ("cls_token", "class_token", "dist_token", "distillation_token"))
            if single:
                return single + sum(counts[n][1] for n in ("reg_token", "register_tokens") if n in counts)
        return 0


def find_targets(model: nn.Module, config: MoPPAConfig) -> dict[str, Target]:
    """The modules a config adapts in a network, in the network's order. Nothing is changed.

    Raises:
        ValueError: There is nothing to adapt, or something about a module cannot be told; the message says what to do.
    """
    modules = bare_modules(model)
    search = _Search(modules, config)
    targets: dict[str, Target] = {}

    saved = tuple(config.modules_to_save or ())  # trained in full; PEFT takes every name that ends so
    lost = [end for end in saved if not any(name.endswith(end) for name in modules if name)]
    if lost:
        names = [name for name, module in modules.items() if name and not len(list(module.children()))]
        raise ValueError(f"modules_to_save: {lost} match no module of this network; the last ones are {names[-4:]}")

    def excluded(name: str) -> bool:
        inside = any(outer.endswith(saved) for outer in (name, *_ancestors(name)) if outer)
        return inside or (bool(config.exclude_modules) and matches(config.exclude_modules or [], name))

    if config.priors:
        for name in search.units():
            if not excluded(name):
                target = targets.setdefault(name, Target(unit=True))
                search.describe(name, target)
        if config.num_prefix_tokens and targets and all(t.layout != "tokens" for t in targets.values()):
            raise ValueError(f"num_prefix_tokens={config.num_prefix_tokens} would have no effect: units take maps here")
    if config.rescale or config.rank:
        for name in search.linears():
            if excluded(name):
                continue
            linear = modules[name]
            assert isinstance(linear, nn.Linear)
            fused = name.endswith("qkv") and linear.out_features == 3 * linear.in_features
            target = targets.setdefault(name, Target(channels=linear.in_features))
            target.rows = linear.out_features // 3 if fused else linear.out_features
            # BEiT and EVA keep the bias of a fused qkv beside the layer, which then has none to shift.
            target.shift = getattr(modules[name.rpartition(".")[0]], "q_bias", None) is None
    if config.ssf:
        for name in search.affine():
            if not excluded(name):
                search.check_not_at_once(name, "scales and shifts of its output", "name it in exclude_modules")
                target = targets.setdefault(name, Target())
                target.ssf = True
                target.channels = target.channels or _width_out(modules[name])
    if config.tune_physics:
        for name, channels in search.quantities():
            if not excluded(name):
                targets[name] = Target(physics=True, channels=channels)
    for option, part, what in (
        ("rescale", "rows", "linear layer of a block"),
        ("rank", "rows", "linear layer of a block"),
        ("ssf", "ssf", "norm or patch embedding of a network"),
        ("tune_physics", "physics", "learned quantity of a spectral operator in a block"),
    ):
        given = getattr(config, option)
        if given and not any(getattr(target, part) for target in targets.values()):
            raise ValueError(f"{option}={given} finds no {what} it knows (that exclude_modules does not leave out)")
    if not targets:
        raise ValueError(f"nothing to adapt: exclude_modules={config.exclude_modules!r} leaves out every module")
    return {name: targets[name] for name in modules if name in targets}


def _dtype(layer: Any) -> str:
    weight = layer.weight() if callable(layer.weight) else layer.weight
    return f" of {weight.dtype}"


def _one(wanted: Any, entry: str) -> str | list[str]:
    return entry if isinstance(wanted, str) else [entry]


def _some(names: list[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (f", ... ({len(names)} in all)" if len(names) > limit else "")


def _width(module: nn.Module) -> int | None:
    """Channels a layer takes, or None where it is no such layer."""
    for attribute in ("in_features", "in_channels", "num_features", "num_channels"):
        if isinstance(getattr(module, attribute, None), int):
            return int(getattr(module, attribute))
    shape = getattr(module, "normalized_shape", None)
    return int(shape[-1]) if shape else None


def _width_inside(module: nn.Module) -> int | None:
    """Channels of the first layer inside a module that has them."""
    return next((width for inner in module.modules() if (width := _width(inner))), None)


def _width_out(module: nn.Module) -> int:
    return module.out_channels if isinstance(module, nn.Conv2d) else int(_width(module) or 0)
