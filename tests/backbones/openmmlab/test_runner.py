"""The runner on a toy model: nothing of a killed run is lost, and no file is trusted."""

import pickle

import pytest
import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from backbones.openmmlab.runner import SafeCheckpointHook, SafeRunner


class Toy(BaseModel):
    """A linear layer with dropout, so that resuming exactly needs the random state."""

    def __init__(self, width=4):
        super().__init__()
        self.linear = nn.Linear(3, width)

    def forward(self, inputs, mode="tensor"):
        x = torch.stack(inputs)
        return {"loss": nn.functional.dropout(self.linear(x), 0.5).square().mean()}


class Points(Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, i):
        return {"inputs": torch.linspace(0, i, 3)}


class Killed(BaseException):
    """Stands for a kill signal: no handler of the runner catches it."""


def make(folder, *, iters=6, keep=2, resume=False, load_from=None, width=4, **hooks):
    torch.manual_seed(0)
    runner = SafeRunner(
        model=Toy(width),
        work_dir=str(folder),
        train_dataloader={
            "batch_size": 4,
            "dataset": Points(),
            "sampler": {"type": "InfiniteSampler", "shuffle": True},
            "collate_fn": {"type": "pseudo_collate"},
        },
        train_cfg={"by_epoch": False, "max_iters": iters},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.1}},
        param_scheduler={"type": "CosineAnnealingLR", "by_epoch": False, "T_max": 6},
        default_hooks={
            "checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False, "max_keep_ckpts": keep},
            **hooks,
        },
        resume=resume,
        load_from=load_from,
        randomness={"seed": 0},
        experiment_name=f"toy-{folder}-{iters}-{resume}-{width}",
        log_level="ERROR",
    )
    return runner


def weights(folder, step):
    return torch.load(folder / f"iter_{step}.pth", weights_only=False)["state_dict"]["linear.weight"]


def names(folder):
    return sorted(p.name for p in folder.glob("*.pth*"))


@pytest.mark.parametrize("keep", [1, 2])
def test_old_checkpoints_go_only_after_the_new_one_is_there(tmp_path, keep, monkeypatch):
    make(tmp_path, iters=4, keep=keep).train()
    assert names(tmp_path) == [f"iter_{i}.pth" for i in range(5 - keep, 5)]

    def die(*args, **kwargs):
        raise Killed

    monkeypatch.setattr("mmengine.runner.checkpoint.torch.save", die)
    with pytest.raises(Killed):
        make(tmp_path, iters=6, keep=keep, resume=True).train()
    assert "iter_4.pth" in names(tmp_path)
    assert weights(tmp_path, 4).isfinite().all()


def test_a_file_appears_only_when_complete(tmp_path, monkeypatch):
    from mmengine.fileio.backends import LocalBackend

    def half(self, data, path):
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise Killed

    monkeypatch.setattr(LocalBackend, "put", half)
    with pytest.raises(Killed):
        make(tmp_path, iters=1).train()
    assert names(tmp_path) == ["iter_1.pth.part"]


def test_a_resumed_run_ends_with_the_numbers_of_an_uninterrupted_one(tmp_path, monkeypatch):
    make(tmp_path / "whole").train()

    def die_in_the_fourth_step(self, runner, *args, **kwargs):
        if runner.iter == 3:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("mmengine.hooks.IterTimerHook.before_train_iter", die_in_the_fourth_step)
        make(tmp_path / "cut").train()
    assert names(tmp_path / "cut") == ["iter_2.pth", "iter_3.pth"]
    make(tmp_path / "cut", resume=True).train()
    assert torch.equal(weights(tmp_path / "whole", 6), weights(tmp_path / "cut", 6))
    assert not torch.equal(weights(tmp_path / "whole", 5), weights(tmp_path / "whole", 6))


def test_resume_passes_over_a_damaged_file(tmp_path):
    make(tmp_path, iters=3, keep=3).train()
    newest = tmp_path / "iter_3.pth"
    newest.write_bytes(newest.read_bytes()[:200])
    runner = make(tmp_path, resume=True)
    runner.train()
    assert runner.iter == 6
    assert runner._load_from == str(tmp_path / "iter_2.pth")


def test_resume_without_any_checkpoint_starts_from_the_beginning(tmp_path):
    make(tmp_path, iters=1, resume=True).train()
    assert names(tmp_path) == ["iter_1.pth"]


def test_a_checkpoint_of_another_model_is_an_error_when_resuming(tmp_path):
    make(tmp_path, iters=1).train()
    with pytest.raises(ValueError, match=r"iter_1\.pth is not a checkpoint of this config's model"):
        make(tmp_path, resume=True, width=5).train()


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    with (tmp_path / "evil.pth").open("wb") as file:
        pickle.dump({"state_dict": Payload()}, file, protocol=2)
    with pytest.raises(ValueError, match=r"refused to read .*evil\.pth"):
        make(tmp_path, load_from=str(tmp_path / "evil.pth")).train()
    assert not (tmp_path / "executed").exists()


def test_web_addresses_are_not_read(tmp_path):
    with pytest.raises(ValueError, match="read from local files: download"):
        make(tmp_path, load_from="https://example.org/x.pth").train()


def test_a_tilde_is_the_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    make(tmp_path, iters=2).train()
    runner = make(tmp_path / "more", load_from="~/iter_2.pth")
    runner.load_or_resume()
    assert runner._has_loaded


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"type": "CheckpointHook"},
        {"type": "mmengine.CheckpointHook", "_scope_": "mmengine"},
        {"type": CheckpointHook},
        {"type": "SafeCheckpointHook"},
        SafeCheckpointHook(interval=3),
    ],
)
def test_the_runner_brings_its_checkpoint_hook(tmp_path, given):
    given = {**given, "interval": 3} if isinstance(given, dict) else given
    (hook,) = (h for h in make(tmp_path, checkpoint=given).hooks if isinstance(h, CheckpointHook))
    assert type(hook) is SafeCheckpointHook and hook.interval == 3


class Other(CheckpointHook):
    pass


@pytest.mark.parametrize("given", [Other(), {"type": Other}, {"type": "LoggerHook"}, {"type": "None"}, Hook()])
def test_another_checkpoint_hook_is_refused(tmp_path, given):
    with pytest.raises(TypeError, match=r"default_hooks\.checkpoint must be .*SafeCheckpointHook.*, got"):
        make(tmp_path, checkpoint=given)


def test_checkpoints_can_be_turned_off(tmp_path):
    assert not any(isinstance(hook, CheckpointHook) for hook in make(tmp_path, checkpoint=None).hooks)
