"""Files of a training: whole or not there, replaced before they are removed, and believed only if undamaged."""

import errno
import pickle
import random
import shutil
import subprocess

import pytest
import torch
from mmengine.fileio.backends import LocalBackend
from mmengine.hooks import CheckpointHook, Hook
from toy_run import KillAt, Killed, make, names, read

from backbones.openmmlab.checkpoints import SafeCheckpointHook
from backbones.weights.integrity import beside, verify


def weights(folder, step):
    return read(folder / f"iter_{step}.pth")["state_dict"]["linear.weight"]


@pytest.mark.parametrize("keep", [1, 2])
def test_old_checkpoints_go_only_after_the_new_one_is_there(tmp_path, keep, monkeypatch):
    with pytest.raises(Killed):
        make(tmp_path, keep=keep, hooks=[KillAt(4)]).train()
    assert names(tmp_path) == [f"iter_{i}.pth" for i in range(5 - keep, 5)]

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("mmengine.runner.checkpoint.torch.save", die)
        make(tmp_path, keep=keep, resume=True).train()
    assert "iter_4.pth" in names(tmp_path)
    assert weights(tmp_path, 4).isfinite().all()


def test_fewer_files_are_kept_where_a_resumed_run_asks_for_that(tmp_path):
    with pytest.raises(Killed):
        make(tmp_path, keep=4, hooks=[KillAt(4)]).train()
    make(tmp_path, keep=1, resume=True).train()
    assert sorted(p.name for p in tmp_path.glob("iter*")) == ["iter_6.pth", "iter_6.pth.sha256"]


def test_a_file_appears_only_when_complete(tmp_path, monkeypatch):
    def half(self, data, path):
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise Killed

    monkeypatch.setattr(LocalBackend, "put", half)
    with pytest.raises(Killed):
        make(tmp_path, iters=1).train()
    assert not list(tmp_path.glob("*.pth*"))


def test_what_a_killed_writer_left_goes(tmp_path):
    (tmp_path / "iter_1.pth.part").write_bytes(b"half")
    make(tmp_path, iters=1).train()
    assert not list(tmp_path.rglob("*.part*"))


def test_a_written_file_is_read_before_it_counts(tmp_path, monkeypatch):
    """A disk that loses bytes: the file is never there, and training goes on."""
    whole = LocalBackend.put

    def lossy(self, data, path):
        whole(self, data[:-100], path)

    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, "put", lossy)
        runner = make(tmp_path, iters=2, checkpoint={"max_failures": 9})
        with pytest.raises(RuntimeError, match="its last checkpoint could not be written"):
            runner.train()
    assert names(tmp_path) == [] and runner.iter == 2


