"""What is exported gives what the frameworks give, at many sizes, before any file is written."""

import pytest
import torch
from small_dense import build, random_image, small_config
from torch import nn

from backbones.openmmlab.export import exportable
from backbones.openmmlab.export.comparing import Differing, compare, paste
from backbones.openmmlab.export.models import reference

pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks

SIZES = ((96, 128), (70, 111), (33, 200), (64, 64))


@torch.no_grad()
def same(model, part="model", sizes=SIZES):
    """Outputs of the last size; all are equal to the framework's."""
    module = exportable(model, part)
    for size in sizes:
        x = random_image(*size)
        found = dict(zip(module.outputs, module(x), strict=True))
        expected = reference(model, x, part)
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            if name == "masks":
                whole = paste(found["masks"], found["boxes"], size) >= 0.5
                assert values.any() and (whole != values).float().mean() < 1e-3
            else:
                torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-4)
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"nms_pre": 20, "score_thr": 0.12, "max_per_img": 15},
        {"min_bbox_size": 12, "nms": {"type": "nms", "iou_threshold": 0.2}},
    ],
)
def test_retinanet(changes):
    found = same(build(small_config("retinanet", test_cfg=changes)))
    assert 3 < len(found["boxes"]) <= changes.get("max_per_img", 100) and len(found["labels"].unique()) > 1


def test_retinanet_with_softmax():
    head = {"loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "_delete_": True}}
    assert len(same(build(small_config("retinanet", bbox_head=head)))["boxes"]) > 3


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"test_cfg": {"rpn": {"nms_pre": 30, "max_per_img": 25, "min_bbox_size": 6}, "rcnn": {"score_thr": 0.1}}},
        {"roi_head": {"bbox_head": {"reg_class_agnostic": True}, "mask_head": {"class_agnostic": True}}},
    ],
)
def test_mask_rcnn(changes):
    found = same(build(small_config("mask-rcnn", **changes)))
    assert len(found["boxes"]) > 3 and found["masks"].shape[1:] == (28, 28)


def test_faster_rcnn():
    config = small_config("mask-rcnn", type="FasterRCNN")
    config.model.roi_head.mask_head = config.model.roi_head.mask_roi_extractor = None
    assert "masks" not in same(build(config))


def test_nothing_found():
    """No object, and no proposal to look for one in."""
    for rpn in ({}, {"min_bbox_size": 10_000}):
        model = build(small_config("mask-rcnn", test_cfg={"rpn": rpn, "rcnn": {"score_thr": 1.1}}))
        with torch.no_grad():
            shapes = [tuple(t.shape) for t in exportable(model)(random_image(64, 96))]
        assert shapes == [(0, 4), (0,), (0,), (0, 28, 28)]


HEADS = {
    "upernet": {},
    "padded": {"data_preprocessor": {"test_cfg": {"size_divisor": 32}}},
    "aligned corners": {"decode_head": {"align_corners": True}},
    "sliding": {"test_cfg": {"mode": "slide", "crop_size": (32, 32), "stride": (16, 16)}},
    "one output": {"decode_head": {"num_classes": 2, "out_channels": 1, "loss_decode": {"use_sigmoid": True}}},
    "fpn": {"decode_head": {"type": "FPNHead", "feature_strides": [4, 8, 16, 32], "pool_scales": None}},
    "psp": {"decode_head": {"type": "PSPHead", "in_channels": 8, "in_index": 3}},
}


@pytest.mark.parametrize("name", HEADS)
def test_segmentors(name):
    config = small_config("upernet", **HEADS[name])
    if name == "fpn":
        del config.model.decode_head["pool_scales"]
    config.model.decode_head.loss_decode.pop("class_weight", None)
    found = same(build(config))
    assert found["scores"].shape[1] == (1 if name == "one output" else 11)


