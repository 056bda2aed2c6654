"""Pre-trained weights of backbones."""

import pytest
from safetensors.torch import load_file, save_file
from studies.fine_tuning.backbones import build


def test_an_incomplete_checkpoint_is_refused(out, tmp_path):
    state = load_file(out / "checkpoints" / "vit.safetensors")
    del state["norm.weight"]
    save_file(state, tmp_path / "vit.safetensors")
    with pytest.raises(ValueError, match=r"is no vit: missing \['norm.weight'\]"):
        build("vit", 3, tmp_path / "vit.safetensors")
