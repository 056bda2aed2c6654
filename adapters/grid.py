"""Where the H x W of a token sequence comes from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import torch
from einops import rearrange
from torch import Tensor, nn

from spectral_ops.torch_internals import backward_pass

__all__ = ["LAYOUTS", "GridReader", "Layout", "Sizes", "TokenGrid"]

#: ``"tokens"`` is (B, prefix + H*W, C), ``"NHWC"`` and ``"NCHW"`` are maps.
Layout = Literal["tokens", "NHWC", "NCHW"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
Sizes = tuple[int, int]
#: From a block and the arguments of its call to the grid of its sequence.
GridReader = Callable[..., Sizes]


class _Thread(threading.local):
    """What one thread knows: the grid it read last going forward, with those it read since a block last ran, and, while
    a pass backward runs blocks again, the grids of those it is inside of, the innermost last."""

    def __init__(self) -> None:
        self.read: Sizes | None = None
        self._waiting: set[Sizes] = set()
        self._ran = False
        self._backward: tuple[int, list[Sizes | None]] = (-1, [None])

    def reads(self, sizes: Sizes, certain: bool) -> None:
        """Going forward; certain is the grid of the block that runs next."""
        if certain or self._ran:
            self._waiting.clear()
        if _plain(sizes):
            self._waiting.add(sizes)
        self.read, self._ran = sizes, False

    def next(self, known: Sizes | None = None) -> Sizes | None:
        """Going forward, the grid of the next sequence; None if it may be that of another image of as many tokens, as
        is known where another was embedded between this one's blocks."""
        self._ran, read = True, self.read
        if known is not None and _plain(known):
            self._waiting.add(known)
        return None if read is not None and any(_turned(grid, read) for grid in self._waiting) else read

    def again(self) -> list[Sizes | None]:
        if self._backward[0] != backward_pass():
            self._backward = (backward_pass(), [None])
        return self._backward[1]


