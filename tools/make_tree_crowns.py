"""Make the "tree crowns" data set: aerial photographs of four forests, cut into tiles, with hand-drawn boxes of crowns.

    python tools/make_tree_crowns.py [--out data/tree_crowns]

The photographs come inside the package deepforest (MIT licence; pip install --no-deps deepforest==2.1.0), which is
located and never imported; nothing is downloaded. They show 951 crowns at about 0.1 m a pixel. Splits:

    train     the largest photograph, Yellowstone, but for its lower quarter     120 tiles
    val       its lower quarter; no pixel is in both                              36 tiles
    test      the other photograph of Yellowstone                                 42 tiles
    transfer  forests in Florida (OSBS) and California (SOAP)                      8 tiles

A tile has 192 x 192 px; what is left over at the right and at the bottom makes smaller ones, down to 64 px. A crown
that a border cuts is in every tile that has at least 30 % of its box, which is clipped. Tiles without a crown stay.
The one class is "tree"; SOAP's "Alive" and "Dead" are trees here.

Writes OUT/{train,val,test,transfer}/*.png and .json (COCO boxes) and OUT/meta.json (what it is, written last).
"""

from __future__ import annotations

import argparse

from data_sets.tree_crowns import DEFAULT_OUT, make_tree_crowns
from files.arguments import output_folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=output_folder, default=DEFAULT_OUT, help="default data/tree_crowns")
    args = parser.parse_args()
    try:
        made = make_tree_crowns(args.out)
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        parser.error(str(error))
    print(f"{args.out}: {'written' if made else 'already there'}")


if __name__ == "__main__":
    main()
