"""What the blocks of a network are: a factory's answer to where each of them stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import nn

from backbones.blocks import SpectralBlock
from spectral_ops import SpectralMixer, SpectralOperator

__all__ = ["BlockFactory", "OperatorFactory", "Place", "check_factory", "check_operators", "spectral_blocks"]


class Place(NamedTuple):
    """Where a block stands: all that its design may depend on.

    Attributes:
        stage: Index of its stage.
        index: Of the block within the stage.
        channels: Width of its map.
        sizes: ``(H, W)`` of its map for images of the size that learned maps are stored for.
        drop_path: Probability of dropping one of its branches for a sample in training.
    """

    stage: int
    index: int
    channels: int
    sizes: tuple[int, int]
    drop_path: float


#: From a width C to the operator of a block, over ``dims=(1, 2)``.
OperatorFactory = Callable[[int], SpectralOperator]
#: From a place to a block: a module from maps ``(B, H, W, C)`` to maps of that shape. Where it takes learned maps of
#: its stage, its method ``shares`` names them, as :meth:`spectral_ops.SpectralMixer.shares` does, and its forward takes
#: them by keyword; where it is trained on masked images, ``visible``, too.
BlockFactory = Callable[[Place], nn.Module]


def check_factory(name: str, given: object, makes: str) -> None:
    """Raise ``TypeError`` unless ``given`` is a function. Modules can be called, but with maps."""
    if not callable(given) or isinstance(given, nn.Module):
        raise TypeError(
            f"{name} must be a function {makes}, called for every block, such as a class or a lambda, got {given!r}"
        )


def check_operators(operator: object, stages: int | None = None) -> None:
    """Raise unless it is an :data:`OperatorFactory` or a sequence of them, one for each stage.

    Raises:
        TypeError: It is neither, an operator for example.
        ValueError: There are not as many as stages.
    """
    each = isinstance(operator, Sequence) and not isinstance(operator, str)
    for make in operator if each else (operator,):
        check_factory("operator", make, "from a width to an operator, or a sequence of one for each stage")
    if each and stages is not None and len(operator) != stages:
        raise ValueError(f"operator has {len(operator)} entries for {stages} stages")


def spectral_blocks(
    operator: OperatorFactory | Sequence[OperatorFactory],
    mixer: Callable[[int, SpectralOperator], SpectralMixer] = SpectralMixer,
    **options: Any,
) -> BlockFactory:
    """Blocks that mix tokens with a spectral operator, one for all stages or one for each.

    Args:
        operator: From a width to an operator, or such a function for each stage.
        mixer: From width and operator to the token mixer.
        **options: Of :class:`~backbones.SpectralBlock`.

    Raises:
        TypeError: ``operator`` or ``mixer`` is no function but what it should return, ``Heat(0.5)`` for example.

    Example:
        >>> from spectral_ops import Heat, Wave
        >>> heat, wave = (lambda c: Heat(0.5, dims=(1, 2))), (lambda c: Wave(1.0, 2.0, dims=(1, 2)))
        >>> make = spectral_blocks([heat, wave], mlp_ratio=2.0)
        >>> make(Place(stage=1, index=0, channels=32, sizes=(14, 14), drop_path=0.0)).mixer.operator
        Wave(speed=1, time=2, damping=0, dims=(1, 2))
    """

    check_operators(operator)
    check_factory("mixer", mixer, "from a width and an operator to a mixer")

    def block(place: Place) -> SpectralBlock:
        make_operator = operator if callable(operator) else operator[place.stage]
        mixed = mixer(place.channels, make_operator(place.channels))
        return SpectralBlock(place.channels, mixed, drop_path=place.drop_path, **options)

    return block
