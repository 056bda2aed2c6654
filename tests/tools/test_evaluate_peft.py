"""The benchmark of fine-tuning methods: disjoint, reproducible tasks; budgets; records; the table's arithmetic."""

import json

import _peft_methods as methods
import _peft_table as table
import _pretrain as pretraining
import evaluate_peft as tool
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scenes.tasks import registry as tasks


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A folder with the checkpoint of a ViT after two updates."""
    folder = tmp_path_factory.mktemp("peft")
    recipe = pretraining.Recipe(steps=2, batch=4, images=8)
    record = pretraining.pretrain("vit", folder / "checkpoints", recipe)
    assert record["sha256"] == pretraining.sha256(folder / "checkpoints" / "vit.safetensors")
    assert np.isfinite(record["losses"]).all()
    return folder


# -- methods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", pretraining.BACKBONES)
@pytest.mark.parametrize("name", methods.METHODS)
def test_budgets(backbone, name):
    model = methods.adapt(pretraining.build(backbone, 5), backbone, name, 0)
    size = methods.adapter_size(model, backbone)
    budget = methods.METHODS[name].budget.get(backbone)
    if budget is not None:
        wanted = methods.BUDGETS[backbone][budget]
        assert abs(size - wanted) <= methods.TOLERANCE * wanted
    head = pretraining.build(backbone, 5).get_submodule(pretraining.HEADS[backbone])
    total = sum(p.numel() for p in methods.trained(model).values())
    assert total == size + sum(p.numel() for p in head.parameters())  # every method trains the whole head
    assert (size == 0) == (name == "linear")
    assert not (methods.METHODS[name].variant and budget)


#: Methods without gates start near the bare network only.
NEAR = ("moppa_released", "moppa_ungated", "moppa_all")


@pytest.mark.parametrize("name", [n for n in methods.METHODS if n not in NEAR])
def test_methods_start_as_the_bare_network(name):
    torch.manual_seed(0)
    bare = pretraining.build("vit", 5).eval()
    x = torch.randn(2, 3, 64, 64)
    expected = bare(x).detach()
    with torch.no_grad():
        got = methods.adapt(bare, "vit", name, 0).eval()(x)
    torch.testing.assert_close(got, expected)


# -- runs -------------------------------------------------------------------------------------------------------------

SETTINGS = tool.Settings(steps=2, batch=4, lrs=(1e-3, 1e-2), limit=12)


def test_a_run_is_recorded_and_not_repeated(out, monkeypatch):
    tested = []
    accuracy = tool.accuracy
    monkeypatch.setattr(tool, "accuracy", lambda *a: tested.append(a[2]) or accuracy(*a))

    def next_rate(search, start, factor, below):
        assert (start, factor, below) == (SETTINGS.lrs, SETTINGS.factor, False)
        return [*start, None][len(search)]

    monkeypatch.setattr(tool, "next_rate", next_rate)
    cells = [tool.Cell("vit", "moppa_rescale", "digits", seed) for seed in (1, 0)]
    with pytest.raises(FileNotFoundError, match="run seed 0"):
        tool.run(cells[0], out, SETTINGS)
    tool.sweep(cells, out, SETTINGS)
    assert tested == ["val", "val", "test", "val", "test"]  # two learning rates with seed 0, then its one
    records = table.read_records(out / "vit")
    assert [r["seed"] for r in records] == [0, 1]
    for record in records:
        assert record["lr"] == records[0]["lr"] and record["settings"]["checkpoint"]
        assert record["trained_parameters"] == record["adapter_parameters"] + 10 * 97
        assert record["file_bytes"] > 4 * record["trained_parameters"]
        for field in ("train_seconds", "train_cpu_seconds", "saved_for_backward_bytes", "peak_process_kib"):
            assert record[field] > 0
        assert {"commit", "torch", "peft", "threads"} <= set(record["environment"])
    search = records[0]["search"]
    assert search[str(records[0]["lr"])] == max(search.values()) == records[0]["val_accuracy"]
    tool.sweep(cells, out, SETTINGS)
    assert len(tested) == 5
    with pytest.raises(ValueError, match="another --out"):
        tool.run(cells[1], out, tool.Settings(steps=3))


def test_the_same_seed_gives_the_same_network(out):
    cell = tool.Cell("vit", "lora", "count", 4)
    checkpoint = out / "checkpoints" / "vit.safetensors"
    one, two = (methods.trained(tool.train(cell, 1e-2, SETTINGS, checkpoint)[0]) for _ in range(2))
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_batches_go_through_all_images_first():
    order = tool._order(10, tool.Settings(steps=5, batch=4), 0).flatten().tolist()
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))


def test_an_incomplete_checkpoint_is_refused(out, tmp_path):
    state = load_file(out / "checkpoints" / "vit.safetensors")
    del state["norm.weight"]
    save_file(state, tmp_path / "vit.safetensors")
    with pytest.raises(ValueError, match=r"is no vit: missing \['norm.weight'\]"):
        pretraining.build("vit", 3, tmp_path / "vit.safetensors")


# -- table ------------------------------------------------------------------------------------------------------------


def test_table(tmp_path):
    rng = np.random.default_rng(0)
    values = {name: rng.uniform(20, 90, 5) for name in tasks.TASKS}
    records = [
        {"backbone": "vit", "method": "lora", "task": t, "seed": s, "test_accuracy": float(v)}
        | {"adapter_parameters": 8448, "train_cpu_seconds": 1.0, "saved_for_backward_bytes": 2**20, "file_bytes": 5000}
        for t, own in values.items()
        for s, v in enumerate(own)
    ]
    for index, record in enumerate(records):
        path = tmp_path / record["task"] / "lora" / f"seed{index}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    read = table.read_records(tmp_path)
    assert len(read) == len(records)
    got = table.summarise(read)
    group_means, group_errors = [], []
    for group in ("natural", "specialised", "structured"):
        own = np.stack([values[n] for n, t in tasks.TASKS.items() if t.group == group])
        errors = own.std(1, ddof=1) / np.sqrt(5)
        group_means.append(own.mean())
        group_errors.append(np.linalg.norm(errors) / len(own))
        np.testing.assert_allclose(got[group], (group_means[-1], group_errors[-1]))
    np.testing.assert_allclose(got["mean"], (np.mean(group_means), np.linalg.norm(group_errors) / 3))
    text = table.format_table(read)
    assert f"{values['digits'].mean():.1f} ± {values['digits'].std(ddof=1) / np.sqrt(5):.1f}" in text
    better = [{**r, "method": "fourierft", "test_accuracy": r["test_accuracy"] + r["seed"]} for r in records]
    np.testing.assert_allclose(table.above(better, records), (2.0, np.std(range(5), ddof=1) / np.sqrt(5)))
    assert "| 2.0 ± 0.7 |" in table.format_table(records + better)
    # Of the small budget in a ViT, whose LoRA is not there, of the large one in a vHeat.
    for backbone, compared in (("vit", False), ("vheat", True)):
        rows = [{**r, "backbone": backbone, "method": "moppa_released"} for r in better]
        assert ("| 2.0 ± 0.7 |" in table.format_table(records + rows)) == compared
    assert table.above(better, [r for r in records if r["task"] != "stain"]) is None
    partial = table.summarise([r for r in records if r["task"] != "stain"])
    assert partial["stain"] is partial["specialised"] is partial["mean"] is None and partial["natural"] is not None
    assert "| - |" in table.format_table([r for r in records if r["task"] != "stain"])
    chosen = ["digits", "stain"]
    expected = (values["digits"].mean() + values["stain"].mean()) / 2
    np.testing.assert_allclose(table.summarise(read, chosen)["mean"][0], expected)
    head, _, line = table.format_table(read, chosen).splitlines()[:3]
    assert "| digits | **natural** | stain | **specialised** | **mean** |" in head and f" {expected:.1f} ±" in line
    with pytest.raises(ValueError, match="no runs"):
        table.format_table([])
