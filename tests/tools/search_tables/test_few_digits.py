"""The table of our own: its trainings are the command's, its shards go on and meet no job twice, and it is read."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import train_classifier
from compare_search import main as compare
from make_search_table import main, shard
from search_tables import few_digits, tables
from search_tables.arms import curve
from searching import digits
from training.recipe import parse_arguments

from backbones.search import Agent, Choice, Ordinal, Space

#: timm leaves its images open.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
SMALL = Space(
    aug=Agent(policy=Choice([""]), scale=Ordinal([0.4, 0.8])),
    nas=Agent(operator=Choice(["heat"]), width=Ordinal([8]), depth=Ordinal([1])),
    hpo=Agent(lr=Ordinal([1e-3, 1e-2]), mixup=Ordinal([0.4]), drop_path=Ordinal([0.2])),
)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "few"
    digits.write_few_digits(folder)
    return folder


@pytest.fixture
def small(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Four settings of four epochs; the folder of their table."""
    monkeypatch.setattr(digits, "FOLDER", few)
    for name, value in {"SPACE": SMALL, "EPOCHS": 4, "FOLDER": tmp_path / "table"}.items():
        monkeypatch.setattr(few_digits, name, value)
    monkeypatch.setattr("make_search_table.write_few_digits", lambda: None)
    tables.open_table.cache_clear()
    yield tmp_path / "table"
    tables.open_table.cache_clear()


def test_the_whole_is_a_full_factorial() -> None:
    settings = few_digits.settings()
    assert len(settings) == len(set(settings)) == few_digits.SPACE.combinations == 864
    everything = [few_digits.values_of(levels) for levels in settings]
    assert len({json.dumps(values) for values in everything}) == 864
    for values in everything[::97]:
        args = parse_arguments(["--data-dir", ".", *few_digits.recipe(values)], "")
        aug, nas, hpo = (values[name] for name in ("aug", "nas", "hpo"))
        assert (args.auto_augment, args.scale) == (aug["policy"], [aug["scale"], 1.0]) and args.ema_decay == 0
        assert (args.lr, args.mixup, args.drop_path) == (hpo["lr"], hpo["mixup"], hpo["drop_path"])
        kwargs = args.model_kwargs
        assert kwargs["operator"] == [nas["operator"]] * 4 and kwargs["depths"][2] == nas["depth"]
        assert kwargs["dims"][0] == nas["width"]


def test_a_training_is_that_of_the_command(small: Path, few: Path, tmp_path: Path) -> None:
    values = few_digits.values_of((0, 1, 0, 0, 0, 1, 0, 0))
    row = few_digits.train(values, seed=3)
    data = ["--data-dir", str(few / "search"), "--out", str(tmp_path / "run"), "--device", "cpu", "--epochs", "4"]
    history = train_classifier.main([*data, *few_digits.recipe(values), "--epochs", "4", "--seed", "3"])
    assert row["validation"] == [pytest.approx(epoch["top1"], abs=0.21) for epoch in history]
    assert row["loss"] == [pytest.approx(epoch["train_loss"], abs=6e-5) for epoch in history]
    measure = ["--data-dir", str(few / "test"), "--evaluate", str(tmp_path / "run" / "last.pth"), "--crop-pct", "1"]
    (tested,) = train_classifier.main([*measure, "--workers", "0", "--device", "cpu"])
    assert row["test"] == pytest.approx(tested["top1"], abs=0.3) and len(set(row["validation"])) > 1


def test_a_training_that_diverges_is_the_worst_and_ends_nothing(small: Path) -> None:
    values = few_digits.values_of((0, 1, 0, 0, 0, 1, 0, 0))
    row = few_digits.train({**values, "hpo": {**values["hpo"], "lr": 1e30}}, seed=0)
    assert "error: the" in row["failed"] and row["validation"][-1] == row["test"] == 0


def test_shards_go_on_and_share_the_work(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--out", str(small), "--shard", "1/2", "--at-most", "1"])
    assert "1 of 8 trainings" in capsys.readouterr().out
    path = small / "shard-001-of-002.jsonl"
    path.write_text(path.read_text() + '{"setting": 3, "se')
    main(["--out", str(small), "--shard", "1/2"])
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    assert [(row["setting"], row["seed"]) for row in rows] == [(1, 0), (3, 0), (1, 1), (3, 1)]
    with pytest.raises(ValueError, match=r"lacks 2 of 4 settings: python tools/make_search_table\.py"):
        tables.open_table("ours")
    main(["--out", str(small)])  # the other half, as one shard of one
    capsys.readouterr()
    main(["--out", str(small), "--status"])
    assert "8 of 8 trainings" in capsys.readouterr().out
    assert len(few_digits.read_rows(small)) == 8 and few_digits.jobs(small, 0, 1) == []

    table = tables.open_table("ours")
    assert table.scores.shape == table.tests.shape == (1, 2, 1, 1, 1, 2, 1, 1, 2)
    for (setting, seed), row in few_digits.read_rows(small).items():
        levels = few_digits.settings()[setting]
        assert table.score(levels, seed) == row["validation"][-1] and table.tests[(*levels, seed)] == row["test"]
        assert table.truth[levels] == pytest.approx(table.tests[levels].mean())
    found = curve(table, "ma2ml", 0, 4)
    chosen = max(few_digits.settings(), key=lambda levels: table.score(levels, 0))
    assert found[-1] in table.regrets()[table.scores[..., 0] == table.score(chosen, 0)]
    compare(
        [
            "--tables",
            "ours",
            "--seeds",
            "2",
            "--trials",
            "3",
            "--arms",
            "tpe",
            "random",
            "--workers",
            "1",
            "--out",
            str(small),
        ]
    )
    assert "better than TPE, joint tables" in capsys.readouterr().out


def test_tables_of_other_settings_are_not_mixed(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_digits.check(small)
    few_digits.check(small)
    monkeypatch.setattr(few_digits, "EPOCHS", 5)
    with pytest.raises(SystemExit, match="holds a table of other settings"):
        main(["--out", str(small)])


def test_shards_have_numbers() -> None:
    assert shard("2/3") == (2, 3)
    for bad in ("3/3", "1", "a/b", "-1/2", "0/0"):
        with pytest.raises(argparse.ArgumentTypeError, match="must be i/n"):
            shard(bad)
