"""The way of every image: read, batched or cut into tiles, predicted, written; what is broken is named and skipped."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

import numpy as np

from prediction import tiles
from prediction.instances import Instances
from prediction.predictors import Predictor, labels_of
from prediction.reading import Unreadable, Video, read_image
from prediction.sources import Source
from prediction.tiles import Tiling
from prediction.writing import Results

#: A source, an image of it, and the number of the frame in a video.
Picture = tuple[Source, np.ndarray, "int | None"]


def predict(predictor: Predictor, image: np.ndarray, tiling: Tiling | None, batch_size: int) -> Instances | np.ndarray:
    """Objects or labels of one image, by tiles where it is larger than one.

    Raises:
        ValueError: The model does not take images of this size.
    """
    labels = partial(labels_of, threshold=predictor.threshold)
    if tiling is not None and tiling.cuts(image):
        if predictor.task == "detection":
            return tiles.detect(predictor, image, tiling, predictor.iou, batch_size)
        return tiles.segment(predictor, image, tiling, labels, batch_size)
    (found,) = predictor([image])
    return found if predictor.task == "detection" else labels(found)


def _predict_all(
    predictor: Predictor, images: Sequence[np.ndarray], tiling: Tiling | None, batch_size: int
) -> list[Instances | np.ndarray | ValueError]:
    """Of images of one size; the error where there are no predictions of one."""
    if tiling is None and len(images) > 1:
        try:
            found = predictor(images)
        except ValueError as error:
            return [error] * len(images)
        return found if predictor.task == "detection" else [labels_of(f, predictor.threshold) for f in found]
    results: list[Instances | np.ndarray | ValueError] = []
    for image in images:
        try:
            results.append(predict(predictor, image, tiling, batch_size))
        except ValueError as error:
            results.append(error)
    return results


def run(
    predictor: Predictor, sources: Sequence[Source], results: Results, tiling: Tiling | None, batch_size: int
) -> None:
    """Predict on all sources; batches hold images of one size, so that none is padded for another."""

    def skip(source: Source, reason: object) -> None:
        results.skip(source, str(reason))
        print(f"{source.file_name}: skipped: {reason}", file=sys.stderr)

    def write(pictures: list[Picture]) -> None:
        found = _predict_all(predictor, [image for _, image, _ in pictures], tiling, batch_size)
        for (source, image, frame), result in zip(pictures, found, strict=True):
            if isinstance(result, ValueError):
                skip(source, result)
                continue
            said = results.add(source, image, result, frame)
            print(f"{source.file_name}{'' if frame is None else f' frame {frame}'}: {said}", flush=True)

    def images(some: Sequence[Source]) -> Iterator[Picture]:
        channels = 3 if predictor.bands is None else predictor.bands.count
        for source in some:
            try:
                yield source, read_image(source.path, predictor.load, channels), None
            except Unreadable as error:
                skip(source, error)

    def frames(source: Source) -> Iterator[Picture]:
        if predictor.bands is not None:
            raise Unreadable("videos are of three colours, and the model wants other bands")
        video = Video(source.path)
        results.begin_video(source, video.rate)
        for number, frame in enumerate(video):
            yield source, frame, number

    for is_video, some in groupby(sources, lambda source: source.is_video):
        if not is_video:
            for batch in _batches(images(list(some)), batch_size):
                write(batch)
            continue
        for source in some:
            try:
                for batch in _batches(frames(source), batch_size):
                    write(batch)
            except Unreadable as error:
                skip(source, error)
            finally:
                results.end_video()


def _batches(pictures: Iterator[Picture], size: int) -> Iterator[list[Picture]]:
    """Neighbours of one size."""
    batch: list[Picture] = []
    for picture in pictures:
        if batch and (len(batch) == size or batch[0][1].shape != picture[1].shape):
            yield batch
            batch = []
        batch.append(picture)
    if batch:
        yield batch
