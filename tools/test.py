"""Evaluate a checkpoint with the metrics of an OpenMMLab config.

python tools/test.py configs/digit_scenes/mask-rcnn_vheat-n_fpn.py CHECKPOINT [--out predictions.pkl] ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.registry import RUNNERS
from training.openmmlab import add_common_arguments, load_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_common_arguments(parser)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, help="write the predictions to this .pkl file")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    checkpoint = args.checkpoint.resolve()
    out = args.out.resolve() if args.out else None
    if out is not None and out.suffix != ".pkl":
        raise SystemExit(f"--out must end in .pkl, got {args.out}")
    config = load_config(args)
    config.load_from = str(checkpoint)
    config.resume = False
    runner = RUNNERS.build(config)
    if out is not None:
        from mmengine.evaluator import DumpResults

        runner.test_evaluator.metrics.append(DumpResults(out_file_path=str(out)))
    runner.test()


if __name__ == "__main__":
    main()
