"""The layer PEFT puts around a module that MoPPA adapts."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, fx, nn
from torch.nn import functional as F

from adapters.affine import Change, Factor, Reweight, ScaleShift, at_last_rows, changed, changed_by_calls, shifted
from adapters.unit import MoPPAUnit
from spectral_ops.apply import product_dtype
from spectral_ops.linear import is_product
from spectral_ops.recompute import LARGE, recomputed
from spectral_ops.torch_internals import hooked

__all__ = ["MoPPALayer"]

#: A weight is exchanged for all threads at once.
_EXCHANGING = threading.RLock()


class MoPPALayer(nn.Module, BaseTunerLayer):
    """A module with, for each adapter by name, some of: a unit on its input (or in parallel), a changed weight, a
    scaled and shifted output; or a quantity of a spectral operator with a factor for each channel.

    Several active adapters apply one after the other.

    Args:
        base_layer: The module.

    Attributes:
        of_samples: By thread, the adapter of each sample while a mixed batch runs in it; see :class:`MoPPAModel`.
    """

    adapter_layer_names = ("moppa_unit", "moppa_rescale", "moppa_ssf", "moppa_physics")

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.moppa_unit = nn.ModuleDict()
        self.moppa_rescale = nn.ModuleDict()
        self.moppa_ssf = nn.ModuleDict()
        self.moppa_physics = nn.ModuleDict()
        self._disable_adapters = False
        self.cast_input_dtype_enabled = True  # for peft.helpers.disable_input_dtype_casting: parts cast no input
        self.merged_adapters: list[str] = []
        self._bare: dict[str, Tensor | None] = {}
        self._written: list[int] = []  # how often what is merged had been written to
        self.of_samples: dict[int, Sequence[str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "of_samples": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if self.merged_adapters:
            self._written = _writes(self.get_base_layer())  # of the copies

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)  # networks read attributes of their modules

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """As in torch, also where the module inside has one of that name: counters give one to every module."""
        self._buffers.setdefault(name, None)
        super().register_buffer(name, tensor, persistent)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As in torch, with the module's own weight, not one that another thread has exchanged it for."""
        with _EXCHANGING:
            return super().state_dict(*args, **kwargs)

    def add(self, name: str, parts: dict[str, nn.Module]) -> None:
        """Add an adapter's parts, by the attribute they belong to."""
        for attribute, part in parts.items():
            getattr(self, attribute)[name] = part

    def _used(self, parts: nn.ModuleDict) -> list[Any]:
        """The parts in effect now, of a mixed batch those of any sample."""
        if self.merged:
            self._warn_of_training()
        if self.disable_adapters or self.merged:
            return []
        names = self._of_samples()
        return [parts[n] for n in (self.active_adapters if names is None else dict.fromkeys(names)) if n in parts]

    # -- the weight, also as modules read it that do not call this layer ---------------------------------------------

    @property
    def weight(self) -> Tensor:
        """The weight in effect, changed where an active adapter does that."""
        weight = _own(self.get_base_layer(), "weight")
        for reweight in self._read():
            weight = changed(weight, reweight()[0])
        return weight

    @property
    def bias(self) -> Tensor | None:
        """The bias in effect."""
        base = self.get_base_layer()
        bias = _own(base, "bias")
        for reweight in self._read():
            bias = shifted(bias, reweight()[1], len(base.weight))
        return bias

    def _read(self) -> list[Reweight]:
        used = self._used(self.moppa_rescale)
        weight = getattr(self.get_base_layer(), "weight", None)
        if used and not (isinstance(weight, Tensor) and weight.is_floating_point()):
            raise ValueError(
                f"the network reads the weight of a {_describe(self.get_base_layer())} without calling it, and there "
                "only a tensor of floats can be changed: leave rescale and rank off"
            )
        if used and self._of_samples() is not None:
            raise ValueError("adapter_names needs a weight for each sample, but this network reads one for all of them")
        return used

    # -- mixed batches ----------------------------------------------------------------------------------------------

    def _of_samples(self) -> Sequence[str] | None:
        """The adapter of each sample in a mixed batch, None in any other."""
        return self.of_samples.get(threading.get_ident()) if self.of_samples else None

    def _each(self, x: Tensor, parts: nn.ModuleDict, change: Callable[[Tensor, list[Any]], Tensor]) -> Tensor:
        """``change(x, parts in effect)``, of a mixed batch for the samples of each adapter alone."""
        names = self._of_samples()
        if names is None:
            return change(x, self._used(parts))
        if len(x) != len(names):
            raise ValueError(
                f"adapter_names has the adapters of {len(names)} samples, but {len(x)} come to a "
                f"{type(self.get_base_layer()).__name__}, as where windows are samples: run the samples of each "
                "adapter by themselves, with set_adapter"
            )
        rows = {name: [i for i, of in enumerate(names) if of == name] for name in dict.fromkeys(names)}
        changed = [change(x[i], [parts[name]] if name in parts else []) for name, i in rows.items()]
        order = torch.tensor([i for of in rows.values() for i in of], device=x.device)
        return torch.cat(changed)[order.argsort()]

    # -- forward ----------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if isinstance(x, fx.Proxy):
            raise TypeError(
                "torch.fx cannot trace an adapted network, whose units ask for the sizes of their input; torch.export "
                "can, and so can torch.fx once adapters are merged or unloaded"
            )
        if factors := self._used(self.moppa_physics):
            return self._scaled(self.base_layer(x, *args, **kwargs), factors)
        units = self._used(self.moppa_unit)
        before, beside = any(not unit.parallel for unit in units), any(unit.parallel for unit in units)
        inputs = self._each(x, self.moppa_unit, _before) if before else x
        if self._used(self.moppa_rescale):
            y: Any = self._each(inputs, self.moppa_rescale, self._changed)
        else:
            others = (inputs if arg is x else arg for arg in args)  # attention's keys and values are its queries
            named = {name: inputs if arg is x else arg for name, arg in kwargs.items()}
            y = self.base_layer(inputs, *others, **named)
        if beside:
            change = self._each(x, self.moppa_unit, _beside)
            y = (y[0] + change, *y[1:]) if isinstance(y, tuple) else y + change
        return self._each(y, self.moppa_ssf, _behind) if self._used(self.moppa_ssf) else y

    def _scaled(self, quantity: Tensor, factors: list[Factor]) -> Tensor:
        """A quantity of a spectral operator, which is one for all samples."""
        if self._of_samples() is not None:
            raise ValueError(
                "adapter_names needs a gain for each sample, where tune_physics gives a network one for all: run the "
                "samples of each adapter by themselves, with set_adapter"
            )
        for factor in factors:
            quantity = factor(quantity)
        return quantity

    def _changed(self, x: Tensor, reweights: list[Reweight]) -> Tensor:
        """The changed linear, whose weight backward makes again instead of keeping one for each layer."""
        base = self.base_layer
        if not reweights:
            return base(x)  # type: ignore[no-any-return]
        changes, shifts = zip(*(reweight() for reweight in reweights), strict=True)
        tensors = [tensor for change in changes for tensor in change]
        quantised = hasattr(base, "weight_fake_quant")  # in the call: what it observes is the call's
        exchanged = quantised or _product(base)
        exchanged = exchanged and base.weight.dtype.itemsize >= 4  # else small changes are lost in rounding
        if not exchanged or quantised or hooked(base):
            if exchanged and not torch.compiler.is_compiling():
                return _call_changed(base, tensors, shifts, x)
            y = changed_by_calls(base, x, changes)
            for shift in shifts:
                y = y if shift is None else y + at_last_rows(shift, y.shape[-1]).to(y.dtype)
            return y
        weight, bias = base.weight, base.bias
        for shift in shifts:
            bias = shifted(bias, shift, len(weight))
        half = product_dtype(weight)

        def product(x: Tensor, bias: Tensor | None, weight: Tensor, *tensors: Tensor | None) -> Tensor:
            return F.linear(
                x, _changed_by(weight, tensors).to(half), bias
            )  # the dtype that the product would make it, and keep

        bias = None if bias is None else bias.to(weight.dtype)
        if weight.numel() < LARGE:
            return product(x, bias, weight, *tensors)
        return recomputed(product, x, bias, weight, *tensors)

    # -- PEFT's contract --------------------------------------------------------------------------------------------

    def enable_adapters(self, enabled: bool) -> None:
        """As in PEFT; what is merged is unmerged where it is disabled, also where networks read weights uncalled."""
        super().enable_adapters(enabled)
        if not enabled and self.merged:
            self.unmerge()

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Fold changes, scaling and shifting into the weights.

        Raises:
            ValueError: An adapter has a unit or a factor here, which are no weights; or the result would not be finite.
        """
        names = check_adapters_to_merge(self, adapter_names)
        for name in names:
            if name in self.moppa_unit:
                raise ValueError(
                    f"adapter {name!r} has units, which act between layers and cannot be merged into weights; "
                    "adapters.precompute(model, images) makes inference fast instead"
                )
            if name in self.moppa_physics:
                raise ValueError(
                    f"adapter {name!r} tunes the network's physics, which is no weight and cannot be merged; the "
                    "network's own precompute takes it into the gains"
                )
        base = self.get_base_layer()
        for name in names:
            if name not in self.moppa_rescale and name not in self.moppa_ssf:
                continue
            if not _readable(base) or (isinstance(base, nn.Linear) and type(base).forward is not nn.Linear.forward):
                raise ValueError(
                    f"adapter {name!r} cannot be merged into a {_describe(base)}, whose weight is not a plain "
                    "parameter of floats; it runs unmerged"
                )
            with torch.no_grad():
                weight, bias = self._merged(name, base)
                if safe_merge and not all(torch.isfinite(t).all() for t in (weight, bias) if t is not None):
                    raise ValueError(f"merging adapter {name!r} gives weights that are not finite")
            if not self.merged_adapters:
                self._bare = {"weight": base.weight.data, "bias": None if base.bias is None else base.bias.data}
            base.weight.data = weight
            if bias is not None:
                if base.bias is None:
                    base.bias = nn.Parameter(bias, requires_grad=False)
                else:
                    base.bias.data = bias
            self.merged_adapters.append(name)
            self._written = _writes(base)

    def _warn_of_training(self) -> None:
        """What is merged gets no gradients, though it may look as if it did."""
        if not self.training or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return
        for name in self.merged_adapters:
            if any(parameter.requires_grad for parameter in self._parameters_of(name)):
                warnings.warn(
                    f"adapter {name!r} is merged, and so gets no gradients in training: unmerge_adapter() first",
                    stacklevel=2,
                )

    def _parameters_of(self, name: str) -> Iterator[nn.Parameter]:
        for attribute in self.adapter_layer_names:
            if name in getattr(self, attribute):
                yield from getattr(self, attribute)[name].parameters()

    def _merged(self, name: str, base: nn.Module) -> tuple[Tensor, Tensor | None]:
        weight, bias = base.weight.data, None if base.bias is None else base.bias.data
        if name in self.moppa_rescale:
            change, shift = self.moppa_rescale[name]()
            weight, bias = changed(weight, change), shifted(bias, shift, len(weight))
            bias = None if bias is None else bias.to(weight.dtype)
        if name in self.moppa_ssf:
            affine = self.moppa_ssf[name]
            scale, shift = affine.scale.to(weight.dtype), affine.shift.to(weight.dtype)
            bias = shift if bias is None else bias * scale + shift
            weight = weight * scale.view(-1, *(1,) * (weight.ndim - 1))
        return weight, bias

    def unmerge(self) -> None:
        """Put the weights back as they were, to the bit.

        Raises:
            RuntimeError: They have been written to since, as by loading or training, which would be lost.
        """
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        base = self.get_base_layer()
        if _writes(base) != self._written:
            raise RuntimeError(
                f"the weights of a {_describe(base)} have been written to since {', '.join(self.merged_adapters)} was "
                "merged into them, and unmerging would undo that: merge_and_unload() keeps them as they are, and what "
                "is loaded belongs into the unmerged network"
            )
        weight, bias = self._bare["weight"], self._bare["bias"]
        assert weight is not None
        base.weight.data = weight.to(base.weight)  # it may have been moved since
        if bias is None:
            base.bias = None
        else:
            base.bias.data = bias.to(base.bias)
        self._bare = {}
        self.merged_adapters = []

    def _freeze_non_trainable_peft_weights(self, adapter_names: str | Sequence[str] | None = None) -> None:
        """PEFT calls it wherever it lets adapters learn: the route of a single prior has nothing to learn."""
        super()._freeze_non_trainable_peft_weights(adapter_names)
        for unit in self.moppa_unit.values():
            if len(unit.router.names) == 1:
                unit.router.requires_grad_(False)

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """A unit is no additive weight."""
        return False

    def __repr__(self) -> str:
        return "moppa." + super().__repr__()


def _before(x: Tensor, units: list[MoPPAUnit]) -> Tensor:
    for unit in units:
        x = x if unit.parallel else unit(x)
    return x


def _beside(x: Tensor, units: list[MoPPAUnit]) -> Tensor:
    changes = [unit(x) for unit in units if unit.parallel]
    return sum(changes[1:], changes[0]) if changes else torch.zeros_like(x)


def _behind(y: Tensor, affines: list[ScaleShift]) -> Tensor:
    for affine in affines:
        y = affine(y)
    return y


def _changed_by(weight: Tensor, tensors: Sequence[Tensor | None]) -> Tensor:
    """A weight changed in turn, by the tensors of one :class:`Change` after the other."""
    for first in range(0, len(tensors), 4):
        weight = changed(weight, Change(*tensors[first : first + 4]))
    return weight


def _writes(base: nn.Module) -> list[int]:
    tensors = [p for name in ("weight", "bias") if (p := base._parameters.get(name)) is not None]
    return [0 if p.is_inference() else p._version for p in tensors]


def _own(base: nn.Module, name: str) -> Any:
    """The layer's weight or bias, not one that another thread has exchanged it for."""
    if torch.compiler.is_compiling():
        return getattr(base, name)
    with _EXCHANGING:
        return getattr(base, name)


