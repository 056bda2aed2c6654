"""The layer PEFT puts around a module that MoPPA adapts."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from torch.nn import functional as F

from adapters.affine import Rescale, ScaleShift, rescaled
from adapters.unit import MoPPAUnit
from spectral_ops.recompute import LARGE, recomputed

__all__ = ["MoPPALayer"]


class MoPPALayer(nn.Module, BaseTunerLayer):
    """A module with, for each adapter by name, some of: a unit on its input (or in parallel), a rescaled weight, a
    scaled and shifted output.

    Several active adapters apply one after the other.

    Args:
        base_layer: The module.
    """

    adapter_layer_names = ("moppa_unit", "moppa_rescale", "moppa_ssf")

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.moppa_unit = nn.ModuleDict()
        self.moppa_rescale = nn.ModuleDict()
        self.moppa_ssf = nn.ModuleDict()
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._bare: dict[str, Tensor | None] = {}

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)  # networks read attributes of their modules

    def add(self, name: str, parts: dict[str, nn.Module]) -> None:
        """Add an adapter's parts, by the attribute they belong to."""
        for attribute, part in parts.items():
            getattr(self, attribute)[name] = part

    def _active(self, parts: nn.ModuleDict) -> list[Any]:
        if self.disable_adapters or self.merged:
            return []
        return [parts[name] for name in self.active_adapters if name in parts]

    # -- the weight, also as modules read it that do not call this layer ---------------------------------------------

    @property
    def weight(self) -> Tensor:
        """The weight in effect, rescaled where an active adapter does that."""
        weight = self.get_base_layer().weight
        for rescale in self._active(self.moppa_rescale):
            weight = rescale.weight(weight)
        return weight

    @property
    def bias(self) -> Tensor | None:
        """The bias in effect."""
        base = self.get_base_layer()
        bias = base.bias
        for rescale in self._active(self.moppa_rescale):
            bias = rescale.bias(bias, len(base.weight))
        return bias

    # -- forward ----------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.disable_adapters and self.merged:
            self.unmerge()
        units = self._active(self.moppa_unit)
        inputs = x
        for unit in units:
            if not unit.parallel:
                inputs = unit(inputs)
        rescales = self._active(self.moppa_rescale)
        if rescales:
            y: Any = self._rescaled(inputs, rescales)
        else:
            y = self.base_layer(inputs, *args, **kwargs)
        for unit in units:
            if unit.parallel:
                y = (y[0] + unit(x), *y[1:]) if isinstance(y, tuple) else y + unit(x)
        for affine in self._active(self.moppa_ssf):
            y = affine(y)
        return y

    def _rescaled(self, x: Tensor, rescales: list[Rescale]) -> Tensor:
        """The rescaled linear, whose weight backward makes again instead of keeping one for each layer."""
        weight, bias = self.get_base_layer().weight, self.bias
        scales = [scale for rescale in rescales for scale in (rescale.row, rescale.column)]
        half = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else weight.dtype

        def product(x: Tensor, bias: Tensor | None, weight: Tensor, *scales: Tensor) -> Tensor:
            for row, column in zip(scales[::2], scales[1::2], strict=True):
                weight = rescaled(weight, row, column)
            return F.linear(x, weight.to(half), bias)  # the dtype that the product would make it, and keep

        bias = None if bias is None else bias.to(weight.dtype)
        if weight.numel() < LARGE:
            return product(x, bias, weight, *scales)
        return recomputed(product, x, bias, weight, *scales)

    # -- PEFT's contract --------------------------------------------------------------------------------------------

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Fold rescaling, scaling and shifting into the weights.

        Raises:
            ValueError: An adapter has a unit here, which is no weight; or the result would not be finite.
        """
        names = check_adapters_to_merge(self, adapter_names)
        for name in names:
            if name in self.moppa_unit:
                raise ValueError(
                    f"adapter {name!r} has units, which act between layers and cannot be merged into weights; "
                    "adapters.precompute(model, images) makes inference fast instead"
                )
        base = self.get_base_layer()
        for name in names:
            if name not in self.moppa_rescale and name not in self.moppa_ssf:
                continue
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

    def _merged(self, name: str, base: nn.Module) -> tuple[Tensor, Tensor | None]:
        weight, bias = base.weight.data, None if base.bias is None else base.bias.data
        if name in self.moppa_rescale:
            rescale = self.moppa_rescale[name]
            weight, bias = rescale.weight(weight), rescale.bias(bias, len(weight))
            bias = None if bias is None else bias.to(weight.dtype)
        if name in self.moppa_ssf:
            affine = self.moppa_ssf[name]
            scale, shift = affine.scale.to(weight.dtype), affine.shift.to(weight.dtype)
            bias = shift if bias is None else bias * scale + shift
            weight = weight * scale.view(-1, *(1,) * (weight.ndim - 1))
        return weight, bias

    def unmerge(self) -> None:
        """Put the weights back as they were, to the bit."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        base = self.get_base_layer()
        weight, bias = self._bare["weight"], self._bare["bias"]
        assert weight is not None
        base.weight.data = weight.to(base.weight)  # it may have been moved since
        if bias is None:
            base.bias = None
        else:
            base.bias.data = bias.to(base.bias)
        self._bare = {}
        self.merged_adapters = []

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """A unit is no additive weight."""
        return False

    def __repr__(self) -> str:
        return "moppa." + super().__repr__()


#: What an adapter may put at a module, by the attribute of :class:`MoPPALayer` it belongs to.
Part = MoPPAUnit | Rescale | ScaleShift
