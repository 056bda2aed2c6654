"""What watches over a training: signals to stop, updates that are not finite, and the figures of its progress."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from backbones.openmmlab.checkpoints import SafeCheckpointHook
from backbones.openmmlab.loops import at_update_boundary
from backbones.training.gradients import NormStatistics, gradients_are_finite, names_of_bad_gradients
from backbones.training.memory import peak_memory_of_process
from backbones.training.stopping import Stop, StopRequest

__all__ = ["FiniteGradientsHook", "ProgressHook", "StopHook"]


@HOOKS.register_module()
class StopHook(Hook):
    """Saves and stops at the next update where SIGTERM or SIGUSR1 asked any of the processes to; exit code 143.

    In validation it stops after a batch, and the resumed run validates again; where gradients are accumulated across
    it, which no file holds, at the next update. A signal more than two seconds after the first stops at once.
    """

    priority = "LOWEST"  # after everything that an iteration changes

    def before_train(self, runner: Runner) -> None:
        """Listen from now on."""
        self.request, self._listening = StopRequest(), contextlib.ExitStack()
        self._listening.enter_context(self.request.listening())

    def before_val_epoch(self, runner: Runner) -> None:
        """All processes can be asked together as long as the shortest of their loaders lasts."""
        count = torch.tensor(len(runner.val_dataloader))
        if get_world_size() > 1:
            count = count.to(next(runner.model.parameters()).device)
            all_reduce(count, "min")
        self._together = int(count)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Stop at an update."""
        if at_update_boundary(runner) and self.request.agreed():
            self._stop(runner, runner.iter + 1)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stop in validation, with the weights that are trained and not their mean."""
        if not hasattr(self, "request") or not at_update_boundary(runner, runner.iter):
            return
        if batch_idx >= self._together or not self.request.agreed():
            return
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                hook.after_val_epoch(runner)
        self._stop(runner, runner.iter)

    def after_train(self, runner: Runner) -> None:
        """Listen no more."""
        self._listening.close()

    def _stop(self, runner: Runner, iteration: int) -> None:
        hooks = [hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)]
        good = all([hook.save_now(runner, runner.epoch, iteration) for hook in hooks])
        saved = runner.message_hub.runtime_info.get("last_ckpt") or "nothing"
        if not good:
            raise SystemExit(
                f"error: stopped by {self.request.name} after iteration {iteration}, which could not be saved; the "
                f"last good file is {saved}"
            )
        runner.logger.warning(
            f"stopped by {self.request.name} after iteration {iteration}: {saved} is saved; go on with --resume"
        )
        raise Stop


@HOOKS.register_module()
class FiniteGradientsHook(Hook):
    """Skips an update whose gradients are not finite, and undoes what its batch did to the statistics of batch norms.

    Args:
        limit: After so many in a row training stops, and says what it can of the reason.
    """

    priority = "VERY_HIGH"

    def __init__(self, limit: int = 10) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit}")
        self.limit = limit
        self.in_a_row = self.skipped = 0

    def before_train(self, runner: Runner) -> None:
        """Ask before each step of the optimizer."""
        self.skipped = int(runner.message_hub.runtime_info.get("skipped_updates", 0))
        self.statistics = NormStatistics(runner.model)
        self._counts = 0
        wrapper = runner.optim_wrapper
        for each in wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]:
            each.step = self._guarded(runner, each, each.step)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Remember the statistics where an update begins."""
        if at_update_boundary(runner, runner.iter):
            self.statistics.keep()
        self._batch = data_batch

    def _guarded(self, runner: Runner, wrapper: Any, step: Any) -> Any:
        @functools.wraps(step)  # schedulers look for their counter on it
        def guarded(**kwargs: Any) -> None:
            parameters = [p for group in wrapper.optimizer.param_groups for p in group["params"]]
            if gradients_are_finite(parameters):
                self.in_a_row = 0
                step(**kwargs)
                return
            bad = names_of_bad_gradients(runner.model)
            if getattr(wrapper, "loss_scaler", None) is not None:
                step(**kwargs)  # the scaler skips it, too, and lowers its scale
            self.statistics.restore()
            self._count(runner, bad, wrapper)

        return guarded

    def _count(self, runner: Runner, bad: list[str], wrapper: Any) -> None:
        self.in_a_row, self.skipped = self.in_a_row + 1, self.skipped + 1
        runner.message_hub.update_info("skipped_updates", self.skipped)
        where = f"iteration {runner.iter + 1}: gradients are not finite (first in {', '.join(bad) or 'their sum'})"
        runner.logger.warning(f"{where}; the update is skipped, {self.skipped} so far, {self.in_a_row} in a row")
        if self.in_a_row >= self.limit:
            samples = (self._batch or {}).get("data_samples", []) if isinstance(self._batch, dict) else []
            images = [p for s in samples if (p := getattr(s, "img_path", None))]
            raise RuntimeError(
                f"{where}, {self.in_a_row} times in a row. Learning rates: {wrapper.get_lr()}. Images of the last "
                f"batch: {', '.join(images) or 'unknown'}. The last good file is "
                f"{runner.message_hub.runtime_info.get('last_ckpt') or runner.resumed_from or 'none'}: resume from it "
                f"with a smaller learning rate, gradient clipping or another precision"
            )


@HOOKS.register_module()
class ProgressHook(Hook):
    """Adds images per second to the log, on the CPU the memory in MB, and at the end where everything is."""

    priority = "NORMAL"  # between mmengine's timer and logger

    def before_train(self, runner: Runner) -> None:
        """Look at the clock."""
        self.start = self.last = time.monotonic()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Count the images of all processes."""
        now = time.monotonic()
        images = data_batch.get("inputs") if isinstance(data_batch, dict) else data_batch
        if images is not None:
            rate = len(images) * get_world_size() / max(now - self.last, 1e-9)
            runner.message_hub.update_scalar("train/images_per_s", rate)
        self.last = now
        if not torch.cuda.is_available() and (most := peak_memory_of_process()) is not None:
            runner.message_hub.update_scalar("train/memory", round(most / 2**20))

    def after_train(self, runner: Runner) -> None:
        """Say what there is."""
        info = runner.message_hub.runtime_info
        best = "".join(f", best {info[n]}" for n in sorted(info) if n.startswith("best_ckpt"))
        hours, rest = divmod(int(time.monotonic() - self.start), 3600)
        runner.logger.info(
            f"done: {runner.iter} iterations, in {hours}:{rest // 60:02}:{rest % 60:02} since the start or resume; "
            f"checkpoint {info.get('last_ckpt', 'none')}{best}, log {runner.log_dir}"
        )
