"""Measure from which size on the FFT beats the matrix product: where spectral_ops.transforms.FFT_FROM comes from.

    python tools/benchmark_transforms.py [--device cpu] [--seconds 0.5]

Each line is a two-dimensional transform of an n x n map and back, both backends in the same run. Channels shrink as the
map grows, so that every input has about the same number of entries (at least one channel).
"""

from __future__ import annotations

import argparse

import torch
from torch.utils.benchmark import Timer

from spectral_ops import dctn, idctn

SIZES = (14, 28, 56, 112, 224, 448, 512, 640, 768, 1024, 2048)
ENTRIES = 2**22


def seconds(backend: str, x: torch.Tensor, dims: tuple[int, int], least: float) -> float:
    """Median time of one round trip."""
    timer = Timer(
        "idctn(dctn(x, dims, backend=backend), dims, backend=backend)",
        globals={"dctn": dctn, "idctn": idctn, "x": x, "dims": dims, "backend": backend},
        num_threads=torch.get_num_threads(),
    )
    return timer.blocked_autorange(min_run_time=least).median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=0.5, help="measured per line and backend")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {args.device}, {torch.get_num_threads()} threads, float32")
    print("| n x n x channels | layout | matmul (ms) | fft (ms) | fft / matmul |")
    print("|---|---|---|---|---|")
    for n in SIZES:
        channels = max(1, ENTRIES // n**2)
        for layout, dims in (("channels last", (1, 2)), ("channels first", (2, 3))):
            shape = (1, n, n, channels) if dims == (1, 2) else (1, channels, n, n)
            x = torch.randn(shape, device=args.device)
            matmul, fft = (1000 * seconds(backend, x, dims, args.seconds) for backend in ("matmul", "fft"))
            print(f"| {n} x {n} x {channels} | {layout} | {matmul:.2f} | {fft:.2f} | {fft / matmul:.2f} |", flush=True)


if __name__ == "__main__":
    main()
