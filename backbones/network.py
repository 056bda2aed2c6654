"""The hierarchical network of the family: one class, any spectral operator as its token mixer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from timm.layers import ClassifierHead, get_device_dtype, register_notrace_module
from timm.models._features import feature_take_indices
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint

from backbones.blocks import MIN_IMAGE_SIZE, Downsample, NormPlacement, Stem, halved, visible_at_half_size
from backbones.deployment import Site, precompute, restore
from backbones.place import BlockFactory, OperatorFactory, Place, check_factory, check_operators, spectral_blocks
from spectral_ops import Precomputed, Softmax, SpectralEmbedding, SpectralMixer
from spectral_ops.embedding import RESIZE_RULES, ResizeRule
from spectral_ops.mixer import shown
from spectral_ops.scalars import as_int

__all__ = ["MIN_IMAGE_SIZE", "SpectralNet", "SpectralStage", "stage_masks", "stage_sizes"]

# What decides by the size of its input, so that torch.fx keeps it whole; timm's tracing knows these.
register_notrace_module(SpectralMixer)
register_notrace_module(SpectralEmbedding)


def _pair(size: int | Sequence[int], name: str) -> tuple[int, int]:
    pair = tuple(map(as_int, size if isinstance(size, Sequence) else (size, size)))
    if len(pair) != 2 or any(n is None or n < MIN_IMAGE_SIZE for n in pair):
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


def _shares(block: nn.Module, sizes: Sequence[int] | None) -> tuple[str, ...]:
    """The learned maps that a block takes; one that says nothing about them takes none."""
    return block.shares(sizes) if hasattr(block, "shares") else ()


class SpectralStage(nn.Module):
    """Blocks of one width; the map is halved first unless it is the first stage.

    Args:
        blocks: See :data:`~backbones.place.BlockFactory`.
        downsample: What halves the map, None in the first stage.
        maps: The learned maps that the blocks share, by name, each called with a grid ``(H, W)``. They become
            attributes; ``embedding`` is None where there is no such map.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], downsample: Downsample | None, maps: Mapping[str, nn.Module]
    ) -> None:
        super().__init__()
        self.downsample = downsample if downsample is not None else nn.Identity()
        self.learned = tuple(maps)
        self.grad_checkpointing = False
        for name, learned in {"embedding": None, **maps}.items():
            if not name.isidentifier() or hasattr(self, name) or name == "blocks":
                raise ValueError(f"a learned map cannot be called {name!r}: stages have an attribute of that name")
            setattr(self, name, learned)
        self._of_gains = tuple(maps.values())
        self.blocks = nn.ModuleList(blocks)

    def made_from(self) -> tuple[nn.Module, ...]:
        """The modules that make the learned maps. Gains stored of others are dropped: these were put in their place."""
        made_from, known = tuple(getattr(self, name) for name in self.learned), self._of_gains
        if len(made_from) != len(known) or any(a is not b for a, b in zip(made_from, known, strict=True)):
            self._of_gains = made_from
            for module in self.modules():
                if isinstance(module, Precomputed):
                    module.forget()
        return made_from

    def maps(self, sizes: Sequence[int], names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The learned maps on a grid: all, or those of these names that there are."""
        return {name: getattr(self, name)(sizes) for name in self.learned if names is None or name in names}

    def prune_maps(self) -> None:
        """Drop the learned maps that no block takes."""
        taken = {name for block in self.blocks for name in _shares(block, None)}
        for name in set(self.learned) - taken:
            setattr(self, name, None)
        self.learned = tuple(name for name in self.learned if name in taken)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """The map of the stage, ``(B, H, W, C)``; ``visible`` is a bool mask ``(B, H, W, 1)`` of it."""
        self.made_from()
        x = shown(self.downsample(x), visible)
        sizes = x.shape[1:3]
        known = None if isinstance(x, fx.Proxy) else sizes  # a torch.fx graph serves every size
        taken = [_shares(block, known) for block in self.blocks]
        maps = self.maps(sizes, [name for names in taken for name in names])
        for block, names in zip(self.blocks, taken, strict=True):
            given = {name: maps[name] for name in names if name in maps}
            if visible is not None:
                given["visible"] = visible
            x = checkpoint(block, x, use_reentrant=False, **given) if self.grad_checkpointing else block(x, **given)
        return x


class SpectralNet(nn.Module):
    """Hierarchical vision backbone whose blocks mix tokens with a spectral operator.

    Args:
        operator: Called with a width C for every block; returns the operator (over ``dims=(1, 2)``) of that block. A
            sequence has such a function for each stage. None where ``block`` is given.
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
        block: What the blocks are instead, called with the :class:`~backbones.place.Place` of each. It decides on norms
            and MLPs, too, so ``norm_placement``, ``layer_scale`` and ``mlp_ratio`` must be left alone.
        stem: Instead of :class:`~backbones.blocks.Stem`, which it is called like.
        maps: Further learned maps that the blocks of a stage can share, by name: each called with ``(sizes, channels)``
            for every stage that has a block which ``shares`` it. ``"embedding"`` is there already.
        device, dtype: Of the parameters. A network made on ``"meta"`` comes to life by
            ``net.to_empty(device="cpu")`` and :meth:`init_weights` or ``load_state_dict``.

    Attributes:
        output_fmt: ``"NHWC"``, the layout of :meth:`forward_features`.
        img_size: ``(H, W)`` as given.

    Shape:
        Images ``(B, in_chans, H, W)``; logits ``(B, num_classes)``; :meth:`forward_features` ``(B, H/32, W/32, C)``.

    Raises:
        ValueError: An argument does not fit, or an image is smaller than 32 px or has other channels.
    """

    output_fmt = "NHWC"

    def __init__(
        self,
        operator: OperatorFactory | Sequence[OperatorFactory] | None = None,
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
        block: BlockFactory | None = None,
        stem: nn.Module | None = None,
        maps: Mapping[str, Callable[[tuple[int, int], int], nn.Module]] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        given = f"got dims={dims}, depths={depths}"
        dims, depths = ([as_int(n) for n in each] for each in (dims, depths))
        if len(dims) != len(depths) or not dims or any(n is None or n < 1 for n in (*dims, *depths)):
            raise ValueError(f"dims and depths must be positive ints, one per stage, {given}")
        given = f"got {in_chans!r} and {num_classes!r}"
        in_chans, num_classes = as_int(in_chans), as_int(num_classes)
        if in_chans is None or num_classes is None or in_chans < 1 or num_classes < 0:
            raise ValueError(f"in_chans must be >= 1 and num_classes >= 0, both ints, {given}")
        if embed_resize not in RESIZE_RULES:
            raise ValueError(f"embed_resize must be one of {RESIZE_RULES}, got {embed_resize!r}")
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must be in [0, 1), got {drop_path_rate}")
        if init_std is not None and init_std < 0:
            raise ValueError(f"init_std must be None or >= 0, got {init_std}")
        if block is None:
            options = {"mlp_ratio": mlp_ratio, "norm_placement": norm_placement, "layer_scale": layer_scale}
            check_operators(operator, len(dims))
            block = spectral_blocks(operator, **options)
        elif operator is not None or (mlp_ratio, norm_placement, layer_scale) != (4.0, "pre", None):
            raise ValueError("block= decides on operator, mlp_ratio, norm_placement and layer_scale: leave them alone")
        check_factory("block", block, "from a Place to a block")
        for name, make in (maps or {}).items():
            check_factory(f"maps[{name!r}]", make, "from (sizes, channels) to a map")
        self.img_size = _pair(img_size, "img_size")
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.num_features = dims[-1]
        self.init_std = init_std
        self.feature_info = [
            {"num_chs": dim, "reduction": 4 * 2**i, "module": f"stages.{i}"} for i, dim in enumerate(dims)
        ]
        sizes = stage_sizes(self.img_size, len(dims))
        rates = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").split(list(depths))
        makers = {"embedding": partial(SpectralEmbedding, rule=embed_resize), **(maps or {})}
        with contextlib.nullcontext() if device is None else torch.device(device):
            self.stem = Stem(in_chans, dims[0]) if stem is None else stem
            self.stages = nn.Sequential()
            for i, dim in enumerate(dims):
                blocks = [block(Place(i, j, dim, sizes[i], rate)) for j, rate in enumerate(rates[i].tolist())]
                downsample = Downsample(dims[i - 1], dim) if i > 0 else None
                shared = dict.fromkeys(name for each in blocks for name in _shares(each, None))
                if unknown := set(shared) - set(makers):
                    raise ValueError(f"blocks of stage {i} share {sorted(unknown)}, maps makes {sorted(makers)}")
                learned = {name: makers[name](sizes[i], dim) for name in shared}
                self.stages.append(SpectralStage(blocks, downsample, learned))
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

    def parts(self) -> list[nn.Module]:
        """Stem and stages, from the input on."""
        return [self.stem, *self.stages]

    def forward_stages(self, x: Tensor, last: int | None = None, *, visible: Tensor | None = None) -> list[Tensor]:
        """The channels-last output of each stage up to ``last``, before the next stage's downsampling.

        Args:
            x: Images.
            last: Index of the last stage to run; all by default.
            visible: Bool, ``(B, 1, H, W)``: the pixels that the network sees, for masked pre-training. Nothing of the
                others reaches a map. A cell of a map is visible where any of its pixels is, and zero elsewhere.
        """
        masks = stage_masks(x, visible, len(self.stages))
        return self.forward_maps(self.stem(x) if visible is None else self.stem(x, visible), last, masks)

    def forward_maps(
        self, x: Tensor, last: int | None = None, masks: Sequence[Tensor | None] | None = None
    ) -> list[Tensor]:
        """:meth:`forward_stages` behind the stem.

        Args:
            x: The stem's map, ``(B, H/4, W/4, C)``.
            last: Index of the last stage to run; all by default.
            masks: Which cells of each stage's map are visible, bool ``(B, H, W, 1)``, or None for all.
        """
        masks = [None] * len(self.stages) if masks is None else masks
        features = []
        for stage, mask in zip(self.stages[: None if last is None else last + 1], masks, strict=False):
            x = stage(x) if mask is None else stage(x, mask)
            features.append(x)
        return features

    def forward_features(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Normed map of the last stage, ``(B, H/32, W/32, C)``; ``visible`` as in :meth:`forward_stages`."""
        return self.norm(self.forward_stages(x, visible=visible)[-1])

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
        shared = "|".join(["downsample", "embedding", *{name: None for stage in self.stages for name in stage.learned}])
        fine = [
            (rf"^stages\.(\d+)\.(?:{shared})", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
            (r"^norm", (99999,)),
        ]
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else fine}

    def no_weight_decay(self) -> set[str]:
        """Weights of mixtures, beside the usual one-dimensional tensors; embeddings are decayed, as published."""
        return {f"{name}.logits" for name, module in self.named_modules() if isinstance(module, Softmax)}

    # -- deployment -------------------------------------------------------------------------------------------------

    def sites(self, image: int | Sequence[int]) -> Iterator[Site]:
        """Every mixer with the grid and the learned maps it works on for images of a size."""
        for stage, sizes in zip(self.stages, stage_sizes(image, len(self.stages)), strict=True):
            maps, made_from = stage.maps(sizes), stage.made_from()
            for module in stage.modules():
                if isinstance(module, SpectralMixer):
                    yield Site(module, sizes, maps, made_from)

    def prune_maps(self) -> None:
        """Drop the learned maps that no block takes."""
        for stage in self.stages:
            stage.prune_maps()

    def reparameterize(self, sizes: Sequence[int | tuple[int, int]] | None = None, *, keep_source: bool = True) -> None:
        """Precompute the gains for images of these sizes; other sizes keep working through the physics.

        Calling it again adds sizes. :meth:`unreparameterize` undoes it exactly. Stored gains are used in evaluation,
        where nothing is to be learned (``torch.no_grad()``, exports, or weights without gradients), as long as the
        weights that they were made of stay as they are (writes through ``.data`` are not seen); training mode and
        loading drop them. A graph that is traced or exported at a stored size serves that size alone. The gains are in
        the state, so moving averages that go through states, as timm's do, are made and updated without them.

        Args:
            sizes: Image sizes in pixels, each an int or ``(H, W)``; by default ``img_size`` alone, as in
                ``timm.utils.reparameterize_model``, which gives none.
            keep_source: ``False`` drops the physics: a smaller network that runs at these sizes only and cannot be
                undone.

        Raises:
            ValueError: The network holds gains only, or a gain depends on the input. Nothing is changed then.
        """
        precompute(self, [self.img_size] if sizes is None else sizes, keep_source=keep_source)

    def unreparameterize(self) -> None:
        """Undo :meth:`reparameterize`.

        Raises:
            ValueError: The network holds gains only.
        """
        restore(self)


def stage_masks(x: Tensor, visible: Tensor | None, stages: int) -> list[Tensor | None]:
    """Which cells of each stage's map are visible.

    Args:
        x: Images ``(B, C, H, W)``.
        visible: Which of their pixels are, bool ``(B, 1, H, W)``; None for all.
        stages: How many.

    Raises:
        ValueError: ``visible`` is no such mask.
    """
    if visible is None:
        return [None] * stages
    if visible.dtype != torch.bool or visible.shape != (len(x), 1, *x.shape[2:]):
        raise ValueError(
            f"visible must be bool of shape {(len(x), 1, *x.shape[2:])}, got {visible.dtype} {tuple(visible.shape)}"
        )
    masks = []
    mask = visible_at_half_size(visible.permute(0, 2, 3, 1))
    for _ in range(stages):
        mask = visible_at_half_size(mask)
        masks.append(mask)
    return masks
