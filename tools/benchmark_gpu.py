"""Check and measure on a CUDA GPU: the fused kernel, CUDA graphs, and vHeat beside Swin and its public formulation.

    python tools/benchmark_gpu.py [--sections parity operator ...] [--out work_dirs/benchmark_gpu] [--minutes 8]

Needs torch, Triton and timm, and a GPU of compute capability 8.0 or newer; about 100 GB of its memory for all sections
as they stand (--batch makes it less). `parity` always runs first, and if the kernel's numbers are wrong nothing is
measured. A section that fails is recorded and the others go on; none is begun after --minutes. Writes results.json and
prints Markdown tables. Times are medians of alternating rounds, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import timm
import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]  # the project need not be installed

from benchmarks.gpu.measuring import Row  # noqa: E402
from benchmarks.gpu.sections import SECTIONS  # noqa: E402
from files.arguments import output_folder  # noqa: E402
from files.commit import commit  # noqa: E402
from files.paths import RUNS  # noqa: E402
from reports.tables import markdown  # noqa: E402


def table(rows: list[Row]) -> str:
    """Rows of the same keys as Markdown."""
    return markdown(list(rows[0]), ([f"{v:.4g}" if isinstance(v, float) else v for v in row.values()] for row in rows))


def machine() -> dict[str, Any]:
    """What the figures were measured with."""
    return {
        "gpu": torch.cuda.get_device_name(),
        "capability": list(torch.cuda.get_device_capability()),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "timm": timm.__version__,
        "commit": commit(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--minutes", type=float, default=8.0, help="begin no section later than this")
    parser.add_argument("--out", type=output_folder, default=RUNS / "benchmark_gpu")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: this benchmark needs a CUDA GPU, and torch finds none here", file=sys.stderr)
        return 2
    begun, failed = time.monotonic(), False
    results: dict[str, Any] = {"machine": machine(), "batch": args.batch}
    print(json.dumps(results["machine"]), flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in ["parity", *(name for name in args.sections if name != "parity")]:
        if time.monotonic() - begun > 60 * args.minutes:
            results[name] = "not begun: out of time"
            continue
        try:
            results[name] = SECTIONS[name](args.batch)
            print(f"\n## {name}\n\n{table(results[name])}", flush=True)
        except Exception:  # one section, such as one that runs out of memory, does not cost the others
            results[name], failed = traceback.format_exc(), True
            print(f"\n## {name}\n\n{results[name]}", flush=True)
        torch.cuda.empty_cache()
        (args.out / "results.json").write_text(json.dumps(results, indent=1))
        if name == "parity" and (failed or not all(row["ok"] for row in results[name])):
            print("error: the kernel's numbers are wrong on this device; nothing was measured", file=sys.stderr)
            return 1
    print(f"\n{time.monotonic() - begun:.0f} s, results in {args.out / 'results.json'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
