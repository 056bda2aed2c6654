"""Several things at once, locks, and what is left of failures."""

import threading

import pytest
import torch
from evaluation import work
from evaluation.locks import Busy, locked
from evaluation.work import environments, work_through


def test_everything_is_done_and_failures_are_told():
    done = []

    def do(item, place):
        if item == 2:
            raise SystemExit("the command failed")
        if item == 3:
            raise ValueError("it does not fit")
        done.append((item, place["name"]))

    failed = work_through(range(5), do, [{"name": "a"}, {"name": "b"}])
    assert failed == {2: "the command failed", 3: "it does not fit"}
    assert sorted(item for item, _ in done) == [0, 1, 4]


def test_places_work_at_the_same_time():
    both = threading.Barrier(2)
    assert not work_through([0, 1], lambda item, place: both.wait(20) and None, [{}, {}])


def test_what_another_command_is_at_comes_again_at_the_end():
    order = []

    def do(item, place):
        order.append(item)
        if item == "a" and order.count("a") == 1:
            raise Busy("a")

    assert not work_through("abc", do, [{}], pause=0)
    assert order == ["a", "b", "c", "a"]


def test_a_lock_is_one_commands(tmp_path):
    with locked(tmp_path / "x" / "lock"), pytest.raises(Busy), locked(tmp_path / "x" / "lock"):
        pass
    with locked(tmp_path / "x" / "lock"):
        pass


def test_each_process_has_a_gpu_or_its_share_of_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(work.os, "cpu_count", lambda: 8)
    assert environments(1) == [{}] and environments(3) == [{"OMP_NUM_THREADS": "2"}] * 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [e["CUDA_VISIBLE_DEVICES"] for e in environments(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert [e["CUDA_VISIBLE_DEVICES"] for e in environments(2)] == ["5", "7"]
