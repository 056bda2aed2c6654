"""Transfer a vHeat that was pre-trained on day scenes to night scenes, frozen, adapted or in full, and tabulate it.

    python tools/dense_transfer.py [--methods moppa lora ...] [--tasks detection segmentation] [--seeds 0 1 2]
                                   [--pretrained DIR] [--iterations N] [--out work_dirs/transfer]

Pre-training is the vHeat run of tools/compare_backbones.py, one per task and seed, a Mask R-CNN or an UPerNet on 3,000
day scenes; --pretrained names a folder of that tool whose runs are taken, or made where they are missing. The backbone
alone is carried over: neck and heads start anew and are trained by every method, with the config's learning rate.

One protocol for all: the first 200 training scenes of the style "night" (tools/make_digit_scenes.py), fewer iterations
than the configs', the weights after the last one. Only the learning rate of the backbone's parameters is chosen, for
each method and task, with seed 0, by box AP or mIoU on 100 other scenes made of the training scenes' digits and
photographs; the search goes on beyond the outermost candidate while that is the best. The 200 scenes tested share no
digit bitmap and no photograph region with them, nor with pre-training.

Each training leaves a result.json and the chosen one a test.json; what is there is not run again, so a stopped sweep
goes on where it was. Two processes can share a sweep by tasks, not by seeds, which all need the learning rates of seed
0. Writes OUT/table.md: means and standard errors over seeds; for each task the learning rate in multiples of the
config's, processor seconds of training with the start and the choosing scenes, and the checkpoint's size without
optimiser, neck and heads included.
"""

from __future__ import annotations

import argparse
import json
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _peft_table import mean_and_error
from _runs import METRICS, evaluate, schedule, train, write_changed
from _search import best_rate, next_rate
from compare_backbones import BACKBONES, measure
from demo import CONFIGS, ROOT, say
from files.whole import write_json
from mmengine.registry import MODELS
from scenes.data_set import default_out, make_digit_scenes

import adapters.openmmlab  # noqa: F401 (registers)
import backbones.openmmlab  # noqa: F401 (registers)

NIGHT = default_out("night")
#: Training scenes, and scenes of the training split's other end that choose the learning rate.
TRAINED, CHOOSING = 200, 100
ITERATIONS = {"detection": 200, "segmentation": 600}
#: Between the learning rates that are tried beyond the candidates while the outermost is the best.
FACTOR = 3.0
#: What the learning rate is chosen by.
CRITERION = {"detection": "box AP", "segmentation": "mIoU"}


@dataclass(frozen=True)
class Method:
    """A way to carry the backbone over.

    Attributes:
        frozen: Whether its own weights stay, as AdaptedBackbone does it.
        adapter: What is trained in it then.
        pretrained: Whether it starts from the weights of pre-training.
        rates: Candidates for its learning rate, in multiples of the config's; one is not searched.
    """

    frozen: bool = False
    adapter: dict[str, Any] | None = None
    pretrained: bool = True
    rates: tuple[float, ...] = (1.0,)


#: MoPPA and LoRA change the same linear layers and have the same size, within one per cent.
METHODS = {
    "frozen": Method(frozen=True),
    "moppa": Method(
        frozen=True, adapter={"type": "MoPPA", "rescale": True, "route_weight": 0.01}, rates=(1.0, 3.0, 10.0)
    ),
    "lora": Method(
        frozen=True,
        adapter={
            "type": "LoRA",
            "r": 1,
            "rank_pattern": {"mixer.value": 3, "mixer.proj": 3},
            "target_modules": r".*\.(mixer\.value|mixer\.proj|mlp\.fc1|mlp\.fc2)",
        },
        rates=(1.0, 3.0, 10.0),
    ),
    "full": Method(rates=(0.1, 0.3, 1.0)),
    "scratch": Method(pretrained=False),
}


@dataclass(frozen=True)
class Run:
    """One transfer: a method on a task, with a seed and a learning rate (in multiples of the config's)."""

    task: str
    method: str
    seed: int
    rate: float

    def folder(self, out: Path) -> Path:
        return out / self.task / self.method / f"seed{self.seed}" / f"rate{self.rate:g}"


