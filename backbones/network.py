"""The hierarchical network of the family: one class, any spectral operator as its token mixer."""

# No `from __future__ import annotations`: torch.fx and TorchScript read the annotation of the images as a type.

import contextlib
from collections.abc import Callable, Sequence

import torch
from timm.layers import ClassifierHead, get_device_dtype, register_notrace_module
from timm.models._features import feature_take_indices
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint

from backbones.blocks import Downsample, NormPlacement, SpectralBlock, Stem, halved
from spectral_ops import ChannelLinear, Precomputed, Softmax, SpectralEmbedding, SpectralMixer, SpectralOperator
from spectral_ops.embedding import RESIZE_RULES, ResizeRule
from spectral_ops.scripting import with_modules

__all__ = ["MIN_IMAGE_SIZE", "SpectralNet", "SpectralStage", "stage_sizes"]

#: The smallest image side: the last stage, at stride 32, still has one cell.
MIN_IMAGE_SIZE = 32

# What decides by the size of its input, so that torch.fx keeps it whole; timm's tracing knows these.
register_notrace_module(ChannelLinear)
register_notrace_module(SpectralMixer)
register_notrace_module(SpectralEmbedding)


def _pair(size: int | Sequence[int], name: str) -> tuple[int, int]:
    pair = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(pair) != 2 or any(not isinstance(n, int) or n < MIN_IMAGE_SIZE for n in pair):
        raise ValueError(f"{name} must be one or two ints of at least {MIN_IMAGE_SIZE}, got {size!r}")
    return pair


def stage_sizes(image: int | Sequence[int], stages: int = 4) -> list[tuple[int, int]]:
    """Map size ``(H, W)`` of each stage for an image of this size.

    Example:
        >>> stage_sizes(224), stage_sizes((100, 64))
        ([(56, 56), (28, 28), (14, 14), (7, 7)], [(25, 16), (13, 8), (7, 4), (4, 2)])
    """
    height, width = (halved(halved(n)) for n in _pair(image, "image size"))
    sizes = []
    for _ in range(stages):
        sizes.append((height, width))
        height, width = halved(height), halved(width)
    return sizes


def _checked(x: Tensor, in_chans: int) -> Tensor:
    """The images, if they are images of the right kind. One node of a torch.fx graph; nothing in TorchScript."""
    if not torch.jit.is_scripting():
        if x.ndim != 4 or x.shape[1] != in_chans:
            raise ValueError(f"images must have shape (B, {in_chans}, H, W), got {tuple(x.shape)}")
        if min(x.shape[2], x.shape[3]) < MIN_IMAGE_SIZE:
            raise ValueError(f"images must be at least {MIN_IMAGE_SIZE} px high and wide, got {tuple(x.shape)}")
    return x


fx.wrap("_checked")


class SpectralStage(nn.Module):
    """Blocks of one width that share one spectral embedding; the map is halved first unless it is the first stage."""

    def __init__(
        self, blocks: Sequence[SpectralBlock], downsample: Downsample | None, embedding: SpectralEmbedding | None
    ) -> None:
        super().__init__()
        self.downsample = downsample if downsample is not None else nn.Identity()
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.grad_checkpointing = False

    def _needs_embedding(self, sizes: list[int]) -> bool:
        stored = [block.mixer.operator for block in self.blocks if isinstance(block.mixer.operator, Precomputed)]
        if len(stored) < len(self.blocks) or isinstance(sizes[0], fx.Proxy):  # a torch.fx graph serves every size
            return True
        return not all(operator.covers(sizes) for operator in stored)

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        embedding: Tensor | None = None
        if self.embedding is not None:
            sizes = [x.shape[1], x.shape[2]]
            needed = True
            if not torch.jit.is_scripting():
                needed = self._needs_embedding(sizes)
            if needed:
                embedding = self.embedding(sizes)
        for block in self.blocks:
            if self.grad_checkpointing and not torch.jit.is_scripting():
                x = checkpoint(block, x, embedding, use_reentrant=False)
            else:
                x = block(x, embedding)
        return x


