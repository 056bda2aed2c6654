"""From which size on the FFT beats the matrix product."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.benchmark import Timer

from spectral_ops import dctn, idctn, irdftn, rdftn

TRANSFORMS = {"neumann": (dctn, idctn), "periodic": (rdftn, irdftn)}
SIZES = (14, 28, 56, 112, 224, 448, 512, 640, 768, 1024, 2048)
ENTRIES = 2**22


def seconds(boundary: str, backend: str, x: torch.Tensor, dims: tuple[int, int], least: float) -> float:
    """Median time of one round trip."""
    there, back = TRANSFORMS[boundary]
    timer = Timer(
        "back(there(x, dims, backend=backend), dims, backend=backend)",
        globals={"there": there, "back": back, "x": x, "dims": dims, "backend": backend},
        num_threads=torch.get_num_threads(),
    )
    return timer.blocked_autorange(min_run_time=least).median


def rows(device: str, least: float, boundary: str = "neumann") -> Iterator[tuple[str, ...]]:
    """One row per size and layout, as soon as it is measured."""
    for n in SIZES:
        channels = max(1, ENTRIES // n**2)
        for layout, dims in (("channels last", (1, 2)), ("channels first", (2, 3))):
            shape = (1, n, n, channels) if dims == (1, 2) else (1, channels, n, n)
            x = torch.randn(shape, device=device)
            matmul, fft = (1000 * seconds(boundary, backend, x, dims, least) for backend in ("matmul", "fft"))
            yield f"{n} x {n} x {channels}", layout, f"{matmul:.2f}", f"{fft:.2f}", f"{fft / matmul:.2f}"
