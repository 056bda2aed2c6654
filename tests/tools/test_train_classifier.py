"""tools/train_classifier.py on a tiny folder of images: grey noise around one level for each class."""

import json
import math
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
import train_classifier as tool
from timm.data import Mixup
from timm.utils import ModelEmaV3, init_distributed_device
from torch import nn
from training.advice import advice
from training.classification import create_network, evaluate, load_weights, make_loader, open_folder
from training.classifier import Training
from training.recipe import parse_arguments
from training.run_files import RunFiles

import backbones
from backbones.pretraining import ITPNPretraining, MaskedPretraining, PretrainingHead, publish

# timm's reader of image folders leaves closing its files to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
PLAIN = ["--auto-augment", "", "--color-jitter", "0", "--mixup", "0", "--cutmix", "0", "--drop-path", "0"]
PLAIN += ["--re-prob", "0"]


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of two processes that share a core spend their time waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Two classes; 32 images to train on and, so that two processes cannot share them evenly, 13 to validate."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, counts in (("train", (16, 16)), ("val", (7, 6))):
        for label, count in enumerate(counts):
            (folder / split / f"class{label}").mkdir(parents=True)
            for i in range(count):
                picture = np.clip(rng.normal(60 + 130 * label, 30, (40, 48, 3)), 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / split / f"class{label}" / f"{i}.png"), picture)
    return folder


def command(images, out, *more, model="vheat_nano"):
    """Arguments of a short run of the whole recipe."""
    return [
        *("--data-dir", str(images), "--out", str(out), "--model", model, "--img-size", "32", "--device", "cpu"),
        *("--epochs", "4", "--warmup-epochs", "2", "--batch-size", "16", "--lr", "1e-3", "--workers", "0"),
        *("--ema-decay", "0.9", *map(str, more)),
    ]


def arguments(*argv):
    args = parse_arguments([str(a) for a in argv], "")
    init_distributed_device(args)
    return args


def state(path, key="model"):
    return torch.load(path, weights_only=True)[key]


def assert_same(expected, actual, **tolerance):
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, **tolerance, msg=name)


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    history = tool.main(command(images, out))
    torch.set_num_threads(before)
    return out, history


def test_what_a_run_writes(images, whole, capsys):
    out, history = whole
    assert [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()] == history
    assert sorted(p.name for p in out.iterdir()) == [
        *("best.pth", "best.pth.sha256", "last.pth", "last.pth.sha256", "log.jsonl")
    ]
    # Half the updates are warm-up; then half a cosine, which ends at a hundredth.
    assert [row["lr"] for row in history] == pytest.approx([5e-4, 5.05e-4, 1.545e-4, 1e-5], rel=0.01)
    for weights, prefix in (("raw", ""), ("ema", "ema_")):
        (found,) = tool.main(command(images, "unused", "--evaluate", out / "last.pth", "--weights", weights))
        assert found == pytest.approx({n: history[-1][prefix + n] for n in ("loss", "top1")}, rel=1e-6)
        assert json.loads(capsys.readouterr().out) == found


def test_it_learns(images, tmp_path):
    history = tool.main(command(images, tmp_path, *PLAIN, "--epochs", "6", "--lr", "3e-4"))
    assert history[-1]["top1"] == 100


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import torch, train_classifier
from timm.utils import ModelEmaV3
torch.set_num_threads(1)
update, calls = ModelEmaV3.update, []
def update_or_die(*args):
    calls.append(None)
    if len(calls) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    update(*args)
