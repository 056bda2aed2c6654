"""Label maps of semantic segmentation, loaded by the steps of the config's pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.dataset import Compose
from PIL import Image

from checks.findings import Findings
from checks.images import Header
from checks.view import Picture, View


class Labels(NamedTuple):
    """What a label map holds: the number of pixels of each value as the network sees them, and the size."""

    kind: str | None
    reason: str = ""
    counts: tuple[int, ...] = ()
    size: tuple[int, int] | None = None


def list_pairs(view: View, findings: Findings) -> list[dict[str, Any]]:
    """The images of a split with their label maps, as the framework lists them; missing folders are found."""
    dataset = view.dataset
    prefixes = dataset.data_prefix
    places = [Path(prefixes[key]) for key in ("img_path", "seg_map_path", "img_path2") if prefixes.get(key)]
    missing = [place for place in (*places, *filter(None, [dataset.ann_file and Path(dataset.ann_file)]))
               if not place.exists()]  # fmt: skip
    for place in missing:
        findings.add("place-missing", view.split, str(place))
    if missing:
        return []
    pairs = dataset.load_data_list()
    if not dataset.ann_file and prefixes.get("seg_map_path"):
        known = {Path(pair["seg_map_path"]) for pair in pairs}
        for file in sorted(places[1].rglob(f"*{dataset.seg_map_suffix}")):
            if file not in known:
                findings.add("label-without-image", view.split, str(file))
    return pairs


def pictures(pairs: list[dict[str, Any]]) -> list[Picture]:
    """The images of :func:`list_pairs`."""
    return [Picture(Path(pair["img_path"]), pair["img_path"]) for pair in pairs]


def check_labels(
    view: View, pairs: list[dict[str, Any]], headers: Iterable[Header], findings: Findings, executor: Executor
) -> Counter[str]:
    """Load all label maps of a split, several at a time; the number of pixels of each class."""
    loading, mapping = view.steps("LoadAnnotations"), view.steps("MapLabels")
    pixels = np.zeros(256, np.int64)

    def load(pair: dict[str, Any]) -> Labels:
        return _load(loading, mapping, pair)

    for pair, header, labels in zip(pairs, headers, executor.map(load, pairs), strict=True):
        path = pair["seg_map_path"]
        if labels.kind:
            findings.add(labels.kind, view.split, f"{path}{f' ({labels.reason})' if labels.reason else ''}")
            continue
        if header.size and header.size != labels.size:
            said, found = (f"{size[0]} x {size[1]}" for size in (labels.size, header.size) if size)
            findings.add("size-differs", view.split, f"{path}: {said}, its image {found}")
        counts = np.array(labels.counts)
        pixels += counts
        outside = [str(v) for v in np.flatnonzero(counts) if len(view.classes) <= v != view.dataset.ignore_index]
        if outside:
            findings.add("label-outside", view.split, f"{path} ({', '.join(outside)})")
        if counts.sum() == counts[view.dataset.ignore_index]:
            findings.add("label-empty", view.split, path)
    return Counter({name: int(pixels[i]) for i, name in enumerate(view.classes) if pixels[i]})


def _load(loading: Compose, mapping: Compose, pair: dict[str, Any]) -> Labels:
    path = Path(pair["seg_map_path"])
    if not path.is_file():
        return Labels("label-missing")
    try:
        with Image.open(path) as image:
            mode, size = image.mode, image.size
        results = loading({**pair, "seg_fields": []})
    except (OSError, SyntaxError, ValueError, AttributeError) as error:
        return Labels("label-unreadable", str(error))
    if results["gt_seg_map"].ndim != 2 or mode.startswith(("I", "F")):
        return Labels("label-no-indices", mode)
    try:
        loaded = mapping(results)["gt_seg_map"]
    except ValueError as error:
        return Labels("label-outside", str(error).rpartition(": ")[2])
    return Labels(None, "", tuple(np.bincount(loaded.ravel(), minlength=256).tolist()), size)
