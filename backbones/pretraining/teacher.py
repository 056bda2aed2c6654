"""Features as targets: a teacher sees the whole image, the moving average of the backbone or any frozen network."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.pretraining.students import Level, dense_maps, levels_of, masked_maps
from spectral_ops.scalars import as_float, as_int

__all__ = ["Features", "FrozenTeacher", "MovingAverage", "TeacherCollapse", "momentum_at", "warm_up_at"]


class TeacherCollapse(RuntimeError):
    """The targets of a moving average have become the same at all positions, or a network's features of all images.

    Attributes:
        updates: After how many updates.
        spread: Mean spread of the targets over positions, or of the features over images.
        start: What it was when they first counted fully, or at best.
    """

    def __init__(self, updates: int, spread: float, start: float, limit: float, *, features: bool = False) -> None:
        self.updates, self.spread, self.start = updates, spread, start
        if features:
            what, when = "network has collapsed", "it was at best"
            of, advice = "features over images", "the weight of the contrast, or take contrast='infonce'"
        else:
            what, when = "teacher has collapsed", "when they first counted fully"
            of, advice = "targets over positions", "the weight of the features, or raise the momentum"
        super().__init__(
            f"the {what} after {updates} updates: the mean spread of its {of} is {spread:.4g}, below {limit:g} of the "
            f"{start:.4g} {when}. Lower the learning rate or {advice}"
        )


def momentum_at(update: int, total: int, first: float = 0.99) -> float:
    r"""The teacher's momentum in an update, of :math:`0..T-1`:

    .. math::  m_t = 1 - (1 - m_0)\,\tfrac12 \left(1 + \cos\frac{\pi t}{T}\right).

    Example:
        >>> [round(momentum_at(t, 100), 4) for t in (0, 50, 100)]
        [0.99, 0.995, 1.0]
    """
    return 1 - (1 - first) * 0.5 * (1 + math.cos(math.pi * min(update, total) / total))


def warm_up_at(update: int, total: int, begin: float = 0.1, end: float = 0.3) -> float:
    """The factor of the features' weight: 0 up to ``begin`` of the updates, linear from there, 1 from ``end`` on.

    Example:
        >>> [round(warm_up_at(t, 100), 2) for t in (0, 10, 15, 30, 90)]
        [0.0, 0.0, 0.25, 1.0, 1.0]
    """
    share = update / total
    return 1.0 if share >= end else max(share - begin, 0) / (end - begin)


class _Teacher(nn.Module):
    """A network in evaluation mode that is no parameter of anything: its weights are buffers.

    So optimisers, weight decay and data-parallel reduction never see it, and checkpoints of the training hold it.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        if hasattr(net, "set_grad_checkpointing"):
            net.set_grad_checkpointing(False)
        for module in net.modules():
            for name, parameter in list(module._parameters.items()):
                if parameter is not None:
                    del module._parameters[name]
                    module.register_buffer(name, parameter.detach())
        self.net = net.eval()

    def train(self, mode: bool = True) -> _Teacher:
        """It stays in evaluation mode."""
        return super().train(False)


#: Under which names others keep a module that they have put one of their own around.
_WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _counterpart(root: nn.Module, name: str) -> Tensor | None:
    """The whole tensor of a name, whatever stands around, makes or shards it; None where there is none."""
    found: Any = root
    for part in _without_wrappers(name).split("."):
        while inner := next((found._modules[w] for w in _WRAPPERS if w in getattr(found, "_modules", {})), None):
            found = inner
        found = getattr(found, part, None)
    if not isinstance(found, Tensor):
        return None
    return found.full_tensor() if hasattr(found, "full_tensor") else found  # of fully_shard