ModelEmaV3.update = update_or_die
train_classifier.main(sys.argv[2:])
"""


def assert_resumes(whole, images, out, *more, at=(2, 0)):
    """A run that was cut, with so many epochs complete and steps of the next, ends like one that was not."""
    assert (len(state(out / "last.pth", "history")), state(out / "last.pth", "progress")["step"]) == at
    history = tool.main(command(images, out, "--resume", *more))
    expected, actual = (torch.load(folder / "last.pth", weights_only=True) for folder in (whole[0], out))
    for key in ("model", "model_average"):
        assert_same(expected[key], actual[key], rtol=0, atol=0)
    assert_same(expected["optimizer"]["state"][0], actual["optimizer"]["state"][0], rtol=0, atol=0)
    assert [{**row, "seconds": 0} for row in history] == [{**row, "seconds": 0} for row in whole[1]]
    assert len((out / "log.jsonl").read_text().splitlines()) == 4


def test_a_killed_run_resumes_to_the_same_weights(images, whole, root, tmp_path):
    run = [sys.executable, "-c", KILLED, str(root / "tools"), *command(images, tmp_path)]
    assert subprocess.run(run, capture_output=True, cwd=tmp_path).returncode == -signal.SIGKILL
    assert_resumes(whole, images, tmp_path)


def test_a_run_that_ends_while_it_writes_resumes_to_the_same_weights(images, whole, tmp_path, monkeypatch):
    replace = Path.replace

    def replace_or_end(part, path):
        if path.name == "last.pth" and len(state(part, "history")) == 3:
            raise KeyboardInterrupt
        return replace(part, path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", replace_or_end)
        tool.main(command(images, tmp_path))
    assert_resumes(whole, images, tmp_path)


def on_call(monkeypatch, owner, name, number, do):
    """Do something before a call of a function."""
    whole, calls = getattr(owner, name), []

    def call(*args, **kwargs):
        calls.append(None)
        if len(calls) == number:
            do()
        return whole(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)


def stopped(argv):
    with pytest.raises(SystemExit) as ended:
        tool.main(argv)
    return ended.value.code


@pytest.fixture(autouse=True)
def others(monkeypatch):
    """Workers that tests of other files have left."""
    monkeypatch.setitem(OTHERS, "pids", {p.pid for p in multiprocessing.active_children()})


OTHERS = {"pids": set()}


def workers_now():
    return [p.pid for p in multiprocessing.active_children() if p.pid not in OTHERS["pids"]]


def tell_all(name):
    """A signal to this process and its workers, from another one, as schedulers send them; how many got it."""
    pids = [*workers_now(), os.getpid()]
    subprocess.run(["kill", f"-{name}", *map(str, pids)], check=True)
    return len(pids)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_asked_to_stop_goes_on_in_the_middle_of_an_epoch(images, whole, tmp_path, monkeypatch, workers):
    argv, told = command(images, tmp_path, "--workers", workers), []
    with monkeypatch.context() as patch:
        on_call(patch, ModelEmaV3, "update", 5, lambda: told.append(tell_all("TERM")))
        assert stopped(argv) == 143
    assert told == [1 + workers]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
    assert_resumes(whole, images, tmp_path, "--workers", 1, at=(2, 1))


@pytest.mark.parametrize("call", [3, 4], ids=["raw", "average"])
def test_a_run_that_is_asked_to_stop_while_it_measures_measures_again(
    images, whole, tmp_path, monkeypatch, capsys, call
):
    with monkeypatch.context() as patch:
        on_call(patch, nn.functional, "cross_entropy", call, lambda: tell_all("USR1"))
        assert stopped(command(images, tmp_path)) == 143
    assert "stopped by SIGUSR1 in epoch 1 after step 2" in capsys.readouterr().err
    assert_resumes(whole, images, tmp_path, at=(1, 2))


def test_workers_that_measure_leave_signals_to_their_parent(images):
    args = arguments(*command(images, "unused", *PLAIN, "--batch-size", "1", "--workers", "2"))
    dataset, seen = open_folder(args, "val"), 0
    for step, (pictures, _) in enumerate(make_loader(args, dataset, nn.Identity(), False)):
        seen += len(pictures)
        if step == 0:
            workers = [str(pid) for pid in workers_now()]
            subprocess.run(["kill", "-TERM", *workers], check=True)
    assert (len(workers), seen) == (2, 13)


def test_a_later_signal_ends_a_run_at_once(images, root, tmp_path):
    later = "signal.SIGTERM); __import__('time').sleep(2.1); os.kill(os.getpid(), signal.SIGUSR1)"
    twice = KILLED.replace("signal.SIGKILL)", later)
    run = [sys.executable, "-c", twice, str(root / "tools"), *command(images, tmp_path)]
    assert subprocess.run(run, capture_output=True, cwd=tmp_path).returncode == -signal.SIGUSR1
    assert len(state(tmp_path / "last.pth", "history")) == 2


def test_a_run_stopped_while_it_accumulates_stops_at_the_update(images, tmp_path, monkeypatch):
    small = ["--epochs", "1", "--warmup-epochs", "0", "--batch-size", "4", "--accumulate", "3"]
    tool.main(command(images, tmp_path / "whole", *small))
    with monkeypatch.context() as patch:
        on_call(patch, Mixup, "__call__", 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert stopped(command(images, tmp_path / "cut", *small)) == 143
    assert state(tmp_path / "cut/last.pth", "progress")["step"] == 6
    tool.main(command(images, tmp_path / "cut", *small, "--resume"))
    for key in ("model", "model_average"):
        expected, actual = (state(tmp_path / name / "last.pth", key) for name in ("whole", "cut"))
        assert_same(expected, actual, rtol=0, atol=0)


def full_disk(monkeypatch, files):
    """A disk that has no space for so many files."""
    save, left = torch.save, [files]

    def save_or_fail(*args):
        left[0] -= 1
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if left[0] >= 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            save(*args)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(torch, "save", save_or_fail)


def test_a_full_disk_does_not_end_a_run(images, whole, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        full_disk(patch, 2)
        tool.main(command(images, tmp_path))
    warnings = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]
    assert ["File too large" in w and f"failure {n} of 3" in w for n, w in enumerate(warnings, 1)] == [True, True]
    for key in ("model", "model_average"):
        assert_same(state(whole[0] / "last.pth", key), state(tmp_path / "last.pth", key), rtol=0, atol=0)
    assert not list(tmp_path.glob("*.part*"))
    assert backbones.read_checkpoint(tmp_path / "best.pth")["top1"] >= whole[1][-1]["top1"]


def test_a_run_whose_last_files_cannot_be_written_has_not_succeeded(images, whole, tmp_path, monkeypatch):
    writes = RunFiles.write_checkpoint

    def full(files, name, content):
        if name == "last.pth" and len(content["history"]) == 4:
            raise OSError("No space left on device")
        writes(files, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(RunFiles, "write_checkpoint", full)
        message = stopped(command(images, tmp_path))
    assert f"its last files could not be written to {tmp_path}" in message and "last.pth" in message
    assert_resumes(whole, images, tmp_path, at=(3, 0))


def test_a_disk_that_stays_full_ends_a_run_with_its_last_good_file(images, tmp_path, monkeypatch):
    tool.main(command(images, tmp_path, *PLAIN, "--epochs", "1", "--warmup-epochs", "0"))
    with monkeypatch.context() as patch:
        full_disk(patch, 99)
        message = stopped(command(images, tmp_path, *PLAIN, "--epochs", "9", "--warmup-epochs", "0", "--resume"))
    assert message.startswith("error: 3 times in a row ") and message.endswith(f"file is {tmp_path / 'last.pth'}")
    assert len(backbones.read_checkpoint(tmp_path / "last.pth")["history"]) == 1


class Spoiled(nn.Module):
    """A loss whose gradient is not finite in some calls, and which itself is."""

    def __init__(self, loss, calls):
        super().__init__()
        self.inner, self.calls, self.count = loss, calls, 0

    def forward(self, x, target):
        self.count += 1
        if self.count in self.calls:
            x.register_hook(lambda grad: grad * math.nan)
        return self.inner(x, target)


def spoiled(images, out, calls, *more):
    argv = [*PLAIN, "--epochs", "1", "--warmup-epochs", "0", *more]
    training = Training(arguments(*command(images, out, *argv, model="test_resnet")))
    training.loss = Spoiled(training.loss, calls)
    return training


def test_updates_that_are_not_finite_are_skipped(images, tmp_path, capsys):
    training = spoiled(images, tmp_path, {1}, "--batch-size", "32")
    before = {name: value.clone() for name, value in training.net.state_dict().items()}
    (row,) = training.run()
    for net in (training.net, training.ema.module):
        assert_same(before, net.state_dict(), rtol=0, atol=0)  # the statistics of batch norms, too
    assert row["skipped_updates"] == 1 and math.isfinite(row["train_loss"])
    found = capsys.readouterr()
    assert "epoch 0, step 1: the gradients are not finite, 1 times in a row (first in conv1.0.weight" in found.err
    assert "skipped_updates 1" in found.out


def test_only_the_updates_that_are_not_finite_are_skipped(images, tmp_path, monkeypatch):
    training = spoiled(images, tmp_path, {2}, "--batch-size", "8")
    on_call(monkeypatch, ModelEmaV3, "update", 4, lambda: pytest.fail("the average takes part in a skipped update"))
    assert training.run()[0]["skipped_updates"] == 1
    assert state(tmp_path / "last.pth", "optimizer")["state"][0]["step"] == 3


def test_updates_that_are_never_finite_end_a_run(images, tmp_path):
    training = spoiled(images, tmp_path, range(99), "--batch-size", "2")
    with pytest.raises(SystemExit, match=r"step 10: .*10 times in a row \(first in conv1.*The last good file is none"):
        training.run()


def test_a_damaged_file_is_named(images, whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    last = tmp_path / "run/last.pth"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    assert f"error: {last} is damaged" in stopped(command(images, tmp_path / "run", "--resume"))


def test_a_run_is_neither_overwritten_nor_resumed_with_other_arguments(images, whole, tmp_path):
    out, _ = whole
    with pytest.raises(SystemExit, match="holds a run: give --resume"):
        tool.main(command(images, out))
    with pytest.raises(SystemExit, match=r"was started with seed=0 \(now 1\)"):
        tool.main(command(images, out, "--resume", "--seed", "1"))
    torch.save({"model": {"w": torch.zeros(1)}}, tmp_path / "last.pth")
    with pytest.raises(SystemExit, match=r"last\.pth is none of this tool's: it lacks \['args'"):
        tool.main(command(images, tmp_path, "--resume"))


def test_a_finished_run_says_so_and_is_extended(images, whole, tmp_path, capsys):
    out, history = whole
    assert tool.main(command(images, out, "--resume")) == history
    assert capsys.readouterr().err.splitlines()[-1].startswith("nothing is left to do: all 4 epochs are in ")
    shutil.copytree(out, tmp_path / "run")
    file = torch.load(out / "last.pth", weights_only=True)
    torch.save({"model_ema": file.pop("model_average"), **file}, tmp_path / "run" / "last.pth")  # as older runs have it
    (tmp_path / "run" / "last.pth.sha256").unlink()
    longer = tool.main(command(images, tmp_path / "run", "--resume", "--epochs", "6"))
    assert "the run goes on to 6 epochs instead of 4" in capsys.readouterr().err
    assert longer[:4] == history and len(longer) == 6
    # The rest of a cosine from 1e-3 to 1e-5 over six epochs, of which each has two updates.
    cosine = [1e-5 + (1e-3 - 1e-5) * (1 + math.cos(math.pi * n / 12)) / 2 for n in (10, 12)]
    assert [row["lr"] for row in longer[4:]] == pytest.approx(cosine, rel=0.01)
    with pytest.raises(SystemExit, match=r"was started with epochs=6 \(now 5\)"):
        tool.main(command(images, tmp_path / "run", "--resume", "--epochs", "5"))


def opened(path, num_classes=2):
    """The weights of a file through everything that opens it."""
    new = partial(timm.create_model, "vheat_nano", num_classes=num_classes, img_size=32)
    net = new()
    backbones.load_checkpoint(net, path)
    yield net.state_dict()
    yield new(pretrained=True, pretrained_cfg_overlay={"file": str(path)}).state_dict()
    yield new(checkpoint_path=str(path)).state_dict()


@pytest.mark.parametrize("better", ["raw", "ema"])
def test_what_was_best_is_what_opens(images, tmp_path, better, monkeypatch):
    training = Training(arguments(*command(images, tmp_path, *PLAIN, "--epochs", "1", "--warmup-epochs", "0")))
    scores = {training.net: 40.0 + 20 * (better == "raw"), training.ema.module: 50.0}
    monkeypatch.setattr("training.classifier.evaluate", lambda net, *_: {"loss": 1.0, "top1": scores[net]})
    training.run()
    file = torch.load(tmp_path / "best.pth", weights_only=True)
    assert (file["which"], file["top1"], file["epoch"]) == (better, max(scores.values()), 0)
    assert file["class_names"] == ["class0", "class1"]
    raw, ema = training.net.state_dict(), training.ema.module.state_dict()
    assert any(not torch.equal(raw[name], ema[name]) for name in raw)
    for found in opened(tmp_path / "best.pth"):
        assert_same({"raw": raw, "ema": ema}[better], found, rtol=0, atol=0)
    for found in opened(tmp_path / "last.pth"):  # which holds both
        assert_same(raw, found, rtol=0, atol=0)
    assert_same(ema, backbones.read_weights(tmp_path / "last.pth", "ema")[0], rtol=0, atol=0)


def test_measuring_takes_size_and_model_from_the_file(images, whole, tmp_path, capsys):
    best, argv = whole[0] / "best.pth", ["--data-dir", images, "--device", "cpu", "--workers", "0"]
    score = state(best, "top1")

    def measure(path, *more):
        (found,) = tool.main([str(a) for a in [*argv, "--batch-size", "16", "--evaluate", path, *more]])
        return found["top1"], capsys.readouterr().err

    assert measure(best) == (pytest.approx(score), f"measuring {best} at 32 px\n")
    assert measure(best, "--img-size", "64")[1] == f"measuring {best} at 64 px\n"
    torch.save(state(best, "state_dict"), tmp_path / "plain.pth")
    assert measure(tmp_path / "plain.pth", "--model", "vheat_nano")[1].endswith(" at 32 px\n")
    with pytest.raises(SystemExit, match="weights='ema': the file holds no such weights"):
        measure(best, "--weights", "ema")
    file = torch.load(best, weights_only=True)
    torch.save({**file, "class_names": ["class1", "class0"]}, tmp_path / "other.pth")
    with pytest.raises(SystemExit, match=r"other classes than .*other\.pth: 'class0' in the place of 'class1'"):
        measure(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("more", "options"),
    [
        ((), ["--mixup 0", "--cutmix 0", "--auto-augment ''", "--ema-decay 0.99 ", "--lr 5e-4"]),
        (("--lr", "1e-3", "--auto-augment", ""), ["--mixup 0", "--cutmix 0", "--ema-decay 0.99"]),
        ((*PLAIN, "--lr", "1e-3", "--ema-decay", "0.9"), None),
        (("--epochs", "100000"), None),
    ],
)
def test_a_short_training_by_the_default_recipe_gets_advice(more, options):
    args = parse_arguments(["--data-dir", str(Path(__file__).parent), *more], "")
    line = advice(args, 10 * args.epochs // 3, 1e-4)
    assert line is None if options is None else all(option in line + " " for option in options)
    assert options is None or line.count("--") == sum(option.count("--") for option in options)


PAIR = ["--epochs", "2", "--warmup-epochs", "1", "--batch-size", "8"]
PAIR_STOPPED = """
import os, signal, sys
sys.path.insert(0, sys.argv.pop(1))
import torch, train_classifier
from timm.utils import ModelEmaV3
update, calls = ModelEmaV3.update, []
def update_and_signal(*args):
    calls.append(None)
    if len(calls) == 3 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    update(*args)
