"""Copies of networks for inference on the CPU, with weights laid out as its kernels read them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from spectral_ops import ChannelLinear

__all__ = ["packed"]


class _Packed(nn.Module):
    """A layer whose weight is a tensor of oneDNN, which can be used but neither read, saved nor trained."""

    weight: Tensor
    bias: Tensor | None
    fused: str

    def get_extra_state(self) -> Any:
        raise RuntimeError("a packed model cannot be saved: save the model that it was packed from")

    def _forward(self, operator: Any, x: Tensor, *arguments: Any) -> Tensor:
        result: Tensor = operator(x, self.weight, self.bias, *arguments, self.fused, [], "none")
        return result


class _PackedLinear(_Packed):
    def __init__(self, layer: nn.Linear, shape: torch.Size, fused: str) -> None:
        super().__init__()
        self.bias, self.fused = _data(layer.bias), fused
        self.weight = torch.ops.mkldnn._reorder_linear_weight(_data(layer.weight), shape[:-1].numel())

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(torch.ops.mkldnn._linear_pointwise, x)


class _PackedConv2d(_Packed):
    def __init__(self, layer: nn.Conv2d, shape: torch.Size, fused: str) -> None:
        super().__init__()
        self.bias, self.fused = _data(layer.bias), fused
        self.arguments = [list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups]
        weight = layer.weight.detach().contiguous(memory_format=torch.channels_last)
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.arguments, list(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(torch.ops.mkldnn._convolution_pointwise, x, *self.arguments)


_PACKED = {nn.Linear: _PackedLinear, ChannelLinear: _PackedLinear, nn.Conv2d: _PackedConv2d}


def _data(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def packed(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy of a model for float32 inference on the CPU, faster most of all on small batches.

    The weights of its linears and convolutions are kept in the blocked layout of oneDNN's kernels, which otherwise make
    it anew in every call, and a GELU behind a layer ``fc1`` is computed by the layer's kernel. The copy computes what
    the model does, to rounding, on images of every size. These are the operators that torch.compile emits when it
    freezes weights; nothing is compiled here. Any network can be packed, timm's too. For vHeat precompute the gains
    first, by ``model.reparameterize``.

    Args:
        model: In eval mode, float32, on the CPU. It is left as it is.
        images: An example of the input, which the layouts are chosen for.

    Returns:
        The copy. It cannot be trained or saved.

    Raises:
        ValueError: The model is in training mode, or not float32 on the CPU.
        RuntimeError: This build of torch has no oneDNN.

    Example:
        >>> import timm
        >>> net, images = timm.create_model("vheat_nano", num_classes=10).eval(), torch.randn(1, 3, 64, 64)
        >>> net.reparameterize([64])
        >>> fast = packed(net, images)
        >>> bool(torch.allclose(fast(images), net(images), atol=1e-5))
        True
    """
    if not torch.backends.mkldnn.is_available():
        raise RuntimeError("packing needs a torch built with oneDNN (torch.backends.mkldnn.is_available())")
    if model.training:
        raise ValueError("model must be in eval mode, call model.eval() first: a packed copy cannot be trained")
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
            raise ValueError(f"model must be float32 on the CPU, got {name} in {parameter.dtype} on {parameter.device}")
    shapes = _input_shapes(model, images)
    shared = [t for layer in shapes for t in (layer.weight, layer.bias) if t is not None]
    memo: dict[int, Any] = {id(t): t for t in shared}  # so that what will be dropped is not copied
    result = copy.deepcopy(model, memo)
    for name, layer in model.named_modules():
        if layer in shapes:
            parent_name, _, child = name.rpartition(".")
            parent = result.get_submodule(parent_name)
            act = getattr(parent, "act", None)
            fuse = child == "fc1" and type(act) is nn.GELU and act.approximate == "none"
            setattr(parent, child, _PACKED[type(layer)](layer, shapes[layer], "gelu" if fuse else "none"))
            if fuse:
                parent.act = nn.Identity()
    return result.requires_grad_(False)


def _input_shapes(model: nn.Module, images: Tensor) -> dict[nn.Module, torch.Size]:
    """What every layer that can be packed is called with; layers whose weight is used in other ways are not called."""
    shapes: dict[nn.Module, torch.Size] = {}
    hooks = [
        module.register_forward_pre_hook(lambda layer, inputs: shapes.__setitem__(layer, inputs[0].shape))
        for module in model.modules()
        if type(module) in _PACKED and _plain(module)
    ]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def _plain(layer: nn.Module) -> bool:
    """Whether nobody else has a hand in the layer: hooks, parametrisations, other paddings, sparse weights."""
    hooked = layer._forward_hooks or layer._forward_pre_hooks
    padded = isinstance(layer, nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str))
    return not hooked and not padded and type(layer.weight) is nn.Parameter
