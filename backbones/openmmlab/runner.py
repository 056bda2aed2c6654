"""A runner for mmengine to which weeks of training can be trusted.

mmengine writes checkpoints in place, deletes the old one before the new one is complete, falls back to unpickling
arbitrary objects, ignores tensors that do not fit, and goes on with other random numbers. Configs of this project
therefore state ``runner_type="SafeRunner"``. What it promises, and where that is done:

========================================================= =====================================================
A killed run that is resumed is the unbroken one,          :mod:`~backbones.openmmlab.loops`,
also in the middle of an epoch                             :mod:`backbones.training.data`
Another schedule or batch size is refused, or taken up     :mod:`~backbones.openmmlab.resuming`,
                                                           :mod:`~backbones.openmmlab.run_record`
A file is whole or not there; full disks lose nothing      :mod:`~backbones.openmmlab.checkpoints`,
                                                           :mod:`backbones.training.files`
Damaged files are seen, and never believed                 :mod:`~backbones.openmmlab.resuming`,
                                                           :mod:`backbones.weights.integrity`
SIGTERM, SIGUSR1 and updates that are not finite           :mod:`~backbones.openmmlab.hooks`
Nothing is unpickled                                       :mod:`~backbones.openmmlab.safe_reading`
Several processes, on the CPU, too                         :mod:`~backbones.openmmlab.processes`
========================================================= =====================================================

Everything else is mmengine's.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, RUNNERS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop
from torch import nn

from backbones.openmmlab.checkpoints import SafeCheckpointHook
from backbones.openmmlab.hooks import FiniteGradientsHook, ProgressHook, StopHook
from backbones.openmmlab.loops import ResumableEpochLoop, ResumableIterLoop
from backbones.openmmlab.processes import start_on_the_cpu, without_sync_norms, wrapper_on_the_cpu
from backbones.openmmlab.resuming import ResumableRunner
from backbones.openmmlab.run_record import run_record
from backbones.training.files import write_checkpoint, write_whole
from backbones.training.randomness import random_states
from backbones.training.stopping import leave_signals_to_the_parent

__all__ = ["SafeRunner"]

#: Log values that a file keeps: more than any log's window.
_LOGGED = 2000


@RUNNERS.register_module()
class SafeRunner(ResumableRunner):
    """mmengine's runner with the promises of this module.

    It takes :class:`SafeCheckpointHook` where ``default_hooks`` ask for mmengine's ``CheckpointHook`` or for none, with
    the settings given there; None still means no checkpoints. ``default_hooks`` of the names ``stop``, ``gradients``
    and ``progress`` replace, or with None remove, those of :mod:`backbones.openmmlab.hooks`.

    A config may set ``reschedule=True``: a resumed run then follows the schedule, the learning rates and the batch size
    of the config where they differ from those of the file, and keeps its place in the images it has seen.

    Raises:
        TypeError: ``default_hooks`` ask for another checkpoint hook, with which a run would not resume exactly.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.unwritten: set[str] = set()
        self._added: dict[str, Any] = {}
        super().__init__(*args, **kwargs)
        self.settings = {
            "param_scheduler": copy.deepcopy(self.param_schedulers),
            "optim_wrapper": copy.deepcopy(self.optim_wrapper) if isinstance(self.optim_wrapper, dict) else None,
        }

    # --- what mmengine builds -----------------------------------------------------------------------------------

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """As in mmengine; on the CPU several processes talk by gloo."""
        start_on_the_cpu(self._launcher, env_cfg.get("dist_cfg", {}).get("timeout"))
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """As in mmengine; on the CPU without ids of GPUs."""
        on_cpu = self.distributed and not torch.cuda.is_available() and not is_model_wrapper(model)
        if on_cpu and torch.distributed.get_backend() == "gloo":
            find_unused = self.cfg.get("find_unused_parameters", False)
            model_wrapper_cfg = wrapper_on_the_cpu(model_wrapper_cfg, find_unused)
            model = without_sync_norms(model)
        return super().wrap_model(model_wrapper_cfg, model)

    def build_train_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """As in mmengine, with loops that go on anywhere in the place of mmengine's own."""
        if isinstance(loop, dict):
            kinds = {EpochBasedTrainLoop: ResumableEpochLoop, IterBasedTrainLoop: ResumableIterLoop}
            names = {kind.__name__: ours for kind, ours in kinds.items()}
            asked = loop.get("type", "EpochBasedTrainLoop" if loop.get("by_epoch") else "IterBasedTrainLoop")
            ours = names.get(asked) if isinstance(asked, str) else kinds.get(asked)
            if ours is not None:
                options = {n: v for n, v in loop.items() if n not in ("type", "by_epoch", "fast_forward_on_resume")}
                loop = {**options, "type": ours}
            else:
                self.logger.warning(f"train_cfg.type={asked}: resumed runs will not be the unbroken ones")
        return super().build_train_loop(loop)

    def build_val_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """As in mmengine; a signal to all processes of a job does not end the loader's workers."""
        built = super().build_val_loop(loop)
        if built is not loop:
            leave_signals_to_the_parent(built.dataloader)
        return built

    def build_visualizer(self, visualizer: Any = None) -> Any:
        """As in mmengine; a log that cannot be written does not end a training."""
        built = super().build_visualizer(visualizer)
        for name in ("add_scalar", "add_scalars", "add_image", "add_config"):
            setattr(built, name, self._tolerant(getattr(built, name)))
        return built

    def _tolerant(self, write: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(write)
        def tolerant(*args: Any, **kwargs: Any) -> Any:
            try:
                return write(*args, **kwargs)
            except OSError as error:
                self.logger.error(f"the log cannot be written: {error}")

        return tolerant

    def register_default_hooks(self, hooks: dict[str, Hook | dict[str, Any] | None] | None = None) -> None:
        """As in mmengine, with the hooks of this room."""
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
        ours = {"stop": StopHook, "gradients": FiniteGradientsHook, "progress": ProgressHook}
        for name, kind in ours.items():
            given = hooks.get(name, {})
            hooks[name] = {"type": kind, **given} if isinstance(given, dict) else given
        every = {**hooks, "checkpoint": hook}
        super().register_default_hooks({n: h for n, h in every.items() if h is not None or n not in ours})

    # --- saving -------------------------------------------------------------------------------------------------

    def save_checkpoint(
        self, out_dir: str, filename: str, *args: Any, pointer: Path | None = None, **kwargs: Any
    ) -> bool:
        """As in mmengine; on a local disk the file appears under its name only when it is complete and has been read.

        All processes call it together, and one of them writes.

        Args:
            out_dir: The folder.
            filename: The name in it.
            pointer: A file that shall hold the path.
            args: As in mmengine.
            kwargs: As in mmengine.

        Returns:
            Whether it was written, the same in all processes. Where not, the log says why.
        """
        states = getattr(self.train_loop, "training_states", None) or random_states()
        states = all_gather_object(states)  # mmengine saves in one process, and each has its own
        self._added = {"random_states": states, "run": run_record(self)}
        path, written = str(Path(out_dir) / filename), [True]
        if is_main_process():
            save = super().save_checkpoint
            try:
                if "://" in str(out_dir):
                    save(out_dir, filename, *args, **kwargs)
                else:
                    write_checkpoint(Path(path), lambda part: save(out_dir, part.name, *args, **kwargs))
                if pointer is not None:
                    self._note(pointer, path)
            except (OSError, ValueError) as error:
                self.logger.error(f"{path} could not be written: {error}")
                written = [False]
        broadcast_object_list(written)
        (self.unwritten.discard if written[0] else self.unwritten.add)(path)
        return written[0]

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """As in mmengine; what this runner adds to a file is there before any hook sees it."""
        if fn_name == "before_save_checkpoint":
            checkpoint = kwargs["checkpoint"]
            checkpoint.update(random_states=self._added["random_states"])
            checkpoint["meta"]["run"] = self._added["run"]
            logged = checkpoint["message_hub"]["log_scalars"]
            checkpoint["message_hub"]["log_scalars"] = {name: _plain(buffer) for name, buffer in logged.items()}
        super().call_hook(fn_name, **kwargs)

    def validated(self) -> None:
        """Note that the weights of this moment have been validated, for a run that is complete."""
        if is_main_process():
            self._note(Path(self.work_dir) / "last_validation", str(self.iter))

    def _note(self, file: Path, text: str) -> None:
        """Write a file without which a run goes on, too."""
        try:
            write_whole(file, lambda part: part.write_text(text))
        except OSError as error:
            self.logger.error(f"{file.name} could not be written: {error}")

    def is_complete(self) -> bool:
        """Whether nothing is left to train, nor to validate."""
        loop, note = self.train_loop, Path(self.work_dir) / "last_validation"
        done = loop.iter >= loop.max_iters
        if not done or not getattr(loop, "validation_is_due", bool)():
            return done
        return note.is_file() and note.read_text() == str(loop.iter)


def _plain(buffer: HistoryBuffer) -> dict[str, torch.Tensor]:
    """What the log's means are made of, in tensors."""
    values, counts = buffer.data
    return {"values": torch.from_numpy(values[-_LOGGED:].copy()), "counts": torch.from_numpy(counts[-_LOGGED:].copy())}
