"""The table's arithmetic."""

import json

import numpy as np
import pytest
from scenes.tasks.registry import TASKS
from studies.fine_tuning.table import above, format_table, read_records, summarise


def test_table(tmp_path):
    rng = np.random.default_rng(0)
    values = {name: rng.uniform(20, 90, 5) for name in TASKS}
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
    read = read_records(tmp_path)
    assert len(read) == len(records)
    got = summarise(read)
    group_means, group_errors = [], []
    for group in ("natural", "specialised", "structured"):
        own = np.stack([values[n] for n, t in TASKS.items() if t.group == group])
        errors = own.std(1, ddof=1) / np.sqrt(5)
        group_means.append(own.mean())
        group_errors.append(np.linalg.norm(errors) / len(own))
        np.testing.assert_allclose(got[group], (group_means[-1], group_errors[-1]))
    np.testing.assert_allclose(got["mean"], (np.mean(group_means), np.linalg.norm(group_errors) / 3))
    text = format_table(read)
    assert f"{values['digits'].mean():.1f} ± {values['digits'].std(ddof=1) / np.sqrt(5):.1f}" in text
    better = [{**r, "method": "fourierft", "test_accuracy": r["test_accuracy"] + r["seed"]} for r in records]
    np.testing.assert_allclose(above(better, records), (2.0, np.std(range(5), ddof=1) / np.sqrt(5)))
    assert "| 2.0 ± 0.7 |" in format_table(records + better)
    # Of the small budget in a ViT, whose LoRA is not there, of the large one in a vHeat.
    for backbone, compared in (("vit", False), ("vheat", True)):
        rows = [{**r, "backbone": backbone, "method": "moppa_released"} for r in better]
        assert ("| 2.0 ± 0.7 |" in format_table(records + rows)) == compared
    assert above(better, [r for r in records if r["task"] != "stain"]) is None
    partial = summarise([r for r in records if r["task"] != "stain"])
    assert partial["stain"] is partial["specialised"] is partial["mean"] is None and partial["natural"] is not None
    assert "| - |" in format_table([r for r in records if r["task"] != "stain"])
    chosen = ["digits", "stain"]
    expected = (values["digits"].mean() + values["stain"].mean()) / 2
    np.testing.assert_allclose(summarise(read, chosen)["mean"][0], expected)
    head, _, line = format_table(read, chosen).splitlines()[:3]
    assert "| digits | **natural** | stain | **specialised** | **mean** |" in head and f" {expected:.1f} ±" in line
    with pytest.raises(ValueError, match="no runs"):
        format_table([])
