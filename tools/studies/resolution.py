"""Training with either start, and both rules measured on the same weights at other sizes."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from files.whole import write_json
from reports.tables import markdown, mean_and_error, over_seeds, shown
from timm.utils import init_distributed_device, random_seed
from training.classification import create_network, evaluate, make_loader, open_folder
from training.classifier import train_or_evaluate
from training.recipe import parse_arguments

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
        train_or_evaluate(parse_arguments([*command, *options, "--resume"], ""))
        args = parse_arguments([*command, "--evaluate", str(folder / "last.pth")], "")
        init_distributed_device(args)
        write_json(record, measure(create_network(args, 10), args))
    return json.loads(record.read_text())


def _cell(values: list[float], form: str) -> str:
    return shown(mean_and_error(values), form)


def format_tables(results: dict[str, list[dict[str, dict[str, dict[str, float]]]]], seeds: Sequence[int]) -> str:
    """For each start, both rules and their differences by size; then how far the gains move."""
    tables = []
    for start, runs in results.items():
        rows = []
        for size in map(str, SIZES):
            cells = [size]
            for metric, form in (("top1", ".1f"), ("loss", ".3f")):
                bicubic, pad = ([found[rule][size][metric] for found in runs] for rule in ("bicubic", "pad"))
                difference = [p - b for b, p in zip(bicubic, pad, strict=True)]
                cells += [_cell(bicubic, form), _cell(pad, form), _cell(difference, "+" + form)]
            rows.append(cells)
        columns = [f"{what} {metric}" for metric in ("top-1", "loss") for what in ("bicubic", "pad")]
        head = [f"{start}, px", *columns[:2], "pad - bicubic", *columns[2:], "pad - bicubic"]
        tables.append(markdown(head, rows))
    held = list(next(iter(results.values()))[0]["pad"]["gain"])
    changes = (
        [f"{start}, {rule}", *(_cell([found[rule]["gain"][h] for found in runs], ".3f") for h in held)]
        for start, runs in results.items()
        for rule in RESIZE_RULES
    )
    tables.append(markdown(["change of gain at twice the side, at equal", *held], changes))
    return "\n\n".join([*tables, f"The {over_seeds(seeds)}."])
