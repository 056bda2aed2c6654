"""tools/pretrain.py as a user runs it: from a folder of images to a detector with a pre-trained neck."""

from __future__ import annotations

import itertools
import json

import cv2
import numpy as np
import pytest
import torch
from in_process import run
from safetensors import safe_open

CONFIG = "itpn/itpn_vheat-nano-fpn_digit-scenes.py"
DETECTOR = "itpn/benchmarks/mask-rcnn_vheat-n-fpn_digit-scenes.py"
RUNS = itertools.count()
SMALL = ("train_dataloader.batch_size=8", "val_dataloader.batch_size=8", "randomness.seed=0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty scenes of 96 px, in two subfolders."""
    from scenes.data_set import make_digit_scenes

    scenes = tmp_path_factory.mktemp("scenes") / "scenes"
    assert make_digit_scenes(scenes, size=96, train=36, val=4, seed=1)
    return scenes


def pretrain(root, folder, out, *arguments, config=CONFIG, iterations=40, options=()):
    name = f"experiment_name=pretrain-{next(RUNS)}"  # of two runs in one second mmengine thinks that they are one
    said = ["--cfg-options", *SMALL, name, f"train_cfg.max_iters={iterations}", *options]
    return run("pretrain.py", root / "configs" / config, "--data-dir", folder, "--work-dir", out, *arguments, *said)


@pytest.mark.filterwarnings("ignore:Failed to add:UserWarning")
@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*instance named of visualizer:UserWarning")  # of an earlier test's
def test_from_a_folder_to_a_detector(root, folder, digit_scenes, tmp_path, capsys):
    schedule = ("param_scheduler.0.end=5", "param_scheduler.1.begin=5", "param_scheduler.1.end=40")
    options = (*schedule, "train_cfg.val_interval=20", "val_dataloader.dataset.held_out=0.2", "custom_hooks.1.images=2")
    assert pretrain(root, folder / "train", tmp_path / "pre", options=options) == 0
    assert "backbone and neck are published" in capsys.readouterr().out
    log = next((tmp_path / "pre").glob("*/vis_data/scalars.json")).read_text().splitlines()
    validated = [
        found["pretraining/loss_pixels"] for found in map(json.loads, log) if "pretraining/loss_pixels" in found
    ]
    assert len(validated) == 2 and validated[1] < 0.995 * validated[0] < 1.5

    pictures = sorted((tmp_path / "pre" / "reconstructions").iterdir(), key=lambda path: int(path.stem[5:]))
    assert [path.stem for path in pictures] == [f"iter_{n}" for n in range(0, 41, 4)]
    first, last = (cv2.imread(str(path)) for path in (pictures[0], pictures[-1]))
    assert first.shape == (2 * 96 + 4, 3 * 96 + 2 * 4, 3) and not np.array_equal(first, last)

    published = tmp_path / "pre" / "pretrained.safetensors"
    trained = run(
        *("train.py", root / "configs" / DETECTOR, "--work-dir", tmp_path / "detector", "--cfg-options"),
        *(
            f"load_from={published}",
            f"data_root={digit_scenes}",
            "train_cfg.max_iters=1",
            "train_dataloader.batch_size=2",
        ),
        *("optim_wrapper.optimizer.lr=0.0", "val_cfg=None", "val_dataloader=None", "val_evaluator=None"),
    )
    assert trained == 0
    state = torch.load(tmp_path / "detector" / "iter_1.pth", weights_only=False)["state_dict"]
    with safe_open(published, "pt") as file:
        names = set(file.keys())
        assert {name for name in state if name.startswith(("backbone.", "neck."))} == names
        assert all(torch.equal(state[name], file.get_tensor(name)) for name in names)


@pytest.mark.filterwarnings("ignore:.*instance named of:UserWarning")  # of runs that begin in the same second
def test_what_cannot_be_trained_on_is_said_before_training(root, folder, tmp_path, capsys):
    def fails(*arguments, data=folder, **options):
        ended = pretrain(root, data, tmp_path / "out", *arguments, **options)
        assert ended not in (0, None)
        return f"{ended}{capsys.readouterr().err}"

    assert "no such folder" in fails(data=tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="data_root has no images"):
        pretrain(root, tmp_path / "empty", tmp_path / "out")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"1 of 1 files in data_root cannot be read as images: .*a\.png \(no image\)"):
        pretrain(root, tmp_path / "broken", tmp_path / "out")
    with pytest.raises(ValueError, match="multiple"):
        pretrain(
            root,
            folder,
            tmp_path / "out",
            options=["train_dataloader.dataset.size=88", "val_dataloader.dataset.held_out=0.2"],
        )
    assert not list((tmp_path / "out").glob("*.pth"))


@pytest.mark.filterwarnings("ignore:Failed to add:UserWarning")
@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
def test_configs_in_float16_train_in_bfloat16_where_asked(root, folder, tmp_path):
    """They name a loss scale, which bfloat16 has none of; and a folder may be smaller than one of their batches."""
    config = tmp_path / "small.py"
    config.write_text(
        f"""_base_ = "{root}/configs/itpn/itpn-pixel_hivit-base-p16_8xb512-amp-coslr-400e_in1k.py"
arch = dict(embed_dim=32, depths=(1, 1, 2), num_heads=2)
sizes = dict(pyramid_dim=8, decoder_dim=32, decoder_depth=1, decoder_heads=2)
model = dict(_delete_=True, type="ITPNPretraining", arch=arch, **sizes)
workers = dict(num_workers=0, persistent_workers=False)
train_dataloader = workers
val_dataloader = workers
"""
    )
    settings = ("train_cfg.max_epochs=1", f"experiment_name=pretrain-{next(RUNS)}", "val_dataloader.batch_size=4")
    command = ("pretrain.py", config, "--data-dir", folder / "train", "--work-dir", tmp_path, "--amp", "bfloat16")
    with pytest.raises(ValueError, match="train_dataloader gives no batches: its dataset is smaller than a batch"):
        run(*command, "--cfg-options", *settings)
    settings = (*settings, "train_dataloader.batch_size=8", f"experiment_name=pretrain-{next(RUNS)}")
    assert run(*command, "--cfg-options", *settings) == 0
    assert (tmp_path / "pretrained.safetensors").exists()
