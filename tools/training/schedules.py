"""Schedules that do not fit a training's length, and runs that are resumed at their end."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner


@HOOKS.register_module()
class CheckLength(Hook):
    """Before training: stops a run that is complete, and warns of a warm-up or a schedule that does not fit."""

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        loop = runner.train_loop
        by_iterations = isinstance(loop, IterBasedTrainLoop)
        name = "max_iters" if by_iterations else "max_epochs"
        limit, done = getattr(loop, name), loop.iter if by_iterations else loop.epoch
        if done >= limit and getattr(runner, "is_complete", lambda: True)():
            runner.logger.info(
                f"nothing is left to do: the run in {runner.work_dir} has had {done} {name.removeprefix('max_')} of "
                f"{limit}; to extend it, give a larger {name}: --resume --reschedule "
                f"--cfg-options train_cfg.{name}=N"
            )
            raise SystemExit
        given = runner.param_schedulers or []
        schedulers = [s for each in given.values() for s in each] if isinstance(given, dict) else given
        lengths = [(limit, "epochs") if s.by_epoch else (loop.max_iters, "iterations") for s in schedulers]
        rising = [getattr(s, "start_factor", 1) < getattr(s, "end_factor", 1) for s in schedulers]
        for scheduler, rises, (length, unit) in zip(schedulers, rising, lengths, strict=True):
            if rises and scheduler.end > length and not (scheduler.by_epoch and by_iterations):
                runner.logger.warning(
                    f"the warm-up takes {scheduler.end} {unit} and training {length}: the learning rate never gets to "
                    f"its height; shorten the warm-up with --cfg-options param_scheduler.INDEX.end=N"
                )
        if all(rising):
            return
        if done and all(s.last_step >= s.end - 1 for s in schedulers):
            (rates, *_) = runner.optim_wrapper.get_lr().values()
            runner.logger.warning(f"the schedule of the run that goes on is at its end: its rate stays {rates[0]:.3g}")
        elif not (by_iterations and any(s.by_epoch for s in schedulers)):
            shares = [s.end / length for s, (length, _) in zip(schedulers, lengths, strict=True)]
            if (share := max(shares)) < 1:
                end, (length, unit) = schedulers[shares.index(share)].end, lengths[shares.index(share)]
                runner.logger.warning(
                    f"the schedule ends after {end} of {length} {unit}, and the learning rate stays what it is there; "
                    f"stretch it with --cfg-options param_scheduler.INDEX.end=N"
                )