ModelEmaV3.update = update_and_signal
with train_classifier.leaving_the_group():
    train_classifier.main()
"""


def run_pair(*argv):
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*run, *map(str, argv)], capture_output=True, text=True, env=environment)


def test_two_processes_train_one_network_and_measure_every_image_once(images, root, tmp_path):
    argv, script = command(images, tmp_path / "whole", *PAIR), root / "tools/train_classifier.py"
    result = run_pair(script, *argv)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("epoch") == 2
    history = state(tmp_path / "whole/last.pth", "history")
    for weights, prefix in (("raw", ""), ("ema", "ema_")):
        (alone,) = tool.main([*argv, "--evaluate", str(tmp_path / "whole/last.pth"), "--weights", weights])
        assert alone == pytest.approx({n: history[-1][prefix + n] for n in ("loss", "top1")}, rel=1e-5)

    # One of them is asked to stop, and both do; then they go on.
    (tmp_path / "stopped.py").write_text(PAIR_STOPPED)
    argv = command(images, tmp_path / "cut", *PAIR)
    result = run_pair(tmp_path / "stopped.py", root / "tools", *argv)
    assert "stopped by a signal to another process in epoch 1 after step 1" in result.stderr
    assert result.returncode and "exitcode  : 143" in result.stderr
    result = run_pair(script, *argv, "--resume")
    assert result.returncode == 0, result.stderr
    assert_same(state(tmp_path / "whole/last.pth"), state(tmp_path / "cut/last.pth"), rtol=0, atol=0)
    resumed = state(tmp_path / "cut/last.pth", "history")
    assert [{**row, "seconds": 0} for row in resumed] == [{**row, "seconds": 0} for row in history]


def one_epoch(images, out, *more):
    tool.main(command(images, out, *PLAIN, "--epochs", "1", "--warmup-epochs", "0", *more))
    return state(out / "last.pth")


def test_accumulated_and_checkpointed_steps_are_those_of_a_large_batch(images, tmp_path):
    # Not AdamW, which divides by the gradient's size: rounding would show where a gradient is almost zero.
    sgd = ["--opt", "sgd", "--lr", "0.01"]
    large = one_epoch(images, tmp_path / "large", *sgd)
    small = one_epoch(
        images, tmp_path / "small", *sgd, "--batch-size", "8", "--accumulate", "2", "--grad-checkpointing"
    )
    assert_same(large, small)


def test_the_last_update_of_an_epoch_may_have_fewer_steps(images, tmp_path):
    one_epoch(images, tmp_path, "--batch-size", "8", "--accumulate", "3")
    assert state(tmp_path / "last.pth", "optimizer")["state"][0]["step"] == 2


def test_the_average_is_that_of_its_definition(images, tmp_path):
    argv = command(images, tmp_path, "--epochs", "1", "--warmup-epochs", "0", "--batch-size", "32", "--smoothing", "0")
    training = Training(arguments(*argv))
    before = {name: value.clone() for name, value in training.net.state_dict().items()}
    training.run()
    expected = {n: 0.9 * before[n] + 0.1 * value for n, value in training.net.state_dict().items()}
    assert_same(expected, training.ema.module.state_dict())


def test_clipping_bounds_the_gradient(images, tmp_path):
    options = ["--opt", "momentum", "--weight-decay", "0", "--lr", "1", "--batch-size", "32", "--clip-grad", "0.01"]
    argv = command(images, tmp_path, *PLAIN, "--epochs", "1", "--warmup-epochs", "0", *options)
    training = Training(arguments(*argv))
    before = nn.utils.parameters_to_vector(training.net.parameters()).detach().clone()
    training.train_epoch(0)
    change = nn.utils.parameters_to_vector(training.net.parameters()).detach() - before
    assert change.norm().item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_runs_the_network_in_it(images, tmp_path, dtype, monkeypatch):
    seen = set()
    monkeypatch.setattr(nn.GELU, "forward", lambda self, x: (seen.add(x.dtype), nn.functional.gelu(x))[1])
    history = tool.main(command(images, tmp_path, "--amp", dtype, "--epochs", "1", "--warmup-epochs", "0"))
    assert getattr(torch, dtype) in seen
    assert np.isfinite(list(history[0].values())).all()
    assert all(value.dtype == torch.float32 for value in state(tmp_path / "last.pth").values())
    assert bool(state(tmp_path / "last.pth", "scaler")) == (dtype == "float16")


def test_layer_and_weight_decay(images, tmp_path):
    training = Training(arguments(*command(images, tmp_path, "--layer-decay", "0.5", "--warmup-epochs", "0")))
    groups = {id(p): group for group in training.optimizer.param_groups for p in group["params"]}
    rates = {name: groups[id(p)] for name, p in training.net.named_parameters()}
    assert rates["head.fc.weight"]["lr"] == 1e-3
    assert rates["stem.conv1.weight"]["lr"] < rates["stages.0.blocks.0.mlp.fc1.weight"]["lr"] < 1e-3
    assert rates["stages.0.embedding.weight"]["weight_decay"] == 0.08
    assert rates["stages.0.blocks.0.mlp.fc1.bias"]["weight_decay"] == 0


@pytest.mark.parametrize("official", [False, True], ids=["own", "official"])
@pytest.mark.parametrize("classes", [2, 5])
def test_fine_tuning_starts_from_a_file(images, tmp_path, classes, official):
    source = timm.create_model("vheat_nano", num_classes=classes, img_size=64)
    for parameter in source.parameters():
        nn.init.normal_(parameter)
    weights = backbones.to_official(source.state_dict()) if official else source.state_dict()
    torch.save({"model": weights}, tmp_path / "file.pth")
    args = arguments(*command(images, tmp_path, "--initial-checkpoint", tmp_path / "file.pth"))
    net = create_network(args, 2).state_dict()
    for name, value in source.state_dict().items():
        if name.startswith("head.fc."):
            assert net[name].shape[0] == 2 and torch.equal(net[name], value) == (classes == 2)
        elif name.endswith("embedding.weight"):
            assert net[name].shape[0] == value.shape[0] / 2
        else:
            assert torch.equal(net[name], value), name


HIVIT = {"embed_dim": 32, "depths": (1, 1, 2), "num_heads": 2}


@pytest.mark.parametrize("model", ["vheat_nano", "hivit_base_patch16_224"])
def test_fine_tuning_starts_from_a_published_pre_training(images, tmp_path, model):
    more = ["--initial-checkpoint", tmp_path / "pretrained.safetensors"]
    if model == "vheat_nano":
        network = timm.create_model(model, num_classes=0, img_size=64)
        trained = MaskedPretraining(network, head=PretrainingHead(decoder_dim=8))
    else:
        trained = network = ITPNPretraining(
            HIVIT, img_size=64, pyramid_dim=8, decoder_dim=32, decoder_depth=1, decoder_heads=2
        )
        more += ["--model-kwargs", *(f"{name}={value}" for name, value in HIVIT.items())]
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    publish(trained, tmp_path / "pretrained.safetensors")
    net = create_network(arguments(*command(images, tmp_path, *more, model=model)), 2)
    state = network.state_dict()
    same = [name for name, t in net.state_dict().items() if name in state and torch.equal(state[name], t)]
    assert {name.partition(".")[0] for name in same} == {"stem", "stages"} and len(same) > 20
    assert net.head.fc.weight.shape[0] == 2
    with pytest.raises(ValueError, match="has no classifier, of which there would be something to measure"):
        load_weights(net, tmp_path / "pretrained.safetensors", "raw", new_classifier=False)


def test_any_network_of_timm_trains_and_is_measured(images, tmp_path):
    argv = command(images, tmp_path, "--epochs", "1", "--warmup-epochs", "0", model="test_resnet")
    (row,) = tool.main(argv)
    (found,) = tool.main([*argv, "--evaluate", str(tmp_path / "last.pth"), "--weights", "ema"])
    assert found == pytest.approx({"loss": row["ema_loss"], "top1": row["ema_top1"]}, rel=1e-6)
    with pytest.raises(ValueError, match=r"last\.pth does not fit ResNet: .*head|last\.pth does not fit ResNet: .*fc"):
        load_weights(timm.create_model("test_resnet", num_classes=5), tmp_path / "last.pth", "raw", True)


def test_measuring_weighs_every_image_the_same(images):
    args = arguments(*command(images, "unused", "--batch-size", "4"))
    dataset, net = open_folder(args, "val"), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = evaluate(net, make_loader(args, dataset, net, False), args)
    logits = torch.cat([net(x) for x, _ in make_loader(args, dataset, net, False)])
    targets = torch.tensor([0] * 7 + [1] * 6)
    assert found["loss"] == pytest.approx(nn.functional.cross_entropy(logits, targets).item(), rel=1e-6)
    assert found["top1"] == pytest.approx(100 * (logits.argmax(1) == targets).float().mean().item(), rel=1e-6)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model", "vheet_tiny"], "--model: timm knows no 'vheet_tiny'"),
        (["--model-kwargs", "embed_resiz=pad"], "unexpected keyword argument 'embed_resiz'"),
        (["--model-kwargs", "pad"], "--model-kwargs: give KEY=VALUE"),
        (["--model", "vgg11"], "unexpected keyword argument 'drop_path_rate'"),
        (["--img-size", "16"], "img_size must be one or two ints of at least 32, got 16"),
        (["--epochs", "0"], "argument --epochs: must be at least 1"),
        (["--drop-path", "nan"], "argument --drop-path: must be at least 0 and at most 1"),
        (["--data-dir", "file.pth"], "argument --data-dir: file.pth is a file, not a folder"),
        (["--evaluate", "nowhere.pth"], "argument --evaluate: no such file: nowhere.pth"),
        (["--evaluate", "bomb.pth"], "/bomb.pth: it is not a checkpoint"),
        (["--data-dir", "empty"], "/empty/train"),
        (["--warmup-epochs", "4"], "--warmup-epochs must be below --epochs, got 4 and 4"),
        (["--batch-size", "15"], "--batch-size must be even for mixup and cutmix, got 15"),
        (["--batch-size", "64"], "--batch-size: 32 images do not fill 1 x 64"),
        (["--opt", "adamv"], "adamv"),
        (["--auto-augment", "rond-m9"], "--auto-augment rond-m9: Unknown"),
        (["--device", "abacus"], "--device: "),
        (["--data-dir", "nowhere"], "argument --data-dir: no such folder: nowhere"),
        (["--initial-checkpoint", "nowhere.pth"], "argument --initial-checkpoint: no such file: nowhere.pth"),
        (["--initial-checkpoint", "bomb.pth"], "/bomb.pth: it is not a checkpoint"),
        (["--dataset", "digits"], "not allowed with argument --data-dir"),
    ],
)
def test_mistakes_get_one_clear_line(images, tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bomb.pth").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "file.pth").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as ended:
        tool.main(command(images, "out", *more))
    line = (capsys.readouterr().err or str(ended.value)).splitlines()[-1]
    assert message in line and ended.value.code != 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bomb.pth", "empty", "file.pth"]


def test_folders_that_do_not_fit_are_named(tmp_path):
    for folder in ("train/a", "train/b", "val/a", "val/c"):
        (tmp_path / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / "0.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SystemExit, match=r"train and val differ in the classes \['b', 'c'\]"):
        tool.main(command(tmp_path, tmp_path / "out"))


def test_a_loss_that_explodes_ends_the_run(images, tmp_path):
    explode = ["--opt", "sgd", "--lr", "1e30", "--warmup-epochs", "0", "--clip-grad", "0"]
    with pytest.raises(SystemExit, match=r"loss is nan in epoch 0; try a smaller --lr; the last good file is none"):
        tool.main(command(images, tmp_path, *explode))
    assert not (tmp_path / "last.pth").exists()
