"""The blocks of networks that adapters know, and the registration of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from adapters.grid import LAYOUTS, GridReader, Layout, Sizes
from spectral_ops.scalars import as_int

__all__ = ["BLOCKS", "PATCHES", "Block", "block_of", "register_block"]

#: What a module inside a block takes: see :class:`Block`.
Input = Layout | Sizes | GridReader

#: Usual names of the convolution that makes the patches.
PATCHES = ("patch_embed.proj", "patch_embeddings.projection", "conv_proj")


@dataclass(frozen=True)
class Block:
    """What adapters have to know about a class of blocks. Modules are named by their path inside the block.

    Args:
        attention: What gets the unit of ``placement="attention"``: the norm before the token mixer.
        mlp: The same of ``placement="mlp"``: the norm before the MLP.
        parallel: What the unit of ``placement="parallel"`` stands beside: the token mixer.
        linears: Linear layers that ``rescale`` and ``rank`` change, as far as a block has them: of value, output, MLP.
        mlp_norm: The norm whose output ``ssf`` scales and shifts; None takes ``mlp``.
        inputs: What the modules take: one of the following for all, or one each by name, of which the longest that fits
            counts, ``""`` any.

            - ``"NCHW"`` or ``"NHWC"``: maps.
            - ``"tokens"``: sequences (B, prefix + H*W, C) of the patch embedding's grid.
            - a function ``(block, *args, **kwargs) -> (H, W)`` of the block's call: sequences of that grid.
            - ``(H, W)``: sequences of windows of that size.
        patches: Names or ends of names of the module of the network whose output (B, C, H, W) is the patches.
        operators: Spectral operators of the block's own, whose learned quantities ``tune_physics`` scales.

    Raises:
        TypeError, ValueError: An argument is not among what is accepted.
    """

    attention: str
    mlp: str
    parallel: str
    linears: tuple[str, ...] = ()
    mlp_norm: str | None = None
    inputs: Input | Mapping[str, Input] = "tokens"
    patches: tuple[str, ...] = PATCHES
    operators: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("attention", "mlp", "parallel"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise TypeError(f"{name} must name a module inside the block, got {getattr(self, name)!r}")
        for name in ("linears", "operators", "patches"):
            given = getattr(self, name)
            if not isinstance(given, (tuple, list)) or not all(isinstance(entry, str) for entry in given):
                raise TypeError(f"{name} must be a tuple of names, got {given!r}")
            object.__setattr__(self, name, tuple(given))
        for given in self.inputs.values() if isinstance(self.inputs, Mapping) else (self.inputs,):
            pair = isinstance(given, tuple) and len(given) == 2 and all((as_int(n) or 0) > 0 for n in given)
            if not (pair or callable(given) or given in LAYOUTS):
                raise ValueError(
                    f"inputs must be one of {LAYOUTS}, the (H, W) of windows, a function of the block's call, or one "
                    f"of these for each name, got {given!r}"
                )

    def input_of(self, child: str) -> Input:
        """What a module inside the block takes."""
        if not isinstance(self.inputs, Mapping):
            return self.inputs
        fitting = [name for name in self.inputs if name in ("", child) or child.startswith(f"{name}.")]
        if not fitting:
            raise ValueError(f"inputs of the block's registration name neither {child!r} nor '': {list(self.inputs)}")
        return self.inputs[max(fitting, key=len)]

    @property
    def takes_tokens(self) -> bool:
        """Whether a module inside takes sequences of the patch embedding's grid."""
        return "tokens" in (self.inputs.values() if isinstance(self.inputs, Mapping) else (self.inputs,))


#: The registered classes, by themselves or by their dotted names.
BLOCKS: dict[type[nn.Module] | str, Block | Callable[[Any], Block]] = {}


