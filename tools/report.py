"""Write the report of a demo run: one self-contained HTML page and one table.

python tools/report.py work_dirs/demo
"""

from __future__ import annotations

import argparse

from files.arguments import existing_folder
from reports.demo import format_table, write_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=existing_folder)
    folder = parser.parse_args().folder
    try:
        rows, report = write_report(folder)
    except FileNotFoundError as error:  # none of the demo's
        parser.error(str(error))
    print(format_table(rows))
    print(report)


if __name__ == "__main__":
    main()
