"""Measure from which size on the FFT beats the matrix product: where use_kernels(fft_from=) comes from.

    python tools/benchmark_transforms.py [--boundary periodic] [--device cpu] [--seconds 0.5]

Each line is a two-dimensional transform of an n x n map and back, both backends in the same run. Channels shrink as the
map grows, so that every input has about the same number of entries (at least one channel).
"""

from __future__ import annotations

import argparse

import torch
from benchmarks.crossover import TRANSFORMS, rows
from reports.tables import line, markdown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boundary", choices=TRANSFORMS, default="neumann", help="cosines, or the real Fourier basis")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=0.5, help="measured per line and backend")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {args.device}, {torch.get_num_threads()} threads, float32, {args.boundary}")
    print(markdown(["n x n x channels", "layout", "matmul (ms)", "fft (ms)", "fft / matmul"], []))
    for row in rows(args.device, args.seconds, args.boundary):
        print(line(row), flush=True)


if __name__ == "__main__":
    main()
