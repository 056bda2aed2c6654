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
from typing import Any

from files.arguments import any_path
from files.paths import RUNS
from scenes.data_set import make_digit_scenes
from studies.methods import TRANSFERS
from studies.transfer.sweep import Sweep
from studies.transfer.table import format_table
from training.commands import say
from training.runs import METRICS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=TRANSFERS, default=list(TRANSFERS), metavar="NAME")
    parser.add_argument("--tasks", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--pretrained", type=any_path, help="folder of tools/compare_backbones.py; default OUT/pretrained"
    )
    parser.add_argument("--iterations", type=int, help="of transfer; the default is 200 for detection, 600 otherwise")
    parser.add_argument("--out", type=any_path, default=RUNS / "transfer")
    args = parser.parse_args()
    out = args.out
    make_digit_scenes()
    make_digit_scenes(style="night")
    sweep = Sweep(out, args.pretrained or out / "pretrained", args.iterations)
    records: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for method in args.methods:
        row = {task: [sweep.measure(task, method, seed) for seed in args.seeds] for task in args.tasks}
        records[method] = row
        (out / "table.md").write_text(format_table(records, args.seeds) + "\n")
    say(format_table(records, args.seeds))


if __name__ == "__main__":
    main()
