"""The YAML file of a comparison: its schema, and what it says in plain objects."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from files.paths import ROOT

from evaluation.analyses import read_analyses
from evaluation.checks import distinct, keys, mapping, one_of, positive, share, whole_number
from evaluation.protocols import PROTOCOLS
from evaluation.weights import starts_trained

#: What an entry can take from its checkpoint.
PARTS = ("backbone", "neck")
#: What a task can be compared by.
METRICS = ("box AP", "mask AP", "mIoU", "F1")


@dataclass(frozen=True)
class Task:
    """A task: a config of mmdet or mmseg, and which of its data train, choose and test.

    Attributes:
        config: The file.
        cfg_options: Settings of it that change, by dotted names.
        iterations: Of training, with a warm-up and a cosine; the config's own schedule where it is None.
        choose: What learning rates are chosen by: a share or a number of the training images, held out, or ``"val"``,
            the images of the config's ``val_dataloader``. Only needed where there is a choice.
        test: The loader that is tested, ``"test"`` or ``"val"``.
        metric: What is compared: box AP, mask AP, mIoU, or F1 of the second of two classes; None is box AP or mIoU.
        part: Of a test set that joins several, the number of the one that is tested.
        trained_by: Another task whose trainings are taken, which must be the same but for what is tested.
    """

    name: str
    config: Path
    cfg_options: dict[str, Any] = field(default_factory=dict)
    iterations: int | None = None
    choose: float | str | None = None
    test: str = "test"
    metric: str | None = None
    part: int | None = None
    trained_by: str | None = None


@dataclass(frozen=True)
class Entry:
    """A network to compare.

    Attributes:
        backbone: Takes the place of the task's; any registered one, or ``"task"`` for the task's own.
        config: Instead of it, a config for each task whose whole model, optimizer and hooks are taken.
        checkpoint: Weights, with ``{task}`` and ``{seed}`` in the path where they differ.
        loads: What of the checkpoint is taken: ``"backbone"``, ``"neck"`` or both.
        protocols: How it is trained.
        rates: Candidates for the learning rate by protocol, in multiples of the config's.
        adapters: Options of LoRA and MoPPA by protocol.
        tasks: The names of those it takes part in.
    """

    name: str
    backbone: dict[str, Any] | str | None
    config: dict[str, Path] | None
    checkpoint: str | None
    protocols: tuple[str, ...]
    rates: dict[str, tuple[float, ...]]
    adapters: dict[str, dict[str, Any]]
    tasks: tuple[str, ...]
    loads: tuple[str, ...] = ("backbone",)

    @property
    def searches(self) -> bool:
        """Whether there is a learning rate to choose."""
        return any(len(rates) > 1 for rates in self.rates.values())


@dataclass(frozen=True)
class Study:
    """All of a YAML file."""

    file: Path
    title: str
    tasks: dict[str, Task]
    entries: dict[str, Entry]
    shares: tuple[float, ...]
    seeds: tuple[int, ...]
    reference: str
    analyses: dict[str, dict[str, Any]]

    def definition(self) -> dict[str, Any]:
        """What may not change in a folder once there are runs in it, in plain values."""
        tasks = {name: {**asdict(task), "config": str(task.config)} for name, task in self.tasks.items()}
        for task in tasks.values():
            for name in ("metric", "part", "trained_by"):  # the first is free, the others are new
                if name == "metric" or task[name] is None:
                    del task[name]
        entries = {
            name: {
                "backbone": entry.backbone,
                "config": entry.config and {task: str(path) for task, path in entry.config.items()},
                "checkpoint": entry.checkpoint,
                "adapters": entry.adapters,
                "loads": list(entry.loads),
            }
            for name, entry in self.entries.items()
        }
        return {"tasks": tasks, "entries": entries}


class _Distinct(yaml.SafeLoader):
    """YAML in which no key stands twice, of which the last would hide the others."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen:
                raise ValueError(f"line {key.start_mark.line + 1}: {key.value!r} stands there twice")
            seen.add(str(key.value))
        return node


