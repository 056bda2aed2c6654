"""How many directions of its channels a map uses: what shows a level of a neck that says nothing of positions."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["effective_rank"]


@torch.no_grad()
def effective_rank(maps: Tensor) -> Tensor:
    r"""The participation ratio of the channels' covariance over images and positions.

    .. math::
        r = \frac{(\sum_i \lambda_i)^2}{\sum_i \lambda_i^2} = \frac{(\operatorname{tr} \Sigma)^2}{\|\Sigma\|_F^2},

    with the eigenvalues :math:`\lambda_i` of the covariance :math:`\Sigma`: C where all directions vary alike, 1 where
    one does. It does not see the channels' means and scale.

    Args:
        maps: ``(B, C, H, W)``, of any floating dtype; the sums are float32 at least.

    Returns:
        A scalar from 1 to C; 0 where nothing varies.

    Example:
        >>> effective_rank(torch.eye(4).reshape(4, 4, 1, 1)).round()  # corners of a tetrahedron, in three dimensions
        tensor(3.)
    """
    samples = maps.movedim(1, -1).flatten(0, -2)
    samples = samples.to(torch.promote_types(samples.dtype, torch.float32))
    centred = samples - samples.mean(0)
    # At a scale of 1, so that the squares of squares stay within range; what rounding leaves of a constant is nothing.
    scale, noise = centred.abs().max(), 16 * torch.finfo(samples.dtype).eps * samples.abs().max()
    if scale <= noise:
        return torch.zeros_like(scale)
    centred = centred / scale
    covariance = centred.T @ centred
    return covariance.trace().square() / covariance.square().sum()
