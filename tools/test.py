"""Evaluate a checkpoint with the metrics of an OpenMMLab config.

python tools/test.py configs/digit_scenes/mask-rcnn_vheat-n_fpn.py CHECKPOINT [--out predictions.pkl] ...

The last line of the output is a JSON object of the metrics.
--show-dir, --show and --tta do what they do in mmdet's and mmseg's own tools, by the frameworks' hooks and models.
"""

from __future__ import annotations

import argparse
import json

from files.arguments import existing_file, output_file, output_folder
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults
from training.commands import end_with_parent
from training.group import leaving_the_group
from training.openmmlab import add_common_arguments, build_runner, load_config
from training.testing import augment, draw


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_common_arguments(parser)
    parser.add_argument("checkpoint", type=existing_file)
    parser.add_argument("--out", type=output_file, help="write the predictions to this .pkl file")
    parser.add_argument("--show-dir", type=output_folder, help="draw the predictions into this folder")
    parser.add_argument("--show", action="store_true", help="show the predictions in a window")
    parser.add_argument("--wait-time", type=float, default=2, metavar="SECONDS", help="of --show; default %(default)s")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation, by the config's tta_pipeline")
    args = parser.parse_args()
    if args.out is not None and args.out.suffix != ".pkl":
        parser.error(f"--out must end in .pkl, got {args.out}")
    config = load_config(parser, args, "test")
    config.load_from = str(args.checkpoint)
    config.resume = False
    try:
        if args.show or args.show_dir:
            draw(config, args.show_dir, args.wait_time if args.show else None)
        if args.tta:
            augment(config)
    except ValueError as error:
        parser.error(str(error))
    runner = build_runner(config)
    if args.out is not None:
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=str(args.out)))
    metrics = runner.test()
    if is_main_process():
        print(json.dumps(metrics, default=float), flush=True)


if __name__ == "__main__":
    end_with_parent()
    with leaving_the_group():
        main()
