"""Tasks of a study on the tiny digit scenes, and entries for them."""

from __future__ import annotations

from typing import Any

from evaluation.entries import Entry
from evaluation.protocols import PROTOCOLS

CONFIGS = {"detection": "digit_scenes/mask-rcnn_vheat-n_fpn.py", "segmentation": "digit_scenes/upernet_vheat-n.py"}
NANO = {"type": "VHeat", "arch": "nano", "img_size": 64}
VIT = {
    "type": "TimmBackbone",
    "model_name": "vit_tiny_patch16_224",
    "options": {"patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2, "img_size": 64, "dynamic_img_size": True},
}


def task_of(kind: str, data: object, **more: Any) -> dict[str, Any]:
    """A task as a YAML file has it."""
    options: dict[str, Any] = {
        f"{loader}_dataloader.dataset.data_root": f"{data}/" for loader in ("train", "val", "test")
    }
    options["train_dataloader.batch_size"] = 2
    if kind == "segmentation":
        options["model.data_preprocessor.size"] = [64, 64]
    else:
        options |= {f"{name}_evaluator.ann_file": f"{data}/val.json" for name in ("val", "test")}
        options["model.roi_head.bbox_head.fc_out_channels"] = 16
    return {"config": f"configs/{CONFIGS[kind]}", "iterations": 2, "cfg_options": options, **more}


def entry_of(backbone: dict[str, Any] | None, checkpoint: object = None, protocols: Any = (), **more: Any) -> Entry:
    """An entry as it is read."""
    protocols = tuple(protocols)
    adapters = {p: dict(PROTOCOLS[p].adapter) for p in protocols if PROTOCOLS[p].adapter}
    fields = {"name": "e", "backbone": backbone, "config": None, "checkpoint": checkpoint and str(checkpoint)}
    fields |= {"protocols": protocols, "rates": {p: PROTOCOLS[p].rates for p in protocols}, "adapters": adapters}
    return Entry(**{**fields, "tasks": tuple(CONFIGS), **more})
