"""Runs are recorded, reproducible and not repeated."""

import pytest
import torch
from studies import search
from studies.fine_tuning import runs as tool
from studies.fine_tuning.adaptation import trained
from studies.fine_tuning.sweep import sweep
from studies.fine_tuning.table import read_records

SETTINGS = tool.Settings(steps=2, batch=4, lrs=(1e-3, 1e-2), limit=12)


def test_a_run_is_recorded_and_not_repeated(out, monkeypatch):
    tested = []
    accuracy = tool.accuracy
    monkeypatch.setattr(tool, "accuracy", lambda *a: tested.append(a[2]) or accuracy(*a))

    def next_rate(tried, start, factor, below):
        assert (start, factor, below) == (SETTINGS.lrs, SETTINGS.factor, False)
        return [*start, None][len(tried)]

    monkeypatch.setattr(search, "next_rate", next_rate)
    cells = [tool.Cell("vit", "moppa_rescale", "digits", seed) for seed in (1, 0)]
    with pytest.raises(FileNotFoundError, match="run seed 0"):
        tool.run(cells[0], out, SETTINGS)
    sweep(cells, out, SETTINGS)
    assert tested == ["val", "val", "test", "val", "test"]  # two learning rates with seed 0, then its one
    records = read_records(out / "vit")
    assert [r["seed"] for r in records] == [0, 1]
    for record in records:
        assert record["lr"] == records[0]["lr"] and record["settings"]["checkpoint"]
        assert record["trained_parameters"] == record["adapter_parameters"] + 10 * 97
        assert record["file_bytes"] > 4 * record["trained_parameters"]
        for field in ("train_seconds", "train_cpu_seconds", "saved_for_backward_bytes", "peak_process_kib"):
            assert record[field] > 0
        assert {"commit", "torch", "peft", "threads"} <= set(record["environment"])
    tried = records[0]["search"]
    assert tried[str(records[0]["lr"])] == max(tried.values()) == records[0]["val_accuracy"]
    sweep(cells, out, SETTINGS)
    assert len(tested) == 5
    with pytest.raises(ValueError, match="another --out"):
        tool.run(cells[1], out, tool.Settings(steps=3))


def test_the_same_seed_gives_the_same_network(out):
    cell = tool.Cell("vit", "lora", "count", 4)
    checkpoint = out / "checkpoints" / "vit.safetensors"
    one, two = (trained(tool.train(cell, 1e-2, SETTINGS, checkpoint)[0]) for _ in range(2))
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_batches_go_through_all_images_first():
    order = tool._order(10, tool.Settings(steps=5, batch=4), 0).flatten().tolist()
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
