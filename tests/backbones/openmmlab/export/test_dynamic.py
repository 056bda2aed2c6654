"""Layers that follow the size of an image, beside those of torch and mmseg that they replace."""

import pytest
import torch
from mmengine.model import ImgDataPreprocessor
from mmseg.models import SegDataPreProcessor
from mmseg.models.utils import Upsample
from torch import nn

from backbones.openmmlab.export.dynamic import AveragePool, Enlarge, with_dynamic_sizes
from backbones.openmmlab.export.pixels import Pixels


@pytest.mark.parametrize("bins", [(1, 1), (2, 2), (3, 6), (6, 3), (7, 5)])
@pytest.mark.parametrize("size", [(6, 6), (5, 13), (1, 2), (24, 7)])
def test_pooling_is_torchs(bins, size):
    x = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(AveragePool(bins)(x), nn.functional.adaptive_avg_pool2d(x, bins))


def test_a_copy_has_them_and_the_model_keeps_its_own():
    model = nn.Sequential(
        nn.AdaptiveAvgPool2d(3),
        nn.Sequential(Upsample(scale_factor=2, mode="bilinear", align_corners=False), Upsample(size=(9, 9))),
        nn.AdaptiveAvgPool2d((None, 4)),
    )
    copy = with_dynamic_sizes(model)
    kinds = [type(m) for m in copy.modules() if not list(m.children())]
    assert kinds == [AveragePool, Enlarge, Upsample, nn.AdaptiveAvgPool2d]
    assert type(model[0]) is nn.AdaptiveAvgPool2d and model.training and not copy.training
    x = torch.randn(1, 2, 7, 11)
    torch.testing.assert_close(copy(x), model(x))


@pytest.mark.parametrize("size", [(64, 96), (33, 70)])
def test_pixels_are_prepared_as_by_the_frameworks(size):
    x = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    mean, std = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]
    for preprocessor in (
        ImgDataPreprocessor(mean, std, pad_size_divisor=32, pad_value=7, bgr_to_rgb=True),
        ImgDataPreprocessor(),
        SegDataPreProcessor(mean, std, size=(16, 16), rgb_to_bgr=True),
        SegDataPreProcessor(mean, std, test_cfg={"size_divisor": 16}, pad_val=3),
    ):
        expected = preprocessor({"inputs": [x], "data_samples": [sample()]}, False)["inputs"]
        torch.testing.assert_close(Pixels(preprocessor)(x[None]), expected)


def sample():
    from mmseg.structures import SegDataSample

    return SegDataSample()


def test_a_fixed_size_is_refused():
    with pytest.raises(ValueError, match=r"data_preprocessor.test_cfg.size pads to a fixed size"):
        Pixels(SegDataPreProcessor(test_cfg={"size": (64, 64)}))
