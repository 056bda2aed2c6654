"""mmengine's checkpoint hook, whose files are whole, on boundaries of updates, and replaced before they are removed."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from backbones.openmmlab.loops import at_update_boundary
from backbones.training.files import remove_checkpoint, remove_parts

__all__ = ["SafeCheckpointHook"]


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's checkpoint hook with these differences.

    - An old file, the best one included, goes only once the new one is in place.
    - With accumulated gradients a file that is due in between is written at the next update.
    - Where a file cannot be written (no space, a quota), training goes on with the files that are there.
    - What ``save_now`` wrote between two regular files goes with the next regular one.

    Args:
        max_failures: After so many files in a row that could not be written, training stops.
        kwargs: Those of mmengine's ``CheckpointHook``.
    """

    def __init__(self, *args: Any, max_failures: int = 3, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if max_failures < 1:
            raise ValueError(f"max_failures must be at least 1, got {max_failures}")
        self.max_failures = max_failures
        self.failures = 0
        self.saved_at = -1
        self._due = False

    def before_train(self, runner: Runner) -> None:
        """As in mmengine; what killed writers left is removed."""
        ids = list(runner.message_hub.runtime_info.get("keep_ckpt_ids", []))
        super().before_train(runner)
        for step in ids[: -self.max_keep_ckpts] if self.max_keep_ckpts > 0 else []:
            self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step)))
        resumed = runner.resumed_from
        if resumed and Path(resumed).name not in self._interim(runner):
            self.last_ckpt = resumed  # so that a best file enters into it
        if is_main_process() and "://" not in self.out_dir:
            remove_parts(Path(self.out_dir))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Save where a file is due and an update has just been made."""
        if not self.by_epoch:
            regular = self.every_n_train_iters(runner, self.interval, self.save_begin)
            self._due |= regular or (self.save_last and self.is_last_train_iter(runner))
        if self._due and at_update_boundary(runner):
            self._due = False
            if self.by_epoch:  # it was due at the end of an epoch, in the middle of an update
                self.save_now(runner, runner.epoch, runner.iter + 1)
            else:
                self._save_checkpoint(runner)

    def after_train(self, runner: Runner) -> None:
        """As in mmengine; a run whose last file could not be written has not succeeded."""
        if self.failures:
            raise RuntimeError(
                f"training is complete, but its last checkpoint could not be written to {self.out_dir}: free space "
                f"there, and --resume trains again what came after {self._last_good(runner)}"
            )
        super().after_train(runner)

    def save_now(self, runner: Runner, epoch: int, iteration: int) -> bool:
        """Write ``iter_N.pth`` between two regular files, unless that state is there already; whether it is."""
        if self.saved_at == iteration:
            return True
        name, held = f"iter_{iteration}.pth", self._interim(runner)
        if name not in held and not self.file_backend.exists(self.file_backend.join_path(self.out_dir, name)):
            runner.message_hub.update_info("interim_ckpts", [*held, name])
        return self._write(runner, name, {"epoch": epoch, "iter": iteration})

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        if not at_update_boundary(runner, meta["iter"]):  # the end of an epoch with accumulated gradients
            self._due = True
            return
        name, interim = self.filename_tmpl.format(step), self._interim(runner)
        ids = [*(i for i in runner.message_hub.runtime_info.get("keep_ckpt_ids", []) if i != step), step]
        kept = ids[-self.max_keep_ckpts :] if self.max_keep_ckpts > 0 else ids
        outdated = [self.filename_tmpl.format(i) for i in ids if i not in kept]
        before = {n: runner.message_hub.runtime_info.get(n, []) for n in ("keep_ckpt_ids", "interim_ckpts")}
        if self.max_keep_ckpts > 0:
            runner.message_hub.update_info("keep_ckpt_ids", kept)  # part of the file that is saved
        runner.message_hub.update_info("interim_ckpts", [])
        if not self._write(runner, name, meta):
            for key, value in before.items():
                runner.message_hub.update_info(key, value)
            return
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(kept, maxlen=self.max_keep_ckpts)
        for old in {*outdated, *interim} - {name}:
            self._remove(self.file_backend.join_path(self.out_dir, old))

    @staticmethod
    def _interim(runner: Runner) -> list[str]:
        return list(runner.message_hub.runtime_info.get("interim_ckpts", []))

    def _write(self, runner: Runner, name: str, meta: dict[str, Any]) -> bool:
        """Write a file and point to it; whether that went well."""
        path = self.file_backend.join_path(self.out_dir, name)
        before = runner.message_hub.runtime_info.get("last_ckpt", runner.resumed_from)
        runner.message_hub.update_info("last_ckpt", path)  # part of the file that is saved
        written = runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            pointer=Path(runner.work_dir) / "last_checkpoint",
            **self.args,
        )
        if written:
            self.last_ckpt, self.saved_at = path, meta["iter"]
        else:
            runner.message_hub.update_info("last_ckpt", before)
        self._count(runner, written)
        return bool(written)

    def _count(self, runner: Runner, written: bool) -> None:
        self.failures = 0 if written else self.failures + 1
        if self.failures:
            runner.logger.error(
                f"training goes on without it: {self.failures} of {self.max_failures} failures in a row after which it "
                f"stops; the last good file is {self._last_good(runner)}"
            )
        if self.failures >= self.max_failures:
            raise RuntimeError(
                f"{self.failures} checkpoints in a row could not be written to {self.out_dir}: free space there and "
                f"go on with --resume from {self._last_good(runner)}"
            )

    def _last_good(self, runner: Runner) -> str:
        return self.last_ckpt or runner.resumed_from or "none"

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        if not self.save_best:
            return
        old, info = self._best(), dict(runner.message_hub.runtime_info)
        self._set_best([None] * len(old))  # mmengine would remove the old file first and then save
        runner.train_loop.validated = True  # it writes the regular file again
        super()._save_best_checkpoint(runner, metrics)
        new = self._best()
        for i, (path, previous) in enumerate(zip(new, old, strict=True)):
            if path is not None and path not in runner.unwritten:
                # Where a folder was copied, it names a file of the other run.
                previous = previous and self.file_backend.join_path(self.out_dir, Path(previous).name)
                if previous and previous != path:
                    self._remove(previous)
                continue
            new[i] = previous
            suffix = "" if len(old) == 1 else f"_{self.key_indicators[i]}"
            for entry in (f"best_ckpt{suffix}", f"best_score{suffix}"):
                runner.message_hub.runtime_info.pop(entry, None)
                if entry in info:
                    runner.message_hub.update_info(entry, info[entry])
        self._set_best(new)

    def _best(self) -> list[str | None]:
        """The best file of each metric."""
        if len(self.key_indicators) == 1:
            return [self.best_ckpt_path]
        return [self.best_ckpt_path_dict.get(key) for key in self.key_indicators]

    def _set_best(self, paths: list[str | None]) -> None:
        if len(self.key_indicators) == 1:
            (self.best_ckpt_path,) = paths
        else:
            self.best_ckpt_path_dict = dict(zip(self.key_indicators, paths, strict=True))

    def _remove(self, path: str) -> None:
        if not is_main_process():
            return
        if "://" not in path:
            remove_checkpoint(Path(path))
        elif self.file_backend.isfile(path):
            self.file_backend.remove(path)
