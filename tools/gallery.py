"""Render the gallery: what each family of operators does to real pictures.

    python tools/gallery.py [--out work_dirs/gallery]

Photographs come from scikit-image's package. Writes one PNG per family and index.html, which shows them all.
"""

from __future__ import annotations

import argparse

from files.arguments import output_folder
from files.paths import RUNS
from reports.gallery import write_gallery


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=output_folder, default=RUNS / "gallery")
    print(write_gallery(parser.parse_args().out))


if __name__ == "__main__":
    main()
