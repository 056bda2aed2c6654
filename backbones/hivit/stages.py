"""The stages of HiViT: two that work inside each unit, and one of attention between units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from einops import rearrange
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint

from backbones.hivit.layers import AttentionBlock, MlpBlock
from backbones.hivit.positions import PositionTable

__all__ = ["GlobalStage", "LocalStage"]

fx.wrap("rearrange")


class LocalStage(nn.Module):
    """Blocks that see one cell of a unit at a time, behind the merge that halves the unit.

    Args:
        merge: None in the first stage.
        blocks: Of one width.

    Shape:
        Units ``(B, N, p, p, C)`` to units, of half the side where there is a merge. N and the order are the caller's.
    """

    def __init__(self, merge: nn.Module | None, blocks: Sequence[MlpBlock]) -> None:
        super().__init__()
        self.merge = nn.Identity() if merge is None else merge
        self.blocks = nn.ModuleList(blocks)
        self.grad_checkpointing = False

    def forward(self, units: Tensor) -> Tensor:
        x = self.merge(units)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.grad_checkpointing else block(x)
        return x


class GlobalStage(nn.Module):
    """The merge that makes a token of each unit, the positions, and transformer blocks.

    Args:
        merge: From units of 2 x 2 cells to units of one.
        positions: Added to the tokens.
        blocks: Of their width.

    Shape:
        Units ``(B, N, 2, 2, C/2)`` to tokens ``(B, N, C)``.
    """

    def __init__(self, merge: nn.Module, positions: PositionTable, blocks: Sequence[AttentionBlock]) -> None:
        super().__init__()
        self.merge = merge
        self.positions = positions
        self.blocks = nn.ModuleList(blocks)
        self.grad_checkpointing = False

    def tokens(self, units: Tensor) -> Tensor:
        """One token for each unit, without its position."""
        return rearrange(self.merge(units), "b n 1 1 c -> b n c")

    def activations(self, tokens: Tensor, grid: tuple[int, int], keep: Tensor | None = None) -> Iterator[Tensor]:
        """The tokens with their positions, then what each block makes of them.

        Args:
            tokens: ``(B, K, C)``, without positions.
            grid: ``(H, W)`` of units that they are of.
            keep: The places of this grid that they stand at, int ``(B, K)``; None for all, row by row.
        """
        positions = self.positions(grid[0], grid[1])
        if keep is not None:
            positions = positions[0][keep]
        x = tokens + positions
        yield x
        for block in self.blocks:
            if self.grad_checkpointing:
                x = checkpoint(block, x, grid, keep, use_reentrant=False)
            else:
                x = block(x, grid, keep)
            yield x

    def attend(self, tokens: Tensor, grid: tuple[int, int], keep: Tensor | None = None) -> Tensor:
        """The last of :meth:`activations`; of the others only what gradients need is kept."""
        x = tokens
        for x in self.activations(tokens, grid, keep):  # noqa: B007 (the last one counts)
            pass
        return x

    def forward(self, units: Tensor, grid: tuple[int, int], keep: Tensor | None = None) -> Tensor:
        return self.attend(self.tokens(units), grid, keep)