def read_entries(file: Path) -> Study:
    """Read a YAML file.

    Raises:
        ValueError: It is not YAML, or says something that is not accepted; the message names the key.
    """
    try:
        return _study(yaml.load(file.read_text(), _Distinct), file)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _study(content: Any, file: Path) -> Study:
    content = mapping(content, "the file")
    accepted = (
        *("title", "tasks", "entries", "protocols", "shares", "seeds", "rates", "adapters", "reference", "analyses"),
    )
    keys(content, "the file", accepted, ("tasks", "entries", "protocols"))
    tasks = {n: _task(n, t, file.parent) for n, t in mapping(content["tasks"], "tasks").items()}
    entries = {
        name: _entry(name, entry, content, tuple(tasks), file.parent)
        for name, entry in mapping(content["entries"], "entries").items()
    }
    _used(content, "", dict.fromkeys(p for entry in entries.values() for p in entry.protocols))
    for name, task in tasks.items():
        if task.trained_by is not None:
            of = one_of(task.trained_by, f"tasks.{name}.trained_by", [other for other in tasks if other != name])
            if tasks[of].trained_by is not None:
                raise ValueError(f"tasks.{name}.trained_by: {of} is itself trained by {tasks[of].trained_by}")
    title = content.get("title", file.stem)
    if not isinstance(title, str) or not title:
        raise ValueError(f"title must be a text, got {title!r}")
    return Study(
        file=file,
        title=title,
        tasks=tasks,
        entries=entries,
        shares=distinct(content.get("shares", [1.0]), "shares", share),
        seeds=distinct(content.get("seeds", [0]), "seeds", whole_number),
        reference=one_of(content.get("reference", next(iter(entries))), "reference", list(entries)),
        analyses=read_analyses(content.get("analyses")),
    )


def _task(name: str, value: Any, folder: Path) -> Task:
    where = f"tasks.{name}"
    value = mapping(value, where)
    known = ("config", "cfg_options", "iterations", "choose", "test", "metric", "part", "trained_by")
    keys(value, where, known, ("config",))
    options = value.get("cfg_options") or {}
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        raise ValueError(f"{where}.cfg_options must be a mapping of dotted names, got {options!r}")
    choose = value.get("choose")
    if choose is not None and choose != "val":
        if isinstance(choose, str):
            raise ValueError(f"{where}.choose must be a share, a number of training images or 'val', got {choose!r}")
        is_count = isinstance(choose, int) and not isinstance(choose, bool)
        choose = whole_number(choose, f"{where}.choose", 1) if is_count else positive(choose, f"{where}.choose")
        if not is_count and choose >= 1:
            raise ValueError(f"{where}.choose: a share of the training images must be below 1, got {choose!r}")
    metric = value.get("metric")
    return Task(
        name=name,
        config=_file(value["config"], f"{where}.config", folder),
        cfg_options=options,
        iterations=None
        if value.get("iterations") is None
        else whole_number(value["iterations"], f"{where}.iterations", 1),
        choose=choose,
        test=one_of(value.get("test", "test"), f"{where}.test", ("test", "val")),
        metric=metric if metric is None else one_of(metric, f"{where}.metric", METRICS),
        part=None if value.get("part") is None else whole_number(value["part"], f"{where}.part"),
        trained_by=value.get("trained_by"),
    )


