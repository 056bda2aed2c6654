"""Which kernel computes a result: the one place that decides, read by all others."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal, get_args

import torch

from spectral_ops.scalars import as_int

__all__ = ["SETTINGS", "Backend", "Settings", "use_kernels"]

Backend = Literal["auto", "matmul", "fft"]


@dataclass
class Settings:
    """What :class:`use_kernels` sets.

    Attributes:
        transform: What ``backend="auto"`` of a transform means: ``"matmul"``, ``"fft"``, or by size.
        fft_from: The size from which on ``"auto"`` takes the FFT, per type of device (others never), where torch-dct is
            installed; half of it on periodic axes. The value is measured: tools/benchmark_transforms.py.
        fused: Whether an operator on a GPU is one Triton kernel instead of four products and a multiplication.
        convolved: Whether linears over the channels of maps on the CPU run as convolutions, by oneDNN, where there are
            enough cells. By default on x86; docs/performance.md has what that gives.
    """

    transform: Backend = "auto"
    fft_from: Mapping[str, int] = field(default_factory=lambda: {"cpu": 1024})
    fused: bool = False
    convolved: bool = (
        platform.machine().lower() in ("x86_64", "amd64") and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )


#: The settings in effect, in all threads, like those of ``torch.backends``.
SETTINGS = Settings()


class use_kernels:
    """Choose which kernels compute the results, from here on, or within a ``with`` statement.

    Results are the same to rounding. What is not given stays as it is. The choice holds in all threads; graphs that are
    exported or traced keep what was chosen then.

    Args:
        transform: ``"matmul"`` or ``"fft"`` for every transform that leaves it open, also inside operators; ``"auto"``,
            the default, takes the FFT from ``fft_from`` samples on.
        fft_from: That size per type of device, ``{"cpu": 1024}`` by default; devices that are not named never take it.
            Periodic dimensions take it from half of that on.
        fused: One Triton kernel on the GPU instead of four products and a multiplication. It needs compute capability
            8.0, and takes one contiguous field ``(B, H, W, C)`` with ``dims=(1, 2)``, sides up to 64, a gain without
            batch dimension, and products in bfloat16, float16 or TF32; all else, and graphs for any size, keep to the
            products. Off by default because it is not yet measured: its numbers were checked by Triton's interpreter on
            the CPU, and tools/benchmark_gpu.py checks and measures it on a GPU.
        convolved: On the CPU, linears over the channels of float32 maps, but the smallest, as 1x1 convolutions, which
            can be twice as fast; layers that others hook, wrap or replace are called as they are.

    Raises:
        ValueError: An argument is not one of these.

    Example:
        >>> import torch
        >>> from spectral_ops import dctn, use_kernels
        >>> x = torch.randn(2, 3, 14, 20)
        >>> with use_kernels(transform="matmul"):
        ...     y = dctn(x)
        >>> bool(torch.allclose(y, dctn(x), atol=1e-5))
        True
    """

    def __init__(
        self,
        *,
        transform: Backend | None = None,
        fft_from: Mapping[str, int] | None = None,
        fused: bool | None = None,
        convolved: bool | None = None,
    ) -> None:
        if transform is not None and transform not in get_args(Backend):
            raise ValueError(f"transform must be one of {get_args(Backend)}, got {transform!r}")
        sizes = [] if fft_from is None else list(map(as_int, fft_from.values()))
        if any(n is None or n < 1 for n in sizes):
            raise ValueError(f"fft_from must map types of device to positive ints, got {fft_from!r}")
        for name, switch in (("fused", fused), ("convolved", convolved)):
            if not isinstance(switch, bool | None):
                raise ValueError(f"{name} must be True or False, got {switch!r}")
        given = {"transform": transform, "fft_from": fft_from, "fused": fused, "convolved": convolved}
        self._chosen = {name: value for name, value in given.items() if value is not None}
        self._before = replace(SETTINGS)
        self.__enter__()

    def __enter__(self) -> None:
        for name, value in self._chosen.items():
            setattr(SETTINGS, name, value)

    def __exit__(self, *_: object) -> None:
        for each in fields(SETTINGS):
            setattr(SETTINGS, each.name, getattr(self._before, each.name))
