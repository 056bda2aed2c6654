"""Write the report of a demo run: one self-contained HTML page and one table.

python tools/report.py work_dirs/demo
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import json
from pathlib import Path
from typing import Any

import _pictures
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch.utils.flop_counter import FlopCounterMode

#: Lowest values an honest run may show. Not settled yet, so every run passes: they need several measured seeds.
FLOORS = {"box AP50": 70.0, "mask AP50": 65.0, "mIoU": 35.0}
TASKS = {"detection": "Mask R-CNN + FPN, vHeat-N", "segmentation": "UPerNet, vHeat-N"}
COLUMNS = ("box AP", "box AP50", "mask AP", "mask AP50", "mIoU", "params (M)", "GMACs", "train (s)", "test (s)")
SHOWN = 8


def latest(folder: Path, pattern: str) -> Path:
    """The newest file below ``folder`` that matches.

    Raises:
        FileNotFoundError: There is none; the run is incomplete.
    """
    files = sorted(folder.glob(pattern), key=lambda p: p.stat().st_mtime)
    if not files:
        raise FileNotFoundError(f"no {pattern} in {folder}: run tools/demo.py to the end first")
    return files[-1]


def read_records(path: Path) -> list[dict[str, Any]]:
    """mmengine's log records, one JSON object per line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def build_runner(run: Path) -> Runner:
    """The trained model of a run inside a runner, ready to test."""
    config = Config.fromfile(latest(run / "train", "*.py"))
    config.work_dir = str(run / "report")
    config.log_level = "WARNING"
    config.load_from = str(latest(run / "train", "iter_*.pth"))
    config.resume = False
    runner = RUNNERS.build(config)
    runner.load_or_resume()
    runner.model.eval()
    return runner


@torch.no_grad()
def predictions(runner: Runner, count: int) -> list[tuple[np.ndarray, Any]]:
    """The first ``count`` validation images as RGB arrays, with the framework's data samples."""
    found: list[tuple[np.ndarray, Any]] = []
    for batch in runner.test_dataloader:
        for image, sample in zip(batch["inputs"], runner.model.test_step(batch), strict=True):
            found.append((image.permute(1, 2, 0).numpy()[..., ::-1], sample))
        if len(found) >= count:
            break
    return found[:count]


@torch.no_grad()
def gmacs(runner: Runner) -> float:
    """Multiply-accumulates of one validation image, heads included, in billions (torch's counter)."""
    batch = next(iter(runner.test_dataloader))
    one = {"inputs": batch["inputs"][:1], "data_samples": batch["data_samples"][:1]}
    with FlopCounterMode(display=False) as counter:
        runner.model.test_step(one)
    return counter.get_total_flops() / 2e9


def detection_samples(found: list[tuple[np.ndarray, Any]], threshold: float = 0.4) -> list[dict]:
    """What :func:`_pictures.detections` draws; predictions above a score."""
    samples = []
    for image, sample in found:
        truth, guess = sample.gt_instances, sample.pred_instances
        guess = guess[guess.scores > threshold]
        samples.append(
            {
                "image": image,
                "truth": {
                    "boxes": getattr(truth.bboxes, "tensor", truth.bboxes).numpy(),
                    "masks": np.asarray(truth.masks.masks, bool),
                    "labels": truth.labels.numpy(),
                    "texts": [str(int(i)) for i in truth.labels],
                },
                "prediction": {
                    "boxes": guess.bboxes.numpy(),
                    "masks": guess.masks.numpy().astype(bool),
                    "labels": guess.labels.numpy(),
                    "texts": [f"{int(i)} {s:.2f}" for i, s in zip(guess.labels, guess.scores, strict=True)],
                },
            }
        )
    return samples


def segmentation_samples(found: list[tuple[np.ndarray, Any]]) -> list[dict]:
    """What :func:`_pictures.segmentations` draws."""
    return [
        {
            "image": image,
            "truth": sample.gt_sem_seg.data[0].numpy(),
            "prediction": sample.pred_sem_seg.data[0].numpy(),
        }
        for image, sample in found
    ]


def measure(run: Path, runner: Runner) -> dict[str, float]:
    """One row of the table, from the frameworks' own metrics."""
    metrics = read_records(latest(run / "test", "*/*.json"))[-1]
    times = json.loads((run / "times.json").read_text())
    names = {
        "coco/bbox_mAP": "box AP",
        "coco/bbox_mAP_50": "box AP50",
        "coco/segm_mAP": "mask AP",
        "coco/segm_mAP_50": "mask AP50",
    }
    row = {ours: 100 * metrics[theirs] for theirs, ours in names.items() if theirs in metrics}
    if "mIoU" in metrics:
        row["mIoU"] = metrics["mIoU"]
    row["params (M)"] = sum(p.numel() for p in runner.model.parameters()) / 1e6
    row["GMACs"] = gmacs(runner)
    return {**row, "train (s)": times["train"], "test (s)": times["test"]}


