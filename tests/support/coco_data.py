"""Made-up COCO files: random ones, and hand-made scenes."""

import json

import numpy as np
from pycocotools import mask

CLASSES = ("cat", "dog", "owl")
SIZE = 160


def ellipse(box):
    """The RLE of the ellipse in a box."""
    x, y, w, h = box
    rows, columns = np.mgrid[:SIZE, :SIZE]
    inside = ((columns + 0.5 - x - w / 2) / w) ** 2 + ((rows + 0.5 - y - h / 2) / h) ** 2 <= 0.25
    rle = mask.encode(np.asfortranarray(inside, np.uint8))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def annotation(image, category, box, crowd=0, **more):
    rle = ellipse(box)
    area = float(mask.area(rle))
    return {
        "image_id": image, "category_id": category, "bbox": list(box), "iscrowd": crowd,
        "segmentation": rle, "area": area, **more,
    }  # fmt: skip


def detection(image, category, box, score):
    return {"image_id": image, "category_id": category, "bbox": list(box), "score": score, "segmentation": ellipse(box)}


def write_coco(folder, annotations, detections, images=(1,), classes=CLASSES):
    """Both files; categories have the ids 10, 20, ..."""
    coco = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": SIZE, "height": SIZE} for i in images],
        "categories": [{"id": 10 * (i + 1), "name": name} for i, name in enumerate(classes)],
        "annotations": [{"id": i + 1, **a} for i, a in enumerate(annotations)],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "truth.json").write_text(json.dumps(coco))
    (folder / "found.json").write_text(json.dumps(detections))
    return folder / "truth.json", folder / "found.json"


def random_coco(folder, seed, images=12, crowds=True):
    """Truth of all sizes with crowds, and detections that are jittered, doubled, confused, missed or made up."""
    random = np.random.default_rng(seed)
    annotations, detections = [], []

    def box():
        w, h = np.exp(random.uniform(np.log(8), np.log(120), 2))
        return [float(v) for v in (random.uniform(0, SIZE - w), random.uniform(0, SIZE - h), w, h)]

    for image in range(1, images + 1):
        for _ in range(random.integers(0, 8)):
            category, truth = int(random.integers(1, 4)) * 10, box()
            crowd = int(crowds and random.random() < 0.15)
            annotations.append(annotation(image, category, truth, crowd, ignore=int(random.random() < 0.2)))
            for _ in range(random.integers(0, 4)):
                jitter = random.normal(0, 0.35 if random.random() < 0.4 else 0.1, 4) * (truth[2:] * 2)
                moved = [truth[0] + jitter[0], truth[1] + jitter[1]]
                moved += [max(4.0, truth[2] + jitter[2]), max(4.0, truth[3] + jitter[3])]
                label = category if random.random() < 0.75 else int(random.integers(1, 4)) * 10
                detections.append(detection(image, label, [float(v) for v in moved], float(random.random())))
        for _ in range(random.integers(0, 3)):
            detections.append(detection(image, int(random.integers(1, 4)) * 10, box(), float(random.random())))
    return write_coco(folder, annotations, detections, range(1, images + 1))
