"""What OpenMMLab asks of a backbone, for any network with timm's contract: maps, frozen stages, checkpoints."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import MMLogger
from torch import Tensor, nn

from backbones.weights.conversion import TABLES
from backbones.weights.loading import load_checkpoint, resized_embeddings
from backbones.weights.reading import read_metadata
from spectral_ops.scalars import as_int

__all__ = ["Dense", "checked_init_cfg"]


class Dense:
    """Mixin that makes a classification network return normed maps of several stages, as necks expect them.

    It stands before the network among the bases and is set up by :meth:`make_dense` once the network is. Of timm's
    contract the network needs ``feature_info``, ``forward_intermediates`` and ``prune_intermediate_layers``, and beside
    it ``parts()``, its stem and stages from the input on. All of that goes on working.

    In OpenMMLab ``init_weights`` loads the checkpoint that ``init_cfg`` names, where timm's draws weights anew.
    Official names are understood wherever a state dict is loaded, by ``load_from`` for example.
    """

    def make_dense(
        self,
        out_indices: Sequence[int],
        *,
        frozen_stages: int = -1,
        init_cfg: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        norms: bool = True,
    ) -> None:
        """Drop what these outputs do not need, and add a norm to each unless ``norms`` is False.

        Args:
            out_indices: Stages to return, ascending.
            frozen_stages: Freeze the stem and this many stages: -1 nothing, 0 the stem, i the stem and stages 1..i.
            init_cfg: ``dict(type="Pretrained", checkpoint=PATH, resize="bicubic" | "pad" | None, prefix="backbone.",
                leave_out=[PATTERN, ...])``, where the last three are those of :func:`backbones.load_checkpoint` and may
                be left out; or a list of one such dict, or None.
            norms: Whether the outputs pass a LayerNorm each.

        Raises:
            ValueError: An argument does not fit.
        """
        count = len(self.feature_info)
        indices = tuple(map(as_int, out_indices)) if isinstance(out_indices, Sequence) else ()
        if not indices or not set(indices) <= set(range(count)) or sorted(set(indices)) != list(indices):
            raise ValueError(f"out_indices must be ascending stages out of 0..{count - 1}, got {out_indices!r}")
        if not -1 <= frozen_stages <= count:
            raise ValueError(f"frozen_stages must be between -1 and {count}, got {frozen_stages}")
        self.out_indices = indices
        self.frozen_stages = frozen_stages
        self.init_cfg = checked_init_cfg(init_cfg)
        self.register_load_state_dict_pre_hook(_give_own_names)
        self.prune_intermediate_layers(list(indices), prune_norm=True)
        self.out_norms = nn.ModuleDict(
            {str(i): nn.LayerNorm(self.feature_info[i]["num_chs"], eps=1e-5) for i in indices if norms}
        )
        self._freeze()

    def init_weights(self) -> None:
        """Load ``init_cfg``'s checkpoint; called by OpenMMLab once the model is built."""
        if self.init_cfg is None:
            return
        options = {name: self.init_cfg[name] for name in ("resize", "leave_out", "prefix") if name in self.init_cfg}
        path, logger = self.init_cfg["checkpoint"], MMLogger.get_current_instance()
        report = load_checkpoint(self, path, **options)
        logger.info(f"{type(self).__name__}: loaded {path}; {report}")
        ours, theirs = getattr(self, "norm_eps", None), read_metadata(path).get("norm_eps")
        if ours is not None and theirs not in (None, json.dumps(ours)):
            logger.warning(f"{path} was trained with norm_eps={theirs}, and {type(self).__name__} has {ours}")

    def _freeze(self) -> None:
        for part in self.parts()[: self.frozen_stages + 1]:
            part.eval()
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> Dense:
        """As in torch, but frozen stages stay in evaluation mode."""
        super().train(mode)
        if hasattr(self, "frozen_stages"):
            self._freeze()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps ``(B, C_i, H_i, W_i)``, one per output index, contiguous in that order."""
        maps = self.forward_intermediates(x, list(self.out_indices), output_fmt="NHWC", intermediates_only=True)
        # mmcv's RoIAlign reads the memory of its input as contiguous NCHW whatever the strides say, and convolutions
        # pass a channels-last layout on: a permuted view would silently feed RoI heads with scrambled features.
        return tuple(
            norm(m).permute(0, 3, 1, 2).contiguous() for norm, m in zip(self.out_norms.values(), maps, strict=True)
        )


def _give_own_names(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Where a state dict has official names under the module's prefix, put ours in their place, at its sizes."""
    theirs = {name[len(prefix) :]: state[name] for name in state if name.startswith(prefix)}
    table = next((table for table in TABLES if table.recognises(theirs)), None)
    if table is None or table.recognises_ours(theirs):
        return
    converted = table.to_ours(theirs)
    for name in set(theirs).difference(converted.unexpected):
        del state[f"{prefix}{name}"]
    ours = converted.state_dict | resized_embeddings(module, converted.state_dict)
    state.update({f"{prefix}{name}": tensor for name, tensor in ours.items()})


def checked_init_cfg(given: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> dict[str, Any] | None:
    """The dict that an ``init_cfg`` is, None where there is none.

    Raises:
        ValueError: It is no dict of the form that :meth:`Dense.make_dense` takes.
    """
    if given is None:
        return None
    init_cfg = given[0] if isinstance(given, (list, tuple)) and len(given) == 1 else given  # as mmengine takes it
    fits = isinstance(init_cfg, Mapping) and init_cfg.get("type") == "Pretrained"
    fits = fits and isinstance(init_cfg.get("checkpoint"), (str, os.PathLike))
    if not fits or not {"checkpoint"} <= set(init_cfg) - {"type"} <= {"checkpoint", "resize", "prefix", "leave_out"}:
        raise ValueError(
            "init_cfg must be None or dict(type='Pretrained', checkpoint=PATH, resize='bicubic' | 'pad' | None, "
            f"prefix='backbone.', leave_out=[PATTERN, ...]), or a list of one such dict, got {given!r}"
        )
    init_cfg = dict(init_cfg)
    if init_cfg.get("prefix"):  # as mmengine takes it
        init_cfg["prefix"] = init_cfg["prefix"].removesuffix(".") + "."
    return init_cfg
