"""Make the "digit scenes" data set: real handwritten digits on real photographs, with boxes, masks and label maps.

    python tools/make_digit_scenes.py [--style day] [--out data/digit_scenes] [--size 96] [--train 3000] [--val 200]
                                      [--seed 0]

Digits come from scikit-learn (1,797 scans of 8 x 8), photographs from scikit-image and scikit-learn; all ship inside
the installed packages, so nothing is downloaded. Training and validation share no digit bitmap and no photograph
region: digits are split by bitmap, and every photograph is cut in two with a gap between. Overlaps are resolved front
to back, so boxes and masks are those of the visible part. The same arguments give the same files.

The style "night" is for transfer: the same digits, dim and of little contrast, on other photographs (from scikit-image,
matplotlib and mmdetection's imgaug), darkened and blue, with more noise; by default in data/digit_scenes_night.

Writes OUT/{train,val}/*.png, OUT/{train,val}_labels/*.png (0 background, 1 + digit otherwise),
OUT/{train,val}.json (COCO instances) and OUT/meta.json (the arguments, written last).
"""

from __future__ import annotations

import argparse

from files.arguments import output_folder
from scenes.data_set import default_out, make_digit_scenes
from scenes.styles import STYLES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--style", choices=STYLES, default="day")
    parser.add_argument("--out", type=output_folder, help="default data/digit_scenes, with another style behind it")
    parser.add_argument("--size", type=int, default=96, help="image side in pixels, at least 64")
    parser.add_argument("--train", type=int, default=3000, help="number of training scenes")
    parser.add_argument("--val", type=int, default=200, help="number of validation scenes")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    out = args.out or default_out(args.style)
    try:
        made = make_digit_scenes(out, style=args.style, size=args.size, train=args.train, val=args.val, seed=args.seed)
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))
    print(f"{out}: {'written' if made else 'already there'}, {args.train} + {args.val} scenes of {args.size} px")


if __name__ == "__main__":
    main()