def test_backbones_of_either_framework():
    assert same(build(small_config("upernet")), "backbone").keys() == {"map0", "map1", "map2", "map3"}
    same(build(small_config("mask-rcnn")), "backbone")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("retinanet", {"bbox_head": {"type": "FreeAnchorRetinaHead"}}, "must be a RetinaHead with an AnchorGenerator"),
        ("retinanet", {"test_cfg": {"nms": {"type": "soft_nms"}}}, r'test_cfg.nms must be dict\(type="nms"'),
        ("mask-rcnn", {"test_cfg": {"rpn": {"nms": {"class_agnostic": True}}}}, "test_cfg.rpn.nms must be"),
        ("retinanet", {"test_cfg": {"nms_pre": -1}}, "test_cfg.nms_pre must be 1 or more to be exported, got -1"),
        ("mask-rcnn", {"test_cfg": {"rpn": {"max_per_img": -1}}}, "test_cfg.rpn.max_per_img must be 1 or more"),
        ("retinanet", {"type": "SingleStageDetector"}, "SingleStageDetector cannot be exported whole.*part='backbone'"),
        ("mask-rcnn", {"roi_head": {"type": "DoubleHeadRoIHead"}}, "DoubleHeadRoIHead cannot be exported"),
    ],
)
def test_other_models_are_refused(name, changes, message):
    config = small_config(name, **changes)
    if "DoubleHead" in message:
        config.model.roi_head.update(reg_roi_scale_factor=1.3)
    with pytest.raises(ValueError, match=message):
        exportable(build(config))


def test_a_segmentor_that_predicts_in_its_own_way_is_refused():
    from mmseg.models.decode_heads import UPerHead

    class Own(UPerHead):
        def predict_by_feat(self, seg_logits, batch_img_metas):
            return -seg_logits

    model = build(small_config("upernet"))
    model.decode_head.__class__ = Own
    with pytest.raises(ValueError, match="EncoderDecoder with Own cannot be exported: what works is EncoderDecoder"):
        exportable(model)
    with pytest.raises(ValueError, match='part must be "model" or "backbone", got \'neck\''):
        exportable(nn.Identity(), "neck")


def objects(count=10):
    generator = torch.Generator().manual_seed(0)
    corner = 50 * torch.rand(count, 2, generator=generator)
    return {
        "boxes": torch.cat([corner, corner + 8], 1),
        "scores": torch.linspace(0.9, 0.3, count),
        "labels": torch.arange(count) % 3,
        "masks": torch.ones(count, 4, 4),
    }


def truth(found):
    return {**found, "masks": paste(found["masks"], found["boxes"], (64, 64)) >= 0.5}


def test_objects_are_compared_in_any_order():
    found = objects()
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    moved = {name: values[order] for name, values in found.items()}
    moved["boxes"] = moved["boxes"] + 0.01
    worst, count = compare(moved, truth(found), (64, 64))
    assert count == 10 and worst == pytest.approx(0.01, abs=1e-3)
    empty = {name: values[:0] for name, values in found.items()}
    assert compare(empty, truth(empty), (64, 64)) == (0.0, 0)


@pytest.mark.parametrize("wrong", ["label", "score", "box", "one less", "mask", "none"])
def test_a_difference_is_found(wrong):
    found = objects()
    expected = truth(found)
    found = {name: values.clone() for name, values in found.items()}
    if wrong == "label":
        found["labels"][3] += 1
    elif wrong == "score":
        found["scores"][3] += 0.01
    elif wrong == "box":
        found["boxes"][3, 2] += 1
    elif wrong == "mask":
        found["masks"][3, 2:] = 0
    else:
        found = {name: values[:0] if wrong == "none" else values[1:] for name, values in found.items()}
    with pytest.raises(Differing, match="pixels of the masks differ" if wrong == "mask" else "are missing"):
        compare(found, expected, (64, 64))


def test_the_last_of_a_full_list_may_be_another():
    found = objects()
    expected = truth(found)
    found = {name: values.clone() for name, values in found.items()}
    found["boxes"][9] += 20
    assert compare(found, expected, (64, 64))[1] == 10
    found["boxes"][8] += 20
    with pytest.raises(Differing):
        compare(found, expected, (64, 64))
