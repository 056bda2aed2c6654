"""The names in official RS-vHeat files: vHeat's, with a stem for each modality and what guides the mixers."""

from __future__ import annotations

from backbones.weights.names import NameTable, Rule, affine
from backbones.weights.vheat_names import VHEAT

__all__ = ["RS_VHEAT"]

#: The modalities there, and what ours are called; each is a form of its own, since a file may lack one.
_MODALITIES = {"opt": "optical", "sar": "sar"}
_STEM = {"conv1": "conv1", "norm1.1": "norm1", "conv2": "conv2", "norm2.1": "norm2"}

_RULES: list[Rule] = [
    *(
        rule
        for theirs, ours in _MODALITIES.items()
        for layer, own in _STEM.items()
        for rule in affine(f"patch_embed_{theirs}.{layer}", f"stem.{ours}.{own}", form=ours)
    ),
    Rule("heat_capacity.{i}", ("stages.{i}.guide.weight",)),
    *affine("layers.{i}.{j}.op.norm1", "stages.{i}.blocks.{j}.mixer.norm_in"),
    *(rule for rule in VHEAT.rules if not rule.official.startswith("patch_embed.")),
]

RS_VHEAT = NameTable(
    _RULES,
    VHEAT.aliases,
    marks=["layers.{i}.{j}.op.norm1.weight"],
    instead=VHEAT.instead,
    stages=VHEAT.stages,
    misfit=VHEAT.misfit,
    reasons={r"(.*\.)?fuse_frequency\..*": "it fuses the frequency bands of pre-training, and is dropped behind it"},
    beside=["fuse_frequency."],
    own=[r"stem\.\w+\.description"],
)
