"""What tools/benchmark.py recorded, as tables."""

from __future__ import annotations

from typing import Any

from reports.tables import markdown

Record = dict[str, Any]


def format_tables(record: Record) -> str:
    """Markdown: the machine, the runs with their calibrations, and a table for each group."""
    machine, runs = record["machine"], record["runs"]
    lines = [f"# {machine_title(machine)}", ""]
    if "note" in machine:
        lines += [machine["note"], ""]
    lines += [", ".join(f"{key.replace('_', ' ')} {_text(v)}" for key, v in machine.items() if key != "note") + ".", ""]
    for commit, run in runs.items():
        lines += [f"Commit {commit}: {', '.join(f'{name} {v}' for name, v in run['libraries'].items())}.", ""]
    if names := list(dict.fromkeys(name for run in runs.values() for name in run["calibration"])):
        rows = ([name, *(run["calibration"].get(name, "-") for run in runs.values())] for name in names)
        lines += ["## Calibration", "", markdown(["", *runs], rows), ""]
    for group in record["groups"].values():
        table = _matrix if group["matrix"] else _table
        lines += [f"## {group['title']}", "", f"Commit {group['commit']}.", "", table(group["cases"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def machine_title(machine: dict[str, Any]) -> str:
    """What a machine is called: ``"AMD EPYC (family 25, model 17), AVX512, 2 threads"``."""
    if "gpu" in machine:
        return machine["gpu"]
    told = ", ".join(f"{key} {machine[key]}" for key in ("family", "model") if key in machine)
    return f"{machine['name']}{f' ({told})' if told else ''}, {machine['vector_width']}, {machine['threads']} threads"


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {text}" for key, text in value.items())
    return " ".join(value) if isinstance(value, list) else str(value)


def _table(cases: dict[str, Any]) -> str:
    names = list(dict.fromkeys(name for case in cases.values() for name in case))
    memory = any(figure["peak_mib"] is not None for case in cases.values() for figure in case.values())
    rows = ([title, *(_cell(case, name, memory) for name in names)] for title, case in cases.items())
    return markdown(["", *names], rows)


def _cell(case: dict[str, Any], name: str, memory: bool) -> str:
    if name not in case:
        return "-"
    figure, first = case[name], next(iter(case.values()))["milliseconds"]
    time = figure["milliseconds"]
    if time is None:
        return figure["absent"]
    text = f"{time:.0f} ms" if time >= 100 else f"{time:.3g} ms"
    if figure is not next(iter(case.values())) and first is not None:
        text += f", **{time / first:.2f}**"
    if memory and figure["peak_mib"] is not None:
        text += f", {figure['peak_mib']:.0f} MiB"
    if figure["error"] is not None:
        text += f", {figure['error']:.0e}"
    return text


def best(case: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """For each network of a case of networks and runtimes the fastest runtime, and its figure."""
    found: dict[str, tuple[str, Any]] = {}
    for name, figure in case.items():
        network, _, runtime = name.partition(", ")
        time = figure["milliseconds"]
        if time is not None and (network not in found or time < found[network][1]["milliseconds"]):
            found[network] = runtime, figure
    return found


def _matrix(cases: dict[str, Any]) -> str:
    """Rows of runtimes, columns of networks; ratios to the first network in the same row, and the best of each."""
    networks = list(dict.fromkeys(name.partition(", ")[0] for case in cases.values() for name in case))
    rows = []
    for title, case in cases.items():
        for runtime in dict.fromkeys(name.partition(", ")[2] for name in case):
            row = {n: case[f"{n}, {runtime}"] for n in networks if f"{n}, {runtime}" in case}
            rows.append([f"{title}: {runtime}", *(_cell(row, network, False) for network in networks)])
        fastest = {network: figure for network, (_, figure) in best(case).items()}
        row = [_cell(fastest, n, False) + f" ({best(case)[n][0]})" if n in fastest else "-" for n in networks]
        rows.append([f"**{title}: best of each**", *row])
    return markdown(["", *networks], rows)
