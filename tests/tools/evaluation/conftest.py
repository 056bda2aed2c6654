"""Tasks on the tiny digit scenes, and a pre-trained vHeat."""

from __future__ import annotations

import pytest
import timm
import torch
import yaml
from evaluation.entries import read_entries
from evaluation.tasks import ReadyTask
from small_tasks import CONFIGS, NANO, task_of

import backbones  # noqa: F401 (registers)


@pytest.fixture
def write(tmp_path):
    """Write the YAML file of a study and read it."""

    def write(**content):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return read_entries(path)

    return write


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory):
    """A classifier whose weights no two networks share."""
    torch.manual_seed(5)
    net = timm.create_model("vheat_nano", num_classes=3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.rand_like(parameter))
    path = tmp_path_factory.mktemp("weights") / "nano.pth"
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def ready(digit_scenes, tmp_path_factory):
    """Both tasks, ready."""
    folder = tmp_path_factory.mktemp("study")
    path = folder / "study.yaml"
    tasks = {kind: task_of(kind, digit_scenes, choose=3) for kind in CONFIGS}
    path.write_text(yaml.safe_dump({"tasks": tasks, "entries": {"a": {"backbone": NANO}}, "protocols": ["scratch"]}))
    return {name: ReadyTask(task, folder) for name, task in read_entries(path).tasks.items()}
