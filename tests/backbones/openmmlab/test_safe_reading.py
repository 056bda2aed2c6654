"""No reader of a process that asked for it unpickles anything."""

import os
import pickle

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from backbones.openmmlab import read_safely


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A file that would run code, after the process has asked for safety."""

    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    monkeypatch.setattr(CheckpointLoader, "_schemes", dict(CheckpointLoader._schemes))
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    read_safely()
    path = tmp_path / "evil.pth"
    with path.open("wb") as file:
        pickle.dump({"state_dict": Payload()}, file, protocol=2)
    yield path
    assert not (tmp_path / "executed").exists()


class Net(BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.linear = nn.Linear(2, 2)


def test_loading_and_init_cfg_refuse_it_and_say_how_to_convert(evil):
    message = r"refused to read .*evil\.pth.* convert it once: python -c"
    with pytest.raises(ValueError, match=message):
        load_checkpoint(Net(), str(evil))
    with pytest.raises(ValueError, match=message):
        Net(init_cfg={"type": "Pretrained", "checkpoint": str(evil)}).init_weights()


def test_torchs_own_reader_is_safe_too(evil):
    with pytest.raises(pickle.UnpicklingError):
        torch.load(evil, weights_only=False)
    assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"


def test_good_files_are_read(evil, tmp_path):
    torch.save({"state_dict": {"linear.weight": torch.ones(2, 2), "linear.bias": torch.zeros(2)}}, tmp_path / "w.pth")
    net = Net()
    load_checkpoint(net, str(tmp_path / "w.pth"), strict=True)
    assert net.linear.weight.eq(1).all()