def full(count):
    """A disk that is full for the first so many files."""
    left, whole = [count], LocalBackend.put

    def put(self, data, path):
        if left[0] > 0:
            left[0] -= 1
            with open(path, "wb") as file:
                file.write(data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(self, data, path)

    return put


def test_training_goes_on_while_the_disk_is_full(tmp_path, monkeypatch):
    with pytest.raises(Killed):
        make(tmp_path, hooks=[KillAt(2)]).train()
    monkeypatch.setattr(LocalBackend, "put", full(2))
    runner = make(tmp_path, resume=True)
    errors = []
    runner.logger.error = errors.append
    runner.train()
    assert names(tmp_path) == ["iter_5.pth", "iter_6.pth"]
    assert "No space left" in errors[0] and "1 of 3 failures" in errors[1] and "2 of 3" in errors[3]
    assert "last good file is" in errors[1] and "iter_2.pth" in errors[1]


def test_training_stops_with_its_last_good_file_where_the_disk_stays_full(tmp_path, monkeypatch):
    with pytest.raises(Killed):
        make(tmp_path, hooks=[KillAt(2)]).train()
    monkeypatch.setattr(LocalBackend, "put", full(99))
    with pytest.raises(RuntimeError, match=r"3 checkpoints in a row could not be written .*iter_2\.pth"):
        make(tmp_path, resume=True).train()
    assert names(tmp_path) == ["iter_1.pth", "iter_2.pth"]
    assert (tmp_path / "last_checkpoint").read_text().endswith("iter_2.pth")


def test_a_run_whose_last_file_could_not_be_written_has_not_succeeded(tmp_path, monkeypatch):
    with pytest.raises(Killed):
        make(tmp_path, hooks=[KillAt(4)]).train()
    with (
        monkeypatch.context() as patch,
        pytest.raises(RuntimeError, match=r"complete, but .* came after .*iter_4\.pth"),
    ):
        patch.setattr(LocalBackend, "put", full(2))
        make(tmp_path, resume=True).train()
    make(tmp_path, resume=True).train()
    assert "iter_6.pth" in names(tmp_path)


def test_the_best_file_goes_only_once_a_better_one_is_there(tmp_path, monkeypatch):
    options = {"val_interval": 1, "checkpoint": {"save_best": "score", "rule": "less"}, "iters": 4}
    best, seen = [], []
    whole = LocalBackend.put

    def watch(self, data, path):
        seen.append([n for n in names(tmp_path) if n.startswith("best")])
        if "best" in str(path) and len(best) == 1 and seen[-1]:
            best.append(path)
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(self, data, path)
        if "best" in str(path):
            best.append(path)

    monkeypatch.setattr(LocalBackend, "put", watch)
    scores = iter(range(9))
    monkeypatch.setattr("toy_run.Mean.compute_metrics", lambda self, results: {"score": -next(scores)})
    runner = make(tmp_path, **options)
    runner.train()
    held = [n for n in names(tmp_path) if n.startswith("best")]
    assert held == ["best_score_iter_4.pth"] and str(tmp_path / held[0]) == runner.message_hub.get_info("best_ckpt")
    first = next(i for i, n in enumerate(seen) if n)
    assert all(seen[first:]) and ["best_score_iter_1.pth"] in seen[first + 2 :]  # also after the one that failed


def test_a_run_that_goes_on_in_a_copy_of_its_folder_leaves_the_first_one_alone(tmp_path, monkeypatch):
    scores = iter(range(9))
    monkeypatch.setattr("toy_run.Mean.compute_metrics", lambda self, results: {"score": next(scores)})
    options = {"val_interval": 2, "checkpoint": {"save_best": "score", "rule": "greater"}, "keep": 1}
    with pytest.raises(Killed):
        make(tmp_path / "first", hooks=[KillAt(3)], **options).train()
    before = names(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    make(tmp_path / "copy", resume=True, **options).train()
    assert names(tmp_path / "first") == before == ["best_score_iter_2.pth", "iter_3.pth"]
    assert names(tmp_path / "copy") == ["best_score_iter_6.pth", "iter_6.pth"]


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler")
def test_files_are_written_on_updates_alone(tmp_path):
    make(tmp_path, iters=10, interval=2, accumulate=3, keep=-1).train()
    assert names(tmp_path) == sorted(f"iter_{i}.pth" for i in (3, 6, 9, 10))


def test_one_flipped_byte_anywhere_is_seen(tmp_path):
    make(tmp_path, iters=2).train()
    newest = tmp_path / "iter_2.pth"
    good = newest.read_bytes()
    rng = random.Random(0)
    for place in (0, len(good) - 1, *rng.sample(range(len(good)), 60)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << rng.randrange(8)
        newest.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"iter_2\.pth is damaged"):
            verify(newest)
    runner = make(tmp_path, iters=2, resume=True)
    warned = []
    runner.logger.warning = warned.append
    chosen = []
    runner.logger.info = chosen.append
    runner.train()
    assert "iter_2.pth is damaged" in warned[0] and any("resuming from" in c and "iter_1.pth" in c for c in chosen)


def test_a_pointer_that_cannot_be_written_costs_no_checkpoint(tmp_path):
    (tmp_path / "last_checkpoint").mkdir()
    make(tmp_path, keep=1).train()
    assert names(tmp_path) == ["iter_6.pth"]


def test_checksums_are_those_of_the_usual_tool(tmp_path):
    make(tmp_path, iters=1).train()
    (tmp_path / "copy").mkdir()
    check = subprocess.run(["sha256sum", "-c", "iter_1.pth.sha256"], cwd=tmp_path, capture_output=True, text=True)
    assert check.returncode == 0 and check.stdout == "iter_1.pth: OK\n"
    assert beside(tmp_path / "iter_1.pth").exists()


def test_resume_takes_the_file_of_most_steps_not_the_youngest(tmp_path):
    with pytest.raises(Killed):
        make(tmp_path, keep=3, hooks=[KillAt(3)]).train()
    (tmp_path / "iter_1.pth").touch()
    runner = make(tmp_path, resume=True)
    runner.train()
    assert runner._load_from == str(tmp_path / "iter_3.pth")


def test_resume_looks_where_the_hook_writes(tmp_path):
    out = {"out_dir": str(tmp_path / "elsewhere")}
    with pytest.raises(Killed):
        make(tmp_path / "run", checkpoint=out, hooks=[KillAt(3)]).train()
    assert names(tmp_path / "run") == []
    runner = make(tmp_path / "run", checkpoint=out, resume=True)
    runner.train()
    assert runner._load_from == str(tmp_path / "elsewhere/run/iter_3.pth")


def test_resume_passes_over_a_damaged_file(tmp_path):
    with pytest.raises(Killed):
        make(tmp_path, keep=3, hooks=[KillAt(3)]).train()
    newest = tmp_path / "iter_3.pth"
    newest.write_bytes(newest.read_bytes()[:200])
    runner = make(tmp_path, resume=True)
    runner.train()
    assert runner.iter == 6
    assert runner._load_from == str(tmp_path / "iter_2.pth")


def test_resume_finds_files_of_other_names(tmp_path):
    options = {"checkpoint": {"filename_tmpl": "model.{:05d}.pth"}}
    with pytest.raises(Killed):
        make(tmp_path, hooks=[KillAt(4)], **options).train()
    runner = make(tmp_path, resume=True, **options)
    runner.train()
    assert runner.resumed_from == str(tmp_path / "model.00004.pth")


def test_where_all_files_are_damaged_nothing_is_written_over(tmp_path):
    with pytest.raises(Killed):
        make(tmp_path, hooks=[KillAt(4)]).train()
    for path in tmp_path.glob("*.pth"):
        path.write_bytes(path.read_bytes()[:-1])
    left = {p: p.read_bytes() for p in tmp_path.glob("*.pth")}
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read.*Move .*iter_4\.pth and the others away"):
        make(tmp_path, resume=True).train()
    assert {p: p.read_bytes() for p in tmp_path.glob("*.pth")} == left


@pytest.mark.parametrize("start", [None, "iter_1.pth"])
def test_files_that_a_later_resume_would_take_are_named(tmp_path, start):
    make(tmp_path, keep=-1, iters=3).train()
    runner = make(tmp_path, iters=3, resume=start is not None, load_from=start and str(tmp_path / start))
    warned = []
    runner.logger.warning = warned.append
    runner.train()
    assert any("iter_3.pth has more steps than this run, so --resume will take it" in w for w in warned)


def test_resume_without_any_checkpoint_starts_from_the_beginning(tmp_path):
    make(tmp_path, iters=1, resume=True).train()
    assert names(tmp_path) == ["iter_1.pth"]


def test_the_first_start_of_a_run_that_resumes_takes_the_weights_of_its_config(tmp_path):
    """The same command starts it and goes on with it."""
    make(tmp_path / "other", iters=1, lr=0.9).train()
    options = {"lr": 0.0, "iters": 4, "resume": "auto", "load_from": str(tmp_path / "other/iter_1.pth")}
    with pytest.raises(Killed):
        make(tmp_path / "run", hooks=[KillAt(2)], **options).train()
    assert torch.equal(weights(tmp_path / "run", 2), weights(tmp_path / "other", 1))
    runner = make(tmp_path / "run", **options)
    runner.train()
    assert runner.resumed_from == str(tmp_path / "run/iter_2.pth")


def test_a_checkpoint_of_another_model_is_an_error_when_resuming(tmp_path):
    make(tmp_path, iters=1).train()
    with pytest.raises(ValueError, match=r"iter_1\.pth is not a checkpoint of this config's model"):
        make(tmp_path, resume=True, width=5).train()


def test_a_start_from_a_file_of_which_nothing_fits(tmp_path):
    for state in (
        {"stem.weight": torch.zeros(2), "head.bias": torch.zeros(2)},
        {"model": {"linear.bias": torch.ones(4)}},
    ):
        torch.save(state, tmp_path / "other.pth")
        with pytest.raises(ValueError, match=r"load_from: .*other\.pth has nothing of this config's model.*init_cfg"):
            make(tmp_path, load_from=str(tmp_path / "other.pth")).train()


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
    ],
)
def test_the_runner_brings_its_checkpoint_hook(tmp_path, given):
    (hook,) = (h for h in make(tmp_path, checkpoint={**given, "interval": 3}).hooks if isinstance(h, CheckpointHook))
    assert type(hook) is SafeCheckpointHook and hook.interval == 3


