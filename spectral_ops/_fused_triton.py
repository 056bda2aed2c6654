"""Triton kernels of :mod:`spectral_ops._fused`: transform, gain and inverse transform of a map that stays on the chip.

A program holds the map of one sample and BLOCK channels as a matrix ``(W * BLOCK, H)``, which the basis of H
multiplies from the right; :func:`_exchange` makes it ``(H * BLOCK, W)`` for the basis of W. H and W are padded to
powers of two, the bases with zeros, so that padding contributes nothing. Products accumulate in float32, and between
them the map is rounded to the dtype of the bases, bfloat16 or float32; products of float32 are TF32.

Bytes through device memory: the map once in and once out. The gain is read for every sample, from the L2 cache after
the first. On chip: ``TILE`` elements, at 4 bytes in registers for the accumulator and 2 or 4 in shared memory while the
axes are exchanged. With sides of up to 32 the products take far fewer operations than tensor cores do while memory
delivers the map, so that memory is the bound; at 64 (8 * 64 operations per element of 4 bytes) it is about even.
"""

# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-def, untyped-decorator"
# Kernels are Triton's Python: their arguments have the types of the launch.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["apply", "correlate"]

#: Elements per program, padding counted, 32 to a thread. As Triton 3.6 compiles it for compute capability 9.0, where
#: channels are a multiple of 16, that takes 93 to 128 registers per thread in :func:`_apply`, none spilled, and 17 to
#: 131 KB of shared memory per program; :func:`_correlate`, with three accumulators, spills up to 360 bytes per thread.
#: Sides of 64 leave 4 channels, a quarter of the unit in which memory is read: try twice the tile there first.
TILE = 16384

#: Channels per program at most: 32 bytes of a 16-bit map, the unit in which memory is read.
BLOCK = 16

#: Samples that one program adds up in :func:`correlate`: fewer fill more of the device, more write fewer partial sums.
SAMPLES = 8

# Only built-ins of triton.language in the kernels, no functions of its standard library: those are compiled functions
# themselves, which the interpreter cannot call unless it was chosen before anything imported triton.


@triton.jit
def _basis(pointer, N, P: tl.constexpr):
    """A basis ``(P, P)``, rows are modes, zero beyond N."""
    row, column = tl.arange(0, P)[:, None], tl.arange(0, P)[None, :]
    return tl.load(pointer + row * N + column, mask=(row < N) & (column < N), other=0.0)


@triton.jit
def _exchange(tile, A: tl.constexpr, B: tl.constexpr, BLOCK: tl.constexpr):
    """``(A * BLOCK, B)`` to ``(B * BLOCK, A)``."""
    return tl.reshape(tl.permute(tl.reshape(tile, (A, BLOCK, B)), (2, 1, 0)), (B * BLOCK, A))


@triton.jit
def _spectrum(tile, rows, columns, HP: tl.constexpr, WP: tl.constexpr, BLOCK: tl.constexpr):
    """The spectrum ``(HP * BLOCK, WP)`` in float32 of a map ``(WP * BLOCK, HP)``."""
    tile = tl.dot(tile.to(rows.dtype), tl.trans(rows), input_precision="tf32").to(rows.dtype)
    return tl.dot(_exchange(tile, WP, HP, BLOCK), tl.trans(columns), input_precision="tf32")


