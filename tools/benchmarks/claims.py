"""Between what the claims of docs/performance.md lie over the records of all machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from reports.tables import markdown

from benchmarks.records import timed
from benchmarks.tables import best


class Claim(NamedTuple):
    """A ratio of two figures of one case: above 1 ours takes less.

    Attributes:
        group, case: Where the figures stand.
        other: A contender, whose figure is divided by
        ours: one of ours. In a group of networks and runtimes each is a network, at the best of its runtimes.
        figure: ``"milliseconds"`` or ``"peak_mib"``.
    """

    group: str
    case: str
    other: str
    ours: str = "ours"
    figure: str = "milliseconds"


def _inference() -> Iterator[Claim]:
    places = [("inference", f"tiny, 224 px, batch {batch}") for batch in (1, 4)]
    places += [("resolution", f"tiny, {side} px, batch 1") for side in (768, 1024, 2048)]
    places += [("bf16", f"tiny, {size}") for size in ("224 px, batch 1", "224 px, batch 4", "768 px, batch 1")]
    for place in places:
        yield from (Claim(*place, other) for other in ("public", "Swin", "ConvNeXt", "DeiT"))
        yield from (Claim(*place, other, "ours, packed") for other in ("public", "Swin"))
        yield from (Claim(*place, f"{other}, packed", "ours, packed") for other in ("public", "Swin", "ConvNeXt"))
        if place[0] == "bf16":
            yield from (Claim(*place, "public, float32", ours) for ours in ("ours", "ours, packed"))


def _training() -> Iterator[Claim]:
    for batch in (4, 16):
        for figure in ("milliseconds", "peak_mib"):
            for other in ("public", "Swin", "ConvNeXt", "DeiT"):
                yield Claim("training", f"tiny, 224 px, batch {batch}", other, figure=figure)


def _parts() -> Iterator[Claim]:
    for n, channels in ((56, 96), (28, 192), (14, 384), (7, 768)):
        place = f"{n} x {n} x {channels}, batch 4"
        yield Claim("spectral", place, "four products alone")
        yield Claim("operator", place, "public")
        yield Claim("linear", f"{n} x {n} x {channels} to {4 * channels}, batch 4", "nn.Linear")


def _adapters() -> Iterator[Claim]:
    for figure in ("milliseconds", "peak_mib"):
        yield Claim("adapter-step", "ViT-B/16, 224 px, batch 8", "LoRA r=8, qkv", "MoPPA", figure)
    for batch in (1, 4):
        yield Claim("adapter-inference", f"ViT-B/16, 224 px, batch {batch}", "bare", "MoPPA, gains stored")


def _runtimes() -> Iterator[Claim]:
    """The goals: each network at the best of its runtimes."""
    sizes = [("runtimes", size) for size in ("224 px, batch 1", "224 px, batch 4", "768 px, batch 1")]
    sizes += [(f"runtimes-{side}", f"{side} px, batch 1") for side in (1024, 2048)]
    for group, size in sizes:
        others = ("Swin", "ConvNeXt", "DeiT") if group == "runtimes" else ("Swin", "ConvNeXt")
        for precision in ("float32", "bfloat16", "int8"):
            yield from (Claim(group, f"tiny, {size}, {precision}", other) for other in others)


CLAIMS = (*_inference(), *_training(), *_parts(), *_adapters(), *_runtimes())


def ratio(claim: Claim, record: dict[str, Any]) -> float | None:
    """What a record says of a claim; None where it does not say."""
    group = record["groups"].get(claim.group, {"cases": {}})
    case = group["cases"].get(claim.case, {})
    if group.get("matrix"):
        case = {network: figure for network, (_, figure) in best(case).items()}
    found = [case.get(name, {}).get(claim.figure) for name in (claim.other, claim.ours)]
    return None if None in found else found[0] / found[1]


def _rows(named: Iterable[tuple[Iterable[str], list[float | None]]]) -> Iterator[list[str]]:
    """Cells of what is named, its range, and its values; what no record says is left out."""
    for name, values in named:
        if there := [value for value in values if value is not None]:
            lowest, highest = f"{min(there):.2f}", f"{max(there):.2f}"
            between = lowest if lowest == highest else f"{lowest}-{highest}"
            yield [*name, between, *("-" if value is None else f"{value:.2f}" for value in values)]


def claimed(records: dict[str, dict[str, Any]]) -> str:
    """A table of all claims: the range over the records, and each record's ratio."""
    named = (
        (
            (claim.group, claim.case, f"{claim.other} / {claim.ours}" + ", memory" * (claim.figure == "peak_mib")),
            [ratio(claim, record) for record in records.values()],
        )
        for claim in CLAIMS
    )
    return markdown(["group", "case", "ratio", "range", *records], _rows(named), aligned=True)


def ranges_of(name: str, records: dict[str, dict[str, Any]]) -> str:
    """A table of a group: the time of each contender over that of the first of its case."""
    groups = [record["groups"].get(name, {"cases": {}})["cases"] for record in records.values()]
    pairs = dict.fromkeys((case, other) for cases in groups for case in cases for other in list(cases[case])[1:])
    named = (((case, other), [_over_first(cases.get(case, {}), other) for cases in groups]) for case, other in pairs)
    return markdown([name, "over the first", "range", *records], _rows(named), aligned=True)


def _over_first(case: dict[str, Any], name: str) -> float | None:
    times, first = timed(case), next(iter(case), None)
    return times[name] / times[first] if name in times and first in times else None
