"""Small detectors and segmentors of the frameworks on a backbone of four convolutions, with random parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = {
    "upernet": CONFIGS / "digit_scenes/upernet_vheat-n.py",
    "mask-rcnn": CONFIGS / "digit_scenes/mask-rcnn_vheat-n_fpn.py",
    "retinanet": CONFIGS / "vheat/retinanet_vheat-t_fpn_1x_coco.py",
}
WIDTH = 8


@MODELS.register_module(force=True)
class FourConvolutions(nn.Module):
    """Maps at strides 4, 8, 16, 32."""

    def __init__(self) -> None:
        super().__init__()
        strides = ((3, 4), (WIDTH, 2), (WIDTH, 2), (WIDTH, 2))
        self.layers = nn.ModuleList(nn.Conv2d(width, WIDTH, stride, stride) for width, stride in strides)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for layer in self.layers:
            maps.append(x := layer(x))
        return tuple(maps)


def small_config(name: str, **changes: Any) -> Config:
    """A config of the repository, narrow; ``changes`` are merged into its model."""
    config = Config.fromfile(FILES[name])
    model = config.model
    model.backbone = {"type": "FourConvolutions"}
    if name == "upernet":
        model.decode_head.update(in_channels=[WIDTH] * 4, channels=WIDTH)
        model.auxiliary_head.update(in_channels=WIDTH, channels=WIDTH)
    else:
        model.neck.update(in_channels=[WIDTH] * 4, out_channels=WIDTH)
    if name == "retinanet":
        model.bbox_head.update(in_channels=WIDTH, feat_channels=WIDTH, stacked_convs=1, num_classes=3)
    elif name == "mask-rcnn":
        model.rpn_head.update(in_channels=WIDTH, feat_channels=WIDTH)
        head = model.roi_head
        head.bbox_roi_extractor.out_channels = head.mask_roi_extractor.out_channels = WIDTH
        head.bbox_head.update(in_channels=WIDTH, conv_out_channels=WIDTH, fc_out_channels=16)
        head.mask_head.update(in_channels=WIDTH, conv_out_channels=WIDTH)
    config.merge_from_dict({"model": changes})
    return config


def build(config: Config) -> nn.Module:
    """Its model, in evaluation mode, all parameters and statistics random; boxes stay inside the image by and large."""
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(config.model).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith(("running_var", "num_batches_tracked")):
                continue
            scale = 0.01 if name.endswith(("rpn_reg.weight", "retina_reg.weight", "fc_reg.weight")) else 0.05
            value.add_(scale * torch.randn_like(value))
        if hasattr(model, "bbox_head"):
            model.bbox_head.retina_cls.bias.fill_(-2)
    return model


def random_image(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
