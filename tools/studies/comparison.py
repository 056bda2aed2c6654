"""Backbones of about the same size on digit scenes: which, their runs, their costs, and a table."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from files.whole import write_json
from mmengine.config import Config
from mmengine.registry import MODELS
from reports.tables import markdown, mean_and_error, over_seeds, shown
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from training.commands import say
from training.runs import CONFIGS, schedule, train, write_changed

_SWIN = {"embed_dim": 32, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "img_size": 96, "window_size": 3}
_CONVNEXT = {"dims": (32, 64, 128, 256), "depths": (2, 2, 4, 2)}


def _own(kind: str) -> dict[str, Any]:
    return {"type": kind, "arch": "nano", "img_size": 96}


def _timm(name: str, options: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    return {"type": "TimmBackbone", "model_name": name, "options": options, **arguments}


_VIT = {"patch_size": 8, "embed_dim": 64, "depth": 6, "num_heads": 2, "img_size": 96}
#: Widths 32, 64, 128, 256 for hierarchical networks, one width and mmseg's Feature2Pyramid for the plain one; depths
#: that bring the peers to vHeat's multiply-accumulates.
BACKBONES: dict[str, dict[str, Any]] = {
    "vheat": _own("VHeat"),
    "vwave": _own("VWave"),
    "vtail": _own("VTail"),
    "vpoisson": _own("VPoisson"),
    "vmix": _own("VMix"),
    "convnext": _timm("convnext_tiny", _CONVNEXT),
    "swin": _timm("swin_tiny_patch4_window7_224", _SWIN),
    "vit": _timm("vit_tiny_patch16_224", _VIT, out_indices=(1, 2, 3, 5)),
}


def write_config(task: str, backbone: dict[str, Any], seed: int, iterations: int | None, path: Path) -> None:
    """The task's config with another backbone and seed."""
    changes: dict[str, Any] = {"model": {"backbone": {"_delete_": True, **backbone}}, "randomness": {"seed": seed}}
    if backbone.get("model_name", "").startswith("vit"):
        _add_pyramid(task, backbone["options"]["embed_dim"], changes)
    if iterations is not None:
        changes.update(schedule(iterations))
    write_changed(CONFIGS[task], changes, path)


def _add_pyramid(task: str, width: int, changes: dict[str, Any]) -> None:
    """Bring a plain network's maps, all of one scale and width, to the four scales that neck and heads take."""
    base = Config.fromfile(CONFIGS[task])
    imports = base.custom_imports.to_dict()
    changes["custom_imports"] = {**imports, "imports": [*imports["imports"], "mmseg.models"]}
    scales = {"type": "mmseg.Feature2Pyramid", "embed_dim": width, "rescales": [2, 1, 0.5, 0.25]}
    if task == "detection":
        changes["model"]["neck"] = [scales, {**base.model.neck.to_dict(), "in_channels": [width] * 4}]
    else:
        changes["model"]["neck"] = scales
        changes["model"]["decode_head"] = {"in_channels": [width] * 4}
        changes["model"]["auxiliary_head"] = {"in_channels": width}


def measure(task: str, name: str, seed: int, iterations: int | None, folder: Path) -> dict[str, float]:
    """Metrics of one run in percent, and its seconds; trains where there is no result yet."""
    result = folder / "result.json"
    if not result.is_file():
        say(f"{task}: {name}, seed {seed}")
        write_config(task, BACKBONES[name], seed, iterations, folder / "config.py")
        write_json(result, train(task, folder))
    return json.loads(result.read_text())


def costs(names: list[str], rounds: int = 15) -> dict[str, dict[str, list[float]]]:
    """Parameters, multiply-accumulates and speed of the backbones alone, at the data set's 96 px.

    Speed is that of inference on batches of 8, the networks taking turns; the median of the rounds.
    """
    import backbones.openmmlab  # noqa: F401 (registers)

    nets = {name: MODELS.build(BACKBONES[name]).eval() for name in names}
    images, seconds = torch.randn(8, 3, 96, 96), {name: [] for name in names}
    found: dict[str, dict[str, list[float]]] = {}
    with torch.no_grad():
        for name, net in nets.items():
            # Attention counts as the matrix products it is only where it is not fused.
            with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
                net(images[:1])
            parameters = sum(p.numel() for p in net.parameters()) / 1e6
            found[name] = {"params (M)": [parameters], "MMACs": [counter.get_total_flops() / 2e6]}
        for _ in range(rounds):
            for name, net in nets.items():
                start = time.perf_counter()
                net(images)
                seconds[name].append(time.perf_counter() - start)
    for name in names:
        found[name]["images/s"] = [len(images) / statistics.median(seconds[name])]
    return found


def format_table(results: dict[str, dict[str, list[float]]], seeds: list[int]) -> str:
    """One line per backbone, one column per metric, as Markdown, and what the figures are."""
    columns = list(dict.fromkeys(metric for row in results.values() for metric in row))
    rows = ([name, *(shown(mean_and_error(row[c])) for c in columns)] for name, row in results.items())
    table = markdown([f"backbone (seeds {', '.join(map(str, seeds))})", *columns], rows)
    return f"{table}\n\nThe {over_seeds(seeds)}."
