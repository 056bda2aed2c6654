"""--cfg-options: what mmengine's runner takes passes, and what is misspelt does not."""

import inspect
import re

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from training.config_names import unknown_names

CONFIG = {"model": {"type": "X"}, "env_cfg": {"mine": 1}}

TAKEN = [
    "compile",
    "compile.mode",
    "find_unused_parameters",
    "model_wrapper_cfg.type",
    "custom_hooks",
    "custom_hooks.0.type",
    "experiment_name",
    "auto_scale_lr.enable",
    "auto_scale_lr.base_batch_size",
    "env_cfg.cudnn_benchmark",
    "env_cfg.mp_cfg.mp_start_method",
    "env_cfg.dist_cfg.backend",
    "env_cfg.mine",
    "sync_bn",
    "activation_checkpointing",
    "efficient_conv_bn_eval",
    "randomness.seed",
    "randomness.deterministic",
    "log_level",
    "load_from",
    "resume",
    "launcher",
    "work_dir",
    "model.backbone.depth",
    "runner_type",
    "custom_imports",
    "tta_model.type",
    "tta_pipeline",
    "visualizer.vis_backends",
    "data_preprocessor",
    "default_scope",
]


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_read_passes(name):
    assert unknown_names({name: 1}, Config(CONFIG)) == []


def test_what_the_commands_read_passes(root):
    tools = [root / "tools", *(root / "tools" / part for part in ("training", "prediction", "checks"))]
    ours = [(r'\bconfig\.get\("(\w+)"', file) for folder in tools for file in folder.glob("*.py")]
    ours += [(r'\bself\.cfg\.get\("(\w+)"', file) for file in (root / "backbones/openmmlab").glob("*.py")]
    names = {name for pattern, file in ours for name in re.findall(pattern, file.read_text())}
    assert {"reschedule", "metainfo", "test_pipeline", "runner_type"} <= names
    assert unknown_names(dict.fromkeys(names - {"data_root"}), Config(CONFIG)) == []  # that is moved where there is one


@pytest.mark.parametrize("name", sorted(set(inspect.signature(Runner).parameters) - {"cfg"}))
def test_every_argument_of_the_runner_passes(name):
    assert unknown_names({name: 1}, Config(CONFIG)) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("trian_cfg.max_iters", "train_cfg"),
        ("complie", "compile"),
        ("find_unused_parameter", "find_unused_parameters"),
        ("cudnn_benchmark", "env_cfg.cudnn_benchmark"),  # which the runner would pass over at the top
        ("env_cfg.cudnn_bench", "env_cfg.cudnn_benchmark"),
        ("auto_scale_lr.enabel", "auto_scale_lr.enable"),
        ("modle.backbone", "model"),
    ],
)
def test_what_nothing_reads_is_refused(name, meant):
    (line,) = unknown_names({name: 1, "compile": True}, Config(CONFIG))
    assert line.endswith(f"has {name}; did you mean {meant}?")


def test_without_a_likely_meaning():
    assert unknown_names({"zzz": 1}, Config(CONFIG)) == ["neither the config nor mmengine's runner has zzz"]
