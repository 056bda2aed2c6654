"""Images of several modalities, and pairs: loaded by the config's own step, which names file, band, unit and range."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

from mmengine.dataset import Compose

from checks.findings import Findings
from checks.images import Header
from checks.view import View


def check_bands(view: View, infos: list[dict[str, Any]], findings: Findings, executor: Executor) -> Iterator[Header]:
    """Load all images of a split, several at a time: partners, sizes, bands and values; yields their sizes in order.

    Args:
        view: Of a split whose pipeline begins with ``LoadModalities`` or ``LoadPair``.
        infos: Of each image what the step reads, ``img_path`` and for pairs ``img_path2``, and ``size`` where the
            annotation says one.
        findings: What is wrong.
        executor: Of the threads.
    """
    if not infos:
        findings.add("images-none", view.split, view.name)
    step = Compose(view.pipeline[:1])

    def load(info: dict[str, Any]) -> Header:
        try:
            height, width = step(dict(info))["img_shape"]
        except FileNotFoundError as error:
            return Header(("partner-missing",), str(error))
        except (ValueError, OSError) as error:
            return Header(("bands-unfit",), str(error))
        return Header((), "", (width, height))

    for info, header in zip(infos, executor.map(load, infos), strict=True):
        for kind in header.kinds:
            findings.add(kind, view.split, header.reason)
        if header.size and info.get("size") and header.size != info["size"]:
            said, found = (f"{width} x {height}" for width, height in (info["size"], header.size))
            findings.add("size-differs", view.split, f"{info['img_path']}: {said} annotated, {found} loaded")
        yield header
