"""Reading checkpoint files that can't be trusted."""

from __future__ import annotations

import argparse
import datetime
import functools
import os
import pickle
import shutil
import subprocess
import sys
import types
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from backbones import read_checkpoint
from backbones.weights.reading import Inert


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


@pytest.fixture
def tensors():
    return {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


class _Evil:
    """Pickles as a call that creates a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def _refused(path, *words):
    with pytest.raises(ValueError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    for word in (str(path), *words):
        assert word in message
    return message


# -- files that are read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_files(path, tensors, zipped):
    torch.save({"model": tensors, "epoch": 3}, path, _use_new_zipfile_serialization=zipped)
    checkpoint = read_checkpoint(str(path))
    assert checkpoint["epoch"] == 3
    assert all(torch.equal(checkpoint["model"][name], t) for name, t in tensors.items())


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_safetensors_by_content(tmp_path, tensors, name):
    save_file(tensors, tmp_path / name)
    assert all(torch.equal(t, tensors[n]) for n, t in read_checkpoint(tmp_path / name).items())


def _fake_class(monkeypatch, module, name, base):
    """A class that pickles as ``module.name``, importable only until the fixture is undone."""
    parts = module.split(".")
    for i in range(len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[: i + 1]), types.ModuleType(".".join(parts[: i + 1])))
    cls = type(name, (base,), {"__module__": module, "__qualname__": name})
    setattr(sys.modules[module], name, cls)
    return cls


def test_an_official_container_with_a_yacs_config(path, tensors, monkeypatch):
    with monkeypatch.context() as patch:
        node = _fake_class(patch, "yacs.config", "CfgNode", dict)
        config = node(MODEL=node(TYPE="vHeat", DEPTHS=[2, 2, 6, 2]), AMP=True)
        config.__dict__.update({"__immutable__": True, "__deprecated_keys__": set(), "__renamed_keys__": {}})
        torch.save({"model": tensors, "config": config, "max_accuracy": 82.2}, path)
    assert b"yacs.config\nCfgNode" in path.read_bytes()
    assert not any(name == "yacs" or name.startswith("yacs.") for name in sys.modules)
    checkpoint = read_checkpoint(path)
    assert torch.equal(checkpoint["model"]["a.weight"], tensors["a.weight"])
    assert type(checkpoint["config"]) is OrderedDict and checkpoint["config"]["MODEL"]["DEPTHS"] == [2, 2, 6, 2]


def test_an_mmengine_checkpoint(path, tensors, monkeypatch):
    with monkeypatch.context() as patch:
        buffer = _fake_class(patch, "mmengine.logging.history_buffer", "HistoryBuffer", object)
        buffer.min = buffer_min = lambda self: None
        buffer_min.__qualname__, buffer_min.__module__ = "HistoryBuffer.min", "mmengine.logging.history_buffer"
        log = buffer()
        log.__dict__.update(
            history=np.array([1.5, 2.5]), count=np.array([1, 1]), statistics_methods={"min": buffer.min}
        )
        hub = {"log_scalars": OrderedDict({"train/loss": log}), "runtime_info": {"lr": np.float64(0.1)}}
        torch.save({"state_dict": tensors, "message_hub": hub, "meta": {"epoch": 1}}, path)
    content = path.read_bytes()
    assert all(name in content for name in (b"HistoryBuffer", b"getattr", b"_reconstruct", b"scalar", b"dtype"))
    assert torch.equal(read_checkpoint(path)["state_dict"]["a.weight"], tensors["a.weight"])


def test_globals_given_by_the_caller_are_built(path, tensors):
    torch.save({"model": tensors, "log": np.array([1.5, 2.5])}, path)
    assert not isinstance(read_checkpoint(path)["log"], np.ndarray)
    array_globals = [np.ndarray, np.dtype, type(np.dtype(np.float64)), np.array(0).__reduce__()[0]]
    log = read_checkpoint(path, allow=array_globals)["log"]
    assert isinstance(log, np.ndarray) and log.tolist() == [1.5, 2.5]


def test_torchs_own_allow_list_is_left_as_it_was(path, tensors):
    torch.save(tensors, path)
    before = set(torch.serialization.get_safe_globals())
    read_checkpoint(path)
    assert set(torch.serialization.get_safe_globals()) == before


class _Call:
    """Pickles as a call of a function with arguments."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_classes_and_functions_that_nobody_knows_are_passed_over(path, tensors, monkeypatch, tmp_path):
    """None of them is imported, and their items, states and arguments go nowhere."""
    with monkeypatch.context() as patch:
        settings, losses = (
            _fake_class(patch, f"their_{name}.config", name, base)
            for name, base in (("Settings", dict), ("Losses", list))
        )
        bag = _fake_class(patch, "their_bag.state", "Bag", object)()
        bag.optimizer, bag.where = {"lr": 0.1}, Path("runs/1")
        state = {
            "model": tensors,
            "settings": settings(depth=settings(inner=1)),
            "losses": losses([1.0, 2.0]),
            "seen": defaultdict(list, {"a": [1]}),
            "bag": bag,
            "args": argparse.Namespace(lr=0.1, data=Path("data"), started=datetime.date(2026, 1, 1)),
            "half": functools.partial(print, "executed"),
            "names": frozenset(["cat"]),
            "move": _Call(shutil.copy, "from", str(tmp_path / "executed")),
        }
        torch.save(state, path)
    checkpoint = read_checkpoint(path)
    assert torch.equal(checkpoint["model"]["a.weight"], tensors["a.weight"])
    assert checkpoint["settings"] == {"depth": {"inner": 1}} and checkpoint["losses"] == [1.0, 2.0]
    assert all(isinstance(checkpoint[name], Inert) for name in ("bag", "args", "half", "move"))
    assert not (tmp_path / "executed").exists() and not [name for name in sys.modules if name.startswith("their_")]
    assert not vars(checkpoint["bag"])


@pytest.mark.parametrize("call", [_Call(eval, "1"), _Call(exec, ""), _Call(subprocess.run, "x"), _Call(os.remove, "x")])
def test_files_that_mean_ill_are_refused_as_a_whole(path, tensors, call):
    torch.save({"model": tensors, "extra": call}, path)
    _refused(path, "refused", "could run code")


# -- files that are not -----------------------------------------------------------------------------------------------


def test_a_missing_file(path):
    with pytest.raises(FileNotFoundError, match=r"no such checkpoint: .*weights\.pth"):
        read_checkpoint(path)


def test_a_directory(tmp_path):
    _refused(tmp_path, "is a directory")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_an_empty_file(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    path.touch()
    _refused(path, "is empty")


@pytest.mark.parametrize("page", ["<!DOCTYPE html>\n<html><body>404</body></html>", "\n <html>Sign in</html>"])
def test_a_web_page(path, page):
    path.write_text(page)
    _refused(path, "is a web page")


@pytest.mark.parametrize("content", [b"x", b"not a checkpoint at all", b"PK", b"PK\x03\x04 and rubbish", b"\x80\x02}q"])
def test_something_else(path, content):
    path.write_bytes(content)
    message = _refused(path)
    assert "corrupt" in message


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_truncated_anywhere(path, tensors, zipped):
    torch.save({"model": tensors}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for length in sorted({1, 2, 4, 10, 100, *(len(content) * k // 10 for k in range(1, 10)), len(content) - 1}):
        path.write_bytes(content[:length])
        message = _refused(path)  # cut within a name, an old file seems to ask for something else
        assert "corrupt" in message or (not zipped and "refused" in message), length


def test_a_truncated_safetensors_file(tmp_path, tensors):
    path = tmp_path / "weights.safetensors"
    save_file(tensors, path)
    content = path.read_bytes()
    for length in (1, 8, 20, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        _refused(path, "safetensors", "corrupt")


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_pickle_that_would_run_code(path, tensors, tmp_path, form):
    marker = tmp_path / "executed"
    payload = {"model": tensors if form != "pickle" else {}, "config": _Evil(marker)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(payload, protocol=2))
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=form == "zip")
    _refused(path, "refused", "posix.mkdir", "could run code")
    assert not marker.exists()
    if form == "pickle":  # the file is as dangerous as it claims to be
        pickle.loads(path.read_bytes())
        assert marker.exists()


def test_a_pickle_of_a_later_protocol_runs_nothing_either(path, tmp_path):
    marker = tmp_path / "executed"
    path.write_bytes(pickle.dumps({"model": _Evil(marker)}, protocol=4))
    _refused(path, "refused")
    assert not marker.exists()


@pytest.mark.parametrize("name", ["fromkeys", "__init__"])
def test_the_stand_in_of_getattr_lends_nothing(path, name):
    class Reach:
        def __reduce__(self):
            return getattr, (OrderedDict, name)

    torch.save({"model": {"w": torch.zeros(1)}, "config": Reach()}, path)
    assert isinstance(read_checkpoint(path)["config"], Inert)


def test_a_whole_pickled_module(path):
    torch.save(torch.nn.Linear(2, 2), path)
    _refused(path, "refused", "torch.nn.modules.linear.Linear", "state_dict")


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], 5])
def test_not_a_dict(path, content):
    torch.save(content, path)
    _refused(path, f"holds a {type(content).__name__}, not a dict")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"model": {"a": 1}}])
def test_no_tensors(path, content):
    torch.save(content, path)
    _refused(path, "holds no tensors", *content)


ADDRESS = "https://example.org/w.pth"


@pytest.mark.parametrize("given", [ADDRESS, Path(ADDRESS), "s3://bucket/w.pth", "hf-hub://me/w.pth"])
def test_web_addresses(given):  # a Path has one / behind the colon
    with pytest.raises(ValueError) as caught:
        read_checkpoint(given)
    assert str(caught.value) == f"checkpoints are read from local files: download {given} and give its path"


def test_a_name_with_a_colon_is_a_file(tmp_path, tensors, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(tensors, "run:3.pth")
    assert read_checkpoint("run:3.pth").keys() == tensors.keys()


def test_a_tilde_is_the_home_of_the_user(tmp_path, tensors, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(tensors, tmp_path / "w.pth")
    for given in ("~/w.pth", Path("~/w.pth")):
        assert read_checkpoint(given).keys() == tensors.keys()
    for missing in ("~/nowhere.pth", "~nobody-of-that-name/w.pth"):
        with pytest.raises(FileNotFoundError, match="no such checkpoint"):
            read_checkpoint(missing)
