"""Tiles merge to what the whole image gives, where what a model sees is local."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.apis import inference_model
from prediction.instances import Instances, decode, encode
from prediction.predictors import CheckpointPredictor, labels_of
from prediction.tiles import Side, Tiling, detect, segment
from scipy import ndimage


def square(size, overlap):
    return Tiling(Side(size, overlap), Side(size, overlap))


def blobs(images):
    """A detector: every connected region of one value is an object, its value the class and its area the score."""
    results = []
    for image in images:
        found = []
        for value in np.unique(image[image > 0]):
            regions, count = ndimage.label(image[..., 0] == value)
            for i, (rows, columns) in enumerate(ndimage.find_objects(regions)):
                box = [columns.start, rows.start, columns.stop, rows.stop]
                mask = regions == i + 1
                found.append((box, mask.sum() / 1e4, value - 1, encode(mask)))
            assert count
        boxes, scores, labels, masks = zip(*found, strict=True) if found else ([], [], [], [])
        shape = (np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, int))
        results.append(Instances(image.shape[:2], *shape, list(masks)))
    return results


def as_set(found):
    return {
        (*box, label, round(float(score), 6), runs["counts"])
        for box, label, score, runs in zip(found.boxes.tolist(), found.labels, found.scores, found.masks, strict=True)
    }


def scene(size, objects):
    image = np.zeros((*size, 3), np.uint8)
    for top, left, height, width, value in objects:
        image[top : top + height, left : left + width] = value
    return image


@pytest.mark.parametrize("batch_size", [1, 3])
def test_objects_inside_a_tile_are_those_of_the_whole_image(batch_size):
    """Also those that the neighbouring tile cuts, that touch the image's edge, and of two classes at one place."""
    rng = np.random.default_rng(0)
    objects = [(y, x, *rng.integers(3, 16, 2), 1 + (y + x) % 3) for y in range(2, 130, 22) for x in range(1, 160, 20)]
    objects += [(0, 60, 12, 14, 2), (129, 170, 21, 10, 1)]
    image = scene((150, 180), objects)
    (whole,) = blobs([image])
    tiled = detect(blobs, image, square(64, 20), 0.5, batch_size)
    assert len(whole) > 30 and as_set(tiled) == as_set(whole)
    assert (sum(map(decode, tiled.masks)) == (image[..., 0] > 0)).all()
    assert (np.diff(tiled.scores) <= 0).all()


def test_an_image_smaller_than_a_tile_and_an_empty_one():
    image = scene((40, 100), [(5, 5, 10, 10, 1), (20, 60, 8, 20, 2)])
    assert as_set(detect(blobs, image, square(64, 20), 0.5)) == as_set(blobs([image])[0])
    nothing = detect(blobs, scene((100, 100), []), square(64, 20), 0.5)
    assert len(nothing) == 0 and nothing.boxes.shape == (0, 4) and nothing.masks == []


def test_what_is_larger_than_the_overlap_stays_in_parts():
    found = detect(blobs, scene((64, 200), [(10, 10, 20, 180, 1)]), square(64, 16), 0.5)
    assert len(found) > 1 and found.boxes[:, 2].max() == 190 and found.boxes[:, 0].min() == 10


def test_a_detector_without_masks():
    def boxes_only(images):
        return [Instances(f.size, f.boxes, f.scores, f.labels) for f in blobs(images)]

    found = detect(boxes_only, scene((100, 100), [(50, 50, 10, 10, 1)]), square(64, 20), 0.5)
    assert found.masks is None and found.boxes.tolist() == [[50, 50, 60, 60]]


@pytest.mark.parametrize(("height", "width", "size", "overlap"), [(100, 130, 32, 8), (40, 90, 64, 0), (65, 64, 64, 63)])
def test_labels_of_a_pointwise_model_are_those_of_the_whole_image(height, width, size, overlap):
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)

    def predict(images):
        return [torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32)) for image in images]

    labels = segment(predict, image, square(size, overlap), lambda scores: labels_of(scores, 0.5), 2)
    np.testing.assert_array_equal(labels, image.argmax(2))


def test_a_single_output_is_averaged_before_its_threshold():
    """Tiles of 4 and an overlap of 2 over 6 pixels: of the middle, the mean of 0.9 and 0.3 is above 0.5."""
    calls = iter([0.9, 0.3])
    image = np.zeros((4, 6, 3), np.uint8)
    labels = segment(
        lambda tiles: [torch.full((1, 4, 4), next(calls))] * len(tiles),
        image,
        square(4, 2),
        lambda s: labels_of(s, 0.5),
    )
    assert labels[0].tolist() == [1, 1, 1, 1, 0, 0]


@pytest.mark.filterwarnings("ignore")  # of the frameworks
def test_labels_are_those_of_mmsegs_sliding_windows(trained):
    config = Config.fromfile(trained["segmentation"][0])
    predictor = CheckpointPredictor(config, trained["segmentation"][1])
    image = np.random.default_rng(0).integers(0, 255, (70, 110, 3), np.uint8)
    ours = segment(predictor, image, square(48, 16), lambda scores: labels_of(scores, 0.5), 2)
    model = predictor._model
    model.cfg, model.test_cfg = config, {"mode": "slide", "crop_size": (48, 48), "stride": (32, 32)}
    model.test_cfg = type(config.model)(model.test_cfg)
    theirs = inference_model(model, image).pred_sem_seg.data[0].numpy()
    assert len(np.unique(theirs)) > 1 and (ours == theirs).mean() > 0.999
