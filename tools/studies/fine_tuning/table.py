"""The table: accuracies of each method by task and group, and what the method costs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports.tables import Mean, markdown, mean_and_error, mean_of, over_seeds, shown
from scenes.tasks.registry import TASKS

from studies.methods import METHODS

Record = dict[str, Any]
ALL = tuple(TASKS)


def read_records(folder: Path) -> list[Record]:
    """Of all runs below a folder."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/*/seed*.json"))]


def summarise(records: list[Record], tasks: Sequence[str] = ALL) -> dict[str, Mean | None]:
    """Test accuracy of one method by task, group and ``"mean"``, the mean of the groups' means.

    The errors are those over seeds, not over choices of images. None where one of ``tasks`` has no run, and for its
    group.
    """
    found: dict[str, Mean | None] = {}
    groups: dict[str, list[Mean | None]] = {}
    for name in tasks:
        values = [r["test_accuracy"] for r in records if r["task"] == name]
        found[name] = mean_and_error(values) if values else None
        groups.setdefault(TASKS[name].group, []).append(found[name])
    for group, parts in groups.items():
        found[group] = None if None in parts else mean_of([p for p in parts if p is not None])
    means = [found[group] for group in groups]
    found["mean"] = None if None in means else mean_of([m for m in means if m is not None])
    return found


def above(records: list[Record], others: list[Record], tasks: Sequence[str] = ALL) -> Mean | None:
    """How far a method's mean is above another's, over the seeds that both have in full; None where there is none."""

    def by_seed(runs: list[Record]) -> dict[int, float]:
        seeds = {r["seed"] for r in runs}
        found = {seed: summarise([r for r in runs if r["seed"] == seed], tasks)["mean"] for seed in seeds}
        return {seed: mean[0] for seed, mean in found.items() if mean is not None}

    ours, theirs = by_seed(records), by_seed(others)
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    return mean_and_error(differences) if differences else None


def format_table(records: list[Record], tasks: Sequence[str] = ALL) -> str:
    """One line per method as Markdown: accuracies in these tasks, then what the method costs.

    Raises:
        ValueError: There is no record.
    """
    records = [r for r in records if r["task"] in tasks]
    if not records:
        raise ValueError("there are no runs to tabulate")
    groups = list(dict.fromkeys(TASKS[name].group for name in tasks))
    columns = [c for g in groups for c in ([n for n in tasks if TASKS[n].group == g] + [g])] + ["mean"]
    heads = [f"**{c}**" if c in (*groups, "mean") else c for c in columns] + ["above LoRA"]
    costs = ["CPU s per run", "kept for backward (MiB)", "file (kB)"]
    rows = []
    for name, method in METHODS.items():
        own = [r for r in records if r["method"] == name]
        if not own:
            continue
        summary = summarise(own, tasks)
        spent = [
            f"{statistics.median(r['train_cpu_seconds'] for r in own):.1f}",
            f"{statistics.median(r['saved_for_backward_bytes'] for r in own) / 2**20:.1f}",
            f"{statistics.median(r['file_bytes'] for r in own) / 1e3:.0f}",
        ]
        reference = "lora_small" if method.budget.get(own[0]["backbone"]) == "small" else "lora"
        compared = above(own, [r for r in records if r["method"] == reference], tasks) if name != reference else None
        accuracies = [*(shown(summary[c]) for c in columns), shown(compared)]
        rows.append((method.title, f"{own[0]['adapter_parameters']:,}", *accuracies, *spent, len(own)))
    seeds = sorted({r["seed"] for r in records})
    note = (
        f"Test accuracy in percent, {over_seeds(seeds)}; a group is the mean of its tasks, the mean that of the "
        "groups. Above LoRA: the means' difference seed by seed, to the LoRA of the same budget, the larger one for "
        "what has none. Parameters are those besides the head; the last columns but one are medians over runs."
    )
    table = markdown(["method", "parameters", *heads, *costs, "runs"], rows)
    return f"{table}\n\n{note}\n"