class SpectralNet(nn.Module):
    """Hierarchical vision backbone whose blocks mix tokens with a spectral operator.

    Args:
        operator: Called with a width C for every block; returns the operator (over ``dims=(1, 2)``) of that block.
        dims: Width of each stage.
        depths: Number of blocks of each stage.
        norm_placement: ``"pre"`` or ``"post"``, see :class:`~backbones.blocks.SpectralBlock`.
        layer_scale: Initial layer scale, or None for none.
        mlp_ratio: Hidden width of the MLPs over the width.
        in_chans: Channels of the image.
        num_classes: Width of the classifier; 0 for none.
        global_pool: ``"avg"``, ``"max"``, ... (timm), or ``""`` for none.
        img_size: Image size, int or ``(H, W)``, whose map sizes the spectral embeddings are stored at. It does not
            limit the inputs: any image from 32 px works, also of other size from call to call.
        embed_resize: How embeddings are carried to maps of other size, ``"bicubic"`` or ``"pad"``.
        drop_path_rate: Of the last block; rises linearly from 0 over all blocks.
        drop_rate: Dropout before the classifier.
        init_std: Standard deviation of the linears' initial weights; None takes 1 / sqrt(inputs), which keeps the
            signal's scale in narrow networks, where 0.02 leaves gated branches almost silent.
        device, dtype: Of the parameters. A network made on ``"meta"`` comes to life by
            ``net.to_empty(device="cpu")`` and :meth:`init_weights` or ``load_state_dict``.

    Attributes:
        output_fmt: ``"NHWC"``, the layout of :meth:`forward_features`.

    Shape:
        Images ``(B, in_chans, H, W)``; logits ``(B, num_classes)``; :meth:`forward_features` ``(B, H/32, W/32, C)``.

    Raises:
        ValueError: An argument does not fit, or an image is smaller than 32 px or has other channels.
    """

    output_fmt = "NHWC"

    def __init__(
        self,
        operator: Callable[[int], SpectralOperator],
        *,
        dims: Sequence[int],
        depths: Sequence[int],
        norm_placement: NormPlacement = "pre",
        layer_scale: float | None = None,
        mlp_ratio: float = 4.0,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        img_size: int | tuple[int, int] = 224,
        embed_resize: ResizeRule = "bicubic",
        drop_path_rate: float = 0.0,
        drop_rate: float = 0.0,
        init_std: float | None = 0.02,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if len(dims) != len(depths) or not dims or any(not isinstance(n, int) or n < 1 for n in (*dims, *depths)):
            raise ValueError(f"dims and depths must be positive ints, one per stage, got dims={dims}, depths={depths}")
        if in_chans < 1 or num_classes < 0:
            raise ValueError(f"in_chans must be >= 1 and num_classes >= 0, got {in_chans} and {num_classes}")
        if embed_resize not in RESIZE_RULES:
            raise ValueError(f"embed_resize must be one of {RESIZE_RULES}, got {embed_resize!r}")
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must be in [0, 1), got {drop_path_rate}")
        if init_std is not None and init_std < 0:
            raise ValueError(f"init_std must be None or >= 0, got {init_std}")
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.num_features = dims[-1]
        self.init_std = init_std
        self.feature_info = [
            {"num_chs": dim, "reduction": 4 * 2**i, "module": f"stages.{i}"} for i, dim in enumerate(dims)
        ]
        sizes = stage_sizes(_pair(img_size, "img_size"), len(dims))
        rates = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").split(list(depths))
        with contextlib.nullcontext() if device is None else torch.device(device):
            self.stem = Stem(in_chans, dims[0])
            self.stages = nn.Sequential()
            for i, dim in enumerate(dims):
                blocks = [
                    SpectralBlock(
                        dim,
                        operator(dim),
                        mlp_ratio=mlp_ratio,
                        norm_placement=norm_placement,
                        layer_scale=layer_scale,
                        drop_path=rate,
                    )
                    for rate in rates[i].tolist()
                ]
                conditioned = any(block.mixer.operator.embedding_conditioned for block in blocks)
                downsample = Downsample(dims[i - 1], dim) if i > 0 else None
                embedding = SpectralEmbedding(sizes[i], dim, embed_resize) if conditioned else None
                self.stages.append(SpectralStage(blocks, downsample, embedding))
            self.norm = nn.LayerNorm(dims[-1], eps=1e-5)
            self.head = ClassifierHead(dims[-1], num_classes, global_pool, drop_rate, input_fmt=self.output_fmt)
            self.head_hidden_size = self.head.num_features
            self._init_linears()
        self.to(dtype=dtype)

    def _init_linears(self) -> None:
        for linear in (module for module in self.modules() if isinstance(module, nn.Linear)):
            std = linear.in_features**-0.5 if self.init_std is None else self.init_std
            nn.init.trunc_normal_(linear.weight, std=std)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def init_weights(self) -> None:
        """Draw all parameters anew, also where they hold nothing yet, after ``to_empty``."""
        for module in self.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        self._init_linears()

    # -- forward ----------------------------------------------------------------------------------------------------

    def forward_stages(self, x: Tensor, last: int | None = None) -> list[Tensor]:
        """The channels-last output of each stage up to ``last``, before the next stage's downsampling."""
        x = self.stem(_checked(x, self.in_chans))
        features = []
        for stage in self.stages[: None if last is None else last + 1]:
            x = stage(x)
            features.append(x)
        return features

    def forward_features(self, x: Tensor) -> Tensor:
        """Normed map of the last stage, ``(B, H/32, W/32, C)``."""
        return self.norm(self.stages(self.stem(_checked(x, self.in_chans))))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool and classify a map of :meth:`forward_features`; ``pre_logits`` stops before the classifier."""
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
            norm: Apply the final norm to the last stage's output.
            stop_early: Do not run stages past the last one asked for.
            output_fmt: ``"NCHW"`` or ``"NHWC"``.
            intermediates_only: Return the list alone, not ``(final features, list)``.
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise ValueError(f"output_fmt must be 'NCHW' or 'NHWC', got {output_fmt!r}")
        take, last = feature_take_indices(len(self.stages), indices)
        features = self.forward_stages(x, last if stop_early else None)
        final = features[-1]
        if len(features) == len(self.stages):
            final = self.norm(final)
            if norm:
                features[-1] = final
        maps = [features[i] for i in take]
        if output_fmt == "NCHW":
            maps = [m.permute(0, 3, 1, 2) for m in maps]
        return maps if intermediates_only else (final, maps)

    # -- timm's contract --------------------------------------------------------------------------------------------

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what :meth:`forward_intermediates` with these indices does not need.

        Norm and head go with the last stage, which they are made for.
        """
        take, last = feature_take_indices(len(self.stages), indices)
        shortened = last < len(self.stages) - 1
        self.stages = self.stages[: last + 1]
        if prune_norm or shortened:
            self.norm = nn.Identity().train(self.training)
        if shortened:
            self.num_features = self.feature_info[last]["num_chs"]
        if prune_head or shortened:
            self.reset_classifier(0, "")
        return take

    def get_classifier(self) -> nn.Module:
        """The final linear layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier (0 classes: remove it), and the pooling unless ``global_pool`` is None."""
        self.num_classes = num_classes
        here = get_device_dtype(self)
        self.head.reset(num_classes, pool_type=global_pool, in_features=self.num_features, **here)
        self.head_hidden_size = self.head.num_features

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute block activations in backward instead of storing them."""
        for stage in self.stages:
            stage.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Parameter groups by depth, for layer-wise learning-rate decay."""
        fine = [
            (r"^stages\.(\d+)\.(?:downsample|embedding)", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
            (r"^norm", (99999,)),
        ]
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else fine}

    def no_weight_decay(self) -> set[str]:
        """Weights of mixtures, beside the usual one-dimensional tensors; embeddings are decayed, as published."""
        return {f"{name}.logits" for name, module in self.named_modules() if isinstance(module, Softmax)}

    def __prepare_scriptable__(self) -> "SpectralNet":
        """What ``torch.jit.script`` compiles: containers of its own, for torch exchanges modules in them."""
        stages = [with_modules(stage, blocks=nn.ModuleList(map(with_modules, stage.blocks))) for stage in self.stages]
        return with_modules(self, stages=nn.Sequential(*stages))

    # -- deployment -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def reparameterize(self, sizes: Sequence[int | tuple[int, int]], *, keep_source: bool = True) -> None:
        """Precompute the gains for images of these sizes; other sizes keep working through the physics.

        Calling it again adds sizes. :meth:`unreparameterize` undoes it exactly.

        Args:
            sizes: Image sizes in pixels, each an int or ``(H, W)``.
            keep_source: ``False`` drops the physics: a smaller network that runs at these sizes only and cannot be
                undone.

        Raises:
            ValueError: The network holds gains only, or a gain depends on the input. Nothing is changed then.
        """
        found = []
        for image in sizes:  # all gains first, so that one that cannot be computed leaves the network as it was
            for stage, grid in zip(self.stages, stage_sizes(image, len(self.stages)), strict=True):
                embedding = None if stage.embedding is None else stage.embedding(grid)
                for block in stage.blocks:
                    operator = block.mixer.operator
                    source = operator.source if isinstance(operator, Precomputed) else operator
                    if source is None:
                        raise ValueError("this network holds gains only: there is no physics to compute others from")
                    if source.input_conditioned:
                        raise ValueError(f"the gain of {source!r} depends on the input and cannot be precomputed")
                    device = block.norm1.weight.device  # an operator of constants has no device of its own
                    found.append((block.mixer, grid, source.gain(grid, embedding=embedding, device=device)))
        for mixer, grid, gain in found:
            if not isinstance(mixer.operator, Precomputed):
                mixer.operator = Precomputed(mixer.operator)
            mixer.operator.store(grid, gain)
        if not keep_source:
            for stage in self.stages:
                stage.embedding = None
                for block in stage.blocks:
                    block.mixer.operator.source = None

    def unreparameterize(self) -> None:
        """Undo :meth:`reparameterize`."""
        mixers = [block.mixer for stage in self.stages for block in stage.blocks]
        if any(isinstance(m.operator, Precomputed) and m.operator.source is None for m in mixers):
            raise ValueError(
                "this network holds gains only (keep_source=False or a precomputed file): nothing to restore"
            )
        for mixer in mixers:
            if isinstance(mixer.operator, Precomputed):
                mixer.operator = mixer.operator.source
