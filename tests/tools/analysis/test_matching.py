"""Matching gives COCO's AP50, and single images their scores."""

import numpy as np
import pytest
from analysis.detection import coco_metrics
from analysis.matching import average_precision, match, mean_average_precision, read_scenes
from analysis.per_image import image_scores, worst_first
from coco_data import annotation, detection, write_coco


def pooled(scenes, count, iou=0.5):
    """Scores, which are right and how many there are, of each class."""
    matches = [match(scene, iou) for scene in scenes]
    found = []
    for label in range(count):
        mine = [(s.labels == label) & ~m.ignored for s, m in zip(scenes, matches, strict=True)]
        scores = np.concatenate([s.scores[k] for s, k in zip(scenes, mine, strict=True)])
        true = np.concatenate([m.partner[k] >= 0 for m, k in zip(matches, mine, strict=True)])
        found.append((scores, true, sum(np.count_nonzero((s.truth == label) & ~s.crowd) for s in scenes)))
    return found


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_cocos(kind, seed, random_files):
    classes, scenes = read_scenes(*random_files[seed], kind)
    expected = coco_metrics(*random_files[seed], kind)
    for iou, name in ((0.5, "AP50"), (0.75, "AP75")):
        assert mean_average_precision(pooled(scenes, len(classes), iou)) == pytest.approx(expected[name], abs=1e-9)


def test_average_precision_without_detections_or_truth():
    nothing = np.zeros(0), np.zeros(0, bool)
    assert average_precision(*nothing, 3) == 0 and np.isnan(average_precision(*nothing, 0))
    assert np.isnan(mean_average_precision([(*nothing, 0)]))


def test_only_the_best_detections_of_a_class_count(tmp_path):
    guesses = [detection(1, 10, (0, 0, 9, 9), s) for s in (0.1, 0.3, 0.2)] + [detection(1, 20, (0, 0, 9, 9), 0.05)]
    files = write_coco(tmp_path, [annotation(1, 10, (0, 0, 9, 9))], guesses)
    (scene,) = read_scenes(*files, max_dets=2)[1]
    assert scene.scores.tolist() == [0.3, 0.2, 0.05] and scene.labels.tolist() == [0, 0, 1]


def test_scores_of_images(tmp_path):
    box, other, crowd = (10, 10, 40, 40), (90, 90, 30, 30), (10, 90, 60, 60)
    truth = [annotation(1, 10, box), annotation(2, 10, box), annotation(2, 20, other), annotation(4, 10, crowd, 1)]
    guesses = [
        detection(1, 10, box, 0.9), detection(1, 10, box, 0.8),  # found, and once more
        detection(2, 10, other, 0.9), detection(2, 10, box, 0.2),  # false, found below the score, the other missed
        detection(4, 10, (20, 100, 20, 20), 0.9),  # in a crowd
    ]  # fmt: skip
    scores = image_scores(read_scenes(*write_coco(tmp_path, truth, guesses, (1, 2, 3, 4)))[1])
    assert [s.sums for s in scores] == [(1, 1, 0), (0, 1, 2), (0, 0, 0), (0, 0, 0)]
    assert [s.f1 for s in scores] == pytest.approx([200 / 3, 0, 100, 100])
    assert scores[0].ap == 100 and np.isnan(scores[2].ap) and np.isnan(scores[3].ap)
    assert scores[1].ap == pytest.approx(25)  # cats: precision 1/2 at all recalls; dogs: 0
    assert [s.image for s in worst_first(scores)] == [2, 1, 3, 4] and scores[1].name == "2.png"
