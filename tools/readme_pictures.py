"""Draw the pictures of README.md: a composition of operators on a photograph, and what the demo's networks learned.

    python tools/readme_pictures.py [--demo work_dirs/demo] [--out docs/pictures]

Three of the four show the detector that `make demo` trained, so run that first. A picture is 4.5 inches wide, so that
its labels can be read on a telephone, and stays below 150 kB.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from files.arguments import existing_folder, output_folder
from reports.readme import composition, save, write_network_pictures

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=existing_folder, default=ROOT / "work_dirs" / "demo")
    parser.add_argument("--out", type=output_folder, default=ROOT / "docs" / "pictures")
    args = parser.parse_args()
    save(composition(), args.out / "composition.png")
    try:
        write_network_pictures(args.demo, args.out)
    except FileNotFoundError as error:  # the demo did not run there
        parser.error(str(error))


if __name__ == "__main__":
    main()
