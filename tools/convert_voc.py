"""Write COCO's annotations of a data set whose boxes are Pascal VOC's XML files.

    python tools/convert_voc.py FOLDER [--splits train val test] [--out FOLDER]

FOLDER holds JPEGImages, Annotations and ImageSets/Main with a list of names for each split. Writes OUT/SPLIT.json, by
default into FOLDER itself; the names of files are those in JPEGImages. Where a file is missing, broken or of another
size than its XML file says, all such files are named and nothing is written; what else may be wrong with the boxes is
for tools/check_dataset.py to say. VOC counts pixels from 1 and to the last; the boxes written are edges from 0. Objects
that are "difficult" become COCO's crowds, which count neither way.
"""

from __future__ import annotations

import argparse

from data_sets.voc_folder import convert, find_splits
from files.arguments import existing_folder, output_folder
from files.whole import write_json


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("folder", type=existing_folder)
    parser.add_argument("--splits", nargs="+", metavar="NAME", help="default: all lists in ImageSets/Main")
    parser.add_argument("--out", type=output_folder, help="default: FOLDER")
    args = parser.parse_args()
    out = args.out or args.folder
    try:
        records = convert(args.folder, args.splits or find_splits(args.folder))
    except (ValueError, FileNotFoundError) as error:
        first, *more = str(error).splitlines()
        parser.error(f"{first}" + "".join(f"\n  {line}" for line in more))
    for split, record in records.items():
        write_json(out / f"{split}.json", record)
        print(f"{out / split}.json: {len(record['images'])} images, {len(record['annotations'])} boxes")


if __name__ == "__main__":
    main()
