"""A killed run that is resumed is the unbroken one: every number in its last file."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from toy_run import KillAt, Killed, assert_same, make, names, read

from backbones.openmmlab.loops import at_update_boundary

EMA = {"type": "EMAHook"}
BEST = {"save_best": "score", "rule": "less"}  # the first is always the best: its regular file is written again
RUNS = {
    "iterations": {"iters": 9},
    "two workers": {"iters": 9, "workers": 2},
    "finite sampler": {"iters": 9, "sampler": "DefaultSampler"},
    "epochs": {"epochs": 3, "sampler": "DefaultSampler", "checkpoint": {"by_epoch": False}},
    "mean weights": {"iters": 9, "hooks": [EMA]},
    "validation": {"iters": 9, "val_interval": 3, "hooks": [EMA], "checkpoint": BEST},
    "accumulation": {"iters": 10, "accumulate": 3},
    "accumulation over epochs": {"epochs": 3, "accumulate": 4, "sampler": "DefaultSampler"},
    "validation by epochs": {
        "epochs": 3,
        "sampler": "DefaultSampler",
        "val_interval": 1,
        "workers": 1,
        "checkpoint": BEST,
    },
}


def last(folder):
    return read(Path((folder / "last_checkpoint").read_text()))


def cut(folder, kills, **options):
    """Train with a kill before each of these steps, resumed each time."""
    hooks = options.pop("hooks", [])
    for step in kills:
        with pytest.raises(Killed):
            make(folder, resume=True, hooks=[*hooks, KillAt(step)], **options).train()
    make(folder, resume=True, hooks=hooks, **options).train()


@pytest.mark.filterwarnings("ignore:This DataLoader", "ignore:.*fork", "ignore:Detected call of `scheduler")
@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_that_is_resumed_is_the_unbroken_one(tmp_path, name):
    options = dict(RUNS[name])
    make(tmp_path / "whole", **options).train()
    cut(tmp_path / "cut", [2, 3, 7] if "epochs" not in options else [3, 6, 16], **options)
    assert_same(last(tmp_path / "whole"), last(tmp_path / "cut"))
    best = [sorted(n for n in names(tmp_path / f) if n.startswith("best")) for f in ("whole", "cut")]
    assert best[0] == best[1]


def test_the_number_of_workers_may_change(tmp_path):
    make(tmp_path / "whole", workers=2).train()
    with pytest.raises(Killed):
        make(tmp_path / "cut", hooks=[KillAt(3)]).train()
    make(tmp_path / "cut", workers=1, resume=True).train()
    assert_same(last(tmp_path / "whole"), last(tmp_path / "cut"))


def test_the_samples_differ_from_pass_to_pass(tmp_path):
    """The same images, drawn again, are augmented otherwise."""
    seen = []

    def collect(runner):
        step = runner.train_loop.run_iter

        def run_iter(*args):
            seen.append(torch.stack(args[-1]["inputs"]))
            step(*args)

        runner.train_loop.run_iter = run_iter

    runner = make(tmp_path, epochs=3, sampler="DefaultSampler", batch_size=22, lr=0.0)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    collect(runner)
    runner.train()
    rows = torch.stack([x.sort(dim=0).values for x in seen])
    assert len(seen) == 3 and all((rows[i] != rows[j]).any() for i in range(3) for j in range(i))


@pytest.mark.parametrize(("step", "iters"), [(3, 6), (6, 6), (3, 3)])
def test_a_run_killed_in_validation_validates_again(tmp_path, step, iters):
    options = {"val_interval": 3, "iters": iters, "checkpoint": BEST}
    whole = make(tmp_path / "whole", **options)
    whole.train()
    with pytest.raises(Killed):
        make(tmp_path / "cut", hooks=[KillAt(validation=step)], **options).train()
    runner = make(tmp_path / "cut", resume=True, **options)
    runner.train()
    scores = [r.message_hub.get_scalar("val/score").data[0] for r in (whole, runner)]
    assert len(scores[0]) == iters // 3 and (scores[0] == scores[1]).all()
    assert_same(last(tmp_path / "whole"), last(tmp_path / "cut"))
    assert runner.is_complete()


def test_with_several_optimizers_an_update_ends_where_none_accumulates():
    def wrapper(counts):
        return OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]), accumulative_counts=counts)

    loop = SimpleNamespace(iter=0, max_iters=10)
    runner = SimpleNamespace(optim_wrapper=OptimWrapperDict(a=wrapper(2), b=wrapper(3)), train_loop=loop)
    assert [i for i in range(11) if at_update_boundary(runner, i)] == [0, 6, 10]


def test_validation_does_not_move_the_training(tmp_path):
    make(tmp_path / "with", val_interval=2).train()
    make(tmp_path / "without").train()
    assert_same(last(tmp_path / "with")["state_dict"], last(tmp_path / "without")["state_dict"])


def test_another_loop_is_left_alone_and_said_so(tmp_path, caplog):
    from mmengine.registry import LOOPS
    from mmengine.runner import IterBasedTrainLoop

    class Own(IterBasedTrainLoop):
        pass

    LOOPS.register_module(module=Own, force=True)
    runner = make(tmp_path, iters=2)
    runner.logger.setLevel("WARNING")
    runner._train_loop = {"type": "Own", "max_iters": 2}
    runner.train()
    assert runner.iter == 2