def _entry(name: str, value: Any, content: dict[str, Any], tasks: tuple[str, ...], folder: Path) -> Entry:
    where = f"entries.{name}"
    value = mapping(value, where)
    keys(value, where, ("backbone", "config", "checkpoint", "loads", "protocols", "rates", "adapters", "tasks"))
    if ("backbone" in value) == ("config" in value):
        raise ValueError(f"{where} needs either backbone or config")
    backbone, config = value.get("backbone"), value.get("config")
    typed = isinstance(backbone, dict) and isinstance(backbone.get("type"), str)
    if "backbone" in value and not typed and backbone != "task":
        raise ValueError(
            f"{where}.backbone must be a mapping with a type, such as {{type: VHeat}}, or task, got {backbone!r}"
        )
    takes = distinct(value.get("tasks", tasks), f"{where}.tasks", lambda item, at: one_of(item, at, tasks))
    if "config" in value:
        keys(mapping(config, f"{where}.config"), f"{where}.config", tasks)
        config = {task: _file(path, f"{where}.config.{task}", folder) for task, path in config.items()}
        takes = tuple(task for task in takes if task in config)
        if not takes:
            raise ValueError(f"{where}.config: there is none for the entry's tasks")
    checkpoint = value.get("checkpoint")
    if checkpoint is not None:
        checkpoint = _checkpoint(checkpoint, f"{where}.checkpoint", folder)
    protocols = distinct(
        value.get("protocols", content["protocols"]), "protocols", lambda item, at: one_of(item, at, list(PROTOCOLS))
    )
    for protocol in protocols:
        if protocol == "given" and (config is None or checkpoint is None):
            raise ValueError(f"{where}: protocol 'given' tests a whole model as it is: give config and checkpoint")
        if PROTOCOLS[protocol].pretrained and not (checkpoint or config or (typed and starts_trained(backbone))):
            raise ValueError(
                f"{where}: protocol {protocol!r} starts from trained weights: give checkpoint, or leave it to 'scratch'"
            )
    loads = distinct(value.get("loads", ["backbone"]), f"{where}.loads", lambda item, at: one_of(item, at, PARTS))
    if "loads" in value and checkpoint is None:
        raise ValueError(f"{where}.loads says what is taken of a checkpoint: give checkpoint")
    if "neck" in loads and (unfit := [p for p in protocols if PROTOCOLS[p].linear or p == "given"]):
        raise ValueError(f"{where}.loads: protocol {unfit[0]!r} takes no neck from elsewhere")
    given = {**_rates(content.get("rates"), "rates"), **_rates(value.get("rates"), f"{where}.rates")}
    rates = {p: given.get(p, PROTOCOLS[p].rates) for p in protocols}
    adapters = {p: dict(PROTOCOLS[p].adapter) for p in protocols if PROTOCOLS[p].adapter}
    for at, source in (("adapters", content.get("adapters")), (f"{where}.adapters", value.get("adapters"))):
        if source is not None:
            keys(mapping(source, at), at, [p for p in PROTOCOLS if PROTOCOLS[p].adapter])
            for p in adapters.keys() & source.keys():
                adapters[p] |= mapping(source[p], f"{at}.{p}")
    _used(value, where, protocols)
    return Entry(name, backbone, config, checkpoint, protocols, rates, adapters, takes, loads)


def _used(value: dict[str, Any], where: str, protocols: Collection[str]) -> None:
    """Refuse rates and adapters of protocols that nothing is trained by, which a slip of the pen would leave unread."""
    for key in ("rates", "adapters"):
        given = value.get(key)
        for protocol in given if isinstance(given, dict) else ():
            if protocol not in protocols:
                at = f"{where}.{key}" if where else key
                raise ValueError(f"{at}: nothing is trained by {protocol!r}; the protocols are {', '.join(protocols)}")


def _rates(value: Any, name: str) -> dict[str, tuple[float, ...]]:
    """By protocol; a list is for all of them."""
    if value is None:
        return {}
    if isinstance(value, list):
        return dict.fromkeys(PROTOCOLS, distinct(value, name, positive))
    keys(mapping(value, name), name, PROTOCOLS)
    return {protocol: distinct(rates, f"{name}.{protocol}", positive) for protocol, rates in value.items()}


def _file(value: Any, name: str, folder: Path) -> Path:
    """A path meant from the YAML file, or else from the repository."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be the path of a file, got {value!r}")
    tried = [base / Path(value).expanduser() for base in (folder, ROOT)]
    for path in tried:
        if path.is_file():
            return _spelled(path)
    raise ValueError(f"{name}: no such file: {value} (looked in {folder} and in the repository)")


def _checkpoint(value: Any, name: str, folder: Path) -> str:
    if not isinstance(value, str) or "://" in value:
        raise ValueError(f"{name} must be the path of a file, got {value!r}")
    try:
        pattern = value.format(task="*", seed="*")
    except (KeyError, IndexError, ValueError):
        raise ValueError(f"{name}: only {{task}} and {{seed}} are filled in, got {value!r}") from None
    path = Path(value).expanduser()
    if path.is_absolute():
        return str(path)
    there = [base for base in (folder, ROOT) if any(base.glob(pattern))]
    meant = ROOT if folder.resolve().is_relative_to(ROOT) else folder
    return str(_spelled((there or [meant])[0] / path))


def _spelled(path: Path) -> Path:
    """The one spelling of a path, from wherever a command is given; a file that is a link keeps its name."""
    return path.parent.resolve() / path.name
