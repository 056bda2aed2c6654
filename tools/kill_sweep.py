"""Kill trainings at random instants, resume them, and compare them with unbroken ones: the table of docs/training.md.

python tools/kill_sweep.py [--kills 20] [--out work_dirs/kill_sweep] [--scenario NAME ...]
"""

from __future__ import annotations

import argparse
import os
import shutil

os.environ.setdefault("OMP_NUM_THREADS", "1")  # forked processes share no threads

import mmdet.registry  # noqa: F401  (what is imported here is there in every fork)
import mmseg.registry  # noqa: F401
from files.arguments import output_folder
from files.paths import ROOT, RUNS
from scenes.data_set import make_digit_scenes
from training.commands import say
from training.kills import Scenario, sweep

import adapters.openmmlab  # noqa: F401
import backbones.openmmlab  # noqa: F401


def scenarios(data: str) -> list[Scenario]:
    """Detection and segmentation: alone, in the middle of a write, in two processes, without space."""
    every = ["train_cfg.max_iters=12", "train_cfg.val_interval=6", "default_hooks.checkpoint.interval=2"]
    every += [f"{n}_dataloader.dataset.data_root={data}/" for n in ("train", "val", "test")]
    every += [f"{n}_dataloader.batch_size=2" for n in ("train", "val", "test")]
    tasks = {
        "detection": ("mask-rcnn_vheat-n_fpn.py", [f"{n}_evaluator.ann_file={data}/val.json" for n in ("val", "test")]),
        "segmentation": ("upernet_vheat-n.py", []),
    }

    def argv(task: str, *options: str) -> list[str]:
        config, own = tasks[task]
        return [str(ROOT / "configs/digit_scenes" / config), "--cfg-options", *every, *own, *options]

    return [
        Scenario("detection", argv("detection")),
        Scenario("segmentation", argv("segmentation")),
        Scenario("detection, two workers", argv("detection", "train_dataloader.num_workers=2")),
        Scenario("segmentation, in a write", argv("segmentation"), slow_write=True),
        Scenario("segmentation, two processes", argv("segmentation"), processes=2),
        Scenario("segmentation, no space", argv("segmentation"), full_disk=True),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="per scenario; default %(default)s")
    parser.add_argument("--out", type=output_folder, default=RUNS / "kill_sweep")
    parser.add_argument("--scenario", nargs="*", help="only these")
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    make_digit_scenes(args.out / "scenes", size=64, train=12, val=6, seed=3)
    rows, bad = [], []
    for index, scenario in enumerate(scenarios(str(args.out / "scenes"))):
        if args.scenario and scenario.name not in args.scenario:
            continue
        folder = args.out / str(index)
        folder.mkdir()
        t = sweep(scenario, folder, args.kills, seed=index)
        if t.lost or t.torn or t.different:
            bad.append(scenario.name)
        same = f"{t.runs - len(t.different)} of {t.runs}"
        rows.append(
            f"| {scenario.name} | {t.kills} | {t.in_writes} | {t.failed_saves} | {t.lost} | {t.torn} | {same} |"
        )
    say("| | kills | of these in a write | failed writes | lost | torn | runs that end as the unbroken one |")
    say("|---|---|---|---|---|---|---|")
    say("\n".join(rows))
    if bad:
        raise SystemExit(f"error: {', '.join(bad)}: something was lost, torn or different")


if __name__ == "__main__":
    main()
