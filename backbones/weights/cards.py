"""Model cards: what timm's ``pretrained_cfg`` says of each model, and what was published about vHeat's weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["PUBLISHED", "Published", "pretrained_cfg", "where_weights_are"]


@dataclass(frozen=True)
class Published:
    """The figures published for a model: its authors' measurements, none of them repeated here.

    Attributes:
        title: Its name in the publication.
        top1: On ImageNet-1K at 224 px, in per cent.
        parameters: In millions, with precomputed gains.
        gmacs: At 224 px, with precomputed gains.
        images_per_second: At 224 px, on an A100.
        detection: Box and mask AP of Mask R-CNN on COCO, in the 1x and in the 3x schedule.
        segmentation: mIoU of UPerNet on ADE20K, single scale.
    """

    title: str
    top1: float
    parameters: int
    gmacs: float
    images_per_second: int
    detection: tuple[tuple[float, float], tuple[float, float]]
    segmentation: float


#: Wang et al., CVPR 2025, arXiv 2405.16555.
PUBLISHED: dict[str, Published] = {
    "vheat_tiny": Published("vHeat-T", 82.2, 29, 4.6, 1514, ((45.1, 41.2), (47.3, 42.5)), 47.0),
    "vheat_small": Published("vHeat-S", 83.6, 50, 8.5, 945, ((46.8, 42.3), (48.8, 43.7)), 49.0),
    "vheat_base": Published("vHeat-B", 83.9, 87, 14.9, 661, ((47.7, 43.0), (49.7, 44.3)), 49.6),
}


def pretrained_cfg(name: str, source: str, **facts: Any) -> dict[str, Any]:
    """timm's ``pretrained_cfg`` of a model, its ``paper_ids`` being ``source``; ``facts`` go before the common ones."""
    cfg: dict[str, Any] = {
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "fixed_input_size": False,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "first_conv": "stem.conv1",
        "classifier": "head.fc",
        "paper_ids": source,
        **facts,
    }
    if name in PUBLISHED:
        card = PUBLISHED[name]
        cfg["paper_name"] = "Building Vision Models upon Heat Conduction"
        cfg["description"] = (
            f"{card.title} as published, trained on ImageNet-1K: top-1 {card.top1} %, {card.parameters} M parameters, "
            f"{card.gmacs} GMACs, {card.images_per_second} images per second on an A100. The weights are in its "
            f"authors' release."
        )
    return cfg


def where_weights_are(name: str) -> str:
    """How to get a model's weights, and how to load them."""
    if name in PUBLISHED:
        start = (
            f"The weights of {name} are not fetched by name. Download the ImageNet-1K checkpoint of "
            f"{PUBLISHED[name].title} from its authors' release (arXiv:2405.16555)"
        )
    else:
        start = f"No pretrained weights exist for {name}: none have been published. Train it"
    return (
        f"{start} and load the file by timm.create_model({name!r}, pretrained=True, "
        f"pretrained_cfg_overlay=dict(file=PATH)) or backbones.load_checkpoint(model, PATH); from a hub, with "
        f"pretrained_cfg_overlay=dict(hf_hub_id='USER/NAME'). pretrained=False starts from scratch"
    )
