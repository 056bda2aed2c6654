"""Compare parameter-efficient fine-tuning methods on nine small tasks that need no download.

    OMP_NUM_THREADS=1 python tools/evaluate_peft.py [--backbone vit] [--methods lora ...] [--tasks digits ...]
                                                    [--seeds 0 1 2 3 4] [--jobs 1] [--out work_dirs/peft]
    python tools/evaluate_peft.py --table [...]    # of the runs that are there and asked for, as Markdown

The tasks and the guard against leakage are in ``tools/scenes/tasks``, the methods and their budgets in
``tools/studies/methods.py``, the backbones and their pre-training (done here where its checkpoint is missing) in
``tools/studies/fine_tuning``.

One protocol for all: 800 training images, 250 updates of AdamW at batch 16, cosine with warm-up, no augmentation, the
weights after the last update. Only the learning rate is chosen, for each method and task, by the accuracy on the 200
validation images with seed 0: out of the same four, and beyond the largest as long as that is the best so far. Each run
then sees the test images once. Seeds change the new head, the adapter's start and the order of images; the images stay
the same.

Each run is one JSON file; what is there is not run again, so a stopped sweep goes on where it was. Seed 0 comes first,
since the others use its learning rate.
"""

from __future__ import annotations

import argparse

import torch
from files.arguments import output_folder
from files.paths import RUNS
from scenes.tasks.registry import TASKS
from studies.fine_tuning.adaptation import adapt, adapter_size
from studies.fine_tuning.backbones import BACKBONES, build
from studies.fine_tuning.pretraining import pretrain
from studies.fine_tuning.runs import Cell, Settings
from studies.fine_tuning.sweep import sweep
from studies.fine_tuning.table import format_table, read_records
from studies.methods import METHODS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=BACKBONES, default="vit")
    usual = [name for name, method in METHODS.items() if not method.variant]
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=usual, metavar="NAME", help=", ".join(METHODS))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1, help="processes of one thread each")
    parser.add_argument("--out", type=output_folder, default=RUNS / "peft")
    parser.add_argument("--table", action="store_true", help="print the table of the runs that are there and stop")
    args = parser.parse_args()
    if args.table:
        asked = [r for r in read_records(args.out / args.backbone) if r["method"] in args.methods]
        print(format_table([r for r in asked if r["seed"] in args.seeds], args.tasks), end="")
        return
    torch.set_num_threads(1)
    if not (args.out / "checkpoints" / f"{args.backbone}.json").is_file():
        pretrain(args.backbone, args.out / "checkpoints")
    for method in args.methods:
        size = adapter_size(adapt(build(args.backbone, 2), args.backbone, method, 0), args.backbone)
        print(f"{method}: {size:,} trainable parameters and the head", flush=True)
    cells = [Cell(args.backbone, m, t, s) for s in args.seeds for t in args.tasks for m in args.methods]
    sweep(cells, args.out, Settings(), args.jobs)


if __name__ == "__main__":
    main()
