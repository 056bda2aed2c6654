"""Each kind of error once, with AP worked out by hand."""

import pytest
from analysis.detection import coco_metrics
from analysis.errors import ERRORS, SPECIAL, error_analysis
from analysis.matching import read_scenes
from coco_data import annotation, detection, write_coco

CAT, DOG = 10, 20


def square(x, y):
    return (x, y, 40, 40)


def analysis(folder, truth, guesses, **thresholds):
    classes, scenes = read_scenes(*write_coco(folder, truth, guesses))
    return error_analysis(scenes, classes, **thresholds)


def test_every_kind_once(tmp_path):
    """Four cats and two dogs; of 101 recalls 26 are up to 1/4, 51 to 1/2, 76 to 3/4. Points are hundredths of AP."""
    cats = [annotation(1, CAT, square(*at)) for at in ((0, 0), (0, 60), (60, 0), (0, 110))]
    dogs = [annotation(1, DOG, square(*at)) for at in ((110, 110), (110, 0))]
    guesses = [
        detection(1, CAT, square(0, 0), 0.9),
        detection(1, CAT, square(0, 0), 0.8),  # duplicate
        detection(1, CAT, square(20, 60), 0.7),  # localisation: IoU 1/3
        detection(1, DOG, square(60, 0), 0.6),  # classification: of a cat
        detection(1, DOG, square(65, 65), 0.5),  # background
        detection(1, CAT, square(90, 110), 0.4),  # both: IoU 1/3 with a dog, which is missed
        detection(1, DOG, square(110, 0), 0.3),
        detection(1, CAT, square(0, 110), 0.1),
    ]
    found = analysis(tmp_path, cats + dogs, guesses)
    assert found.counts == dict.fromkeys(ERRORS, 1)
    # cats: precision 1 to recall 1/4, 2/5 to 1/2; dogs: 1/3 to 1/2
    before = (26 + 25 * 2 / 5 + 51 / 3) / 2
    assert found.ap == pytest.approx(100 * before / 101)
    after = {
        "classification": (26 + 50 / 2 + 51 / 2) / 2,  # a third cat, one dog fewer
        "localisation": (26 + 25 * 2 / 3 + 25 * 3 / 5 + 51 / 3) / 2,
        "both": (26 + 25 / 2 + 51 / 3) / 2,
        "duplicate": (26 + 25 / 2 + 51 / 3) / 2,
        "background": (26 + 25 * 2 / 5 + 51 / 2) / 2,
        "missed": (26 + 25 * 2 / 5 + 101 / 3) / 2,  # one dog to find
        "false positive": (51 + 51) / 2,
        "false negative": (51 + 50 * 2 / 5 + 101 / 3) / 2,  # two cats and one dog to find
    }
    assert tuple(found.gains) == (*ERRORS, *SPECIAL)
    assert found.gains == pytest.approx({kind: 100 * (points - before) / 101 for kind, points in after.items()})


def test_an_annotation_is_found_once(tmp_path):
    """Of two errors of place the better one is put right; an annotation that is found already is not."""
    cats = [annotation(1, CAT, square(0, 0)), annotation(1, CAT, square(0, 100))]
    guesses = [
        detection(1, CAT, square(20, 0), 0.9),  # both would find the first cat
        detection(1, CAT, square(0, 20), 0.8),
        detection(1, CAT, square(0, 100), 0.7),
        detection(1, DOG, square(0, 100), 0.6),  # of a cat that is found
    ]
    found = analysis(tmp_path, cats, guesses)
    assert found.counts["localisation"] == 2 and found.counts["classification"] == 1 and found.counts["missed"] == 0
    assert found.ap == pytest.approx(100 * 51 / 3 / 101)
    assert found.ap + found.gains["localisation"] == pytest.approx(100)
    assert found.gains["classification"] == 0


def test_crowds_and_thresholds(tmp_path):
    truth = [annotation(1, CAT, square(0, 0)), annotation(1, CAT, (0, 60, 100, 100), 1)]
    guesses = [detection(1, CAT, square(20, 0), 0.9), detection(1, CAT, square(10, 70), 0.8)]
    found = analysis(tmp_path / "a", truth, guesses)
    assert found.counts == {**dict.fromkeys(ERRORS, 0), "localisation": 1} and found.ap == 0
    assert found.gains["localisation"] == found.gains["false positive"] + 100 == 100
    assert analysis(tmp_path / "b", truth, guesses, foreground=0.3).ap == 100
    assert analysis(tmp_path / "c", truth, guesses, background=0.4).counts["background"] == 1
    with pytest.raises(ValueError, match=r"0 < background < foreground <= 1, got 0\.6 and 0\.5"):
        analysis(tmp_path / "d", truth, guesses, background=0.6)


def test_without_detections_everything_is_missed(tmp_path):
    found = analysis(tmp_path, [annotation(1, CAT, square(0, 0))], [])
    assert found.ap == 0 and found.counts == {**dict.fromkeys(ERRORS, 0), "missed": 1}
    assert found.gains == dict.fromkeys((*ERRORS, *SPECIAL), 0)  # no truth is left of which AP could be


@pytest.mark.parametrize("seed", range(3))
def test_random_detections(seed, random_files):
    classes, scenes = read_scenes(*random_files[seed], "segm")
    found = error_analysis(scenes, classes)
    assert found.ap == pytest.approx(coco_metrics(*random_files[seed], "segm")["AP50"], abs=1e-9)
    assert min(found.counts.values()) > 0
    assert all(gain > -1e-9 for gain in found.gains.values())
    assert found.gains["false positive"] >= max(found.gains[kind] for kind in ("both", "duplicate", "background"))
    assert found.gains["false negative"] >= found.gains["missed"]