class Other(CheckpointHook):
    pass


@pytest.mark.parametrize("given", [{"type": Other}, {"type": "LoggerHook"}, {"type": "None"}])
def test_another_checkpoint_hook_is_refused(tmp_path, given):
    with pytest.raises(TypeError, match=r"default_hooks\.checkpoint must be .*SafeCheckpointHook.*, got"):
        make(tmp_path, checkpoint=given)


@pytest.mark.parametrize("given", [Other(), Hook()])
def test_another_built_hook_is_refused(tmp_path, given):
    runner = make(tmp_path)
    with pytest.raises(TypeError, match=r"default_hooks\.checkpoint must be"):
        runner.register_default_hooks({"checkpoint": given})


def test_checkpoints_can_be_turned_off(tmp_path):
    assert not any(isinstance(hook, CheckpointHook) for hook in make(tmp_path, checkpoint=False).hooks)


def test_a_number_of_failures_that_means_nothing_is_refused():
    with pytest.raises(ValueError, match="max_failures must be at least 1, got 0"):
        SafeCheckpointHook(max_failures=0)


def test_a_file_of_mmengine_is_read(tmp_path):
    """Its log is passed over, and that it does not say how it was trained is said."""
    make(tmp_path, iters=2).train()
    checkpoint = read(tmp_path / "iter_2.pth")
    del checkpoint["meta"]["run"], checkpoint["random_states"]
    torch.save(checkpoint, tmp_path / "theirs.pth")
    runner = make(tmp_path / "more", resume=True, load_from=str(tmp_path / "theirs.pth"))
    warned = []
    runner.logger.warning = warned.append
    runner.train()
    assert runner.iter == 6 and any("does not say how it was trained" in w for w in warned)


@pytest.mark.parametrize("lacking", ["optimizer", "param_schedulers"])
def test_a_file_without_what_goes_on_is_refused(tmp_path, lacking):
    make(tmp_path, iters=2).train()
    checkpoint = read(tmp_path / "iter_2.pth")
    del checkpoint[lacking]
    torch.save(checkpoint, tmp_path / "less.pth")
    with pytest.raises(ValueError, match=f"less.pth has no {lacking}, so training cannot go on from it"):
        make(tmp_path / "more", resume=True, load_from=str(tmp_path / "less.pth")).train()
