"""The data sets of a config's loader."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import ConfigDict


def data_sets(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """The settings of the data sets inside those that wrap or join others, such as RepeatDataset and ConcatDataset."""
    inner = [each for each in (dataset.get("dataset"), *(dataset.get("datasets") or ())) if each]
    if not inner:
        yield dataset
    for each in inner:
        yield from data_sets(each)
