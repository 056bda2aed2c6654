"""Train backbones of about the same size on digit scenes, with the same heads, budget and seeds, and tabulate them.

    python tools/compare_backbones.py [--backbones vheat convnext ...] [--seeds 0 1 2] [--tasks detection segmentation]

Every run is tools/train.py on a config of configs/digit_scenes with only the backbone exchanged, in a folder of its own
below --out; runs that are complete are not repeated, so a stopped sweep goes on where it was. One detection run takes
three to four minutes on two cores, one segmentation run two. Writes --out/table.md, with the backbones' parameters,
multiply-accumulates and speed of inference, which are measured when all runs are complete.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from _runs import METRICS, schedule, train, write_changed
from demo import CONFIGS, ROOT, say
from files.whole import write_json
from mmengine.config import Config
from mmengine.registry import MODELS
from scenes.data_set import make_digit_scenes
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

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


def cell(values: list[float]) -> str:
    """Mean and, of several, standard deviation."""
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def format_table(results: dict[str, dict[str, list[float]]], seeds: list[int]) -> str:
    """One line per backbone, one column per metric, as Markdown."""
    columns = list(dict.fromkeys(metric for row in results.values() for metric in row))
    lines = [
        f"| backbone (seeds {', '.join(map(str, seeds))}) | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, row in results.items():
        lines.append(f"| {name} | {' | '.join(cell(row[c]) for c in columns)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--iterations", type=int, help="training iterations; the default is the configs'")
    parser.add_argument("--out", type=Path, default=ROOT / "work_dirs" / "compare")
    args = parser.parse_args()
    make_digit_scenes()
    results: dict[str, dict[str, list[float]]] = {}
    for name in args.backbones:
        row: dict[str, list[float]] = {}
        for task in args.tasks:
            for seed in args.seeds:
                folder = args.out.resolve() / task / name / f"seed{seed}"
                found = measure(task, name, seed, args.iterations, folder)
                found[f"{task} (s)"] = found.pop("seconds")
                for metric, value in found.items():
                    row.setdefault(metric, []).append(value)
        results[name] = row
        (args.out / "table.md").write_text(format_table(results, args.seeds) + "\n")
    for name, row in costs(args.backbones).items():
        results[name].update(row)
    table = format_table(results, args.seeds)
    (args.out / "table.md").write_text(table + "\n")
    say(table)


if __name__ == "__main__":
    main()
