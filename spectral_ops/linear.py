"""Linear layers over the channels of maps: called like any module, and computed by the faster kernel on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectral_ops._constants import tracing
from spectral_ops._kernels import SETTINGS
from spectral_ops.torch_internals import PLAIN, function_mode, hooked, own, profiling

__all__ = [
    "call",
    "call_in_own_dtype",
    "is_plain",
    "is_product",
    "prefers_convolution",
    "product",
    "tensors",
    "uncalled",
]

#: None where others stand in their places already.
_FORWARD = own(nn.Linear.forward, nn.Bilinear.forward)
_PRODUCT = F.linear if isinstance(F.linear, type(torch.relu)) else None

#: Maps of fewer cells, over the whole batch, take the product: a convolution would spend more on laying out the weights
#: than its kernel saves (docs/performance.md).
ROWS = 128


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer is ``nn.Linear`` and nothing else: nobody wraps, replaces, hooks or counts it."""
    return type(layer) is nn.Linear and is_product(layer) and not hooked(layer)


def is_product(layer: nn.Module) -> bool:
    """Whether a layer's forward is that of ``nn.Linear``, and nobody has put another in its place."""
    return type(layer).forward is _FORWARD and "forward" not in layer.__dict__


def uncalled(layer: nn.Module) -> bool:
    """Whether nobody can tell that a linear layer is computed without being called."""
    return not tracing() and is_plain(layer) and not profiling()


def product(x: Tensor, weight: Tensor, bias: Tensor | None, *, convolved: bool | None = None) -> Tensor:
    """``F.linear`` over the channels of a map, by whichever kernel is faster.

    On x86 CPUs a contiguous float32 map ``(H, W, C)`` or ``(B, H, W, C)`` of :data:`ROWS` cells or more goes through a
    1x1 convolution, forward and backward, which can be twice as fast (docs/performance.md;
    ``use_kernels(convolved=False)`` turns it off). Everything else, graphs that are traced or exported included, is the
    plain product. A checkpoint gives the kernel that it took in forward: what one keeps for backward is not of the
    shape of what the other does.
    """
    if prefers_convolution(x, weight) if convolved is None else convolved:
        batch = x if x.ndim == 4 else x.unsqueeze(0)
        y = F.conv2d(batch.permute(0, 3, 1, 2), weight[:, :, None, None], bias).permute(0, 2, 3, 1)
        return y if x.ndim == 4 else y.squeeze(0)
    return F.linear(x, weight, bias)


def tensors(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a linear layer."""
    return layer.weight, layer.bias  # type: ignore[return-value]


def call(layer: nn.Module, x: Tensor) -> Tensor:
    """``layer(x)`` over the channels of a map; what :func:`product` makes of it where it is :func:`uncalled`.

    Example:
        >>> layer, x = nn.Linear(8, 16), torch.randn(2, 5, 7, 8)
        >>> bool(torch.allclose(call(layer, x), layer(x), atol=1e-6))
        True
    """
    if SETTINGS.convolved and type(x) in PLAIN and uncalled(layer):
        return product(x, *tensors(layer))
    return layer(x)  # type: ignore[no-any-return]


def call_in_own_dtype(layer: nn.Module, x: Tensor) -> Tensor:
    """:func:`call` for an input in a wider dtype than that of the weights, and a result in the input's dtype.

    A plain layer computes in the input's dtype; one that others have a hand in in its own.
    """
    own = x.dtype
    for tensor in (*layer.parameters(), *layer.buffers()):  # a teacher's weights are buffers
        if tensor.is_floating_point():
            own = tensor.dtype
            break
    if own == x.dtype:
        return call(layer, x)
    if is_plain(layer):
        weight, bias = tensors(layer)
        return product(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
    return layer(x.to(own)).to(x.dtype)  # type: ignore[no-any-return]


def prefers_convolution(x: Tensor, weight: Tensor) -> bool:
    """Whether the CPU computes the product as a convolution, by oneDNN, instead of by MKL.

    How much faster that is depends on the processor (docs/performance.md). Graphs that are being traced keep to
    products, which is asked first, for Dynamo cannot look at all of the rest.
    """
    return (
        not tracing()
        and SETTINGS.convolved
        and F.linear is _PRODUCT  # nobody patches or watches it
        and not function_mode()
        and type(x) in PLAIN  # nor what torch.fx traces with
        and type(weight) in PLAIN
        and x.layout == weight.layout == torch.strided
        and x.ndim in (3, 4)
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.is_contiguous()
        and weight.numel() > 0
        and x.numel() >= ROWS * x.shape[-1] > 0
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )
