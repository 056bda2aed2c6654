"""Predict on images, folders, patterns and videos with a trained detector or segmentor.

python tools/predict.py IMAGE|FOLDER|'GLOB'|VIDEO ... --config CONFIG --checkpoint FILE [--out DIR] [--tile PX] ...
python tools/predict.py IMAGE|FOLDER|'GLOB'|VIDEO ... --onnx FILE [--out DIR] [--tile PX] ...

DIR gets pictures/, predictions.json in COCO's form and, of a segmentor, labels/ (docs/predict-and-export.md). Files
that are broken are named and skipped, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import sys
import time

from files.arguments import existing_file, output_folder
from files.cfg_options import add_cfg_options
from files.paths import RUNS
from prediction.exported import ExportedPredictor
from prediction.predictors import CheckpointPredictor
from prediction.running import run
from prediction.sources import find_sources
from prediction.tiles import Side, Tiling
from prediction.writing import Results
from training.openmmlab import read_config

MIN_TILE = 32


def arguments() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("sources", nargs="+", metavar="IMAGE|FOLDER|GLOB|VIDEO", help="folders are read at any depth")
    parser.add_argument("--config", type=existing_file)
    parser.add_argument("--checkpoint", type=existing_file)
    parser.add_argument("--onnx", type=existing_file, help="a file of tools/export.py, instead of the two")
    parser.add_argument("--out", type=output_folder, help="new or empty; default work_dirs/predictions/NAME/TIME")
    parser.add_argument("--score", type=float, default=0.3, help="draw objects of this score or more; default 0.3")
    parser.add_argument("--tile", type=int, metavar="PX", help="cut larger images into square tiles of this size")
    parser.add_argument("--overlap", type=int, metavar="PX", help="of tiles; default a quarter of --tile")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="images or tiles at once; default 1")
    add_cfg_options(parser)
    args = parser.parse_args()
    if bool(args.onnx) == bool(args.config or args.checkpoint or args.cfg_options):
        parser.error("give either --config and --checkpoint, or --onnx alone")
    if args.onnx is None and not (args.config and args.checkpoint):
        parser.error("--config and --checkpoint belong together")
    if args.tile is not None and args.tile < MIN_TILE:
        parser.error(f"--tile must be {MIN_TILE} or more, got {args.tile}")
    if args.overlap is not None and args.tile is None:
        parser.error("--overlap is that of tiles: it needs --tile")
    if args.tile is not None and not 0 <= (args.overlap or 0) < args.tile:
        parser.error(f"--overlap must lie between 0 and --tile, got {args.overlap}")
    if args.batch_size < 1:
        parser.error(f"--batch-size must be 1 or more, got {args.batch_size}")
    if not 0 <= args.score <= 1:
        parser.error(f"--score must lie between 0 and 1, got {args.score}")
    if args.out is None:
        args.out = RUNS / "predictions" / (args.onnx or args.config).stem / time.strftime("%Y%m%d_%H%M%S")
    if args.out.is_dir() and any(args.out.iterdir()):
        parser.error(f"--out must be a new or empty folder, and {args.out} is not")
    return parser, args


def main() -> None:
    parser, args = arguments()
    try:
        sources = find_sources(args.sources)
        if args.onnx is not None:
            predictor = ExportedPredictor(args.onnx)
        else:
            predictor = CheckpointPredictor(read_config(parser, args), args.checkpoint)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    side = None
    if args.tile is not None:
        side = Side(args.tile, args.tile // 4 if args.overlap is None else args.overlap)
    results = Results(args.out, predictor, args.score)
    model = (
        {"config": args.config.name, "checkpoint": args.checkpoint.name} if args.config else {"onnx": args.onnx.name}
    )
    try:
        run(predictor, sources, results, side and Tiling(side, side), args.batch_size)
        results.close({**model, "tile": side and side._asdict()})
    except OSError as error:  # of a disk that is full, say
        sys.exit(f"error: predictions cannot be written to {args.out}: {error}")
    print(f"{len(results.images)} images predicted: {args.out}")
    if results.skipped:
        sys.exit(f"{len(results.skipped)} of {len(sources)} files were skipped; they are named above and in the JSON")


if __name__ == "__main__":
    main()
