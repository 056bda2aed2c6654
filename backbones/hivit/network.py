"""HiViT and Fast-iTPN's network in timm's contract."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Literal, NoReturn, get_args

import torch
from einops import rearrange
from timm.layers import ClNormMlpClassifierHead, get_device_dtype
from timm.models._features import feature_take_indices
from torch import Tensor, fx, nn

from backbones.hivit.layers import UNIT, AttentionBlock, ConvMerge, Merge, MlpBlock, PatchEmbed, cells, unit_map
from backbones.hivit.positions import PositionTable
from backbones.hivit.stages import GlobalStage, LocalStage
from spectral_ops.scalars import as_int

__all__ = ["HiViT", "LocalMaps"]

Form = Literal["hivit", "fast"]
Init = Literal["normal", "xavier"]
#: What :meth:`HiViT.local_stages` returns.
LocalMaps = tuple[Tensor, Tensor, Tensor]

#: Hidden width of the MLPs of the first two stages over their width.
_LOCAL_RATIO = 3

fx.wrap("rearrange")
fx.wrap("unit_map")


class HiViT(nn.Module):
    r"""Hierarchical transformer whose patches of 16 x 16 px stay apart until its last stage.

    A 4 x 4 convolution makes 4 x 4 cells of every unit of 16 x 16 px; MLP blocks at strides 4 and 8, merges of 2 x 2
    cells behind each; then positions are added, and transformer blocks at stride 16 mix the units. The classifier is
    mean, LayerNorm, linear layer. Nothing before the last stage sees another unit, so masked pre-training runs on a
    part of them by :meth:`embed`, :meth:`local_stages` and :meth:`global_stage`, and the numbers are the same.

    Args:
        embed_dim: Width E of the last stage; the others are E/4 and E/2 wide.
        depths: Blocks of the three stages.
        num_heads: Of the attention; must divide E.
        form: ``"hivit"``, or ``"fast"`` for Fast-iTPN's network: no norm behind the first convolution, convolutions as
            merges, norms on the hidden of the MLPs, and transformer blocks of EVA-02's form.
        relative_bias: A learnable bias of attention by relative position in each transformer block, at first zero.
        norm_eps: Of all LayerNorms; published: 1e-6 in pre-training and classification, 1e-5 in dense networks.
        img_size: Image size, int or ``(H, W)``, that positions and biases are stored for; they are resized for images
            of other size.
        in_chans: Channels of the image.
        num_classes: Width of the classifier; 0 for none.
        global_pool: ``"avg"``, ``"max"``, ``"avgmax"``, or ``""`` for none.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Of the last block; rises linearly from 0 over the blocks of all stages.
        init: ``"normal"``: linear layers and positions of standard deviation 0.02. ``"xavier"``: uniform weights by
            Glorot's rule, positions by :func:`~backbones.hivit.positions.sine_cosine`, as masked pre-training starts.
        device, dtype: Of the parameters.

    Attributes:
        grid: ``(H, W)`` in units at ``img_size``.

    Shape:
        Images ``(B, in_chans, H, W)`` of any size, padded with zeros at the bottom and at the right to whole units;
        logits ``(B, num_classes)``. Maps have ceil(H / stride) x ceil(W / stride) cells. :meth:`forward_features`
        gives ``(B, H/16, W/16, E)``.

    Raises:
        ValueError: An argument does not fit, or images have other channels.

    Source:
        HiViT, arXiv 2205.14949; iTPN, arXiv 2211.12735; Fast-iTPN, TPAMI 2024.

    Example:
        >>> net = HiViT(embed_dim=32, depths=(1, 1, 2), num_heads=2, num_classes=5)
        >>> net(torch.randn(1, 3, 50, 64)).shape
        torch.Size([1, 5])
        >>> [tuple(m.shape) for m in net.forward_stages(torch.randn(1, 3, 50, 64))]
        [(1, 13, 16, 8), (1, 7, 8, 16), (1, 4, 4, 32)]
    """

    output_fmt = "NHWC"

    def __init__(
        self,
        *,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: int,
        form: Form = "hivit",
        relative_bias: bool = False,
        norm_eps: float = 1e-6,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        init: Init = "normal",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check(embed_dim, depths, num_heads, in_chans, num_classes)
        for name, value, accepted in (("form", form, get_args(Form)), ("init", init, get_args(Init))):
            if value not in accepted:
                raise ValueError(f"{name} must be one of {accepted}, got {value!r}")
        if form == "fast" and relative_bias:
            raise ValueError("relative_bias must be False for form='fast', which has none")
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must be in [0, 1), got {drop_path_rate}")
        fast = form == "fast"
        widths = embed_dim // 4, embed_dim // 2, embed_dim
        self.form: Form = form
        self.init: Init = init
        self.norm_eps = norm_eps
        self.img_size = _pair(img_size)
        self.grid = cells(self.img_size[0], UNIT), cells(self.img_size[1], UNIT)
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.num_features = embed_dim
        self.feature_info = [
            {"num_chs": width, "reduction": 4 * 2**i, "module": f"stages.{i}"} for i, width in enumerate(widths)
        ]
        norm = partial(nn.LayerNorm, eps=norm_eps)
        merge = ConvMerge if fast else Merge
        rates = [r.tolist() for r in torch.linspace(0, drop_path_rate, sum(depths), device="cpu").split(list(depths))]
        with contextlib.nullcontext() if device is None else torch.device(device):
            self.stem = PatchEmbed(in_chans, widths[0], None if fast else norm)
            self.stages = nn.ModuleList()
            for i in range(2):
                blocks = [MlpBlock(widths[i], _LOCAL_RATIO, norm, rate, sub_norm=fast) for rate in rates[i]]
                self.stages.append(LocalStage(merge(widths[i - 1], norm) if i else None, blocks))
            bias_sizes = self.grid if relative_bias else None
            attentive = [
                AttentionBlock(embed_dim, num_heads, norm, bias_sizes=bias_sizes, drop_path=rate, eva=fast)
                for rate in rates[2]
            ]
            positions = PositionTable(self.grid, embed_dim, "normal" if init == "normal" else "sincos")
            self.stages.append(GlobalStage(merge(widths[1], norm), positions, attentive))
            self.head = ClNormMlpClassifierHead(
                embed_dim, num_classes, pool_type=global_pool, drop_rate=drop_rate, norm_layer=norm
            )
            self.head_hidden_size = self.head.num_features
            self._init_linears()
        self.to(dtype=dtype)

    def _init_linears(self, part: nn.Module | None = None) -> None:
        """Draw the linear layers of a part, by default of all."""
        for linear in (m for m in (part or self).modules() if isinstance(m, nn.Linear)):
            if self.init == "normal":
                nn.init.trunc_normal_(linear.weight, std=0.02)
            else:
                nn.init.xavier_uniform_(linear.weight)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def init_weights(self) -> None:
        """Draw all parameters anew, also where they hold nothing yet, after ``to_empty``."""
        for module in self.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        self._init_linears()

    # -- forward, in the pieces that pre-training puts together ------------------------------------------------------

    def parts(self) -> list[nn.Module]:
        """Stem and stages, from the input on."""
        return [self.stem, *self.stages]

    def embed(self, images: Tensor) -> Tensor:
        """All units of the images, ``(B, N, 4, 4, E/4)``, row by row."""
        return self.stem(images)

    def local_stages(self, units: Tensor) -> LocalMaps:
        """The first two stages on any choice of units.

        Args:
            units: ``(B, K, 4, 4, E/4)``, of :meth:`embed`.

        Returns:
            The maps of stage 1 ``(B, K, 4, 4, E/4)`` and of stage 2 ``(B, K, 2, 2, E/2)``, each as it is before its
            merge, and a token for each unit, ``(B, K, E)``, without its position.
        """
        first = self.stages[0](units)
        second = self.stages[1](first)
        return first, second, self.stages[2].tokens(second)

    def global_stage(self, tokens: Tensor, grid: tuple[int, int], keep: Tensor | None = None) -> Tensor:
        """The last stage: positions are added, then blocks mix the tokens.

        ``stages[2].activations`` gives what every block makes of them.

        Args:
            tokens: ``(B, K, E)``, of :meth:`local_stages`.
            grid: ``(H, W)`` of units in the image.
            keep: The places that the tokens stand at, int ``(B, K)`` in 0 .. H * W - 1; None for all, row by row.

        Returns:
            ``(B, K, E)``.
        """
        return self.stages[2].attend(tokens, grid, keep)

    def forward_stages(self, x: Tensor, last: int | None = None) -> list[Tensor]:
        """The channels-last map of each stage up to ``last``, strides 4, 8 and 16, before its merge."""
        grid = cells(x.shape[2], UNIT), cells(x.shape[3], UNIT)
        units = self.stem(x)
        maps = []
        for i, stage in enumerate(self.stages[: None if last is None else last + 1]):
            units = stage(units) if i < 2 else rearrange(stage(units, grid), "b n c -> b n 1 1 c")
            maps.append(unit_map(units, x))
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """The map of the last stage, ``(B, H/16, W/16, E)``."""
        return self.forward_stages(x)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool, norm and classify a map of :meth:`forward_features`; ``pre_logits`` stops before the classifier."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Stage outputs, timm's contract.

        Args:
            x: Images.
            indices: Stages to return: a list, the last n for an int, all for None.
            norm: Without effect: the only norm behind the stages is the classifier's, of a pooled vector.
            stop_early: Do not run stages past the last one asked for.
            output_fmt: ``"NCHW"`` or ``"NHWC"``.
            intermediates_only: Return the list alone, not ``(final features, list)``.
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise ValueError(f"output_fmt must be 'NCHW' or 'NHWC', got {output_fmt!r}")
        take, last = feature_take_indices(len(self.stages), indices)
        features = self.forward_stages(x, last if stop_early else None)
        maps = [features[i] for i in take]
        if output_fmt == "NCHW":
            maps = [m.permute(0, 3, 1, 2) for m in maps]
        return maps if intermediates_only else (features[-1], maps)

    def __prepare_scriptable__(self) -> NoReturn:
        raise TypeError(
            "torch.jit.script, which torch itself deprecates, cannot compile HiViT: use torch.export, torch.jit.trace "
            "or torch.onnx.export"
        )

    # -- timm's contract --------------------------------------------------------------------------------------------

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what :meth:`forward_intermediates` with these indices does not need.

        The norm is the classifier's and goes with it, or without it for ``prune_norm``.
        """
        take, last = feature_take_indices(len(self.stages), indices)
        shortened = last < len(self.stages) - 1
        self.stages = self.stages[: last + 1]
        self.num_features = self.feature_info[last]["num_chs"]
        if prune_norm or prune_head or shortened:
            classes = 0 if prune_head or shortened else self.num_classes
            fc = self.head.fc
            here = get_device_dtype(self)
            self.head.reset(classes, "" if classes == 0 else None, reset_other=True, **here)
            self.head.in_features = self.head.num_features = self.num_features
            if classes:
                self.head.fc = fc
            self.num_classes = classes
            self.head_hidden_size = self.head.num_features
        return take

    def get_classifier(self) -> nn.Module:
        """The final linear layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier (0 classes: remove it), and the pooling unless ``global_pool`` is None."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool, **get_device_dtype(self))
        self.head_hidden_size = self.head.num_features

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute block activations in backward instead of storing them."""
        for stage in self.stages:
            stage.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Parameter groups by depth, for layer-wise learning-rate decay.

        Positions belong to the stem, a merge to the block before it; each block of each stage is a layer.
        """
        before = (99999,)  # timm's sign for "with the group before"
        fine = [(rf"^stages\.{i}\.merge", (i - 1, *before)) for i in range(1, len(self.stages))]
        fine.append((r"^stages\.(\d+)\.blocks\.(\d+)", None))
        return {"stem": r"^stem|^stages\.2\.positions", "blocks": r"^stages\.(\d+)" if coarse else fine}

    def no_weight_decay(self) -> set[str]:
        """Positions and biases by relative position."""
        return {name for name, _ in self.named_parameters() if name.endswith(("positions.weight", "bias.table"))}


def _check(embed_dim: int, depths: Sequence[int], num_heads: int, in_chans: int, num_classes: int) -> None:
    counts = [as_int(n) for n in depths] if isinstance(depths, Sequence) else []
    if len(counts) != 3 or any(n is None or n < 1 for n in counts):
        raise ValueError(f"depths must be three positive ints, one per stage, got {depths!r}")
    width, heads = as_int(embed_dim), as_int(num_heads)
    if width is None or width < 4 or width % 4:
        raise ValueError(f"embed_dim must be a positive multiple of 4, got {embed_dim!r}")
    if heads is None or heads < 1 or width % heads:
        raise ValueError(f"num_heads must divide embed_dim={embed_dim}, got {num_heads!r}")
    channels, classes = as_int(in_chans), as_int(num_classes)
    if channels is None or classes is None or channels < 1 or classes < 0:
        raise ValueError(f"in_chans must be >= 1 and num_classes >= 0, both ints, got {in_chans!r} and {num_classes!r}")


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    pair = tuple(map(as_int, size if isinstance(size, Sequence) else (size, size)))
    if len(pair) != 2 or any(n is None or n < 1 for n in pair):
        raise ValueError(f"img_size must be one or two positive ints, got {size!r}")
    return pair
