"""Ships and aircraft: outlines, masks and boxes."""

import cv2
import numpy as np
import pytest
from rs_scenes.cover import ROAD, WATER
from rs_scenes.layout import lay_out
from rs_scenes.objects import AIRCRAFT, HULL, KINDS, LENGTH, Target, box_of, place_objects
from rs_scenes.plan import draw_plan

SIZE = 64


def any_target(seed):
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % 2]
    length = rng.uniform(*LENGTH[kind])
    width = length * rng.uniform(0.25, 0.9)
    return Target(kind, tuple(rng.uniform(24, 40, 2)), length, width, rng.uniform(-np.pi, np.pi))


def test_corners_of_known_boxes():
    level = Target("ship", (10, 20), 8, 4, 0)
    np.testing.assert_allclose(level.corners(), [(6, 18), (14, 18), (14, 22), (6, 22)])
    down = Target("ship", (10, 20), 8, 4, np.pi / 2)  # the bow points to the lower edge
    np.testing.assert_allclose(down.corners(), [(12, 16), (12, 24), (8, 24), (8, 16)])
    slanted = Target("aircraft", (0, 0), 2 * 2**0.5, 2**0.5, np.pi / 4)
    np.testing.assert_allclose(slanted.corners(), [(-0.5, -1.5), (1.5, 0.5), (0.5, 1.5), (-1.5, -0.5)], atol=1e-12)


@pytest.mark.parametrize(
    "heading, angle", [(0, 0), (np.pi, 0), (0.3 - np.pi, 0.3), (np.pi / 2, -np.pi / 2), (2, 2 - np.pi)]
)
def test_the_angle_is_that_of_the_longer_side(heading, angle):
    rotated = Target("ship", (3, 4), 9, 3, heading).rotated()
    assert rotated == pytest.approx((3, 4, 9, 3, angle)) and -np.pi / 2 <= rotated[4] < np.pi / 2


@pytest.mark.parametrize("seed", range(8))
def test_the_five_numbers_are_the_corners(seed):
    """By OpenCV's boxes, whose angle is in degrees and clockwise, too."""
    target = any_target(seed)
    x, y, long, short, angle = target.rotated()
    expected = cv2.boxPoints(((x, y), (long, short), np.degrees(angle)))
    order = lambda points: sorted(points.round(3).tolist())  # noqa: E731
    np.testing.assert_allclose(order(target.corners()), order(expected), atol=2e-3)


def test_outlines_touch_all_four_sides():
    for outline in (HULL, np.concatenate(AIRCRAFT)):
        assert outline.min(0).tolist() == [-0.5, -0.5] and outline.max(0).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("seed", range(12))
def test_boxes_enclose_their_objects_exactly(seed):
    target = any_target(seed)
    mask = target.mask(SIZE)
    left, top, width, height = box_of(mask)
    inside = mask[top : top + height, left : left + width]
    assert inside.sum() == mask.sum()
    assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
    rows, columns = np.nonzero(mask)
    away = np.stack([columns + 0.5, rows + 0.5], -1) - target.centre
    cos, sin = np.cos(target.heading), np.sin(target.heading)
    assert abs(away @ (cos, sin)).max() <= target.length / 2 and abs(away @ (-sin, cos)).max() <= target.width / 2


def test_coverage_has_the_area_of_the_outline():
    x, y = HULL.T
    area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    for heading in (0.0, 0.7, 2.5):
        ship = Target("ship", (32.3, 30.8), 24, 6, heading)
        assert ship.coverage(SIZE, 16).sum() == pytest.approx(area * 24 * 6, rel=5e-3)
        assert np.array_equal(ship.coverage(SIZE, 1) == 1, ship.mask(SIZE))


def test_coverage_at_the_edge_is_cut():
    ship = Target("ship", (0, 32), 20, 6, 0)
    whole = Target("ship", (20, 32), 20, 6, 0)
    np.testing.assert_array_equal(ship.coverage(SIZE)[:, :10], whole.coverage(SIZE)[:, 20:30])
    assert not Target("ship", (-50, -50), 20, 6, 0).coverage(SIZE).any()


@pytest.mark.parametrize("scene_class, kind", [("coast", "ship"), ("airfield", "aircraft")])
def test_objects_stand_where_they_can_whole_and_apart(scene_class, kind):
    found = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        layout = lay_out(draw_plan(rng, 256, scene_class))
        taken = np.zeros((256, 256), bool)
        for target in place_objects(rng, layout):
            mask = target.mask(256)
            assert not (mask & taken).any()
            taken |= mask
            assert (layout.labels[mask] == (WATER if target.kind == "ship" else ROAD)).all()
            assert target.corners().min() >= 2 and target.corners().max() <= 254
            found += target.kind == kind
            assert target.width < target.length
            assert target.kind == "aircraft" or target.length / target.width >= 3
    assert found >= 8
