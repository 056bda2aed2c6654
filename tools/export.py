"""Export a trained detector, segmentor or backbone as ONNX or as a program of torch.export, for images of any size.

python tools/export.py CONFIG CHECKPOINT --out FILE [--format onnx|torch] [--part backbone] [--image IMAGE]

UPerNet and other segmentors with scores at every pixel, RetinaNet, Faster and Mask R-CNN, and any backbone
(docs/predict-and-export.md). FILE is compared with the model at three sizes first, or not written.
"""

from __future__ import annotations

import argparse

import torch
from files.arguments import existing_file, output_file
from files.cfg_options import add_cfg_options
from mmengine.dataset import Compose
from prediction.models import image_pipeline, load_trained
from prediction.reading import read_image
from training.openmmlab import read_config

from backbones.openmmlab.export import describe, export

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("config", type=existing_file)
    parser.add_argument("checkpoint", type=existing_file)
    parser.add_argument("--out", type=output_file, required=True, metavar="FILE", help="*.onnx or *.pt2")
    parser.add_argument("--format", choices=tuple(SUFFIXES), default="onnx", help="default onnx")
    parser.add_argument("--part", choices=("model", "backbone"), default="model", help="default model")
    parser.add_argument("--image", type=existing_file, help="to compare on; else random colours")
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.out.suffix != SUFFIXES[args.format]:
        parser.error(f"--out must end in {SUFFIXES[args.format]} for --format {args.format}, got {args.out.name}")
    config = read_config(parser, args)
    try:
        trained = load_trained(config, args.checkpoint)
        pipeline = image_pipeline(config)
        image = None
        if args.image is not None:
            read = read_image(args.image, Compose(pipeline[:1]))
            image = torch.from_numpy(read.transpose(2, 0, 1).copy())
        told = describe(trained.model, pipeline, trained.classes, trained.palette, args.part)
        told |= {"config": args.config.name, "checkpoint": args.checkpoint.name}
        done = export(trained.model, args.out, metadata=told, format=args.format, part=args.part, image=image)
    except (ValueError, RuntimeError, OSError) as error:
        parser.exit(1, f"error: {str(error).splitlines()[0]}\n")
    sizes = ", ".join(f"{height} x {width}" for height, width in done.sizes)
    what = f"{done.objects} objects, their boxes within" if done.objects else "outputs within"
    unit = "px" if done.objects else "of the largest value"
    print(
        f"{args.out}: image -> {', '.join(done.outputs)}; compared at {sizes} px: {what} {done.difference:.1e} {unit}"
    )


if __name__ == "__main__":
    main()
