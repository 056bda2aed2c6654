"""The operator that does nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from spectral_ops.operator import SpectralOperator

__all__ = ["Identity"]


class Identity(SpectralOperator):
    """``u -> u``, gain 1: the neutral element of ``@``, for skip connections and high-pass filters.

    Args:
        dims, laplacian, boundary, spacing: See :class:`~spectral_ops.operator.SpectralOperator`; operators of one
            expression share them.

    Example:
        >>> from spectral_ops import Heat
        >>> sharpen = 2.0 * Identity() - Heat(0.5)  # unsharp masking
        >>> sharpen(torch.randn(1, 3, 16, 16)).shape
        torch.Size([1, 3, 16, 16])
    """

    def multiplier(self, eigenvalues: Tensor) -> Tensor:  # type: ignore[override]
        return torch.ones_like(eigenvalues)
