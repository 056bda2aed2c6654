"""Write the report of a demo run: one self-contained HTML page and one table.

python tools/report.py work_dirs/demo
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reports.demo import format_table, write_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    rows, report = write_report(parser.parse_args().folder.resolve())
    print(format_table(rows))
    print(report)


if __name__ == "__main__":
    main()
