"""Say what is missing or broken in the data of a config, before training does.

    python tools/check_dataset.py CONFIG [--cfg-options ...] [--splits train val test] [--thorough] [--json FILE]

It sees what the config sees: its classes, data_root and prefixes, and the steps that load label maps. It checks COCO's
boxes and masks and mmseg's label maps, and names what it does not check. Images are checked by their headers and ends,
with --thorough by decoding all; label maps, and images of several modalities, are always decoded. Each finding comes
with a count, three examples and the cure (docs/data.md has them all). The exit code is 1 where something is broken, and
0 where there are mere warnings.
"""

from __future__ import annotations

import argparse
import sys

from checks.report import check_config
from checks.view import SPLITS
from files.arguments import existing_file, output_file
from files.cfg_options import add_cfg_options
from files.whole import write_json
from mmengine.registry import init_default_scope
from training.openmmlab import read_config


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("config", type=existing_file, help="config file")
    add_cfg_options(parser)
    parser.add_argument("--splits", nargs="+", choices=SPLITS, help="default: all that the config has")
    parser.add_argument("--thorough", action="store_true", help="decode every image")
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write what was found to this file, too")
    args = parser.parse_args()
    config = read_config(parser, args)
    init_default_scope(config.get("default_scope") or "mmengine")
    there = [split for split in SPLITS if (config.get(f"{split}_dataloader") or {}).get("dataset")]
    splits = args.splits or there
    if missing := [split for split in splits if split not in there]:
        parser.error(f"the config has no {missing[0]}_dataloader; it has {', '.join(there) or 'none'}")
    report = check_config(config, splits, args.thorough)
    if not report.images:
        parser.error("nothing was checked: " + ("; ".join(report.not_checked) or "the config has no data"))
    print(report.text())
    if args.json is not None:
        write_json(args.json, report.record())
    sys.exit(1 if report.broken else 0)


if __name__ == "__main__":
    main()
