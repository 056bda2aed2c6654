"""Copies of networks for inference on the CPU, with weights laid out as its kernels read them."""

from __future__ import annotations

import copy
from typing import Any

import timm.layers
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from backbones.blocks import Mlp, plain_gelu
from spectral_ops.torch_internals import hooked

__all__ = ["packed"]

#: What a layer is called with, and the dtype it is packed in.
_Call = tuple[torch.Size, torch.dtype]

#: What a packed copy may be off by, relative to the norm of the output; and, for outputs that are small differences of
#: large numbers, relative to what bfloat16 autocast makes of the model. Rounding is far below.
TOLERANCES = {torch.float32: (1e-3, 0.1), torch.bfloat16: (5e-2, 10.0)}


class _Packed(nn.Module):
    """A layer whose weight is a tensor of oneDNN, which can be used but neither read, copied, saved nor trained."""

    weight: Tensor
    bias: Tensor | None
    fused: str

    def get_extra_state(self) -> Any:
        raise RuntimeError("a packed model can be neither copied nor saved: take the model that it was packed from")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.get_extra_state()

    def _forward(self, operator: Any, x: Tensor, *arguments: Any) -> Tensor:
        if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise RuntimeError(f"a packed model takes float32, or what autocast makes of it, got {x.dtype}")
        if x.requires_grad and torch.is_grad_enabled():
            raise RuntimeError("a packed model has no gradients: take the model that it was packed from")
        with torch.autocast("cpu", enabled=False):
            result: Tensor = operator(
                x.to(self.weight.dtype), self.weight, self.bias, *arguments, self.fused, [], "none"
            )
        return result if torch.is_autocast_enabled("cpu") else result.to(x.dtype)


