"""Files of exported models: what is in them, and that wrong ones are not left behind."""

import json

import onnx
import pytest
import torch
from small_dense import WIDTH, FourConvolutions, build, random_image, small_config

from backbones.openmmlab.export import describe, export, read_torch
from backbones.openmmlab.export.comparing import compare
from backbones.openmmlab.export.models import reference
from backbones.openmmlab.export.programs import verified

pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks


@pytest.fixture
def segmentor():
    return build(small_config("upernet"))


def test_a_program_of_torch_is_a_retinanet_at_other_sizes(tmp_path):
    config = small_config("retinanet", neck={"num_outs": 3, "start_level": 1})
    config.model.bbox_head.anchor_generator.strides = [8, 16, 32]
    config.model.bbox_head.anchor_generator.scales_per_octave = 1
    model = build(config)
    path = tmp_path / "deep/model.pt2"
    done = export(model, path, metadata={"task": "detection"}, format="torch")
    assert done.objects > 10 and done.difference < 1e-3 and done.outputs == ("boxes", "scores", "labels")
    assert (640, 896) in done.sizes and any(h != w for h, w in done.sizes)
    program, told = read_torch(path)
    assert told == {"task": "detection"} and [p.name for p in path.parent.iterdir()] == ["model.pt2"]
    for size in ((97, 140), (130, 75)):
        x = random_image(*size)
        found = dict(zip(done.outputs, program.module()(x), strict=True))
        assert compare(found, reference(model, x), size)[1] > 3


def test_a_backbone_as_onnx(segmentor, tmp_path):
    path = tmp_path / "maps.onnx"
    export(segmentor, path, metadata={"task": "features"}, part="backbone")
    proto = onnx.load(path)
    (image,) = proto.graph.input
    shape = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    assert image.name == "image" and shape == [1, 3, "height", "width"]
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [output.name for output in proto.graph.output] == ["map0", "map1", "map2", "map3"]
    assert {entry.key: entry.value for entry in proto.metadata_props} == {"task": "features"}


class Uncertain(FourConvolutions):
    def forward(self, x):
        return super().forward(x + torch.rand_like(x))


class Frozen(FourConvolutions):
    def forward(self, x):
        return super().forward(x[..., : int(x.shape[-1] * 1.0)] + x.new_zeros(1, 3, 1, 448))


@pytest.mark.parametrize(
    ("backbone", "message"),
    [(Uncertain, "what was exported is not the model at 640 x 896 px: the outputs differ"), (Frozen, "")],
)
def test_wrong_exports_leave_what_was_there(backbone, message, segmentor, tmp_path):
    segmentor.backbone.__class__ = backbone
    path = tmp_path / "maps.onnx"
    path.write_text("the old file")
    with pytest.raises((ValueError, RuntimeError), match=message):
        export(segmentor, path, metadata={}, part="backbone")
    assert [p.name for p in tmp_path.iterdir()] == ["maps.onnx"] and path.read_text() == "the old file"


def test_a_detector_that_finds_nothing_cannot_be_compared():
    model = build(small_config("retinanet", test_cfg={"score_thr": 1.1}))
    with pytest.raises(ValueError, match="finds nothing in random colours"):
        verified(lambda x: reference(model, x), model, [random_image(64, 96)])


def test_unknown_formats(segmentor, tmp_path):
    with pytest.raises(ValueError, match='format must be "onnx" or "torch", got \'coreml\''):
        export(segmentor, tmp_path / "x", metadata={}, format="coreml")


LOAD = {"type": "LoadImageFromFile"}


def told(model, pipeline, classes=("a", "b"), part="model"):
    described = describe(model, pipeline, classes, [(1, 2, 3), (4, 5, 6)], part)
    return {
        key: value if key in ("task", "input", "channels") else json.loads(value) for key, value in described.items()
    }


def test_metadata(segmentor):
    pipeline = [LOAD, {"type": "Resize", "scale": (64, 32), "keep_ratio": True}, {"type": "PackSegInputs"}]
    segmentor.test_cfg.update(mode="slide", crop_size=(32, 48), stride=(16, 24))
    assert told(segmentor, pipeline) == {
        "task": "segmentation",
        "input": "uint8 (1, 3, height, width), 0 to 255",
        "channels": "BGR",
        "resize": {"scale": [64, 32], "keep_ratio": True},
        "other_steps": [],
        "size_divisor": 1,
        "min_side": 32,
        "slide": {"crop_size": [32, 48], "stride": [16, 24]},
        "threshold": 0.5,
        "align_corners": False,
        "classes": ["a", "b"],
        "palette": [[1, 2, 3], [4, 5, 6]],
    }
    features = told(segmentor, [{"type": "mmseg.LoadImageFromFile"}], part="backbone")
    assert features["task"] == "features" and features["resize"] is None and "classes" not in features

    detector = told(build(small_config("mask-rcnn")), [LOAD, {"type": "mmdet.Resize", "scale": 96}, {"type": "Pad"}])
    assert detector["size_divisor"] == 32 and detector["iou_threshold"] == 0.5 and detector["mask_threshold"] == 0.5
    assert detector["resize"] == {"scale": [96, 96], "keep_ratio": False} and detector["other_steps"] == ["Pad"]


def test_metadata_of_loaders_and_resizes_that_are_not_the_usual(segmentor):
    assert told(segmentor, [{"type": "LoadBands"}])["channels"] == "as LoadBands gives them"
    assert told(segmentor, [{**LOAD, "color_type": "grayscale"}])["channels"] == "as LoadImageFromFile gives them"
    for factor in (1.0, (1, 1)):  # as in the config of tree crowns, whose tiles keep their size
        assert describe(segmentor, [LOAD, {"type": "Resize", "scale_factor": factor}], (), ())["resize"] == "null"
    with pytest.raises(ValueError, match="at most one Resize, to one scale, to be exported"):
        describe(segmentor, [LOAD, {"type": "Resize", "scale_factor": 0.5}], (), ())


def test_the_small_backbone_is_one(segmentor):
    assert [m.shape[1] for m in segmentor.backbone(torch.zeros(1, 3, 64, 64))] == [WIDTH] * 4
