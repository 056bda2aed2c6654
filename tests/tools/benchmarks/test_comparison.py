"""What became slower is found, beside the others of its case."""

from benchmarks.comparison import ratios, regressions


def _regressions(now, reference):
    return [slower[:3] for slower in regressions(ratios(now), ratios(reference), 0.05)]


def test_regressions_are_ratios_that_fell_by_more_than_the_tolerance(record):
    reference = record(10.0, 20.0)
    assert _regressions(record(20.0, 38.2), reference) == []  # a slower machine: 1.91 of 2
    assert _regressions(record(10.0, 18.9), reference) == [("g", "c", "ours")]
    assert _regressions(record(10.0, 30.0), reference) == []


def test_each_of_ours_is_judged_beside_the_others(record):
    def judged(packed):
        made = record(10.0, 20.0)
        case = made["groups"]["g"]["cases"]["c"]
        case["ours, packed"] = {**case["ours"], "milliseconds": packed}
        return made

    assert _regressions(judged(5.0), judged(7.0)) == []
    assert _regressions(judged(9.0), judged(7.0)) == [("g", "c", "ours, packed")]


def test_where_all_are_ours_the_first_is_the_measure(record):
    def judged(second):
        made = record(10.0, 20.0)
        case = made["groups"]["g"]["cases"]["c"]
        made["groups"]["g"]["cases"]["c"] = {"vheat": case["ours"], "vwave": {**case["ours"], "milliseconds": second}}
        return made

    assert _regressions(judged(12.0), judged(10.0)) == [("g", "c", "vwave")]
    assert _regressions(judged(8.0), judged(10.0)) == []


def test_others_that_became_faster_are_no_regression():
    def judged(ours, *others):
        times = {"ours": ours, **{f"other {i}": time for i, time in enumerate(others)}}
        return {"groups": {"g": {"cases": {"c": {name: {"milliseconds": time} for name, time in times.items()}}}}}

    assert _regressions(judged(10.0, 10.0, 20.0, 30.0), judged(10.0, 20.0, 20.0, 30.0)) == []
    assert _regressions(judged(11.0, 20.0, 20.0, 30.0), judged(10.0, 20.0, 20.0, 30.0)) == [("g", "c", "ours")]
