"""Which files are of one place: the same name in a folder for each modality."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from backbones.image_files import files_below
from backbones.remote_sensing.reading import SUFFIXES

__all__ = ["Partnerless", "paired_files"]

#: What becomes of files whose partner is missing.
Partnerless = Literal["error", "keep"]

_NAMED = 5


def paired_files(
    folder: str | os.PathLike[str], modalities: Sequence[str], partnerless: Partnerless = "error"
) -> dict[str, dict[str, Path]]:
    """The files of ``FOLDER/MODALITY``, those of one name together.

    Names are paths in the modality's folder without what they end in: ``optical/a/1.png`` and ``sar/a/1.tif`` are a
    pair.

    Args:
        folder: With a folder for each modality.
        modalities: Their names.
        partnerless: ``"error"`` where a modality lacks a file that another one has; ``"keep"`` for those that are
            there.

    Returns:
        The paths by modality, for each name, sorted.

    Raises:
        FileNotFoundError: A folder is not there or empty, or a file has no partner.
        ValueError: Two files of a modality have the same name, or a file is a picture of another format than
            the reader's; or another value of ``partnerless``.
    """
    folder = Path(folder)
    if partnerless not in get_args(Partnerless):
        raise ValueError(f"partnerless must be one of {get_args(Partnerless)}, got {partnerless!r}")
    if not folder.is_dir():
        raise FileNotFoundError(f"data_root is no folder: {folder}")
    if missing := [name for name in modalities if not (folder / name).is_dir()]:
        there = sorted(each.name for each in folder.iterdir() if each.is_dir())
        raise FileNotFoundError(
            f"{folder} must have a folder for each of the modalities {', '.join(modalities)}: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not among {there}"
        )
    found: dict[str, dict[str, Path]] = {}
    for modality in modalities:
        for path in files_below(folder / modality, SUFFIXES, f"the folder of modality {modality!r}"):
            name = path.relative_to(folder / modality).with_suffix("").as_posix()
            others = found.setdefault(name, {})
            if modality in others:
                raise ValueError(
                    f"{others[modality]} and {path} have the same name: which is of modality {modality!r}?"
                )
            others[modality] = path
    alone = [name for name, files in found.items() if len(files) < len(modalities)]
    if alone and partnerless == "error":
        each = [f"{next(iter(found[name].values()))} ({_lacking(found[name], modalities)})" for name in sorted(alone)]
        more = f" and {len(each) - _NAMED} more" if len(each) > _NAMED else ""
        raise FileNotFoundError(
            f"{len(each)} of {len(found)} places lack a partner: {', '.join(each[:_NAMED])}{more}. Remove them or keep "
            f"them with partnerless='keep'"
        )
    return dict(sorted(found.items()))


def _lacking(files: dict[str, Path], modalities: Sequence[str]) -> str:
    return "no " + ", ".join(name for name in modalities if name not in files)
