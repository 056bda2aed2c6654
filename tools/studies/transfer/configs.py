"""What a transfer changes in the config of its task."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.registry import MODELS
from scenes.data_set import default_out
from training.runs import schedule

import adapters.openmmlab  # noqa: F401 (registers)
import backbones.openmmlab  # noqa: F401 (registers)
from studies.comparison import BACKBONES
from studies.methods import TRANSFERS, Transfer

NIGHT = default_out("night")
#: Training scenes, and scenes of the training split's other end that choose the learning rate.
TRAINED, CHOOSING = 200, 100


@dataclass(frozen=True)
class Run:
    """One transfer: a method on a task, with a seed and a learning rate (in multiples of the config's)."""

    task: str
    method: str
    seed: int
    rate: float

    def folder(self, out: Path) -> Path:
        return out / self.task / self.method / f"seed{self.seed}" / f"rate{self.rate:g}"


def backbone(method: Transfer, checkpoint: Path | None) -> dict[str, Any]:
    """The backbone's config, with the weights of a detector's or segmentor's checkpoint."""
    net = dict(BACKBONES["vheat"])
    if method.pretrained and checkpoint is not None:
        net["init_cfg"] = {"type": "Pretrained", "checkpoint": str(checkpoint)}
    return {"type": "AdaptedBackbone", "backbone": net, "adapter": method.adapter} if method.frozen else net


def trained_parameters(method: Transfer) -> int:
    """How many numbers of the backbone a method trains."""
    return sum(p.numel() for p in MODELS.build(backbone(method, None)).parameters() if p.requires_grad)


def changes(run: Run, checkpoint: Path, iterations: int, choosing: Path) -> dict[str, Any]:
    """What a run's config changes in the task's.

    Args:
        run: The run.
        checkpoint: Of pre-training.
        iterations: Of training.
        choosing: COCO annotations of the scenes that choose the learning rate.
    """
    method = TRANSFERS[run.method]
    # A rule for the backbone replaces the config's rules for norms, biases and physics inside it: nothing decays there.
    keys = {"backbone": {"lr_mult": run.rate, "decay_mult": 0.0}}
    keys |= {name: {"lr_mult": run.rate} for name in ("weights.logits", "router.logits")}
    night = {"data_root": f"{NIGHT}/"}
    detection = run.task == "detection"
    prefix = {"img": "train/"} if detection else {"img_path": "train", "seg_map_path": "train_labels"}
    chooses = {**night, "data_prefix": prefix, **({"ann_file": str(choosing)} if detection else {"indices": -CHOOSING})}
    changed: dict[str, Any] = {
        "model": {"backbone": {"_delete_": True, **backbone(method, checkpoint)}},
        "randomness": {"seed": run.seed},
        "train_dataloader": {"dataset": {**night, "indices": TRAINED}},
        "val_dataloader": {"dataset": chooses},
        "test_dataloader": {"dataset": night},
        "optim_wrapper": {"paramwise_cfg": {"custom_keys": keys}},
        "default_hooks": {"checkpoint": {"interval": iterations, "save_optimizer": False}},
        **schedule(iterations),
    }
    if detection:
        changed["val_evaluator"] = {"ann_file": str(choosing)}
        changed["test_evaluator"] = {"ann_file": str(NIGHT / "val.json")}
    if method.adapter is not None and method.adapter["type"] == "MoPPA":
        changed["custom_hooks"] = [{"type": "RouteRegularizationHook"}]
    return changed


def write_choosing(path: Path) -> None:
    """The COCO annotations of the last training scenes."""
    coco = json.loads((NIGHT / "train.json").read_text())
    coco["images"] = coco["images"][-CHOOSING:]
    kept = {image["id"] for image in coco["images"]}
    coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] in kept]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(coco))
