"""Signals stop a training at an update, and updates that are not finite are skipped and undone."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from forked import status_of
from mmengine.hooks import Hook
from mmengine.registry import OPTIM_WRAPPERS
from toy_run import KillAt, Killed, Points, SignalAt, Toy, assert_same, make, names, read, train_and_signal_twice

from backbones.openmmlab.hooks import FiniteGradientsHook, StopHook
from backbones.training.stopping import Stop

LENGTHS = {
    "iterations": ({"iters": 8, "interval": 100}, {"step": 3}),
    "epochs": ({"epochs": 2, "sampler": "DefaultSampler"}, {"step": 8}),
    "the end of an epoch": ({"epochs": 2, "sampler": "DefaultSampler", "val_interval": 1}, {"step": 5}),
    "accumulation": ({"iters": 9, "interval": 100, "accumulate": 3}, {"step": 3}),
    "validation": (
        {"iters": 8, "interval": 100, "val_interval": 4, "hooks": [{"type": "EMAHook"}]},
        {"validation": 4},
    ),
    "validation while gradients are accumulated": (
        {"iters": 8, "interval": 100, "val_interval": 5, "accumulate": 3},
        {"validation": 5},
    ),
    "two workers": ({"iters": 8, "interval": 100, "workers": 2}, {"step": 3, "number": signal.SIGUSR1}),
}


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler", "ignore:.*fork")
@pytest.mark.parametrize("name", LENGTHS)
def test_a_signal_saves_and_stops_and_the_run_goes_on_from_there(tmp_path, name):
    options, send = LENGTHS[name]
    options = dict(options)
    hooks = options.pop("hooks", [])
    make(tmp_path / "whole", hooks=hooks, **options).train()
    with pytest.raises(Stop) as stopped:
        make(tmp_path / "cut", hooks=[*hooks, SignalAt(**send)], **options).train()
    assert stopped.value.code == 143
    step = {"epochs": 9, "the end of an epoch": 6}.get(name, 6 if "accumulate" in options else 4)
    assert names(tmp_path / "cut")[-1] == f"iter_{step}.pth"
    runner = make(tmp_path / "cut", hooks=hooks, resume=True, **options)
    runner.train()
    assert runner.resumed_from.endswith(f"iter_{step}.pth")
    ends = [read((tmp_path / f / "last_checkpoint").read_text()) for f in ("whole", "cut")]
    for end in ends:
        end["message_hub"]["runtime_info"].pop("keep_ckpt_ids", None)
        end["message_hub"]["resumed_keys"].pop("keep_ckpt_ids", None)
    assert_same(*ends)
    assert f"iter_{step}.pth" not in names(tmp_path / "cut")  # it stood in for a regular one


class SignalAll(Hook):
    """Sends SIGTERM to each worker, as schedulers do, from a process that is not their parent, and to this one."""

    priority = "VERY_HIGH"

    def __init__(self, step=None, validation=None):
        self.step, self.validation = step, validation

    def _send(self):
        for pid in [*(child.pid for child in multiprocessing.active_children()), os.getpid()]:
            subprocess.run(["kill", "-TERM", str(pid)], check=True)
        time.sleep(0.1)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.step:
            self._send()

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 1 and runner.iter == self.validation:
            self._send()


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler", "ignore:.*fork")
@pytest.mark.parametrize("at", [{"step": 4}, {"validation": 3}])
def test_a_signal_to_the_workers_of_training_and_validation_ends_none_of_them(tmp_path, at):
    options = {"iters": 6, "interval": 100, "val_interval": 3, "workers": 1, "count": 40}
    with pytest.raises(Stop):
        make(tmp_path, hooks=[SignalAll(**at)], **options).train()
    assert names(tmp_path) == [f"iter_{5 if 'step' in at else 3}.pth"]


def test_a_regular_file_stays_where_a_run_stops_in_its_validation(tmp_path):
    """It is written again under its name, and is not one that stood in for a regular one."""
    options = {"iters": 6, "interval": 3, "keep": -1, "val_interval": 3}
    with pytest.raises(Killed):
        make(tmp_path, hooks=[KillAt(validation=3)], **options).train()
    with pytest.raises(Stop):
        make(tmp_path, hooks=[SignalAt(validation=3)], resume=True, **options).train()
    make(tmp_path, resume=True, **options).train()
    assert names(tmp_path) == ["iter_3.pth", "iter_6.pth"]


def test_a_stop_that_cannot_save_says_so(tmp_path, monkeypatch):
    def put(self, data, path):
        if "iter_2" not in str(path):
            raise OSError("No space left on device")
        Path(path).write_bytes(data)

    monkeypatch.setattr("mmengine.fileio.backends.LocalBackend.put", put)
    runner = make(tmp_path, iters=8, interval=2, hooks=[SignalAt(step=2)])
    with pytest.raises(SystemExit, match=r"after iteration 3, which could not be saved; .*iter_2\.pth") as stopped:
        runner.train()
    assert not isinstance(stopped.value, Stop)
    assert runner.message_hub.get_info("last_ckpt").endswith("iter_2.pth")


def test_the_handlers_are_those_of_before_after_training(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    make(tmp_path, iters=1).train()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("later", [True, False])
def test_a_later_signal_is_not_held_back(tmp_path, later):
    """Those that come together, as schedulers send them to all processes, are one."""
    assert status_of(train_and_signal_twice, tmp_path, 0.0 if later else 60.0) == (-signal.SIGTERM if later else 143)


def test_hooks_can_be_turned_off(tmp_path):
    runner = make(tmp_path, iters=1, stop=None, gradients=None, progress=None)
    assert not any(isinstance(hook, (StopHook, FiniteGradientsHook)) for hook in runner.hooks)
    runner.train()


class Poisoned(Points):
    """Some samples are not numbers."""

    def __init__(self, bad, count=22):
        super().__init__(count, noise=False)
        self.bad = bad

    def __getitem__(self, i):
        return {"inputs": torch.full((3,), float("nan") if i in self.bad else float(i))}


def poisoned(folder, bad, **options):
    runner = make(folder, **options)
    runner._train_dataloader = {**runner._train_dataloader, "dataset": Poisoned(bad)}
    runner._train_loop = {**runner._train_loop, "dataloader": runner._train_dataloader}
    return runner


def steps(runner):
    """Weights and batch-norm statistics after each step."""
    seen = []

    class Keep(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append({k: v.clone() for k, v in runner.model.state_dict().items()})

    runner.register_hook(Keep())
    runner.train()
    return seen


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_update_that_is_not_finite_is_skipped_and_undone(tmp_path, accumulate):
    options = {"iters": 6, "accumulate": accumulate, "batch_size": 11, "sampler": "DefaultSampler"}
    runner = poisoned(tmp_path, {7}, **options)  # in one of the two batches of each pass
    warned = []
    runner.logger.warning = warned.append
    seen = steps(runner)
    assert all(v.isfinite().all() for s in seen[accumulate - 1 :: accumulate] for v in s.values())
    if accumulate == 1:
        changes = [any((a[k] != b[k]).any() for k in a) for a, b in itertools.pairwise(seen)]
        assert 2 <= changes.count(False) <= 3 and True in changes
    assert runner.message_hub.get_info("skipped_updates") == 3
    assert any("gradients are not finite (first in linear.weight" in w and "3 so far" in w for w in warned)


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler")
@pytest.mark.parametrize("kind", [{"type": FiniteGradientsHook}, {}], ids=["named", "an option alone"])
def test_it_stops_after_some_in_a_row(kind, tmp_path):
    runner = poisoned(tmp_path, set(range(22)), gradients={**kind, "limit": 3}, iters=9)
    with pytest.raises(RuntimeError, match=r"iteration 3: .*3 times in a row.*last good file is .*iter_2\.pth"):
        runner.train()


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler")
def test_the_count_goes_on_where_a_run_is_resumed(tmp_path):
    options = {"iters": 6, "batch_size": 22, "sampler": "DefaultSampler"}
    with pytest.raises(Killed):
        poisoned(tmp_path, {7}, hooks=[KillAt(3)], **options).train()
    runner = poisoned(tmp_path, {7}, resume=True, **options)
    runner.train()
    assert runner.message_hub.get_info("skipped_updates") == 6


def test_a_limit_that_means_nothing_is_refused():
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        FiniteGradientsHook(limit=0)


def test_bfloat16_on_any_device(tmp_path):
    wrapper = OPTIM_WRAPPERS.get("BFloat16OptimWrapper")
    seen = []

    class Dtypes(Toy):
        def forward(self, inputs, mode="tensor"):
            seen.append(self.linear(torch.stack(inputs)).dtype)
            return super().forward(inputs, mode)

    runner = make(tmp_path, iters=2, wrapper="BFloat16OptimWrapper")
    runner.model = Dtypes()
    runner.train()
    assert type(runner.optim_wrapper) is wrapper and set(seen) == {torch.bfloat16}
    assert read(tmp_path / "iter_2.pth")["state_dict"]["linear.weight"].dtype == torch.float32