class TokenGrid:
    """The grid of token sequences: fixed, or read off the model as it runs.

    Going forward it is the one that the thread read last, if no other image of as many tokens is under way. A block
    that is checkpointed runs again during backward, when that may be another image's. But checkpointing hands back the
    tensor that the block started from, so the grid belongs to its storage.

    Args:
        prefix: Number of tokens before the grid's (class, distillation, registers).
        fixed: The grid, where it is not read.
        reader: What tells it from the call of a block, where no patch embedding does.
    """

    def __init__(self, prefix: int, fixed: Sizes | None = None, reader: GridReader | None = None) -> None:
        self.prefix, self.fixed, self.reader = prefix, fixed, reader
        self._traced: Sizes | None = None
        self._thread = _Thread()
        self._shapes: dict[int, set[Sizes]] = {}  # every grid that was read, by its number of tokens
        self._starts: WeakKeyDictionary[torch.UntypedStorage, Sizes | None] = WeakKeyDictionary()
        self._ended: WeakKeyDictionary[torch.UntypedStorage, Sizes] = WeakKeyDictionary()  # of blocks going forward

    def __getstate__(self) -> dict[str, Any]:
        return {"prefix": self.prefix, "fixed": self.fixed, "reader": self.reader}  # copies have run nothing yet

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    # -- hooks ------------------------------------------------------------------------------------------------------

    def read_output(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """Forward hook of what makes the patches, ``(B, C, H, W)``."""
        self._read((output.shape[-2], output.shape[-1]))

    def enter(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of every block that works on the sequences, whether it has a unit or not."""
        told: Sizes | None = None
        if self.reader is not None:
            height, width = self.reader(block, *args, **kwargs)
            told = (height, width)
        if told is not None and (torch.compiler.is_compiling() or backward_pass() == -1):
            self._read(told, certain=True)
        if torch.compiler.is_compiling():
            return
        x = next((a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), None)
        if told is None and x is not None:
            told = self.sizes(x)
        if backward_pass() != -1:
            self._thread.again().append(told)

    def leave(self, block: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Forward hook of the same blocks, also where they stop early: another one may start from the output."""
        if torch.compiler.is_compiling():
            return
        if backward_pass() == -1:
            ended, sizes = _storage(_first(output)), self._thread.next()
            if ended is not None and sizes is not None:
                self._ended[ended] = sizes
        else:
            inside = self._thread.again()
            if len(inside) > 1:
                self._belongs(_first(output), inside.pop())

    # -- reading and finding ----------------------------------------------------------------------------------------

    def _read(self, sizes: Sizes, certain: bool = False) -> None:
        if torch.compiler.is_compiling():
            self._traced = sizes
            return
        if _plain(sizes):
            self._shapes.setdefault(sizes[0] * sizes[1], set()).add(sizes)
        if backward_pass() == -1:
            self._thread.reads(sizes, certain)
        else:
            self._thread.again()[-1] = sizes

    def sizes(self, x: Tensor) -> Sizes | None:
        """The grid of a sequence that a block or a unit starts from, None where it cannot be known."""
        if self.fixed is not None:
            return self.fixed
        if torch.compiler.is_compiling():
            return self._traced
        if backward_pass() == -1:
            found = self._thread.next(_of(self._ended, x))
        else:
            shapes = self._read_for(x)
            found = shapes[0] if len(shapes) == 1 else _of(self._starts, x) or self._thread.again()[-1]
        self._belongs(x, found)
        return found

    def _read_for(self, x: Tensor) -> tuple[Sizes, ...]:
        """The grids with as many tokens as a sequence has."""
        return tuple(self._shapes.get(x.shape[1] - self.prefix, ()))

    def _belongs(self, x: Any, sizes: Sizes | None) -> None:
        storage = _storage(x)
        if storage is not None and sizes is not None:  # what had two grids has none
            self._starts[storage] = sizes if self._starts.get(storage, sizes) == sizes else None

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The prefix tokens ``(B, P, C)`` and the others as a map ``(B, H, W, C)``.

        Raises:
            ValueError: The grid is not known, or the sequence is not as long as the grid and the prefix say.
        """
        sizes = self.sizes(x) if x.ndim == 3 else (0, 0)
        if sizes is None:
            raise ValueError(self._unknown(x))
        height, width = sizes
        if x.ndim != 3 or x.shape[1] != self.prefix + height * width:
            raise ValueError(
                f"expected tokens of shape (B, {self.prefix} + {height} * {width}, C): {self.prefix} prefix tokens and "
                f"a grid of {height} x {width}, got {tuple(x.shape)}; num_prefix_tokens of the config sets the former"
            )
        return x[:, : self.prefix], rearrange(x[:, self.prefix :], "b (h w) c -> b h w c", h=height, w=width)

    def _unknown(self, x: Tensor) -> str:
        if not torch.compiler.is_compiling() and backward_pass() == -1 and self._thread.read is not None:
            return (
                f"images of grids {sorted(self._read_for(x))}, of as many tokens, were embedded before the blocks had "
                "run on one of them, and whose sequence this is cannot be told: run the whole adapted model on one "
                "image after another"
            )
        if torch.compiler.is_compiling() or backward_pass() == -1:
            return (
                "the token grid is not known: it is read when the patch embedding of the adapted model runs, which has "
                "not happened in this thread: run the whole adapted model"
            )
        return (
            f"cannot recompute a checkpointed block: grids {sorted(self._read_for(x))} of "
            "as many tokens went forward, and which it was cannot be told from a tensor that is not the one the block "
            "started from: checkpoint whole blocks, and do not offload what they start from"
        )


def _plain(sizes: Sizes) -> bool:
    """Not of a tracer, which has numbers of its own."""
    return all(type(n) is int for n in sizes)


def _turned(one: Sizes, other: Sizes) -> bool:
    """Whether sequences of these grids are mistaken for each other."""
    return _plain(one) and _plain(other) and one != other and one[0] * one[1] == other[0] * other[1]


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


def _storage(x: Any) -> torch.UntypedStorage | None:
    """What a tensor shares with the one that checkpointing hands back; torch.func's have none."""
    try:
        return x.untyped_storage() if isinstance(x, Tensor) else None
    except NotImplementedError:
        return None


def _of(grids: Mapping[torch.UntypedStorage, Sizes | None], x: Any) -> Sizes | None:
    storage = _storage(x)
    return None if storage is None else grids.get(storage)