class MovingAverage(_Teacher):
    """The moving average of a backbone.

    Args:
        backbone: Of which it is a copy at first.

    Example:
        >>> net = nn.Linear(2, 2)
        >>> teacher = MovingAverage(net)
        >>> before = teacher.net.weight.clone()
        >>> _ = nn.init.zeros_(net.weight)
        >>> teacher.update(net, momentum=0.9)
        >>> torch.allclose(teacher.net.weight, 0.9 * before), list(teacher.parameters())
        (True, [])
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(copy.deepcopy(backbone))

    @torch.no_grad()
    def update(self, backbone: nn.Module, momentum: float) -> None:
        """Move towards the backbone, the more the smaller the momentum; statistics are taken over.

        Modules that others have put around those of the backbone since (compiled, checkpointed), and weights that are
        parametrised, are seen through.

        Raises:
            RuntimeError: The backbone has no counterpart of some tensor, or parameters without one, as those of
                adapters; or weights are of half precision, where small steps are none. Nothing is changed then.
        """
        own = {_without_wrappers(name) for name, _ in self.net.named_buffers()}
        parts = {name.partition(".")[0] for name in own}  # beside them the network may have more: a neck, a decoder
        names = [_without_wrappers(name) for name, _ in backbone.named_parameters()]
        names = [name for name in names if name.partition(".")[0] in parts]
        more = [n for n in names if n not in own and ".parametrizations." not in n and n.rpartition("_")[0] not in own]
        if more:
            raise RuntimeError(
                f"the moving average cannot follow the backbone, which has got {', '.join(more[:3])} ({len(more)} "
                "parameters) since: change the backbone before the teacher is made"
            )
        half = (torch.bfloat16, torch.float16)
        if momentum > 0 and any(mine.dtype in half for mine in self.net.buffers()):
            raise RuntimeError(
                "a moving average of half precision stands still, for its steps are smaller than what it can show: "
                "train weights of float32, with autocast"
            )
        taken = {_without_wrappers(name) for name, _ in backbone.named_buffers()}
        pairs = {name: (mine, _counterpart(backbone, name)) for name, mine in self.net.named_buffers()}
        if lost := [name for name, (_, theirs) in pairs.items() if theirs is None]:
            raise RuntimeError(
                f"the moving average cannot follow the backbone, which has no {', '.join(lost[:3])} any more "
                f"({len(lost)} of {len(pairs)} tensors): change the backbone before the teacher is made"
            )
        for name, (mine, theirs) in pairs.items():
            assert theirs is not None
            if mine.is_floating_point() and _without_wrappers(name) not in taken:
                mine.lerp_(theirs.to(mine.dtype), 1 - momentum)
            else:
                mine.copy_(theirs)

    def restart(self, backbone: nn.Module) -> None:
        """Become a copy of the backbone."""
        self.update(backbone, 0.0)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The stage maps of whole images, channels-last."""
        return masked_maps(self.net, images, None, "remask")


