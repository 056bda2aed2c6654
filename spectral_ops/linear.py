"""A linear layer for the channels of maps that is fast on the CPU too."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectral_ops._constants import tracing
from spectral_ops._kernels import SETTINGS

__all__ = ["ChannelLinear", "channel_linear"]

_PLAIN = (Tensor, nn.Parameter)


def channel_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear`` over the channels of a map, in whichever way is faster."""
    if _prefers_convolution(x, weight):
        batch = x if x.ndim == 4 else x.unsqueeze(0)
        y = F.conv2d(batch.permute(0, 3, 1, 2), weight[:, :, None, None], bias).permute(0, 2, 3, 1)
        return y if x.ndim == 4 else y.squeeze(0)
    return F.linear(x, weight, bias)


class ChannelLinear(nn.Linear):
    """``nn.Linear`` over the last dimension, the channels of a map.

    On x86 CPUs a contiguous float32 map ``(H, W, C)`` or ``(B, H, W, C)`` goes through a 1x1 convolution, forward and
    backward, which can be twice as fast (docs/performance.md; ``use_kernels(convolved=False)`` turns it off).
    Everything else, graphs that are traced or exported included, is the plain product. Parameters and state dict are
    those of ``nn.Linear``; tools that look for that type exactly, as ``torch.ao.quantization.quantize_dynamic`` does,
    have to be told of this one.

    Example:
        >>> layer = ChannelLinear(8, 16)
        >>> x = torch.randn(2, 5, 7, 8)
        >>> bool(torch.allclose(layer(x), nn.functional.linear(x, layer.weight, layer.bias), atol=1e-6))
        True
    """

    def forward(self, x: Tensor) -> Tensor:
        return channel_linear(x, self.weight, self.bias)


def _prefers_convolution(x: Tensor, weight: Tensor) -> bool:
    """Whether the CPU computes the product as a convolution, by oneDNN, instead of by MKL.

    On a processor not made by Intel it was twice as fast (docs/performance.md). Graphs that are being traced keep to
    products, which is asked first, for Dynamo cannot look at all of the rest.
    """
    return (
        not tracing()
        and SETTINGS.convolved
        and type(x) in _PLAIN  # nor what torch.fx traces with
        and type(weight) in _PLAIN
        and x.layout == weight.layout == torch.strided
        and x.ndim in (3, 4)
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.is_contiguous()
        and x.numel() > 0
        and weight.numel() > 0
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )
