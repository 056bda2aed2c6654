"""mmengine's training loops, which start anywhere in the stream of batches, and whose validation disturbs nothing."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from mmengine.dist import broadcast, broadcast_object_list, get_dist_info
from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapperDict
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from backbones.training.data import Places, make_resumable
from backbones.training.randomness import random_states, set_random_states

__all__ = ["ResumableEpochLoop", "ResumableIterLoop", "at_update_boundary"]

_NO_BATCHES = "train_dataloader gives no batches: its dataset is smaller than a batch, or empty"


def at_update_boundary(runner: Runner, iterations: int | None = None) -> bool:
    """Whether nothing is accumulated after so many iterations; default: after the one that is running."""
    loop = runner.train_loop
    iterations = loop.iter + 1 if iterations is None else iterations
    wrapper = runner.optim_wrapper
    each = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    counts = math.lcm(*(getattr(one, "_accumulative_counts", 1) for one in each))
    return iterations % counts == 0 or iterations >= loop.max_iters


class _Resumable:
    """What both loops share: where they are in the stream, and validation.

    Attributes:
        epoch_of_stream: How often the loader has been gone through.
        batch: How many batches of the present pass have been trained with.
        training_states: While it validates, the random states that training goes on with.
        validated: Whether a file that is written now need not be validated where a run goes on from it.
    """

    runner: Runner
    dataloader: Any
    epoch_of_stream = batch = 0
    training_states: dict[str, Any] | None = None
    validated = False
    _resumed = False

    def _prepare(self) -> None:
        rank, world_size = get_dist_info()
        seed = [self.runner.seed]  # processes may have different ones, the stream has one
        broadcast_object_list(seed)
        self.seed = int(seed[0])
        if hasattr(self._sampler, "seed"):
            self._sampler.seed = self.seed
        if not make_resumable(self.dataloader, self.seed, rank, world_size):
            print_log(
                f"a resumed run will not be the unbroken one: {type(self.dataloader.dataset).__name__} cannot be "
                f"started in the middle",
                "current",
                30,
            )

    @property
    def places(self) -> Places | None:
        """Where the next pass starts, if that can be said."""
        batches = self.dataloader.batch_sampler
        return batches if isinstance(batches, Places) else None

    def position(self) -> dict[str, Any]:
        """Where the stream is, for a file."""
        return {
            "epoch": self.epoch_of_stream,
            "batch": self.batch,
            "seed": self.seed,
            "sampler_seed": getattr(self._sampler, "seed", None),
            "validated": self.validated,
        }

    def go_to(self, position: dict[str, Any]) -> None:
        """Start where a file says that the stream was."""
        self.epoch_of_stream, self.batch, self.seed = position["epoch"], position["batch"], position["seed"]
        if self.places is not None:
            self.places.seed = self.dataloader.dataset.seed = self.seed
        if position["sampler_seed"] is not None:
            self._sampler.seed = position["sampler_seed"]
        self._resumed, self.validated = True, position.get("validated", False)

    @property
    def _sampler(self) -> Any:
        return getattr(self.dataloader.batch_sampler, "sampler", None) or self.dataloader.sampler

    def _start_pass(self, epoch: int) -> Iterator[Any]:
        """The batches of one pass from ``batch`` on."""
        if self.places is not None:
            self.places.epoch, self.places.skip = self.epoch_of_stream, self.batch
        for owner in (self.dataloader.sampler, self._sampler):
            if hasattr(owner, "set_epoch"):
                owner.set_epoch(epoch)
        return iter(self.dataloader)

    def _resume(self) -> None:
        """Before the first batch: the random states of the file, and the validation that it was saved before."""
        if self._resumed:
            self.runner.restore_random_states()
            if self.validated:
                self.runner.validated()
            else:
                self.validate_if_due()
            self.validated = False

    def validation_is_due(self) -> bool:
        """Whether the state of the loop is one after which mmengine validates."""
        raise NotImplementedError

    def validate_if_due(self) -> None:
        """Validate where it is time to; training goes on with the random numbers that it would have had without."""
        self._decide_current_val_interval()  # type: ignore[attr-defined]
        if not self.validation_is_due():
            return
        self._agree_on_buffers()
        self.training_states = random_states()
        try:
            self.runner.val_loop.run()
        finally:
            set_random_states(self.training_states)
            self.training_states, self.validated = None, False
        self.runner.validated()

    def _agree_on_buffers(self) -> None:
        """All processes measure the network of the file, which has the first one's statistics of batch norms."""
        means = [hook.ema_model for hook in self.runner.hooks if isinstance(hook, EMAHook)]
        for network in [self.runner.model, *means] if self.runner.world_size > 1 else []:
            for buffer in network.buffers():
                broadcast(buffer.data)


@LOOPS.register_module()
class ResumableIterLoop(_Resumable, IterBasedTrainLoop):
    """mmengine's loop by iterations. A run that is resumed where it would validate validates first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare()
        self._batches: Iterator[Any] | None = None

    def validation_is_due(self) -> bool:
        """As in mmengine."""
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        return self.runner.val_loop is not None and 0 < self._iter >= self.val_begin and due

    def run(self) -> Any:
        """Train until the end."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self._resume()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(self._next())
            self.validate_if_due()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _next(self) -> Any:
        """The next batch; the loader is gone through again where it ends."""
        for _ in range(2):
            if self._batches is None:
                self._batches = self._start_pass(self.epoch_of_stream)
            with contextlib.suppress(StopIteration):
                batch = next(self._batches)
                self.batch += 1
                return batch
            self.epoch_of_stream, self.batch, self._batches = self.epoch_of_stream + 1, 0, None
        raise ValueError(_NO_BATCHES)


@LOOPS.register_module()
class ResumableEpochLoop(_Resumable, EpochBasedTrainLoop):
    """mmengine's loop by epochs, which goes on in the middle of one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if len(self.dataloader) == 0:  # schedules by epochs would fail on it
            raise ValueError(_NO_BATCHES)
        self._prepare()

    def validation_is_due(self) -> bool:
        """As in mmengine."""
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        at_end = self.batch == 0 and self._epoch > 0
        return self.runner.val_loop is not None and at_end and self._epoch >= self.val_begin and due

    def run(self) -> Any:
        """Train until the end."""
        self.runner.call_hook("before_train")
        self._resume()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self.validate_if_due()
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        """Train what is left of an epoch."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for data_batch in self._start_pass(self._epoch):
            self.batch += 1
            self.run_iter(self.batch - 1, data_batch)
        self.epoch_of_stream, self.batch = self._epoch + 1, 0  # where a file goes on that the hooks write
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1
