"""A pre-trained backbone."""

import numpy as np
import pytest
from studies.fine_tuning import pretraining


@pytest.fixture(scope="session")
def out(tmp_path_factory):
    """A folder with the checkpoint of a ViT after two updates."""
    folder = tmp_path_factory.mktemp("peft")
    recipe = pretraining.Recipe(steps=2, batch=4, images=8)
    record = pretraining.pretrain("vit", folder / "checkpoints", recipe)
    assert record["sha256"] == pretraining.sha256(folder / "checkpoints" / "vit.safetensors")
    assert np.isfinite(record["losses"]).all()
    return folder