@triton.jit
def _apply(
    x, gain, rows, columns, out, H, W, C, gain_h, gain_w, gain_c,
    HP: tl.constexpr, WP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """``out = inverse(transform(x) * gain)``; one program per sample and block of channels."""
    # Neighbouring programs share a sample: what a block of channels does not use of a sector is still in the cache.
    blocks = (C + BLOCK - 1) // BLOCK
    start = (tl.program_id(0) // blocks).to(tl.int64) * H * W * C
    first = tl.program_id(0) % blocks * BLOCK
    along_h, along_w = _basis(rows, H, HP), _basis(columns, W, WP)

    w, c = tl.arange(0, WP * BLOCK)[:, None] // BLOCK, first + tl.arange(0, WP * BLOCK)[:, None] % BLOCK
    h = tl.arange(0, HP)[None, :]
    cells, inside = (h * W + w) * C + c, (h < H) & (w < W) & (c < C)
    tile = tl.load(x + start + cells, mask=inside, other=0.0)
    spectrum = _spectrum(tile, along_h, along_w, HP, WP, BLOCK)

    n, c = tl.arange(0, HP * BLOCK)[:, None] // BLOCK, first + tl.arange(0, HP * BLOCK)[:, None] % BLOCK
    m = tl.arange(0, WP)[None, :]
    modes = n * gain_h + m * gain_w + c * gain_c
    factor = tl.load(gain + modes, mask=(n < H) & (m < W) & (c < C), other=0.0)
    spectrum = (spectrum * factor.to(tl.float32)).to(along_w.dtype)

    tile = tl.dot(spectrum, along_w, input_precision="tf32").to(along_h.dtype)
    tile = tl.dot(_exchange(tile, HP, WP, BLOCK), along_h, input_precision="tf32")
    tl.store(out + start + cells, tile.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _correlate(
    x, y, rows, columns, out, B, H, W, C,
    HP: tl.constexpr, WP: tl.constexpr, BLOCK: tl.constexpr, SAMPLES: tl.constexpr,
):  # fmt: skip
    """``out[i] = sum of transform(x) * transform(y)`` over the i-th SAMPLES samples, for a block of channels."""
    blocks = (C + BLOCK - 1) // BLOCK
    part, first = tl.program_id(0) // blocks, tl.program_id(0) % blocks * BLOCK
    along_h, along_w = _basis(rows, H, HP), _basis(columns, W, WP)

    w, c = tl.arange(0, WP * BLOCK)[:, None] // BLOCK, first + tl.arange(0, WP * BLOCK)[:, None] % BLOCK
    h = tl.arange(0, HP)[None, :]
    cells, inside = (h * W + w) * C + c, (h < H) & (w < W) & (c < C)
    total = tl.full((HP * BLOCK, WP), 0.0, tl.float32)
    for i in range(SAMPLES):
        sample = part * SAMPLES + i
        start, there = sample.to(tl.int64) * H * W * C, inside & (sample < B)
        left = _spectrum(tl.load(x + start + cells, mask=there, other=0.0), along_h, along_w, HP, WP, BLOCK)
        right = _spectrum(tl.load(y + start + cells, mask=there, other=0.0), along_h, along_w, HP, WP, BLOCK)
        total += left * right

    n, c = tl.arange(0, HP * BLOCK)[:, None] // BLOCK, first + tl.arange(0, HP * BLOCK)[:, None] % BLOCK
    m = tl.arange(0, WP)[None, :]
    modes = part.to(tl.int64) * H * W * C + (n * W + m) * C + c
    tl.store(out + modes, total, mask=(n < H) & (m < W) & (c < C))


def apply(x: Tensor, gain: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """See :func:`spectral_ops._fused.fused_gain`."""
    batch, height, width, channels = x.shape
    x, out, tile = x.contiguous(), torch.empty(x.shape, dtype=x.dtype, device=x.device), _tile(height, width)
    grid = (batch * triton.cdiv(channels, tile["BLOCK"]),)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        _apply[grid](x, gain, rows, columns, out, height, width, channels, *gain.stride(), **tile)
    return out


def correlate(x: Tensor, y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """See :func:`spectral_ops._fused.correlate`. Without atomic additions, so the same sum every time."""
    batch, height, width, channels = x.shape
    x, y, tile = x.contiguous(), y.contiguous(), _tile(height, width)
    parts = triton.cdiv(batch, SAMPLES)
    out = torch.empty((parts, *x.shape[1:]), dtype=torch.float32, device=x.device)
    grid = (parts * triton.cdiv(channels, tile["BLOCK"]),)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        _correlate[grid](x, y, rows, columns, out, *x.shape, **tile, SAMPLES=SAMPLES)
    return out.sum(0)


def _tile(height: int, width: int) -> dict[str, int]:
    """What a program holds, and how the compiler is to build it."""
    tall, wide = (max(16, triton.next_power_of_2(n)) for n in (height, width))  # 16: the least that tensor cores take
    channels = min(BLOCK, TILE // (tall * wide))
    warps = min(16, max(4, tall * wide * channels // 1024))
    # One stage: to fetch the next sample of a loop ahead takes more shared memory than there is.
    return {"HP": tall, "WP": wide, "BLOCK": channels, "num_warps": warps, "num_stages": 1}