def _call_changed(
    base: nn.Module, tensors: Sequence[Tensor | None], shifts: Sequence[Tensor | None], x: Tensor
) -> Tensor:
    """The layer's call, hooks included, with a changed weight and a shifted bias."""
    with _EXCHANGING:
        own = {name: base._parameters[name] for name in ("weight", "bias")}
        weight, bias = own["weight"], own["bias"]
        assert weight is not None
        for shift in shifts:
            bias = shifted(bias, shift, len(weight))  # type: ignore[assignment]
        base._parameters["weight"] = _changed_by(weight, tensors)  # type: ignore[assignment]
        base._parameters["bias"] = None if bias is None else bias.to(weight.dtype)  # type: ignore[assignment]
        try:
            return base(x)  # type: ignore[no-any-return]
        finally:
            base._parameters.update(own)


def _readable(base: nn.Module) -> bool:
    """Whether a layer's weight is a parameter of floats, not quantised, pruned, parametrised or made of others."""
    weight = base._parameters.get("weight")
    return weight is not None and weight.is_floating_point() and not hasattr(weight, "__tensor_flatten__")


def _product(base: nn.Module) -> bool:
    """Whether a linear layer is nothing else than the product with a weight that is there (not offloaded, sharded)."""
    return is_product(base) and _readable(base) and base.weight.shape == (base.out_features, base.in_features)


def _describe(base: nn.Module) -> str:
    weight = getattr(base, "weight", None)
    return f"{type(base).__name__} of {weight.dtype}" if isinstance(weight, Tensor) else type(base).__name__


#: What an adapter may put at a module, by the attribute of :class:`MoPPALayer` it belongs to.
Part = MoPPAUnit | Reweight | ScaleShift | Factor