class _PackedLinear(_Packed):
    def __init__(self, layer: nn.Linear, fused: str, shape: torch.Size, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.bias, self.fused = _data(layer.bias, dtype), fused
        self.weight = torch.ops.mkldnn._reorder_linear_weight(_data(layer.weight, dtype), shape[:-1].numel())

    def forward(self, input: Tensor) -> Tensor:
        return self._forward(torch.ops.mkldnn._linear_pointwise, input)


class _PackedConv2d(_Packed):
    def __init__(self, layer: nn.Conv2d, fused: str, shape: torch.Size, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_channels, self.out_channels = layer.in_channels, layer.out_channels
        self.bias, self.fused = _data(layer.bias, dtype), fused
        self.arguments = [list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups]
        weight = layer.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.arguments, list(shape))

    def forward(self, input: Tensor) -> Tensor:
        return self._forward(torch.ops.mkldnn._convolution_pointwise, input, *self.arguments)


_PACKED = {nn.Linear: _PackedLinear, nn.Conv2d: _PackedConv2d}


def _data(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if tensor is None else tensor.detach().to(dtype)


def packed(model: nn.Module, images: Tensor, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A copy of a model for inference on the CPU, faster most of all on small batches.

    The weights of its linears and convolutions are kept in the blocked layout of oneDNN's kernels, which otherwise make
    it anew in every call, and the GELU of an MLP is computed by the kernel of its first layer. The copy computes what
    the model does, to rounding, on images of every size; it is compared with the model on the example before it is
    returned. In bfloat16 it is what the model is under autocast, to be called there too, and the weights, which
    autocast rounds in every call, are kept rounded. These are the operators that torch.compile emits when it freezes
    weights; nothing is compiled here. Networks of timm can be packed, too. For vHeat precompute the gains first, by
    ``model.reparameterize``.

    Args:
        model: In eval mode, float32, on the CPU. It is left as it is.
        images: An example of the input, which the layouts are chosen for.
        dtype: Of the linears and convolutions, ``torch.float32``, under autocast too, or ``torch.bfloat16``.

    Returns:
        The copy. It has no gradients, and can be neither copied nor saved.

    Raises:
        ValueError: The model is in training mode, or not float32 on the CPU, or ``dtype`` is another one.
        RuntimeError: This build of torch has no oneDNN, or the processor no bfloat16 that it can use; or the packed
            copy does not run, as where a layer's weight is used by others, or computes something else.

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
    if dtype not in TOLERANCES:
        raise ValueError(f"dtype must be torch.float32 or torch.bfloat16, got {dtype}")
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise RuntimeError("packing in bfloat16 needs a processor that oneDNN can use it on (x86: AVX-512 or newer)")
    if model.training:
        raise ValueError("model must be in eval mode, call model.eval() first: a packed copy cannot be trained")
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
            raise ValueError(f"model must be float32 on the CPU, got {name} in {parameter.dtype} on {parameter.device}")
    result = copy.deepcopy(model).requires_grad_(False)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        expected = model(images)
        result = _replaced(result, _calls(result, images, dtype))
        try:
            found = result(images)
        except Exception as error:
            raise RuntimeError(f"a packed copy of {type(model).__name__} does not run: {error}") from error
        _check_equal(found, expected, model, images, *TOLERANCES[dtype])
    return result


def _check_equal(found: Any, expected: Any, model: nn.Module, images: Tensor, alone: float, rounded: float) -> None:
    """Outputs must be the same: to ``alone`` of their norm, or to ``rounded`` of what autocast changes in them."""
    found, expected = _numbers(found), _numbers(expected)
    off = [(ours - theirs).norm() for ours, theirs in zip(found, expected, strict=True)]
    if all(error <= alone * theirs.norm() for error, theirs in zip(off, expected, strict=True)):
        return
    with torch.autocast("cpu", enabled=False):
        exact = _numbers(model(images))
    with torch.autocast("cpu", torch.bfloat16):
        coarse = _numbers(model(images))
    changes = [(a - b).norm() for a, b in zip(coarse, exact, strict=True)]
    allowed = [max(alone * theirs.norm(), rounded * change) for theirs, change in zip(expected, changes, strict=True)]
    for error, limit, theirs in zip(off, allowed, expected, strict=True):
        if not error <= limit:
            norm = max(float(theirs.norm()), torch.finfo(torch.float32).tiny)
            raise RuntimeError(
                f"a packed copy of {type(model).__name__} computes something else: an output differs by "
                f"{float(error) / norm:.1e} of its norm (allowed {float(limit) / norm:.1e})"
            )


def _numbers(output: Any) -> list[Tensor]:
    """The tensors of an output that rounding may change, in float32, without infinities."""
    tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    leaves = [
        torch.view_as_real(t) if t.is_complex() else t for t in tensors if t.is_complex() or t.is_floating_point()
    ]
    return [torch.nan_to_num(leaf.float(), nan=torch.nan, posinf=0.0, neginf=0.0) for leaf in leaves]


def _replaced(model: nn.Module, calls: dict[nn.Module, _Call]) -> nn.Module:
    """The model with the layers packed that are called so, each once, wherever it stands."""
    made: dict[nn.Module, nn.Module] = {}
    for mlp in model.modules():
        if type(mlp) in (Mlp, timm.layers.Mlp) and mlp.fc1 in calls and plain_gelu(mlp.act):
            made[mlp.fc1] = _PACKED[type(mlp.fc1)](mlp.fc1, "gelu", *calls[mlp.fc1])
            mlp.act = nn.Identity()
    for layer, call in calls.items():
        if layer not in made:
            made[layer] = _PACKED[type(layer)](layer, "none", *call)
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            parent._modules[name] = made.get(child, child)
    return made.get(model, model)


def _calls(model: nn.Module, images: Tensor, dtype: torch.dtype) -> dict[nn.Module, _Call]:
    """How every layer that can be packed is called, in ``dtype`` but where the model turns autocast off; layers whose
    weight is used in other ways are not called."""
    calls: dict[nn.Module, _Call] = {}

    def note(layer: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        shape = (args[0] if args else kwargs["input"]).shape
        calls[layer] = shape, dtype if torch.is_autocast_enabled("cpu") else torch.float32

    layers = [module for module in model.modules() if type(module) in _PACKED and _plain(module)]
    hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return {layer: call for layer, call in calls.items() if type(layer) is not nn.Conv2d or len(call[0]) == 4}


def _plain(layer: nn.Module) -> bool:
    """Whether nobody else has a hand in the layer: hooks, parametrisations, other paddings, sparse weights."""
    padded = isinstance(layer, nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str))
    strided = type(layer.weight) is nn.Parameter and layer.weight.layout == torch.strided
    return strided and not padded and not hooked(layer)
