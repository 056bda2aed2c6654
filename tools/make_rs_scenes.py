"""Make synthetic remote-sensing scenes: optical and SAR-like pictures of the same places, with what is on them.

    python tools/make_rs_scenes.py [--out data/rs_scenes] [--size 256] [--train 400] [--val 100] [--test 100] [--seed 0]

Everything is drawn from equations; nothing was seen by a satellite, and nothing is downloaded. Each scene follows from
the seed, its split and its number alone, so more scenes are the same ones and others. The same arguments give the same
files.

Writes, for each SPLIT of train, val and test,
OUT/SPLIT/{optical,optical_clear,optical_cloudy}/*.tif (red, green, blue, 8 bits; the first is half of each),
OUT/SPLIT/sar/*.tif (VV and VH in dB, float32),
OUT/SPLIT_labels/*.png (0 water, 1 forest, 2 crop, 3 grass, 4 bare, 5 road, 6 building),
OUT/SPLIT.json (COCO instances of ships and aircraft, oriented boxes in the field "rotated"), OUT/SPLIT_dota/*.txt,
OUT/classes/SPLIT/{optical,sar}/{airfield,coast,farmland,town,woodland}/*.tif (the same files), OUT/SPLIT_scenes.json,
OUT/SPLIT_changes/{optical,sar}_{before,after}/*.tif with labels/*.png (1 where the cover differs) and
labels_{before,after}/*.png, and OUT/meta.json (the arguments, written last).
"""

from __future__ import annotations

import argparse

from files.arguments import output_folder
from rs_scenes.data_set import DEFAULT_OUT, make_rs_scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=output_folder, default=DEFAULT_OUT)
    parser.add_argument("--size", type=int, default=256, help="image side in pixels, at least 128")
    for split, count in (("train", 400), ("val", 100), ("test", 100)):
        parser.add_argument(f"--{split}", type=int, default=count, help=f"number of {split} scenes, and of pairs")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    counts = {"train": args.train, "val": args.val, "test": args.test}
    try:
        made = make_rs_scenes(args.out, size=args.size, seed=args.seed, **counts)
    except (ValueError, FileExistsError, ModuleNotFoundError) as error:
        parser.error(str(error))
    numbers = " + ".join(str(count) for count in counts.values())
    state = "written" if made else "already there"
    print(f"{args.out}: {state}, {numbers} synthetic scenes of {args.size} px, and as many pairs")


if __name__ == "__main__":
    main()
