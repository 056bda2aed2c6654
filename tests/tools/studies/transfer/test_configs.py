"""The transfer's configs differ only where they should, and frozen backbones stay frozen."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner.checkpoint import save_checkpoint
from peft.tuners.tuners_utils import BaseTunerLayer
from studies.methods import TRANSFERS
from studies.transfer import configs as tool
from training.runs import CONFIGS, METRICS, write_changed

pytestmark = pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``:UserWarning")


def model_of(config):
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model)
    model.init_weights()
    return model


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A checkpoint of every task, as a run leaves it."""
    found = {}
    for task, path in CONFIGS.items():
        config = Config.fromfile(path)
        torch.manual_seed(1)
        model = model_of(config)
        with torch.no_grad():
            for parameter in model.backbone.parameters():
                parameter.add_(0.1 * torch.rand_like(parameter))
        found[task] = tmp_path_factory.mktemp(task) / "iter_5.pth"
        save_checkpoint({"state_dict": model.state_dict(), "meta": {}}, str(found[task]))
    return found


def config_of(task, method, night, checkpoint, folder, rate=3.0):
    changed = tool.changes(tool.Run(task, method, 4, rate), checkpoint, 70, night / "choosing.json")
    write_changed(CONFIGS[task], changed, folder / "config.py")
    return Config.fromfile(folder / "config.py")


def bare(name):
    """The name of a backbone's tensor without what wrappers add."""
    for part in ("net.", "base_model.model.", "base_layer."):
        name = name.replace(part, "")
    return name


@pytest.mark.parametrize("task", METRICS)
@pytest.mark.parametrize("name", TRANSFERS)
def test_configs(name, task, night, pretrained, tmp_path):
    config, base = config_of(task, name, night, pretrained[task], tmp_path), Config.fromfile(CONFIGS[task])
    changed = {"model", "randomness", "train_cfg", "param_scheduler", "optim_wrapper", "default_hooks", "custom_hooks"}
    data = {f"{split}_{what}" for split in ("train", "val", "test") for what in ("dataloader", "evaluator")}
    for key in set(base) - changed - data:
        assert config[key] == base[key], key
    assert {k: v for k, v in config.model.items() if k != "backbone"} == {
        k: v for k, v in base.model.items() if k != "backbone"
    }
    assert config.randomness.seed == 4 and config.train_cfg.max_iters == 70 == config.param_scheduler[1].end
    for key in ("optimizer", "clip_grad"):
        assert config.optim_wrapper[key] == base.optim_wrapper[key]
    for split in ("train", "val", "test"):
        ours, theirs = config[f"{split}_dataloader"], base[f"{split}_dataloader"]
        assert ours.dataset.pipeline == theirs.dataset.pipeline and ours.batch_size == theirs.batch_size
    assert ("custom_hooks" in config and "Route" in str(config.custom_hooks)) == (name == "moppa")

    torch.manual_seed(2)
    model = model_of(config)
    weights = torch.load(pretrained[task], weights_only=True)["state_dict"]
    expected = {n.removeprefix("backbone."): t for n, t in weights.items() if n.startswith("backbone.")}
    found = {bare(n): t for n, t in dict(model.backbone.named_parameters()).items()}
    same = [torch.equal(found[n], t) for n, t in expected.items() if n in found]
    assert len(same) == len(list(expected)) and (all(same) if TRANSFERS[name].pretrained else not all(same))
    head = next(n for n, p in model.named_parameters() if "head" in n and p.ndim > 1)
    assert not torch.equal(model.get_parameter(head), weights[head])  # anew

    rates = {}
    for group in build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups:
        for parameter in group["params"]:
            rates[parameter] = group["lr"]
    trained = {n: rates[p] for n, p in model.named_parameters() if p.requires_grad}
    lr = config.optim_wrapper.optimizer.lr
    assert {round(v / lr, 6) for n, v in trained.items() if not n.startswith("backbone.")} == {1.0}
    assert {round(v / lr, 6) for n, v in trained.items() if n.startswith("backbone.")} == (
        set() if name == "frozen" else {3.0}
    )
    count = sum(p.numel() for n, p in model.named_parameters() if n in trained and n.startswith("backbone."))
    assert count == tool.trained_parameters(TRANSFERS[name])


@pytest.mark.parametrize("task", METRICS)
def test_scenes_that_train_choose_and_test_are_apart(task, night, pretrained, tmp_path):
    config = config_of(task, "full", night, pretrained[task], tmp_path)
    init_default_scope(config.default_scope)
    files = {}
    for split in ("train", "val", "test"):
        dataset = DATASETS.build(config[f"{split}_dataloader"].dataset)
        paths = [Path(dataset.get_data_info(i)["img_path"]) for i in range(len(dataset))]
        files[split] = [path.relative_to(night).as_posix() for path in paths]
    assert files == {
        "train": ["train/00000.png", "train/00001.png", "train/00002.png"],
        "val": ["train/00004.png", "train/00005.png"],
        "test": ["val/00000.png", "val/00001.png"],
    }
    if task == "detection":  # its metric counts what is missed in this file
        for split in ("val", "test"):
            coco = json.loads(Path(config[f"{split}_evaluator"].ann_file).read_text())
            assert [i["file_name"] for i in coco["images"]] == [Path(f).name for f in files[split]]
            assert {a["image_id"] for a in coco["annotations"]} == {i["id"] for i in coco["images"]}


@pytest.mark.parametrize("name", ["frozen", "moppa", "lora"])
def test_frozen_backbones_stay_and_adapters_move(name, night, pretrained, tmp_path):
    config = config_of("segmentation", name, night, pretrained["segmentation"], tmp_path)
    torch.manual_seed(0)
    model = model_of(config).train()
    optim = build_optim_wrapper(model, config.optim_wrapper)
    before = {n: t.clone() for n, t in model.backbone.frozen()}
    adapter = {n: p.clone() for n, p in model.backbone.named_parameters() if p.requires_grad}
    dataset = DATASETS.build(config.train_dataloader.dataset)
    batch = [dataset[i] for i in range(2)]
    losses = []
    for _ in range(4):
        packed = {"inputs": [b["inputs"] for b in batch], "data_samples": [b["data_samples"] for b in batch]}
        losses.append(model.train_step(packed, optim)["loss"].item())
    assert losses[-1] < losses[0]
    assert before and all(torch.equal(t, before[n]) for n, t in model.backbone.frozen())
    moved = [n for n, p in model.backbone.named_parameters() if n in adapter and not torch.equal(p, adapter[n])]
    assert len(moved) == len(adapter) and (not adapter) == (name == "frozen")


def test_adapters_are_of_one_size():
    moppa, lora = (tool.trained_parameters(TRANSFERS[name]) for name in ("moppa", "lora"))
    assert moppa == pytest.approx(lora, rel=0.01) and moppa < 20_000
    assert tool.trained_parameters(TRANSFERS["frozen"]) == 0
    assert tool.trained_parameters(TRANSFERS["full"]) == tool.trained_parameters(TRANSFERS["scratch"]) > 1.8e6
    rescaled = MODELS.build(tool.backbone(TRANSFERS["moppa"], None)).net.base_model.model
    lora = MODELS.build(tool.backbone(TRANSFERS["lora"], None)).net.base_model.model
    linears = [{n for n, m in net.named_modules() if _adapts_linear(m)} for net in (rescaled, lora)]
    assert linears[0] == linears[1] and len(linears[0]) == 4 * 6


def _adapts_linear(module):
    return isinstance(module, BaseTunerLayer) and isinstance(module.get_base_layer(), torch.nn.Linear)
