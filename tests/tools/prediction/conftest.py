"""Random models of the demo's configs, and the command that predicts with them, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from in_process import own_readers, run
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

DETECTOR, SEGMENTOR = "mask-rcnn_vheat-n_fpn", "upernet_vheat-n"


@pytest.fixture(scope="session")
def trained(root, tmp_path_factory):
    """By task, a config and a checkpoint whose parameters are all random."""
    made = {}
    for task, name in (("detection", DETECTOR), ("segmentation", SEGMENTOR)):
        file = root / "configs/digit_scenes" / f"{name}.py"
        config = Config.fromfile(file)
        init_default_scope(config.default_scope)
        torch.manual_seed(0)
        model = MODELS.build(config.model)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        checkpoint = tmp_path_factory.mktemp(task) / "weights.pth"
        meta = {"classes": tuple(config.metainfo.classes), "palette": config.metainfo.get("palette")}
        torch.save({"state_dict": model.state_dict(), "meta": {"dataset_meta": meta}}, checkpoint)
        made[task] = (file, checkpoint)
    return made


@pytest.fixture(autouse=True)
def readers():
    """Other tests read as they did before."""
    with own_readers():
        yield


@pytest.fixture
def predict(capsys):
    """Run tools/predict.py here: its exit status, and its last line of errors or, without any, of output."""

    def call(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        ended = run("predict.py", *arguments)
        written = capsys.readouterr()
        said = ended if isinstance(ended, str) else written.err or written.out
        return (1 if isinstance(ended, str) else ended), (said.splitlines() or [""])[-1]

    return call


@pytest.fixture
def with_model(trained):
    """The arguments that name a task's model."""

    def arguments(task: str, checkpoint: Path | None = None) -> list[object]:
        config, weights = trained[task]
        return ["--config", config, "--checkpoint", checkpoint or weights]

    return arguments