def backbone(method: Method, checkpoint: Path | None) -> dict[str, Any]:
    """The backbone's config, with the weights of a detector's or segmentor's checkpoint."""
    net = dict(BACKBONES["vheat"])
    if method.pretrained and checkpoint is not None:
        net["init_cfg"] = {"type": "Pretrained", "checkpoint": str(checkpoint)}
    return {"type": "AdaptedBackbone", "backbone": net, "adapter": method.adapter} if method.frozen else net


def trained_parameters(method: Method) -> int:
    """How many numbers of the backbone a method trains."""
    return sum(p.numel() for p in MODELS.build(backbone(method, None)).parameters() if p.requires_grad)


def changes(run: Run, checkpoint: Path, iterations: int, choosing: Path) -> dict[str, Any]:
    """What a run's config changes in the task's.

    Args:
        run: The run.
        checkpoint: Of pre-training.
        iterations: Of training.
        choosing: COCO annotations of the scenes that choose the learning rate.
    """
    method = METHODS[run.method]
    # A rule for the backbone replaces the config's rules for norms, biases and physics inside it: nothing decays there.
    keys = {"backbone": {"lr_mult": run.rate, "decay_mult": 0.0}}
    keys |= {name: {"lr_mult": run.rate} for name in ("weights.logits", "router.logits")}
    night = {"data_root": f"{NIGHT}/"}
    detection = run.task == "detection"
    prefix = {"img": "train/"} if detection else {"img_path": "train", "seg_map_path": "train_labels"}
    chooses = {**night, "data_prefix": prefix, **({"ann_file": str(choosing)} if detection else {"indices": -CHOOSING})}
    changed: dict[str, Any] = {
        "model": {"backbone": {"_delete_": True, **backbone(method, checkpoint)}},
        "randomness": {"seed": run.seed},
        "train_dataloader": {"dataset": {**night, "indices": TRAINED}},
        "val_dataloader": {"dataset": chooses},
        "test_dataloader": {"dataset": night},
        "optim_wrapper": {"paramwise_cfg": {"custom_keys": keys}},
        "default_hooks": {"checkpoint": {"interval": iterations, "save_optimizer": False}},
        **schedule(iterations),
    }
    if detection:
        changed["val_evaluator"] = {"ann_file": str(choosing)}
        changed["test_evaluator"] = {"ann_file": str(NIGHT / "val.json")}
    if method.adapter is not None and method.adapter["type"] == "MoPPA":
        changed["custom_hooks"] = [{"type": "RouteRegularizationHook"}]
    return changed


def write_choosing(path: Path) -> None:
    """The COCO annotations of the last training scenes."""
    coco = json.loads((NIGHT / "train.json").read_text())
    coco["images"] = coco["images"][-CHOOSING:]
    kept = {image["id"] for image in coco["images"]}
    coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] in kept]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(coco))


