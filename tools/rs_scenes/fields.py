"""Random fields: noise of a given spectral slope, shifts and blurs."""

from __future__ import annotations

import numpy as np
from scipy.fft import idctn


def noise_field(rng: np.random.Generator, size: int, beta: float) -> np.ndarray:
    """f_beta = IDCT(white x |k|^(-beta / 2)), (size, size); power falls as |k|^-beta; mean 0, standard deviation 1."""
    k = np.arange(size)
    radius = np.hypot(k[:, None], k)
    radius[0, 0] = 1
    spectrum = rng.standard_normal((size, size)) * radius ** (-beta / 2)
    spectrum[0, 0] = 0
    field = idctn(spectrum, norm="ortho")
    return field / field.std()


def moved(array: np.ndarray, down: int, right: int) -> np.ndarray:
    """``array`` moved by whole pixels; what comes in at the edge is False or zero."""
    out = np.zeros_like(array)
    rows, columns = array.shape[:2]
    if abs(down) < rows and abs(right) < columns:
        source = array[max(-down, 0) : rows - max(down, 0), max(-right, 0) : columns - max(right, 0)]
        out[max(down, 0) : rows - max(-down, 0), max(right, 0) : columns - max(-right, 0)] = source
    return out