def register_block(cls: type[nn.Module] | str, block: Block | Callable[[Any], Block]) -> None:
    """Let ``target_modules="auto"`` adapt the blocks of a class, and of classes derived from it.

    Saved adapters hold no registration: it is made again before they are loaded.

    Args:
        cls: The class, or its full dotted name, so that its library need not be imported.
        block: What to know about it, or a function that tells it from an instance.

    Raises:
        TypeError: An argument is not of these types.
        ValueError: The name has no dot, or the class is registered with something else.

    Example:
        >>> import adapters, timm, torch
        >>> from peft import get_peft_model
        >>> class Layer(torch.nn.Module):
        ...     def __init__(self, dim):
        ...         super().__init__()
        ...         self.before, self.mix = torch.nn.LayerNorm(dim), torch.nn.Linear(dim, dim)
        ...         self.between, self.mlp = torch.nn.LayerNorm(dim), torch.nn.Linear(dim, dim)
        ...     def forward(self, x):
        ...         x = x + self.mix(self.before(x))
        ...         return x + self.mlp(self.between(x))
        >>> names = {"attention": "before", "mlp": "between", "parallel": "mix"}
        >>> adapters.register_block(Layer, adapters.Block(**names, linears=("mix", "mlp"), inputs="NHWC"))
        >>> net = torch.nn.Sequential(Layer(64), Layer(64))
        >>> get_peft_model(net, adapters.MoPPAConfig()).base_model.targeted_module_names
        ['0.before', '1.before']
    """
    if not isinstance(cls, str) and not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise TypeError(f"cls must be a class of modules or its dotted name, got {cls!r}")
    if isinstance(cls, str) and not ("." in cls and all(part.isidentifier() for part in cls.split("."))):
        raise ValueError(f"cls must be a full dotted name like 'package.module.Class', got {cls!r}")
    if not isinstance(block, Block) and (isinstance(block, type) or not callable(block)):
        raise TypeError(f"block must be an adapters.Block or a function from an instance to one, got {block!r}")

    # A class and its name are one; two classes of one name are not, as where a notebook's cell runs again.
    def same(key: type | str) -> bool:
        return key == cls or (_name(key) == _name(cls) and isinstance(key, str) != isinstance(cls, str))

    known = next(filter(same, BLOCKS), None)
    if known is not None and BLOCKS[known] != block:
        raise ValueError(f"{_name(cls)} is registered already; adapters.BLOCKS.pop({known!r}) takes that out")
    BLOCKS[cls] = block


def block_of(module: nn.Module) -> Block | None:
    """What is registered for a module's class or the next base of it, None where nothing is.

    Raises:
        TypeError: The registered function gave no :class:`Block`.
    """
    for cls in type(module).__mro__:
        found = BLOCKS.get(cls, BLOCKS.get(_name(cls)))
        if found is not None:
            block = found if isinstance(found, Block) else found(module)
            if not isinstance(block, Block):
                raise TypeError(f"what is registered for {_name(cls)} must give an adapters.Block, gave {block!r}")
            return block
    return None


def _name(cls: type | str) -> str:
    return cls if isinstance(cls, str) else f"{cls.__module__}.{cls.__qualname__}"


# -- the blocks of timm, Hugging Face, torchvision and this project ---------------------------------------------------


def _of_map(block: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Sizes:
    """The grid of a block that takes a map (B, H, W, C) and flattens it."""
    return x.shape[1], x.shape[2]


_VIT = Block(
    attention="norm1",
    mlp="norm2",
    parallel="attn",
    linears=("attn.qkv", "attn.v_proj", "attn.proj", "mlp.fc1", "mlp.fc1_g", "mlp.fc1_x", "mlp.fc2"),
)


def _swin(block: Any) -> Block:
    height, width = block.window_size
    return replace(_VIT, inputs={"norm1": "NHWC", "attn": (height, width), "": _of_map})


def _convnext(block: Any) -> Block:
    return Block(
        attention="conv_dw",
        mlp="norm",
        parallel="conv_dw",
        linears=("mlp.fc1", "mlp.fc2"),
        inputs={"conv_dw": "NCHW", "": "NCHW" if block.use_conv_mlp else "NHWC"},
    )


def _spectral(block: Any) -> Block:
    return Block(
        attention="norm1" if block.pre_norm else "mixer",  # else the norms come after the layers
        mlp="norm2" if block.pre_norm else "mlp",
        parallel="mixer",
        linears=("mixer.value", "mixer.proj", "mlp.fc1", "mlp.fc2"),
        operators=("mixer.operator",),
        mlp_norm="norm2",
        inputs={"mixer.dwconv": "NCHW", "": "NHWC"},
    )


register_block("timm.models.vision_transformer.Block", _VIT)
register_block("timm.models.beit.Block", _VIT)
register_block("timm.models.eva.EvaBlock", _VIT)
register_block("timm.models.swin_transformer.SwinTransformerBlock", _swin)
register_block("timm.models.convnext.ConvNeXtBlock", _convnext)
register_block("backbones.blocks.SpectralBlock", _spectral)
register_block(
    "transformers.models.vit.modeling_vit.ViTLayer",
    Block(
        attention="layernorm_before",
        mlp="layernorm_after",
        parallel="attention",
        linears=("attention.v_proj", "attention.o_proj", "mlp.fc1", "mlp.fc2"),
    ),
)
register_block(
    "torchvision.models.vision_transformer.EncoderBlock",
    Block(
        attention="ln_1",
        mlp="ln_2",
        parallel="self_attention",
        linears=("self_attention.out_proj", "mlp.0", "mlp.3"),
    ),
)
