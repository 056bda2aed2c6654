"""References that share no code with the package: matrices written down by hand, and dense linear algebra."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from torch import Tensor


def stencil(n: int, boundary: str = "neumann") -> np.ndarray:
    """Minus the second difference, ends mirrored (Neumann), mirrored with the opposite sign (Dirichlet) or joined."""
    matrix = np.zeros((n, n))
    for i in range(n):
        for j in (i - 1, i + 1):
            if 0 <= j < n or boundary == "periodic":
                matrix[i, i] += 1
                matrix[i, j % n] -= 1
            elif boundary == "dirichlet":
                matrix[i, i] += 2
    return matrix


def minus_laplacian(
    height: int, width: int, boundary: str | tuple[str, str] = "neumann", weights: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """The matrix of -(a d_yy + b d_xx) on flattened (height, width) fields, by weights (a, b)."""
    above, beside = (boundary, boundary) if isinstance(boundary, str) else boundary
    rows, columns = weights[0] * stencil(height, above), weights[1] * stencil(width, beside)
    return np.kron(rows, np.eye(width)) + np.kron(np.eye(height), columns)


def matrix_function(matrix: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """f(A) of a symmetric positive semi-definite matrix by its eigenvectors, which know nothing of cosines."""
    values, vectors = scipy.linalg.eigh(matrix)
    return (vectors * function(np.where(values < 1e-12, 0.0, values))) @ vectors.T


def apply(matrix: np.ndarray, x: Tensor) -> Tensor:
    """A matrix on the flattened last two dimensions."""
    return torch.from_numpy(x.numpy().reshape(*x.shape[:-2], -1) @ matrix.T).view(x.shape)