def format_table(rows: dict[str, dict[str, float]]) -> str:
    """The table as Markdown."""
    digits = {"params (M)": 2, "GMACs": 2, "train (s)": 0, "test (s)": 0}
    lines = [["model", *COLUMNS]]
    for name, row in rows.items():
        lines.append([name, *(f"{row[c]:.{digits.get(c, 1)}f}" if c in row else "" for c in COLUMNS)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    out = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |" for line in lines]
    out.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(out)


def below_floor(rows: dict[str, dict[str, float]], floors: dict[str, float] = FLOORS) -> list[str]:
    """A line for each measured value under its floor."""
    measured = {name: value for row in rows.values() for name, value in row.items()}
    return [f"{n} is {measured[n]:.1f}, its floor is {f:.1f}" for n, f in floors.items() if not measured[n] >= f]


def _picture(figure: Figure, caption: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<figure><img src="data:image/png;base64,{data}"><figcaption>{html.escape(caption)}</figcaption></figure>'


def _html_table(rows: dict[str, dict[str, float]]) -> str:
    lines = [line.strip("| ").split(" | ") for line in format_table(rows).splitlines() if not line.startswith("|-")]
    cells = [[c.strip() for c in format_line] for format_line in lines]
    head = "".join(f"<th>{html.escape(c)}</th>" for c in cells[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in cells[1:])
    return f"<table><tr>{head}</tr>{body}</table>"


def _page(sections: list[tuple[str, str]], note: str) -> str:
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}"
        "img{max-width:100%}figure{margin:1em 0}figcaption{color:#555;font-size:13px}"
        "table{border-collapse:collapse}td,th{padding:.3em .7em;border-bottom:1px solid #ddd;text-align:right}"
        "td:first-child,th:first-child{text-align:left}.below{background:#c00;color:#fff;padding:.6em}"
    )
    body = "".join(f"<h2>{html.escape(title)}</h2>{content}" for title, content in sections)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>vHeat on digit scenes</title>'
        f"<style>{style}</style><h1>vHeat on digit scenes</h1>{note}{body}</html>"
    )


def write_report(folder: Path) -> tuple[dict[str, dict[str, float]], Path]:
    """Measure both runs below ``folder`` and write ``report.html``, ``table.md`` and ``table.json`` there."""
    rows, found = {}, {}
    for task, name in TASKS.items():  # one after the other: mmdet and mmseg share one current registry scope
        runner = build_runner(folder / task)
        rows[name] = measure(folder / task, runner)
        found[task] = predictions(runner, SHOWN)
        if task == "detection":
            net = runner.model.backbone
    records = {
        task: [r for r in read_records(latest(folder / task / "train", "*/vis_data/scalars.json")) if "loss" in r]
        for task in TASKS
    }
    image = found["detection"][0][0]
    size = image.shape[0]
    sections = [
        ("Result", _html_table(rows)),
        (
            "Detection and instance masks",
            _picture(
                _pictures.detections(detection_samples(found["detection"])),
                "Validation scenes, truth, and predictions with a score above 0.4.",
            ),
        ),
        (
            "Semantic segmentation",
            _picture(_pictures.segmentations(segmentation_samples(found["segmentation"])), "The same scenes."),
        ),
        ("Training", _picture(_pictures.loss_curves(records), "Losses against the iteration.")),
        (
            "The decay each stage learned",
            _picture(
                _pictures.decay(net, size),
                "Detector's backbone. Left: diffusivity k of each cosine mode (mean over blocks and channels; n down, "
                "m right) and the gain it gives. Right: spatial kernels of the last block, from the channel that "
                "keeps most to the one that smooths most; red is positive, and colours follow the square root.",
            ),
        ),
        (
            "Heat from one point through the trained blocks",
            _picture(
                _pictures.heat_spread(net, image, (0.5, 0.5)),
                "A unit of heat at the image centre, carried by the learned operators (channel mean; each panel scaled "
                "to its own maximum, the value at the source is printed).",
            ),
        ),
    ]
    low = below_floor(rows)
    note = f'<p class="below">Below the floor: {html.escape("; ".join(low))}</p>' if low else ""
    report = folder / "report.html"
    report.write_text(_page(sections, note))
    (folder / "table.md").write_text(format_table(rows) + "\n")
    (folder / "table.json").write_text(json.dumps(rows, indent=1) + "\n")
    return rows, report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    rows, report = write_report(parser.parse_args().folder.resolve())
    print(format_table(rows))
    print(report)


if __name__ == "__main__":
    main()
