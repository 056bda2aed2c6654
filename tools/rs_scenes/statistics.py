"""What is compared with real pictures: brightness of classes, equivalent number of looks, slope of the spectrum."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

WINDOW = 7


def mean_db(db: np.ndarray, mask: np.ndarray) -> float:
    """The mean power of the pixels of a mask, in dB."""
    return float(10 * np.log10((10 ** (db[mask].astype(float) / 10)).mean()))


def equivalent_looks(db: np.ndarray) -> float:
    """The median of mean^2 / variance of the power over windows of 7 x 7 px."""
    power = 10 ** (db.astype(float) / 10)
    mean, square = uniform_filter(power, WINDOW), uniform_filter(power**2, WINDOW)
    edge = WINDOW // 2
    inner = (slice(edge, -edge), slice(edge, -edge))
    return float(np.median((mean**2 / np.maximum(square - mean**2, 1e-12))[inner]))


def spectral_slope(image: np.ndarray) -> float:
    """The slope of log power over log |k| of an (N, N) image, for |k| of 4 to N / 4 periods, under a Hann window."""
    size = len(image)
    window = np.hanning(size)[:, None] * np.hanning(size)
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    frequency = np.fft.fftfreq(size, 1 / size)
    ring = np.hypot(frequency[:, None], frequency).round().astype(int).ravel()
    radial = np.bincount(ring, power.ravel()) / np.bincount(ring)
    k = np.arange(4, size // 4)
    return float(np.polyfit(np.log(k), np.log(radial[k]), 1)[0])
