"""Predictions over an image."""

import numpy as np
from prediction.drawing import colours, draw_instances, draw_labels
from prediction.instances import Instances, encode

BLACK = np.zeros((60, 80, 3), np.uint8)


def test_objects_have_a_box_a_mask_and_a_name():
    mask = np.zeros((60, 80), bool)
    mask[32:38, 12:18] = True
    boxes = np.array([[10.0, 30.0, 20.0, 40.0]], np.float32)
    found = Instances((60, 80), boxes, np.array([0.9]), np.array([1]), [encode(mask)])
    drawn = draw_instances(BLACK, found, ("a", "b"), [(9, 9, 9), (200, 100, 50)])
    assert drawn.shape == BLACK.shape and not BLACK.any()
    assert (drawn[30, 10:21] == (50, 100, 200)).all() and (drawn[40, 10:21] == (50, 100, 200)).all()  # blue first
    assert (drawn[33:37, 13:17] == (25, 50, 100)).all() and not drawn[42:, :].any()
    assert (drawn[10:29, 12:40] == (50, 100, 200)).all(-1).sum() > 50  # behind the name


def test_names_stay_inside_the_image_and_the_surest_lies_on_top():
    boxes = np.array([[60, 0, 79, 10], [60, 0, 79, 10]], np.float32)
    found = Instances((60, 80), boxes, np.array([0.9, 0.2]), np.array([0, 1]))
    drawn = draw_instances(BLACK, found, ("first", "second"), [(255, 0, 0), (0, 255, 0)])
    assert (drawn[10, 60:80] == (0, 0, 255)).all()
    assert (drawn == (0, 0, 255)).all(-1).any(0).nonzero()[0].min() < 50


def test_nothing_found_is_the_image():
    found = Instances((60, 80), np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0, int), [])
    assert (draw_instances(BLACK + 7, found, (), ()) == 7).all()


def test_labels_are_half_transparent():
    labels = np.array([[0, 1]])
    drawn = draw_labels(np.full((1, 2, 3), 100, np.uint8), labels, [(0, 0, 0), (200, 100, 0)])
    assert drawn.tolist() == [[[50, 50, 50], [50, 100, 150]]]


def test_palettes():
    assert colours([[1, 2, 3], [4, 5, 6], [7, 8, 9]], 2) == [(1, 2, 3), (4, 5, 6)]
    for given in (None, "random", [[1, 2, 3]]):
        made = colours(given, 40)
        assert len(set(made)) == 40 and all(0 <= value <= 255 for colour in made for value in colour)
