"""Tables of made-up results."""

import math

import pytest
from evaluation.analyses import Condition
from evaluation.conditions import Outcome, condition_parts, items
from evaluation.parts import best_lines
from evaluation.results import Line, Row, differences
from evaluation.runs import Case
from evaluation.tables import (
    Table,
    classes_table,
    costs_table,
    differences_table,
    rates_table,
    results_table,
    speed_table,
)


def row(entry, values, protocol="full", share=1.0, rate=1.0, tried=(), missing=()):
    seeds = {
        seed: {
            "metrics": {"mIoU": value, "mAcc": math.nan, "classes": {"IoU": {"sky": value, "sea": math.nan}}},
            "predictions": "x",
            "record": {"seconds": 100.0 + seed, "MB": 12.0, "memory": 900},
        }
        for seed, value in enumerate(values)
    }
    return Row(Line("seg", entry, protocol, share), seeds, rate, dict(tried), tuple(missing))


@pytest.fixture
def rows():
    return [
        row("a", [40, 42, 41, 43, 42, 44]),
        row("b", [41, 44, 42, 45, 43, 46]),
        row("b", [30, 31], protocol="frozen", missing=[2]),
        row("a", [20.0], share=0.1, rate=3.0, tried={1.0: 18.0, 3.0: 21.5, 9.0: math.nan}),
    ]


def cells(table):
    return [dict(zip(table.head, r, strict=True)) for r in table.rows]


def test_results_are_means_with_errors_and_say_what_is_missing(rows):
    found = cells(results_table(rows))
    assert [r["mIoU"] for r in found] == ["42.0 ± 0.6", "43.5 ± 0.8", "30.5 ± 0.5", "20.0"]
    assert [r["seeds"] for r in found] == ["6", "6", "2 (missing: 2)", "1"]
    assert [r["labels"] for r in found] == ["100 %", "100 %", "100 %", "10 %"]
    assert "mAcc" not in found[0] and "box AP" not in found[0]  # there is nothing to show


def test_differences_are_seed_by_seed_to_the_reference_and_to_the_entrys_first_protocol(rows):
    found = differences(rows, {"seg": "mIoU"}, "a")
    assert [d.what for d in found] == ["b, full - a, full", "b, frozen + full head - b, full"]
    assert found[0].found.difference == pytest.approx(1.5) and found[0].found.n == 6
    assert found[1].found.difference == pytest.approx(-12.0) and found[1].found.n == 2  # over the seeds of both
    says = [r["says"] for r in cells(differences_table(found))]
    assert says == ["p = 0.0312", "2 seeds: descriptive"]
    assert cells(differences_table(found))[0]["difference"] == "+1.50"


def test_a_metric_that_a_line_lacks_is_not_compared(rows):
    assert differences(rows, {"seg": "mAcc"}, "a") == []


def test_other_tables(rows):
    assert rates_table(rows[:2], "mIoU") is None
    (rate,) = cells(rates_table(rows, "mIoU"))
    assert rate["chosen"] == "3" and rate["tried"] == "1: 18.0, 3: 21.5, 9: nan"
    (sky, sea) = classes_table(rows[:2], "IoU").rows
    assert sky == ["sky", "42.0", "43.5"] and sea == ["sea", "-", "-"]
    assert classes_table(rows, "box AP") is None
    speed = cells(speed_table(rows[:1], {"a": 50.0}))[0]
    assert (speed["backbone images/s"], speed["training images/s"], speed["training (s)"]) == ("50.0", "-", "102")
    model = {"trained": 1000, "parameters": 2000, "backbone_trained": 10, "backbone": 500, "macs": 57e6}
    costs = cells(costs_table([rows[0], rows[3]], {"seg/a/full": model}))
    assert len(costs) == 1 and costs[0]["parameters trained"] == "1,000" and costs[0]["backbone MMACs"] == "57.0"


def test_the_best_line_of_each_entry(rows):
    assert [(r.line.entry, r.line.protocol, r.line.share) for r in best_lines(rows, "mIoU")] == [
        ("b", "full", 1.0),
        ("a", "full", 1.0),
    ]


def outcome(entry, analysis, name, value):
    return Outcome(Case("seg", entry, "full", 1.0, 0), Condition(analysis, name, None), value)


def test_the_severities_of_a_corruption_are_tested_together_by_the_first_seed():
    names = [("robustness", ("fog", 1)), ("robustness", ("fog", 2)), ("robustness", ("snow", 1)), ("tta", ())]
    wanted = [Condition(analysis, name, None) for analysis, name in (*names, ("resolutions", (2.0,)))]
    first, other = Case("seg", "a", "full", 1.0, 3), Case("seg", "b", "full", 1.0, 4)
    found = {first._replace(seed=4): None, first: None, other: None}
    assert items(found, wanted) == [(case, of) for case in (first, other) for of in ((0, 1), (2,), (3,), (4,))]


def test_conditions_beside_clean_images(rows):
    values = [outcome("a", "robustness", ("fog", s), 40 - 10 * s) for s in (1, 2)]
    values += [outcome("a", "robustness", ("snow", s), 40.0) for s in (1, 2)]
    values += [outcome("b", "robustness", ("fog", 1), 5.0), outcome("b", "robustness", ("snow", 2), 4.0)]
    values += [outcome("b", "resolutions", (f,), 10 * f) for f in (2.0, 0.5)]
    values += [outcome("a", "tta", (), "mmdet merges no masks"), outcome("b", "tta", (), 47.0)]
    wanted = [value.condition for value in values[:4]]
    robust, sizes, augmented = (p for p in condition_parts(rows[:2], values, wanted, "mIoU") if isinstance(p, Table))
    assert robust.head[:4] == ["line", "clean", "mPC", "rPC (%)"]
    (a,) = cells(robust)  # the other lacks fog of severity 2, so its mean would be of something else
    assert "over 2 corruptions and 2 severities" in robust.note and robust.note.endswith("missing: b, full.")
    assert (a["clean"], a["mPC"], a["rPC (%)"], a["weather"], a["by severity"]) == (
        "40.0",
        "32.5",
        "81",
        "32.5",
        "35.0, 30.0",
    )
    assert cells(sizes) == [{"line": "b, full", "as trained": "41.0", "x 0.5": "5.0", "x 2": "20.0"}]
    assert cells(augmented) == [{"line": "b, full", "as trained": "41.0", "augmented": "47.0"}]
    assert augmented.note.endswith("mmdet merges no masks")


def test_markup_in_names_is_escaped():
    table = Table("t", ["a"], [["<b>"]], "of <class 'int'>")
    assert "of &lt;class" in table.html()
    assert "&lt;b&gt;" in table.html() and table.markdown().startswith("### t\n\n| a |")
