"""The feature pyramid that iTPN pre-trains together with its backbone."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from backbones.hivit.layers import MlpBlock, Split
from spectral_ops.scalars import as_int

__all__ = ["Pyramid"]

#: Hidden width of its MLPs over its width.
_RATIO = 4


class Pyramid(nn.Module):
    r"""Three levels of one width, strides 4, 8 and 16, from the maps of the three stages of HiViT.

    With :math:`s_1, s_2` the maps of the first two stages before their merges and :math:`s_3` the last stage's,

    .. math::

        p_8 = B_8(\mathrm{split}(s_3) + W_8 s_2), \quad p_4 = B_4(\mathrm{split}(p_8) + W_4 s_1), \quad
        p_{16} = W_{16} s_3 + b,

    each :math:`B` being ``pyramid_depth`` MLP blocks, and behind every level one more. All of it works on each unit of
    16 x 16 px alone, so a part of the units gives the same numbers as all of them.

    Args:
        embed_dim: Width E of the last stage.
        pyramid_dim: Width F of the levels.
        pyramid_depth: Blocks of each level that is split from the one above.
        norm_eps: Of the LayerNorms.

    Shape:
        Units ``(B, K, 4, 4, E/4)``, ``(B, K, 2, 2, E/2)``, and tokens ``(B, K, E)`` or ``(B, K, 1, 1, E)``, to units
        ``(B, K, p, p, F)`` with p = 4, 2, 1.

    Source:
        arXiv 2211.12735.

    Example:
        >>> import torch
        >>> from backbones.hivit import HiViT
        >>> net, pyramid = HiViT(embed_dim=32, depths=(1, 1, 2), num_heads=2), Pyramid(32, 8)
        >>> keep = torch.tensor([[5, 0, 7]])  # three of 2 x 4 units
        >>> units = net.embed(torch.randn(1, 3, 32, 64))[:, keep[0]]
        >>> first, second, tokens = net.local_stages(units)
        >>> [tuple(level.shape) for level in pyramid(first, second, net.global_stage(tokens, (2, 4), keep))]
        [(1, 3, 4, 4, 8), (1, 3, 2, 2, 8), (1, 3, 1, 1, 8)]
    """

    def __init__(
        self, embed_dim: int, pyramid_dim: int = 256, pyramid_depth: int = 1, *, norm_eps: float = 1e-6
    ) -> None:
        super().__init__()
        for name, value, least in (("pyramid_dim", pyramid_dim, 1), ("pyramid_depth", pyramid_depth, 0)):
            if (as_int(value) is None) or value < least:
                raise ValueError(f"{name} must be an int of at least {least}, got {value!r}")
        self.channels = pyramid_dim
        norm = partial(nn.LayerNorm, eps=norm_eps)

        def block() -> MlpBlock:
            return MlpBlock(pyramid_dim, _RATIO, norm)

        self.top = nn.Linear(embed_dim, pyramid_dim)
        self.splits = nn.ModuleList([Split(embed_dim, pyramid_dim, norm), Split(pyramid_dim, pyramid_dim, norm)])
        self.laterals = nn.ModuleList([nn.Linear(embed_dim // d, pyramid_dim, bias=False) for d in (2, 4)])
        self.blocks = nn.ModuleList([nn.ModuleList([block() for _ in range(pyramid_depth)]) for _ in range(2)])
        self.outs = nn.ModuleList([block() for _ in range(3)])

    def forward(self, first: Tensor, second: Tensor, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Levels of strides 4, 8 and 16, from the maps of strides 4, 8 and 16."""
        x = last[:, :, None, None] if last.ndim == 3 else last
        levels = [self.top(x)]
        for split, lateral, blocks, side in zip(self.splits, self.laterals, self.blocks, (second, first), strict=True):
            x = split(x) + lateral(side)
            for block in blocks:
                x = block(x)
            levels.append(x)
        coarse, middle, fine = levels
        return self.outs[0](fine), self.outs[1](middle), self.outs[2](coarse)
