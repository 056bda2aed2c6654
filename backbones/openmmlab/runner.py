"""A runner and a checkpoint hook for mmengine that never lose or blindly trust a checkpoint.

mmengine writes checkpoints in place, deletes the old one before the new one is complete, falls back to unpickling
arbitrary objects, ignores tensors that do not fit, and forgets the state of the random generators. Configs of this
project therefore state ``runner_type="SafeRunner"``, which puts its own checkpoint hook in the place of mmengine's;
everything else is mmengine's.
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, RUNNERS
from mmengine.runner import BaseLoop, Runner
from mmengine.runner.checkpoint import _load_checkpoint_to_model

from backbones.weights.reading import read_checkpoint

__all__ = ["SafeCheckpointHook", "SafeRunner"]

#: NumPy scalars and arrays, which mmengine keeps among its metrics.
_NUMPY = [
    np.ndarray,
    np.dtype,
    *(value.__reduce__()[0] for value in (np.zeros(1), np.float64(0))),  # what rebuilds them, whatever its name is
    *(type(np.dtype(t)) for t in (np.bool_, np.int32, np.int64, np.float32, np.float64)),
]


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's checkpoint hook; an old file goes only once the new one is in place, and random states are kept.

    A resumed run therefore continues with the numbers of the run that was killed, as far as its data pipeline draws
    them in worker processes or not at all.
    """

    _random_states: dict[str, Any] | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add the random states."""
        checkpoint["random_states"] = _random_states()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Remember the random states of a run that is resumed."""
        if runner._resume:
            self._random_states = checkpoint.get("random_states")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Restore them once the data loader has been advanced to where the run was."""
        if self._random_states is not None:
            _set_random_states(self._random_states)
            self._random_states = None

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        keep = self.max_keep_ckpts
        if keep > 0:
            ids = [i for i in self.keep_ckpt_ids if i != step] + [step]
            outdated, kept = ids[:-keep], ids[-keep:]
            runner.message_hub.update_info("keep_ckpt_ids", kept)  # part of the file that is saved
        self.max_keep_ckpts = -1  # mmengine would delete first and then save
        try:
            super()._save_checkpoint_with_step(runner, step, meta)
        finally:
            self.max_keep_ckpts = keep
        if keep > 0:
            self.keep_ckpt_ids = deque(kept, maxlen=keep)
            if is_main_process():
                for old in outdated:
                    path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old))
                    if self.file_backend.isfile(path):
                        self.file_backend.remove(path)


def _random_states() -> dict[str, Any]:
    _, keys, *rest = np.random.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": random.getstate(),
        "numpy": (torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def _set_random_states(states: dict[str, Any]) -> None:
    version, keys, gauss = states["python"]
    random.setstate((version, tuple(keys), gauss))
    keys, *rest = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


@RUNNERS.register_module()
class SafeRunner(Runner):
    """mmengine's runner with atomic writes, safe reads, strict loading, and resuming from the last good checkpoint.

    It takes :class:`SafeCheckpointHook` where ``default_hooks`` ask for mmengine's ``CheckpointHook`` or for none, with
    the settings given there; None still means no checkpoints.

    Raises:
        TypeError: ``default_hooks`` ask for another checkpoint hook, with which a run would not resume exactly.
    """

    def register_default_hooks(self, hooks: dict[str, Hook | dict[str, Any] | None] | None = None) -> None:
        """As in mmengine, with the safe checkpoint hook."""
        hooks = dict(hooks or {})
        hook = hooks.get("checkpoint", {})
        given = hook.get("type", CheckpointHook) if isinstance(hook, dict) else type(hook)
        kind = HOOKS.get(given) if isinstance(given, str) else given
        if isinstance(hook, dict) and kind is CheckpointHook:
            hook, kind = {**hook, "type": SafeCheckpointHook}, SafeCheckpointHook
        if hook is not None and not (isinstance(kind, type) and issubclass(kind, SafeCheckpointHook)):
            raise TypeError(
                f"default_hooks.checkpoint must be CheckpointHook, SafeCheckpointHook or a subclass of that where the "
                f"runner is SafeRunner, got {given!r}"
            )
        super().register_default_hooks({**hooks, "checkpoint": hook})

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """As in mmengine; on a local disk the file appears under its name only when it is complete."""
        if "://" in str(out_dir):
            return super().save_checkpoint(out_dir, filename, *args, **kwargs)
        partial, final = Path(out_dir) / f"{filename}.part", Path(out_dir) / filename
        super().save_checkpoint(out_dir, partial.name, *args, **kwargs)
        if partial.is_file():  # only the main process writes
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(final)
        return None

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable[..., Any] = "cpu",
        strict: bool = False,
        revise_keys: list[tuple[str, str]] = [(r"^module\.", "")],  # noqa: B006 (mmengine's signature)
    ) -> dict[str, Any]:
        """Read a local file safely and load it; tensors come to the CPU first, whatever ``map_location`` is.

        Tensors that are missing or do not fit are an error, except where training starts from other weights
        (``load_from`` without ``resume``), which users do with another task's file.

        Raises:
            FileNotFoundError, ValueError: There is no such file, it is not safe to read, or it does not fit.
        """
        checkpoint = read_checkpoint(filename, allow=_NUMPY)
        if "message_hub" in checkpoint:
            checkpoint["message_hub"]["log_scalars"] = {}  # running means of the log; they start anew
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        training = isinstance(self._train_loop, BaseLoop)  # until training begins it is a config
        strict = strict or self._resume or not training
        try:
            checkpoint = _load_checkpoint_to_model(model, checkpoint, strict, revise_keys=revise_keys)
        except RuntimeError as error:
            raise ValueError(f"{filename} is not a checkpoint of this config's model: {error}") from None
        self._has_loaded = True
        self.logger.info(f"loaded {filename}")
        return checkpoint

    def load_or_resume(self) -> None:
        """As in mmengine; ``resume`` without ``load_from`` takes the newest checkpoint that can be read."""
        if self._resume and self._load_from is None and not self._has_loaded:
            self._load_from = self._last_good_checkpoint()
            self._resume = self._load_from is not None
        super().load_or_resume()

    def _last_good_checkpoint(self) -> str | None:
        folder = Path(self.work_dir)
        files = [path for pattern in ("iter_*.pth", "epoch_*.pth") for path in folder.glob(pattern)]
        for path in sorted(files, key=lambda p: p.stat().st_mtime, reverse=True):
            try:
                read_checkpoint(path, allow=_NUMPY)
            except ValueError as error:
                self.logger.warning(f"cannot resume from {path}, trying an older one: {error}")
                continue
            return str(path)
        self.logger.info(f"no checkpoint to resume from in {folder}: starting from the beginning")
        return None
