"""The report of a demo run: one self-contained page and one table, of what the frameworks measured."""

from __future__ import annotations

import html
import json
from pathlib import Path

from mmengine.runner import Runner
from training.logs import latest, read_records

from reports import networks, pictures, tables
from reports.pages import page, picture
from reports.predictions import build_runner, detection_samples, gmacs, predictions, segmentation_samples

#: Lowest values an honest run may show. Not settled yet, so every run passes: they need several measured seeds.
FLOORS = {"box AP50": 70.0, "mask AP50": 65.0, "mIoU": 35.0}
TASKS = {"detection": "Mask R-CNN + FPN, vHeat-N", "segmentation": "UPerNet, vHeat-N"}
COLUMNS = ("box AP", "box AP50", "mask AP", "mask AP50", "mIoU", "params (M)", "GMACs", "train (s)", "test (s)")
SHOWN = 8


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


def _cells(rows: dict[str, dict[str, float]]) -> list[list[str]]:
    digits = {"params (M)": 2, "GMACs": 2, "train (s)": 0, "test (s)": 0}
    return [
        [name, *(f"{row[c]:.{digits.get(c, 1)}f}" if c in row else "" for c in COLUMNS)] for name, row in rows.items()
    ]


def format_table(rows: dict[str, dict[str, float]]) -> str:
    """The table as Markdown."""
    return tables.markdown(["model", *COLUMNS], _cells(rows), aligned=True)


def below_floor(rows: dict[str, dict[str, float]], floors: dict[str, float] = FLOORS) -> list[str]:
    """A line for each measured value under its floor."""
    measured = {name: value for row in rows.values() for name, value in row.items()}
    return [f"{n} is {measured[n]:.1f}, its floor is {f:.1f}" for n, f in floors.items() if not measured[n] >= f]


def _page(sections: list[tuple[str, str]], note: str) -> str:
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}"
        "img{max-width:100%}figure{margin:1em 0}figcaption{color:#555;font-size:13px}"
        "table{border-collapse:collapse}td,th{padding:.3em .7em;border-bottom:1px solid #ddd;text-align:right}"
        "td:first-child,th:first-child{text-align:left}.below{background:#c00;color:#fff;padding:.6em}"
    )
    body = "".join(f"<h2>{html.escape(title)}</h2>{content}" for title, content in sections)
    return page("vHeat on digit scenes", style, [note, body])


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
        ("Result", tables.html(["model", *COLUMNS], _cells(rows))),
        (
            "Detection and instance masks",
            picture(
                pictures.detections(detection_samples(found["detection"])),
                "Validation scenes, truth, and predictions with a score above 0.4.",
            ),
        ),
        (
            "Semantic segmentation",
            picture(pictures.segmentations(segmentation_samples(found["segmentation"])), "The same scenes."),
        ),
        ("Training", picture(pictures.loss_curves(records), "Losses against the iteration.")),
        (
            "The decay each stage learned",
            picture(
                networks.decay(net, size),
                "Detector's backbone. Left: diffusivity k of each cosine mode (mean over blocks and channels; n down, "
                "m right) and the gain it gives. Right: spatial kernels of the last block, from the channel that "
                "keeps most to the one that smooths most; red is positive, and colours follow the square root.",
            ),
        ),
        (
            "Heat from one point through the trained blocks",
            picture(
                networks.heat_spread(net, image, (0.5, 0.5)),
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
