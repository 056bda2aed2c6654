"""The files of a run: each whole or not there, and a full disk does not end the training."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from backbones.training.files import write_checkpoint, write_whole

#: After so many failures in a row to write, training stops.
LIMIT = 3


class RunFiles:
    """What is in the folder of a run.

    Args:
        args: Those of tools/train_classifier.py.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.folder = args, args.out
        self.last = self.folder / "last.pth"
        self.failures = 0

    def last_good(self) -> str:
        """The file to go on from."""
        return str(self.last) if self.last.exists() else "none"

    def write_log(self, rows: list[dict[str, float]]) -> None:
        """Write ``log.jsonl``."""
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_whole(self.folder / "log.jsonl", lambda part: part.write_text(text))

    def write_checkpoint(self, name: str, content: dict[str, Any]) -> None:
        """Write a checkpoint, with its SHA-256 beside it."""
        write_checkpoint(self.folder / name, lambda part: _save(content, part))

    def attempt(self, write: Callable[[], None]) -> bool:
        """Write in the first process, while the others wait; whether that went well.

        Raises:
            SystemExit: It is one failure too many.
        """
        error: list[str | None] = [None]
        if self.args.rank == 0:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                write()
            except (OSError, ValueError) as found:
                error = [str(found)]
        if self.args.distributed:
            distributed.broadcast_object_list(error)
        if error[0] is None:
            self.failures = 0
            return True
        self.failures += 1
        if self.failures >= LIMIT:
            raise SystemExit(
                f"error: {self.failures} times in a row {self.folder} could not be written to ({error[0]}): free space "
                f"there and go on with --resume; the last good file is {self.last_good()}"
            )
        if self.args.rank == 0:
            print(
                f"WARNING: {self.folder} could not be written to: {error[0]}. Training goes on; this is failure "
                f"{self.failures} of {LIMIT} in a row, after which it stops; the last good file is {self.last_good()}",
                file=sys.stderr,
                flush=True,
            )
        return False


def _save(content: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch's own, for whatever the disk refused
            raise OSError(str(error.__context__ or error)) from error
