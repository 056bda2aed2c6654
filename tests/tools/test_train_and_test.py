"""tools/train.py and tools/test.py as a user runs them, on a tiny data set."""

import runpy
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from forked import run, start

DETECTION, SEGMENTATION = "digit_scenes/mask-rcnn_vheat-n_fpn.py", "digit_scenes/upernet_vheat-n.py"


def command(root, tool, config, data, folder, *arguments, options=()):
    overrides = [f"{loader}_dataloader.dataset.data_root={data}/" for loader in ("train", "val", "test")]
    overrides += [f"{loader}_dataloader.batch_size=2" for loader in ("train", "val", "test")]
    if config == DETECTION:
        overrides += [f"{name}_evaluator.ann_file={data}/val.json" for name in ("val", "test")]
    return [
        *(sys.executable, root / "tools" / tool, root / "configs" / config, *arguments, "--work-dir", folder),
        *("--cfg-options", *overrides, *options),
    ]


def state(path):
    return torch.load(path, weights_only=False)["state_dict"]


def test_a_killed_training_resumes_to_the_same_weights_and_is_evaluated(root, digit_scenes, tmp_path):
    iterations = ["train_cfg.max_iters=6", "train_cfg.val_interval=100", "default_hooks.checkpoint.interval=2"]
    options = [*iterations, "randomness.seed=0", "default_hooks.logger.interval=1"]
    whole = run(command(root, "train.py", DETECTION, digit_scenes, tmp_path / "whole", options=options), tmp_path)
    assert whole.returncode == 0, whole.stderr

    cut = command(root, "train.py", DETECTION, digit_scenes, "cut", options=options)
    killed = start(cut, tmp_path)
    deadline = time.monotonic() + 240
    while not (tmp_path / "cut" / "iter_2.pth").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.kill()
    assert not (tmp_path / "cut" / "iter_6.pth").exists()

    resumed = run(command(root, "train.py", DETECTION, digit_scenes, "cut", "--resume", options=options), tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed epoch: 0, iter: " in resumed.stdout + resumed.stderr
    assert "done: 6 iterations" in resumed.stdout and "images_per_s" in resumed.stdout
    expected, actual = state(tmp_path / "whole" / "iter_6.pth"), state(tmp_path / "cut" / "iter_6.pth")
    assert all(torch.equal(actual[name], value) for name, value in expected.items())

    checkpoint = tmp_path / "cut" / "iter_6.pth"
    out = tmp_path / "predictions.pkl"
    test = command(
        root, "test.py", DETECTION, digit_scenes, tmp_path / "test", checkpoint, "--out", out, "--show-dir", "drawn"
    )
    evaluated = run(test, tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "coco/bbox_mAP_50" in evaluated.stdout and "coco/segm_mAP_50" in evaluated.stdout
    assert out.stat().st_size > 0 and len(list((tmp_path / "drawn").glob("*.png"))) == 6

    other = command(root, "test.py", SEGMENTATION, digit_scenes, tmp_path / "other", checkpoint)
    refused = run(other, tmp_path)
    assert refused.returncode != 0
    assert "iter_6.pth is not a checkpoint of this config's model" in refused.stderr


def test_segmentation_trains_goes_on_and_is_evaluated(root, digit_scenes, tmp_path):
    """From a folder that is not the repository, with relative paths."""
    (tmp_path / "scenes").symlink_to(digit_scenes)

    def train(*arguments, iterations=2):
        options = [f"train_cfg.max_iters={iterations}", "train_cfg.val_interval=2", "default_hooks.logger.interval=1"]
        options += ["compile=False", "env_cfg.cudnn_benchmark=False", "custom_hooks.0.type=EmptyCacheHook"]
        result = run(command(root, "train.py", SEGMENTATION, "scenes", "wd", *arguments, options=options), tmp_path)
        assert result.returncode == 0, result.stderr
        return result.stdout

    text = train()
    assert "mIoU" in text and (tmp_path / "wd/iter_2.pth").exists()
    assert "the warm-up takes 50 iterations and training 2" in text
    assert "EmptyCacheHook" in text
    told = train("--resume")
    assert "nothing is left to do" in told and not (tmp_path / "wd/iter_3.pth").exists()
    assert "--resume --reschedule --cfg-options train_cfg.max_iters=N" in told  # which the next command does
    text = train("--resume", "wd/iter_2.pth", "--reschedule", iterations=3)
    assert "max_iters 2 -> 3" in text
    assert "Iter(train) [3/3]" in text and "Iter(train) [2/3]" not in text and (tmp_path / "wd/iter_3.pth").exists()

    drawn = ["wd/iter_2.pth", "--tta", "--show-dir", "drawn"]
    result = run(command(root, "test.py", SEGMENTATION, "scenes", "test", *drawn), tmp_path)
    assert result.returncode == 0, result.stderr
    assert "mIoU" in result.stdout and len(list((tmp_path / "drawn").rglob("*.png"))) == 6


@pytest.mark.sweep
def test_two_nodes_train_the_segmentor_that_one_process_does(root, digit_scenes, tmp_path):
    """Two agents of torchrun on this machine; group norms, and no random numbers but the data's."""
    head = ["norm_cfg.type=GN", "norm_cfg.num_groups=4", "dropout_ratio=0", "loss_decode.class_weight=None"]
    options = [f"model.{h}.{o}" for h in ("decode_head", "auxiliary_head") for o in head]
    options = ["model.backbone.drop_path_rate=0", "train_cfg.max_iters=4", "train_cfg.val_interval=100", *options]
    options += ["default_hooks.logger.interval=1", "train_dataloader.num_workers=0"]
    options += ["train_dataloader.persistent_workers=False"]

    def train(folder, batch_size, *arguments):
        size = f"train_dataloader.batch_size={batch_size}"
        argv = command(root, "train.py", SEGMENTATION, digit_scenes, folder, *arguments, options=[*options, size])
        return [str(a) for a in argv]

    assert run(train(tmp_path / "one", 8), tmp_path).returncode == 0
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    agents = []
    for rank in range(2):
        python, *rest = train(tmp_path / "two", 4, "--launcher", "pytorch")
        nodes = ["--nnodes=2", "--nproc-per-node=1", f"--node-rank={rank}", "--master-addr=localhost"]
        argv = [python, "-m", "torch.distributed.run", *nodes, f"--master-port={port}", *rest]
        agents.append(subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    texts = [agent.communicate()[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], texts
    one, two = (state(tmp_path / f / "iter_4.pth") for f in ("one", "two"))
    differences = {name: float((two[name].float() - value.float()).abs().max()) for name, value in one.items()}
    assert max(differences.values()) < 1e-4, max(differences.items(), key=lambda d: d[1])


BESIDE = """
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Beside(Hook):
    def before_train(self, runner):
        print("a module beside the config")
"""

PLAIN = """
_base_ = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
custom_imports = dict(imports=["beside"])
custom_hooks = [dict(type="Beside")]
classes = dict(classes=tuple("0123456789"))
data = dict(data_root="scenes/", ann_file="val.json", data_prefix=dict(img="val/"), metainfo=classes)
model = dict(backbone=dict(init_cfg=None))
train_dataloader = dict(num_workers=0, persistent_workers=False, batch_size=3, dataset=data)
val_dataloader = val_cfg = val_evaluator = None
train_cfg = dict(max_epochs=1)
"""


def test_a_plain_config_of_mmdet_runs(root, digit_scenes, tmp_path):
    """One without our modules, with data where the user is and a module beside it."""
    (tmp_path / "scenes").symlink_to(digit_scenes)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "beside.py").write_text(BESIDE)
    (folder / "plain.py").write_text(PLAIN)
    options = ["train_dataloader.dataset.pipeline.2.scale=(64,64)"]
    argv = [sys.executable, root / "tools/train.py", "folder/plain.py", "--work-dir", "wd", "--cfg-options", *options]
    result = run(argv, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "a module beside the config" in result.stdout and (tmp_path / "wd/epoch_1.pth").exists()
    assert "the warm-up takes 500 iterations and training 2" in result.stdout
    assert "had 1 epochs of 1" in run([*argv, "--resume"], tmp_path).stdout


@pytest.fixture
def tool(root, tmp_path, monkeypatch, capsys):
    """Run a command in this process, where it must end before anything is built; its exit code and last line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(root / "tools"), *sys.path])
    monkeypatch.setenv("LOCAL_RANK", "0")

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(root / "tools" / name), run_name="__main__")
        return ended.value.code, (capsys.readouterr().err.splitlines() or [""])[-1]

    return call


@pytest.mark.filterwarnings("ignore")  # of the frameworks
@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("train.py", ["nowhere.py"], "argument config: no such file: nowhere.py"),
        ("train.py", ["CONFIG", "--resume", "nowhere.pth"], "argument --resume: no such file: nowhere.pth"),
        ("test.py", ["CONFIG", "nowhere.pth"], "argument checkpoint: no such file: nowhere.pth"),
        ("test.py", ["CONFIG", "x.pth", "--out", "x.txt"], "--out must end in .pkl"),
        ("test.py", ["CONFIG", "x.pth", "OPTIONS", "--tta"], "mmdet merges no masks"),
        ("test.py", ["CONFIG", "x.pth", "OPTIONS", "--show"], "--show needs a screen"),
        ("train.py", ["CONFIG", "OPTIONS", "trian_cfg.max_iters=3"], "did you mean train_cfg?"),
        ("train.py", ["CONFIG", "OPTIONS", "load_from=nowhere.pth"], "no such checkpoint: nowhere.pth (load_from)"),
        (
            "train.py",
            ["CONFIG", "OPTIONS", "model.backbone.init_cfg.type=Pretrained", "model.backbone.init_cfg.checkpoint=x"],
            "no such checkpoint: x (init_cfg.checkpoint)",
        ),
        (
            "train.py",
            ["CONFIG", "OPTIONS", "val_evaluator.ann_file=nowhere.json"],
            "nowhere.json (val_evaluator.ann_file); make it with: python tools/make_digit_scenes.py",
        ),
        (
            "train.py",
            ["CONFIG", "OPTIONS", "train_dataloader.dataset.data_root=nowhere/"],
            "nowhere (train_dataloader); make it with: python tools/make_digit_scenes.py",
        ),
        (
            "test.py",
            ["CONFIG", "x.pth", "OPTIONS", "test_dataloader.dataset.ann_file=nowhere.json"],
            "/scenes/nowhere.json (test_dataloader); make it with",
        ),
        ("train.py", ["CONFIG", "--resum"], "--resum"),
        ("train.py", ["CONFIG", "--reschedule"], "it needs --resume"),
        *(
            []
            if torch.cuda.is_available()
            else [("train.py", ["CONFIG", "--amp"], "--amp float16 needs an accelerator")]
        ),
    ],
)
def test_mistakes_get_one_clear_line(root, digit_scenes, tmp_path, tool, monkeypatch, name, arguments, message):
    (tmp_path / "scenes").symlink_to(digit_scenes)
    (tmp_path / "x.pth").touch()
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    data = ["--cfg-options", *(f"{n}_dataloader.dataset.data_root=scenes/" for n in ("train", "val", "test"))]
    data += [f"{n}_evaluator.ann_file=scenes/val.json" for n in ("val", "test")]
    words = {"CONFIG": [root / "configs" / DETECTION], "OPTIONS": data}
    code, line = tool(name, *(word for a in arguments for word in words.get(a, [a])))
    assert code == 2 and message in line


@pytest.mark.filterwarnings("ignore")  # of the frameworks
@pytest.mark.parametrize(
    ("options", "arguments", "expected"),
    [
        ([], [], (False, "x.pth")),
        ([], ["--resume"], ("auto", "x.pth")),
        ([], ["--resume", "y.pth"], (True, "y.pth")),
        (["runner_type=Runner"], ["--resume"], (True, None)),  # mmengine's would resume from the weights
    ],
)
def test_the_weights_of_a_config_are_where_a_run_starts_that_may_be_resumed(
    root, digit_scenes, tmp_path, tool, monkeypatch, options, arguments, expected
):
    def build(config):
        raise SystemExit(f"{config.get('resume', False)} {config.load_from and Path(config.load_from).name}")

    for name in ("x.pth", "y.pth"):
        (tmp_path / name).touch()
    monkeypatch.setattr("training.train_command.build_runner", build)
    given = command(root, "train.py", DETECTION, digit_scenes, "w", *arguments, options=["load_from=x.pth", *options])
    code, _ = tool("train.py", *given[2:])
    assert code == " ".join(map(str, expected))
