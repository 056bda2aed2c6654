"""Made-up detections."""

import pytest
from coco_data import random_coco


@pytest.fixture(scope="session")
def random_files(tmp_path_factory):
    """Annotations and results, by seed."""
    folder = tmp_path_factory.mktemp("random")
    return {seed: random_coco(folder / str(seed), seed) for seed in range(3)}