@dataclass(frozen=True)
class Sweep:
    """Where runs go, where pre-training is, and the iterations where they are not the protocol's."""

    out: Path
    pretrained: Path
    iterations: int | None = None

    def checkpoint(self, task: str, seed: int) -> Path:
        """Of pre-training, which is done where it is missing."""
        folder = self.pretrained / task / "vheat" / f"seed{seed}"
        measure(task, "vheat", seed, None, folder)
        return Path((folder / "run" / "last_checkpoint").read_text())

    def attempt(self, run: Run) -> dict[str, float]:
        """A transfer's metrics on the choosing scenes, its processor seconds, and the size of what it saves in MB.

        Raises:
            ValueError: The run that is there has another number of iterations.
        """
        folder, iterations = run.folder(self.out), self.iterations or ITERATIONS[run.task]
        result = folder / "result.json"
        if not result.is_file():
            say(f"{run.task}: {run.method}, seed {run.seed}, rate {run.rate:g}")
            choosing = folder / "choosing.json"
            write_choosing(choosing)
            changed = changes(run, self.checkpoint(run.task, run.seed), iterations, choosing)
            write_changed(CONFIGS[run.task], changed, folder / "config.py")
            before = _processor_seconds()
            found = train(run.task, folder)
            found["seconds"] = _processor_seconds() - before  # others may be using the machine too
            size = Path((folder / "run" / "last_checkpoint").read_text()).stat().st_size / 1e6
            write_json(result, {**found, "MB": size, "iterations": iterations})
        record: dict[str, float] = json.loads(result.read_text())
        if record["iterations"] != iterations:
            raise ValueError(f"{result} is of {record['iterations']} iterations, not {iterations}: give another --out")
        return record

    def search(self, task: str, method: str) -> dict[float, float]:
        """The criterion with seed 0 by learning rate; empty where there is nothing to choose."""
        rates, found = METHODS[method].rates, dict[float, float]()
        if len(rates) == 1:
            return found
        while (rate := next_rate(found, rates, FACTOR, below=True)) is not None:
            found[rate] = self.attempt(Run(task, method, 0, rate))[CRITERION[task]]
        return found

    def measure(self, task: str, method: str, seed: int) -> dict[str, Any]:
        """The record of a method: the metrics on the test scenes, with the learning rate that was best."""
        search = self.search(task, method)
        run = Run(task, method, seed, best_rate(search) if search else METHODS[method].rates[0])
        record = {name: value for name, value in self.attempt(run).items() if name in ("seconds", "MB", "iterations")}
        folder = run.folder(self.out)
        result = folder / "test.json"
        if not result.is_file():
            say(f"{task}: {method}, seed {seed}, on the test scenes")
            write_json(result, evaluate(task, folder))
        parameters = trained_parameters(METHODS[method])
        return {**json.loads(result.read_text()), **record, "rate": run.rate, "parameters": parameters}


def _processor_seconds() -> float:
    """Of all commands that were run and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cell(values: list[float]) -> str:
    """Mean and, of several, its standard error."""
    mean, error = mean_and_error(values)
    return f"{mean:.1f}" + (f" ± {error:.1f}" if len(values) > 1 else "")


def format_table(records: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """One line per method as Markdown, from the records of its seeds by method and task."""
    tasks = list(dict.fromkeys(task for row in records.values() for task in row))
    metrics = [(task, name) for task in tasks for name in METRICS[task].values()]
    costs = [f"{task}: {what}" for task in tasks for what in ("rate", "CPU s", "MB")]
    lines = [
        f"| method | backbone parameters trained | {' | '.join(m for _, m in metrics)} | {' | '.join(costs)} | seeds |",
        "|---" * (len(metrics) + len(costs) + 3) + "|",
    ]
    for method, row in records.items():
        first = row[tasks[0]]
        cells = [f"{first[0]['parameters']:,}"]
        cells += [cell([r[name] for r in row[task]]) for task, name in metrics]
        for task in tasks:
            seconds, size = (sum(r[name] for r in row[task]) / len(row[task]) for name in ("seconds", "MB"))
            cells += [f"{row[task][0]['rate']:g}", f"{seconds:.0f}", f"{size:.2f}"]
        lines.append(f"| {method} | {' | '.join(cells)} | {len(first)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")
    parser.add_argument("--tasks", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--pretrained", type=Path, help="folder of tools/compare_backbones.py; default OUT/pretrained")
    parser.add_argument("--iterations", type=int, help="of transfer; the default is 200 for detection, 600 otherwise")
    parser.add_argument("--out", type=Path, default=ROOT / "work_dirs" / "transfer")
    args = parser.parse_args()
    out = args.out.resolve()
    make_digit_scenes()
    make_digit_scenes(style="night")
    sweep = Sweep(out, (args.pretrained or out / "pretrained").resolve(), args.iterations)
    records: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for method in args.methods:
        row = {task: [sweep.measure(task, method, seed) for seed in args.seeds] for task in args.tasks}
        records[method] = row
        (out / "table.md").write_text(format_table(records) + "\n")
    say(format_table(records))


if __name__ == "__main__":
    main()
