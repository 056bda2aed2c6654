"""Which rule should carry vHeat's spectral embeddings to pictures of another size than in training?

    python tools/resolution_study.py [--seeds 0 1 2] [--starts fresh structured] [--out work_dirs/resolution]

Trains vheat_nano at 128 px with tools/train_classifier.py on digits in front of photographs and measures the same
weights with both rules at other sizes, to which the pictures are resized. A fresh embedding hardly learns to tell modes
apart in so short a training, so there is a second start, from a strong and smooth one. A run takes about ten minutes
on one busy core; what is complete is not repeated. Writes OUT/table.md; docs/resolution.md says what was seen.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import timm
import torch
from _classification import create_network, evaluate, make_loader, open_folder
from _recipe import parse_arguments
from files.paths import DATA, RUNS
from files.whole import write_json
from scenes.digit_pictures import write_pictures
from timm.utils import init_distributed_device, random_seed
from train_classifier import main as train_classifier

from backbones import SpectralNet
from spectral_ops import resize_embedding
from spectral_ops.embedding import RESIZE_RULES

TRAINED_AT, SIZES = 128, (96, 112, 128, 160, 192, 224, 256)
STARTS = ("fresh", "structured")
RECIPE = [
    *("--model", "vheat_nano", "--img-size", str(TRAINED_AT), "--epochs", "5", "--warmup-epochs", "1", "--lr", "2e-3"),
    *("--batch-size", "32", "--workers", "0", "--drop-path", "0", "--mixup", "0", "--cutmix", "0", "--ema-decay", "0"),
    *("--auto-augment", "", "--color-jitter", "0", "--hflip", "0", "--re-prob", "0"),
    *("--scale", "0.7", "1", "--crop-pct", "1"),
]


def structured_start(seed: int) -> SpectralNet:
    """A network whose embeddings are smooth over the modes and 25 times as strong as fresh ones."""
    random_seed(seed)
    net = timm.create_model("vheat_nano", num_classes=10, img_size=TRAINED_AT)
    for stage in net.stages:
        weight = stage.embedding.weight
        weight.data = resize_embedding(0.5 * torch.randn(4, 4, weight.shape[2]), weight.shape[:2])
    return net


def gain_changes(net: SpectralNet, rule: str) -> dict[str, float]:
    """Mean absolute change of the gains when the picture's side doubles, by what is held fixed."""
    changes: dict[str, list[float]] = {"cycles per pixel": [], "cycles per picture": []}
    for stage in net.stages:
        height, width, _ = stage.embedding.weight.shape
        stage.embedding.rule = rule
        for block in stage.blocks:
            before, after = (
                block.mixer.operator.gain(sizes, embedding=stage.embedding(sizes))
                for sizes in ((height, width), (2 * height, 2 * width))
            )
            changes["cycles per pixel"].append((after[::2, ::2] - before).abs().mean().item())
            changes["cycles per picture"].append((after[:height, :width] - before).abs().mean().item())
    return {held: statistics.mean(values) for held, values in changes.items()}


@torch.no_grad()
def measure(net: SpectralNet, args: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """For each rule: loss and top-1 by size, and the changes of :func:`gain_changes`."""
    dataset = open_folder(args, "val")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for rule in RESIZE_RULES:
        found[rule] = {"gain": gain_changes(net, rule)}  # sets the rule
        for size in SIZES:
            found[rule][str(size)] = evaluate(net, make_loader(args, dataset, net, False, size), args)
    return found


def run(start: str, seed: int, data: Path, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Train and measure, as far as that has not been done."""
    record = folder / "measured.json"
    if not record.is_file():
        command = ["--data-dir", str(data), "--out", str(folder), "--seed", str(seed), *RECIPE]
        options = []
        if start == "structured":
            folder.mkdir(parents=True, exist_ok=True)
            torch.save(structured_start(seed).state_dict(), folder / "start.pth")
            options = ["--initial-checkpoint", str(folder / "start.pth")]
        train_classifier([*command, *options, "--resume"])
        args = parse_arguments([*command, "--evaluate", str(folder / "last.pth")], "")
        init_distributed_device(args)
        write_json(record, measure(create_network(args, 10), args))
    return json.loads(record.read_text())


def cell(values: list[float], form: str = ".1f") -> str:
    """Mean and, of several, standard deviation."""
    spread = f" ± {statistics.stdev(values):{form.lstrip('+')}}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{form}}{spread}"


def format_tables(results: dict[str, list[dict[str, dict[str, dict[str, float]]]]]) -> str:
    """For each start, both rules and their differences by size; then how far the gains move."""
    lines = []
    for start, runs in results.items():
        lines += [
            f"| {start}, px | bicubic top-1 | pad top-1 | pad - bicubic | bicubic loss | pad loss | pad - bicubic |",
            "|---" * 7 + "|",
        ]
        for size in map(str, SIZES):
            cells = [size]
            for metric, form in (("top1", ".1f"), ("loss", ".3f")):
                bicubic, pad = ([found[rule][size][metric] for found in runs] for rule in ("bicubic", "pad"))
                difference = [p - b for b, p in zip(bicubic, pad, strict=True)]
                cells += [cell(bicubic, form), cell(pad, form), cell(difference, "+" + form)]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    held = list(next(iter(results.values()))[0]["pad"]["gain"])
    lines += [f"| change of gain at twice the side, at equal | {' | '.join(held)} |", "|---" * (1 + len(held)) + "|"]
    for start, runs in results.items():
        for rule in RESIZE_RULES:
            cells = [cell([found[rule]["gain"][h] for found in runs], ".3f") for h in held]
            lines.append(f"| {start}, {rule} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS))
    parser.add_argument("--out", type=Path, default=RUNS / "resolution")
    args = parser.parse_args()
    data = DATA / "digit_pictures"
    write_pictures(data)
    results = {s: [run(s, seed, data, args.out / s / f"seed{seed}") for seed in args.seeds] for s in args.starts}
    table = format_tables(results)
    (args.out / "table.md").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()
