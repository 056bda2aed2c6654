"""Whether a run may go on with a file of another one, and what it does then."""

import pytest
import torch
from toy_run import KillAt, Killed, make, read


def started(folder, **options):
    with pytest.raises(Killed):
        make(folder, hooks=[KillAt(3)], **options).train()


OTHER = {
    "max_iters": ({"iters": 9}, "max_iters 6 -> 9"),
    "batch size": ({"batch_size": 2}, "batch size 4 -> 2"),
    "learning rate": ({"lr": 0.2}, "optim_wrapper "),
    "accumulation": ({"accumulate": 3}, "accumulated batches 1 -> 3"),
    "data": ({"count": 21}, "images of the training data 22 -> 21"),
}


@pytest.mark.parametrize("name", OTHER)
def test_another_schedule_or_batch_size_is_refused(tmp_path, name):
    options, message = OTHER[name]
    started(tmp_path)
    with pytest.raises(ValueError, match=rf"cannot go on with the run of .*iter_3\.pth.*{message}.*reschedule=True"):
        make(tmp_path, resume=True, **options).train()


def test_other_data_is_refused_even_if_asked_for(tmp_path):
    started(tmp_path)
    with pytest.raises(ValueError, match=r"images of the training data 22 -> 21.*load_from$"):
        make(tmp_path, resume=True, count=21, cfg={"reschedule": True}).train()


def rates(runner):
    return [group["lr"] for group in runner.optim_wrapper.param_groups]


def test_a_run_goes_on_by_another_schedule_where_asked_to(tmp_path):
    """Its rates are those that this config would have had at this step; the optimizer's moments are the file's."""
    started(tmp_path)
    whole = make(tmp_path / "whole", lr=0.2, iters=9)
    whole.train()
    runner = make(tmp_path, resume=True, lr=0.2, iters=9, cfg={"reschedule": True})
    first = {}

    def remember(*args, step=runner.call_hook, **kwargs):
        if args[0] == "before_train":
            first["moments"] = [s["exp_avg"].clone() for s in runner.optim_wrapper.state_dict()["state"].values()]
            first["rates"] = rates(runner)
        return step(*args, **kwargs)

    runner.call_hook = remember
    runner.train()
    file = read(tmp_path / "iter_8.pth")
    assert runner.iter == 9 and file["meta"]["run"]["max_iters"] == 9
    assert rates(runner) == pytest.approx(rates(whole))
    assert first["rates"][0] == pytest.approx(0.2 * 0.5, rel=1e-3)  # half way down the cosine of 6 steps
    assert any(m.abs().sum() > 0 for m in first["moments"])


def test_with_another_batch_size_the_place_in_the_images_is_kept(tmp_path):
    with pytest.raises(Killed):
        make(tmp_path, hooks=[KillAt(4)]).train()
    runner = make(tmp_path, resume=True, batch_size=8, iters=4, cfg={"reschedule": True})
    seen = []

    def count(*args, step=runner.call_hook, **kwargs):
        if args[0] == "before_train_iter":
            seen.append((runner.iter, torch.stack(kwargs["data_batch"]["inputs"])))
        return step(*args, **kwargs)

    runner.call_hook = count
    runner.train()
    assert [i for i, _ in seen] == [2, 3]
    whole = make(tmp_path / "whole", batch_size=8, iters=4)
    expected = []

    def keep(*args, step=whole.call_hook, **kwargs):
        if args[0] == "before_train_iter":
            expected.append(torch.stack(kwargs["data_batch"]["inputs"]))
        return step(*args, **kwargs)

    whole.call_hook = keep
    whole.train()
    assert all(torch.equal(a, b) for (_, a), b in zip(seen, expected[2:], strict=True))


def test_a_seed_that_was_drawn_goes_on(tmp_path):
    """Without a seed in the config the file's one decides."""
    options = {"randomness": {}}
    runners = [make(tmp_path / name, hooks=hooks) for name, hooks in (("a", [KillAt(3)]), ("a", []))]
    for runner, resume in zip(runners, (False, True), strict=True):
        runner._randomness_cfg = dict(options["randomness"], seed=None)
        runner._seed, runner._resume = (5, False) if not resume else (77, True)
    with pytest.raises(Killed):
        runners[0].train()
    runners[1].train()
    whole = make(tmp_path / "b")
    whole._randomness_cfg, whole._seed = {"seed": None}, 5
    whole.train()
    ends = [read(tmp_path / n / "iter_6.pth")["state_dict"]["linear.weight"] for n in "ab"]
    assert torch.equal(*ends)
