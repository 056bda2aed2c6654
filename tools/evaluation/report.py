"""The report of a study: results.json, report.md and one self-contained page, report.html."""

from __future__ import annotations

import json
import math
import platform
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from files.commit import commit
from files.whole import write_json
from reports.pages import page

from backbones.training.files import write_whole
from evaluation import tables
from evaluation.conditions import Outcome
from evaluation.costs import model_costs, speeds
from evaluation.parts import task_parts
from evaluation.results import Row, differences
from evaluation.store import code_version

if TYPE_CHECKING:
    from evaluation.study import RunningStudy

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:#222}"
    "img{max-width:100%}figure{margin:1em 0}.wide{overflow-x:auto}"
    "figcaption,p{color:#555;font-size:13px;max-width:900px}"
    "table{border-collapse:collapse;white-space:nowrap}"
    "td,th{padding:.3em .7em;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child{text-align:left}h2{margin-top:2em;border-top:2px solid #222;padding-top:.6em}"
)


def write_report(study: RunningStudy) -> str:
    """Write the report's three files.

    Returns:
        The tables as Markdown.
    """
    rows = study.rows()
    compared = differences(rows, {n: t.metric for n, t in study.tasks.items()}, study.study.reference)
    costs = all_costs(study, rows)
    text, body = [f"# {study.study.title}", about(study, rows)], [f"<p>{about(study, rows)}</p>"]
    for name in study.tasks:
        mine = [row for row in rows if row.line.task == name]
        if not mine:
            continue
        parts = task_parts(study, name, mine, [d for d in compared if d.task == name], costs)
        text += [f"## {name}", *(part.markdown() for part in parts if isinstance(part, tables.Table))]
        body += [f"<h2>{name}</h2>", *(part.html() for part in parts)]
    record = {
        **{"title": study.study.title, "commit": commit(), "code": code_version(), "machine": machine()},
        **{"rows": [row.plain() for row in rows], "costs": costs},
        "differences": [{**d._asdict(), "found": vars(d.found)} for d in compared],
        "conditions": [{**o.case._asdict(), **_condition(o)} for o in study.tested],
    }
    write_json(study.folder / "results.json", _standard(record))
    markdown = "\n\n".join(text) + "\n"
    write_whole(study.folder / "report.md", lambda part: part.write_text(markdown))
    html = page(study.study.title, STYLE, body)
    write_whole(study.folder / "report.html", lambda part: part.write_text(html))
    return markdown


def _condition(outcome: Outcome) -> dict[str, Any]:
    return {"analysis": outcome.condition.analysis, "name": outcome.condition.name, "value": outcome.value}


def _standard(value: Any) -> Any:
    """For any reader of JSON: what is not a number is null."""
    if isinstance(value, dict):
        return {str(key): _standard(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_standard(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def all_costs(study: RunningStudy, rows: Sequence[Row]) -> dict[str, Any]:
    """Sizes and work of every protocol, and speeds of backbones, kept in costs.json.

    What is there is not measured again. Speeds of a task's entries are measured together, so all again for a new one.
    """
    path = study.folder / "costs.json"
    kept = json.loads(path.read_text()) if path.is_file() else {}
    if kept.get("code") != code_version():
        kept = {"code": code_version(), "models": {}, "speeds": {}}
    before = json.dumps(kept)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row in rows:
            key = tables.cost_key(row)
            if key not in kept["models"]:
                contender = study.contenders[row.line.task, row.line.entry]
                kept["models"][key] = model_costs(contender, row.line.protocol, next(iter(row.seeds)))
        for task in study.tasks:
            nets = {entry: c.net for (t, entry), c in study.contenders.items() if t == task}
            if not nets.keys() <= kept["speeds"].get(task, {}).keys():
                kept["speeds"][task] = speeds(nets, study.tasks[task].input_size, study.tasks[task].channels)
    if json.dumps(kept) != before:
        write_json(path, kept)
    return kept


def about(study: RunningStudy, rows: Sequence[Row]) -> str:
    """What the report is of."""
    missing = sum(len(row.missing) for row in rows) + sum(
        1 for case in study.cases if not any(row.line == case[:4] for row in rows)
    )
    count = len(study.cases)
    commits = {seed["record"].get("commit") for row in rows for seed in row.seeds.values()} - {None}
    trained = f"trained at {', '.join(sorted(c[:12] + '+' * c.endswith('+') for c in commits))}" if commits else ""
    return "; ".join(
        part
        for part in (
            f"seeds {', '.join(map(str, study.study.seeds))}",
            f"{missing} of {count} runs are missing" if missing else f"all {count} runs are there",
            trained,
            f"speeds measured on {machine()}",
        )
        if part
    )


def machine() -> str:
    """What runs here."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
