"""Which weights fit, and where classes and colours come from."""

import pickle

import pytest
import torch
from mmengine.config import Config
from prediction.models import image_pipeline, load_trained

pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks


def changed(trained, task, folder, **meta):
    """The checkpoint with another ``meta``."""
    read = torch.load(trained[task][1], weights_only=True)
    torch.save({**read, "meta": meta}, folder / "changed.pth")
    return folder / "changed.pth"


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_classes_are_the_checkpoints_and_else_the_configs(task, trained, tmp_path):
    file, weights = trained[task]
    config = Config.fromfile(file)
    own = load_trained(config, weights)
    assert own.task == task and own.classes == tuple(config.metainfo.classes) and not own.model.training
    names = [f"name {i}" for i in range(len(own.classes))]
    palette = [[i, 2 * i, 3 * i] for i in range(len(names) + 5)]
    given = load_trained(config, changed(trained, task, tmp_path, dataset_meta={"CLASSES": names, "PALETTE": palette}))
    assert given.classes == tuple(names) and given.palette == [tuple(c) for c in palette[: len(names)]]
    none = load_trained(config, changed(trained, task, tmp_path))
    assert none.classes == own.classes and len(set(none.palette)) == len(names)


def test_wrong_files_are_errors_that_say_why(trained, tmp_path):
    config = Config.fromfile(trained["segmentation"][0])
    with pytest.raises(ValueError, match=r"is not a checkpoint of this config's model: \d+ tensors missing \(decode_"):
        load_trained(config, trained["detection"][1])
    config.model.decode_head.channels = 32
    with pytest.raises(ValueError, match=r"tensors of other shape \(decode_head.*instead of"):
        load_trained(config, trained["segmentation"][1])
    config = Config.fromfile(trained["segmentation"][0])
    three = changed(trained, "segmentation", tmp_path, dataset_meta={"classes": ("a", "b", "c")})
    with pytest.raises(ValueError, match=r"tells 11 classes apart, and changed.pth names 3 \(a, b, c\)"):
        load_trained(config, three)
    (tmp_path / "bad.pth").write_bytes(pickle.dumps(print))
    with pytest.raises(ValueError, match="never unpickled"):
        load_trained(config, tmp_path / "bad.pth")


def test_a_pipeline_must_load_an_image(trained):
    config = Config.fromfile(trained["detection"][0])
    assert [step["type"] for step in image_pipeline(config)] == ["LoadImageFromFile", "Resize", "PackDetInputs"]
    config.test_dataloader.dataset.pipeline = config.test_dataloader.dataset.pipeline[1:]
    with pytest.raises(ValueError, match="must begin with a transform that loads an image"):
        image_pipeline(config)
