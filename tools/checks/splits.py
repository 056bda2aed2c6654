"""Images that two splits share, by their bytes."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path

from checks.findings import Findings


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.blake2b()
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def check_splits(files: Mapping[str, list[Path]], findings: Findings, executor: Executor) -> None:
    """Find files that are in two splits, also under other names; only files of one length are read.

    Splits that are the same list of files, as where a config tests on what it validates on, are one split.
    """
    names: dict[frozenset[Path], str] = {}
    for split, paths in files.items():
        names.setdefault(frozenset(p for p in paths if p.is_file()), split)
    lengths: dict[int, dict[Path, str]] = defaultdict(dict)
    shared_paths = []
    for paths, split in names.items():
        for path in sorted(paths):
            there = lengths[path.stat().st_size]
            if path in there:
                shared_paths.append((path, there[path], split))
            there.setdefault(path, split)
    for path, one, other in shared_paths:
        findings.add("image-shared", f"{one}, {other}", str(path))
    candidates = [path for there in lengths.values() if len(set(there.values())) > 1 for path in there]
    of = {path: split for there in lengths.values() for path, split in there.items()}
    seen: dict[str, Path] = {}
    for path, digest in zip(candidates, executor.map(_digest, candidates), strict=True):
        first = seen.setdefault(digest, path)
        if of[first] != of[path]:
            findings.add("image-shared", f"{of[first]}, {of[path]}", f"{first} and {path}")
