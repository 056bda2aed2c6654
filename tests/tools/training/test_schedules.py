"""Runs at their end, warm-ups that are too long, and schedules that ended before the run."""

import logging
from types import SimpleNamespace

import pytest
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from training.schedules import CheckLength


def check(caplog, kind, done, limit, schedulers, iterations_of_an_epoch=10):
    """What is said before a training."""
    loop = kind.__new__(kind)
    by_iterations = kind is IterBasedTrainLoop
    loop._iter = done if by_iterations else done * iterations_of_an_epoch
    loop._epoch = 0 if by_iterations else done
    loop._max_iters = limit if by_iterations else limit * iterations_of_an_epoch
    loop._max_epochs = 1 if by_iterations else limit
    runner = SimpleNamespace(
        train_loop=loop,
        work_dir="here",
        logger=logging.getLogger("check"),
        param_schedulers=schedulers,
        optim_wrapper=SimpleNamespace(get_lr=lambda: {"lr": [1e-6]}),
    )
    caplog.clear()
    with caplog.at_level(logging.INFO, "check"):
        CheckLength().before_train(runner)
    return [record.getMessage() for record in caplog.records]


def warmup(end, by_epoch=False):
    return SimpleNamespace(start_factor=0.1, end_factor=1.0, end=end, by_epoch=by_epoch, last_step=0)


def decay(end, last_step, by_epoch=False):
    return SimpleNamespace(end=end, by_epoch=by_epoch, last_step=last_step)


@pytest.mark.parametrize(("kind", "name"), [(IterBasedTrainLoop, "iters"), (EpochBasedTrainLoop, "epochs")])
def test_a_complete_run_stops_and_says_how_to_extend_it(kind, name, caplog):
    with pytest.raises(SystemExit) as ended:
        check(caplog, kind, 3, 3, None)
    assert not ended.value.code  # a scheduler that starts it again need not think that it failed
    assert f"has had 3 {name} of 3" in caplog.text and f"train_cfg.max_{name}=N" in caplog.text
    assert check(caplog, kind, 3, 4, None) == []


@pytest.mark.parametrize(
    ("kind", "scheduler", "length"),
    [
        (IterBasedTrainLoop, warmup(6), "6 iterations and training 5"),
        (EpochBasedTrainLoop, warmup(51), "51 iterations and training 50"),
        (EpochBasedTrainLoop, warmup(6, by_epoch=True), "6 epochs and training 5"),
        (IterBasedTrainLoop, warmup(5), None),
        (EpochBasedTrainLoop, warmup(50), None),
        (IterBasedTrainLoop, warmup(6, by_epoch=True), None),  # an epoch has nobody knows how many iterations
        (IterBasedTrainLoop, decay(6, 0), None),
        (IterBasedTrainLoop, decay(5, 0), None),
    ],
)
def test_a_warmup_that_is_longer_than_training(kind, scheduler, length, caplog):
    for schedulers in ([scheduler], {"optimizer": [scheduler]}):
        lines = check(caplog, kind, 0, 5, schedulers)
        assert len(lines) == (length is not None)
        assert length is None or f"the warm-up takes {length}" in lines[0]


@pytest.mark.parametrize(
    ("kind", "schedulers", "said"),
    [
        (IterBasedTrainLoop, [warmup(2), decay(4, 0)], "4 of 5 iterations"),
        (EpochBasedTrainLoop, [warmup(20), decay(4, 0, by_epoch=True)], "4 of 5 epochs"),
        (EpochBasedTrainLoop, [decay(40, 0)], "40 of 50 iterations"),
        (EpochBasedTrainLoop, [warmup(2), decay(50, 0)], None),
        (EpochBasedTrainLoop, [decay(5, 0, by_epoch=True)], None),
        (IterBasedTrainLoop, [decay(4, 0, by_epoch=True)], None),
        (IterBasedTrainLoop, [warmup(2)], None),
        (IterBasedTrainLoop, [decay(10**9, 0)], None),
    ],
)
def test_a_schedule_that_is_shorter_than_training(kind, schedulers, said, caplog):
    lines = check(caplog, kind, 0, 5, schedulers)
    assert len(lines) == (said is not None)
    assert said is None or lines[0].startswith(f"the schedule ends after {said}, and the learning rate stays")


def test_a_schedule_that_ended_before_the_run(caplog):
    ended = decay(5, 5)
    assert check(caplog, IterBasedTrainLoop, 5, 9, [ended]) == [
        "the schedule of the run that goes on is at its end: its rate stays 1e-06"
    ]
    assert check(caplog, IterBasedTrainLoop, 5, 9, [ended, decay(9, 5)]) == []
    assert check(caplog, IterBasedTrainLoop, 5, 9, [decay(10**9, 5)]) == []  # mmengine's default end
    warmed = warmup(2)
    warmed.last_step = 5
    assert check(caplog, IterBasedTrainLoop, 5, 9, [warmed]) == []  # and constant from there