class FrozenTeacher(_Teacher):
    """A network that stays as it is, for the levels of a backbone.

    It sees the images as the backbone does, so they must be normalised as it was trained with.

    Args:
        net: A module with timm's ``feature_info``, of timm (``features_only`` or not) or of this project; a timm name,
            whose pretrained weights are loaded; or the arguments of ``timm.create_model`` as a dict.
        levels: The maps it stands beside. Of its own it takes, for each, the last one of that stride.

    Raises:
        TypeError: ``net`` is none of these.
        ValueError: It has no map of one of the strides.
    """

    def __init__(self, net: nn.Module | str | Mapping[str, Any], levels: Sequence[Level]) -> None:
        if isinstance(net, str):
            net = {"model_name": net, "pretrained": True}
        if isinstance(net, Mapping):
            net = _created(net)
        elif isinstance(net, nn.Module):
            net = copy.deepcopy(net)
        info = getattr(net, "feature_info", None)
        if info is None:
            raise TypeError(f"teacher must be a timm name, a dict or a module with feature_info, got {net!r:.80}")
        # A network with features_only lists in feature_info what it could return; info.get_dicts() what it returns.
        given = info.get_dicts() if hasattr(info, "get_dicts") else list(info)
        strides = [each["reduction"] for each in given]
        if missing := [level.stride for level in levels if level.stride not in strides]:
            raise ValueError(
                f"the teacher {type(net).__name__} has maps of strides {sorted(set(strides))} and none of {missing}, "
                f"which the backbone's levels have: give strides= of the levels that it shall teach"
            )
        super().__init__(net)
        self.strides = [level.stride for level in levels]
        self.taken = [len(strides) - 1 - strides[::-1].index(level.stride) for level in levels]
        self.channels = [given[i]["num_chs"] for i in self.taken]

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of whole images, channels-last.

        Raises:
            ValueError: The network is for images of another size.
        """
        try:
            return self._maps(images)
        except AssertionError as error:  # timm's answer to other sizes
            name = type(self.net).__name__
            raise ValueError(f"the teacher {name} cannot take images of {tuple(images.shape)}: {error}") from error

    def _maps(self, images: Tensor) -> list[Tensor]:
        if hasattr(self.net, "forward_intermediates"):
            maps = self.net.forward_intermediates(images, self.taken, output_fmt="NCHW", intermediates_only=True)
            maps = dict(zip(sorted(set(self.taken)), maps, strict=True))
            return [maps[i].permute(0, 2, 3, 1) for i in self.taken]
        maps = dense_maps(self.net, images)
        return [maps[i] for i in self.taken]


def _created(options: Mapping[str, Any]) -> nn.Module:
    """A network of timm, with maps of any stage where it can say them itself."""
    if "features_only" in options:
        return timm.create_model(**options)
    net = timm.create_model(**{"num_classes": 0, **options})
    return net if hasattr(net, "forward_intermediates") else timm.create_model(**options, features_only=True)


class Features(nn.Module):
    r"""The features of a teacher that sees the whole image, each position normalised over its channels.

    Without a teacher of its own the backbone's moving average is it: its momentum rises from ``momentum`` to 1
    (:func:`momentum_at`), and its weight in the loss from 0 (:func:`warm_up_at`). If the mean spread of its targets
    over positions falls below ``alarm`` of what it was when they first counted fully, :class:`TeacherCollapse` ends the
    training. It is measured from there because the spread falls while the network learns pixels alone, too: its maps
    get an offset that all positions share.

    Args:
        teacher: None, or what :class:`FrozenTeacher` takes.
        strides: Of the levels that are predicted; all by default.
        momentum: Of the moving average, at first.
        warm_up: From which and to which share of the updates the weight rises, ``(0, 0)`` for none. By default
            ``(0.1, 0.3)`` for a moving average and none for a frozen teacher.
        alarm: Share of the first spread; 0 for no alarm.
        norm: ``"layer"``: each position over its channels. ``"instance"``: each channel over the positions of an image
            instead, which leaves out what all positions share.

    Attributes:
        levels: Those that are predicted, once :meth:`prepare` was called.
        channels: Of each of their targets.

    Raises:
        ValueError: An argument does not fit.
    """

    def __init__(
        self,
        teacher: nn.Module | str | Mapping[str, Any] | None = None,
        *,
        strides: Sequence[int] | None = None,
        momentum: float = 0.99,
        warm_up: Sequence[float] | None = None,
        alarm: float = 0.3,
        norm: Literal["layer", "instance"] = "layer",
    ) -> None:
        super().__init__()
        given = f"got {momentum!r} and {alarm!r}"
        if not 0 <= (as_float(momentum) if as_float(momentum) is not None else -1) <= 1 or not 0 <= alarm < 1:
            raise ValueError(f"momentum must be in [0, 1] and alarm in [0, 1), {given}")
        if warm_up is None:
            warm_up = (0.1, 0.3) if teacher is None else (0.0, 0.0)
        if len(warm_up) != 2 or not 0 <= warm_up[0] <= warm_up[1] <= 1:
            raise ValueError(f"warm_up must be two shares of the updates, ascending in [0, 1], got {warm_up!r}")
        if strides is not None and (not strides or any(as_int(s) is None for s in strides)):
            raise ValueError(f"strides must be ints, at least one, or None, got {strides!r}")
        if norm not in ("layer", "instance"):
            raise ValueError(f"norm must be 'layer' or 'instance', got {norm!r}")
        self.norm = norm
        self._given = [teacher]  # a list, so that a module in it is no part of this one
        self.strides = None if strides is None else tuple(strides)
        self.momentum, self.warm_up, self.alarm = momentum, (float(warm_up[0]), float(warm_up[1])), alarm
        self.averaged = teacher is None
        self.register_buffer("spread", torch.zeros(()))
        self.register_buffer("spread_at_start", torch.zeros(()))

    @property
    def scheduled(self) -> bool:
        """Whether it depends on how far the training is."""
        return self.averaged or self.warm_up[1] > 0

    def prepare(self, backbone: nn.Module) -> None:
        """Make the teacher of a backbone.

        Raises:
            ValueError: There are no levels of these strides, or the teacher has none.
            RuntimeError: Another model has its frozen teacher.
        """
        every = levels_of(backbone)
        strides = self.strides or tuple(level.stride for level in every)
        if unknown := sorted(set(strides) - {level.stride for level in every}):
            raise ValueError(f"strides must be of the backbone's {[level.stride for level in every]}, got {unknown}")
        self.levels = [level for level in every if level.stride in strides]
        if self.averaged:
            self._positions = [every.index(level) for level in self.levels]
            self.teacher = MovingAverage(backbone)
            self.channels = [level.channels for level in self.levels]
        else:
            if not self._given:
                raise RuntimeError("these features have a teacher already: each model needs targets of its own")
            self.teacher = FrozenTeacher(self._given.pop(), self.levels)
            self.channels = self.teacher.channels

    def restart(self, backbone: nn.Module) -> None:
        """Make the moving average equal to its backbone, before the first update."""
        self.teacher.restart(backbone)
        self.spread_at_start.zero_()

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """The targets ``(B, H', W', channels)`` of each level, float32 or better."""
        maps = self.teacher(images)
        if self.averaged:
            maps = [maps[i] for i in self._positions]
        maps = [m.to(torch.promote_types(m.dtype, torch.float32)) for m in maps]
        layer = [F.layer_norm(m, m.shape[-1:], eps=1e-6) for m in maps]
        if self.averaged and self.training:
            spreads = [m.flatten(1, 2).std(1, correction=0).mean() for m in layer]
            self.spread.copy_(torch.stack(spreads).mean())
        return layer if self.norm == "layer" else [_over_positions(m) for m in maps]

    def weight(self, update: int, total: int | None) -> float:
        """The factor of its loss in an update; 1 where the total is unknown."""
        if total is None or self.warm_up[1] == 0:
            return 1.0
        begin, end = self.warm_up
        return float(update >= end * total) if begin == end else warm_up_at(update, total, begin, end)

    def after_update(self, backbone: nn.Module, update: int, total: int) -> None:
        """Let the moving average follow, once the backbone has been updated.

        Args:
            backbone: The one of :meth:`prepare`.
            update: How many updates there were before.
            total: How many there will be.

        Raises:
            TeacherCollapse: Its targets have become alike.
        """
        if not self.averaged:
            return
        if self.spread_at_start == 0:
            if self.weight(update, total) == 1:
                self.spread_at_start.copy_(self.spread)
        elif self.alarm and (spread := float(self.spread)) < self.alarm * (start := float(self.spread_at_start)):
            raise TeacherCollapse(update, spread, start, self.alarm)
        self.teacher.update(backbone, momentum_at(update, total, self.momentum))


def _over_positions(maps: Tensor) -> Tensor:
    """Each channel of each image with zero mean and unit variance over its positions."""
    variance, mean = torch.var_mean(maps, (1, 2), correction=0, keepdim=True)
    return (maps - mean) / (variance + 1e-6).sqrt()
