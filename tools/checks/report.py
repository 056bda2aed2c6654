"""All checks of a config's data, and what they found as text and as a record."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from checks.bands import check_bands
from checks.coco import check_coco
from checks.findings import KINDS, Finding, Findings
from checks.images import Header, check_images
from checks.labels import check_labels, list_pairs, pictures
from checks.settings import check_settings
from checks.splits import check_splits
from checks.view import View, views


@dataclass
class Report:
    """What was looked at and what was found; ``examples`` are boxes of each class, or pixels of a label map."""

    images: dict[str, int] = field(default_factory=dict)
    examples: dict[str, dict[str, int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    #: Splits that are another one, which is checked once.
    same: dict[str, str] = field(default_factory=dict)
    #: Where the data come from, as the config says.
    help: str = ""

    @property
    def broken(self) -> bool:
        """Whether one of the findings is an error."""
        return any(finding.error for finding in self.findings)

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        found = [
            {
                **{"kind": f.kind, "error": f.error, "split": f.split, "count": f.count},
                **{"examples": list(f.examples), "what": KINDS[f.kind].what, "cure": self._cure(f)},
            }
            for f in self.findings
        ]
        splits = {split: {"images": n, "examples": self.examples[split]} for split, n in self.images.items()}
        return {
            "broken": self.broken,
            "splits": splits,
            "findings": found,
            "same": self.same,
            "not_checked": self.not_checked,
        }

    def _cure(self, finding: Finding) -> str:
        cure = KINDS[finding.kind].cure
        return f"{cure}; {self.help}" if self.help and finding.kind == "place-missing" else cure

    def text(self) -> str:
        """As a terminal shows it."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for split, images in self.images.items():
            classes = ", ".join(f"{name} {count:,}" for name, count in self.examples[split].items())
            yield textwrap.shorten(f"{split}: {images:,} images; {classes}", 400, placeholder=" ...")
        yield from (f"{split}: the same as {other}" for split, other in self.same.items())
        for line in self.not_checked:
            yield f"not checked: {line}"
        for f in self.findings:
            level = "error" if f.error else "warning"
            yield f"\n{level} {f.kind} ({f.split}): {f.count:,} x: {KINDS[f.kind].what}"
            yield from (f"    {example}" for example in f.examples)
            yield f"    cure: {self._cure(f)}"
        errors = sum(f.error for f in self.findings)
        yield f"\nkinds of errors: {errors}, of warnings: {len(self.findings) - errors}"


def check_config(config: Config, splits: Sequence[str], thorough: bool = False) -> Report:
    """Check the data that a config names, split by split and then across splits.

    Args:
        config: The config, with its default scope entered.
        splits: Of train, val and test.
        thorough: Decode every image, not only its header.

    Raises:
        KeyError: The config has no such split.
    """
    report, findings = Report(help=config.get("data_help", "")), Findings()
    files: dict[str, list[Path]] = {}
    with ThreadPoolExecutor() as executor:
        for split in splits:
            seen = views(config, split)
            known = [view for view in seen if view.kind]
            for view in seen:
                if view in known:
                    check_settings(config, view, findings)
                else:
                    report.not_checked.append(f"{split}: {view.name}: only COCO's boxes and masks and mmseg's maps are")
            data = config[f"{split}_dataloader"].dataset
            twin = next((s for s in report.images if config[f"{s}_dataloader"].dataset == data), None)
            if twin:
                report.same[split] = twin
            elif known:
                found = [_check(view, findings, executor, thorough) for view in known]
                files[split] = [path for paths, _ in found for path in paths]
                counts = sum((c for _, c in found), Counter())
                classes = dict.fromkeys(name for view in known for name in view.classes)
                report.images[split] = len(files[split])
                report.examples[split] = {name: counts[name] for name in classes}
                for name in classes if files[split] else ():
                    if not counts[name]:
                        findings.add("class-empty", split, name)
        check_splits(files, findings, executor)
    report.findings = findings.all()
    return report


def _check(view: View, findings: Findings, executor: Executor, thorough: bool) -> tuple[list[Path], Counter[str]]:
    def headers_of(infos: Iterable[dict[str, Any]] = ()) -> list[Header]:
        if not view.loads_bands:
            return list(check_images(view, images, findings, executor, thorough))
        given = infos or ({"img_path": str(image.path), "size": image.size} for image in images)
        return list(check_bands(view, list(given), findings, executor))

    if view.kind == "coco":
        images, counts = check_coco(view, findings)
        headers_of()
    else:
        pairs = list_pairs(view, findings)
        images = pictures(pairs)
        headers = headers_of(pairs)
        counts = check_labels(view, pairs, headers, findings, executor)
    return [image.path for image in images], counts
