"""References that share no code with the package: matrices written down by hand, and dense linear algebra."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from torch import Tensor


def stencil(n: int, boundary: str = "neumann") -> np.ndarray:
    """Minus the second difference, ends mirrored (Neumann) or mirrored with the opposite sign (Dirichlet)."""
    matrix = np.zeros((n, n))
    for i in range(n):
        for j in (i - 1, i + 1):
            inside = 0 <= j < n
            matrix[i, i] += 1 if inside else (0 if boundary == "neumann" else 2)
            if inside:
                matrix[i, j] -= 1
    return matrix


def minus_laplacian(height: int, width: int, boundary: str = "neumann") -> np.ndarray:
    """The matrix of -lap on flattened (height, width) fields."""
    rows, columns = stencil(height, boundary), stencil(width, boundary)
    return np.kron(rows, np.eye(width)) + np.kron(np.eye(height), columns)


def matrix_function(matrix: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """f(A) of a symmetric positive semi-definite matrix by its eigenvectors, which know nothing of cosines."""
    values, vectors = scipy.linalg.eigh(matrix)
    return (vectors * function(np.where(values < 1e-12, 0.0, values))) @ vectors.T


def apply(matrix: np.ndarray, x: Tensor) -> Tensor:
    """A matrix on the flattened last two dimensions."""
    return torch.from_numpy(x.numpy().reshape(*x.shape[:-2], -1) @ matrix.T).view(x.shape)
