"""The transfer's configs differ only where they should, frozen backbones stay frozen, and its table."""

import json
from pathlib import Path

import _runs
import dense_transfer as tool
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner.checkpoint import save_checkpoint
from peft.tuners.tuners_utils import BaseTunerLayer
from scenes.data_set import make_digit_scenes

pytestmark = pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``:UserWarning")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A small data set in the place of the real one, of which 3 scenes train and 2 choose."""
    folder = tmp_path_factory.mktemp("data") / "night"
    make_digit_scenes(folder, style="night", size=96, train=6, val=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, "NIGHT", folder)
        patch.setattr(tool, "TRAINED", 3)
        patch.setattr(tool, "CHOOSING", 2)
        tool.write_choosing(folder / "choosing.json")
        yield folder


def model_of(config):
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model)
    model.init_weights()
    return model


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A checkpoint of every task, as a run leaves it."""
    found = {}
    for task, path in tool.CONFIGS.items():
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
    tool.write_changed(tool.CONFIGS[task], changed, folder / "config.py")
    return Config.fromfile(folder / "config.py")


def bare(name):
    """The name of a backbone's tensor without what wrappers add."""
    for part in ("net.", "base_model.model.", "base_layer."):
        name = name.replace(part, "")
    return name


@pytest.mark.parametrize("task", tool.METRICS)
@pytest.mark.parametrize("name", tool.METHODS)
def test_configs(name, task, night, pretrained, tmp_path):
    config, base = config_of(task, name, night, pretrained[task], tmp_path), Config.fromfile(tool.CONFIGS[task])
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
    assert len(same) == len(list(expected)) and (all(same) if tool.METHODS[name].pretrained else not all(same))
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
    assert count == tool.trained_parameters(tool.METHODS[name])


@pytest.mark.parametrize("task", tool.METRICS)
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
    moppa, lora = (tool.trained_parameters(tool.METHODS[name]) for name in ("moppa", "lora"))
    assert moppa == pytest.approx(lora, rel=0.01) and moppa < 20_000
    assert tool.trained_parameters(tool.METHODS["frozen"]) == 0
    assert tool.trained_parameters(tool.METHODS["full"]) == tool.trained_parameters(tool.METHODS["scratch"]) > 1.8e6
    rescaled = MODELS.build(tool.backbone(tool.METHODS["moppa"], None)).net.base_model.model
    lora = MODELS.build(tool.backbone(tool.METHODS["lora"], None)).net.base_model.model
    linears = [{n for n, m in net.named_modules() if _adapts_linear(m)} for net in (rescaled, lora)]
    assert linears[0] == linears[1] and len(linears[0]) == 4 * 6


def _adapts_linear(module):
    return isinstance(module, BaseTunerLayer) and isinstance(module.get_base_layer(), torch.nn.Linear)


def test_the_rate_is_chosen_with_seed_0_and_runs_are_not_repeated(tmp_path, monkeypatch, night):
    trained, tested = [], []

    def train(task, folder):
        assert len(json.loads((folder / "choosing.json").read_text())["images"]) == 2
        (folder / "run").mkdir()
        (folder / "run" / "last_checkpoint").write_text(str(folder / "config.py"))
        trained.append(folder.relative_to(tmp_path).as_posix())
        miou = {"rate1": 30.0, "rate3": 40.0, "rate10": 50.0, "rate30": 45.0}[folder.name]
        return {"mIoU": miou, "seconds": 5.0}

    def evaluate(task, folder):
        tested.append(folder.relative_to(tmp_path).as_posix())
        return {"mIoU": 45.0}

    monkeypatch.setattr(tool, "train", train)
    monkeypatch.setattr(tool, "evaluate", evaluate)
    monkeypatch.setattr(tool.Sweep, "checkpoint", lambda self, task, seed: tmp_path / f"seed{seed}.pth")
    sweep = tool.Sweep(tmp_path, tmp_path / "pretrained")
    for _ in range(2):
        record = sweep.measure("segmentation", "lora", 1)
    assert record["mIoU"] == 45.0 and record["rate"] == 10.0 and record["iterations"] == 600
    assert record["parameters"] == 16_192
    assert sweep.search("segmentation", "lora") == {1.0: 30.0, 3.0: 40.0, 10.0: 50.0, 30.0: 45.0}
    folder = "segmentation/lora"
    assert trained == [f"{folder}/seed0/rate{r}" for r in (1, 3, 10, 30)] + [f"{folder}/seed1/rate10"]
    assert tested == [f"{folder}/seed1/rate10"]
    assert "seed1.pth" in (tmp_path / folder / "seed1/rate10/config.py").read_text()
    assert sweep.search("segmentation", "frozen") == {}  # nothing to choose
    with pytest.raises(ValueError, match="of 600 iterations, not 20: give another --out"):
        tool.Sweep(tmp_path, tmp_path / "pretrained", 20).measure("segmentation", "lora", 1)


def test_nothing_detected_is_an_ap_of_zero(tmp_path):
    log = tmp_path / "scalars.json"
    log.write_text('{"loss": 1.0, "step": 200}\n{"data_time": 0.1, "step": 200}\n')
    assert _runs._metrics("detection", log) == {"box AP": 0.0, "mask AP": 0.0}
    with pytest.raises(KeyError):
        _runs._metrics("segmentation", log)


def test_pretraining_is_the_comparisons_run(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(tool, "measure", lambda *arguments: asked.append(arguments))
    run = tmp_path / "segmentation/vheat/seed2/run"
    run.mkdir(parents=True)
    (run / "last_checkpoint").write_text("/somewhere/iter_1200.pth")
    assert tool.Sweep(tmp_path / "out", tmp_path).checkpoint("segmentation", 2) == Path("/somewhere/iter_1200.pth")
    assert asked == [("segmentation", "vheat", 2, None, run.parent)]


def test_table():
    def record(**metrics):
        return {**metrics, "parameters": 16_192, "rate": 3.0, "seconds": 60.0, "MB": 5.0}

    row = {
        "detection": [record(**{"box AP": 40.0, "mask AP": 30.0}), record(**{"box AP": 44.0, "mask AP": 30.0})],
        "segmentation": [record(mIoU=50.0), record(mIoU=52.0)],
    }
    lines = tool.format_table({"lora": row}).splitlines()
    assert lines[0].startswith("| method | backbone parameters trained | box AP | mask AP | mIoU | detection: rate")
    assert lines[2] == "| lora | 16,192 | 42.0 ± 2.0 | 30.0 ± 0.0 | 51.0 ± 1.0 | 3 | 60 | 5.00 | 3 | 60 | 5.00 | 2 |"
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
