"""The published sizes of RS-vHeat, decoded: what was counted, and what a Swin-B of either kind of window costs."""

from __future__ import annotations

import warnings
from typing import Any

import timm
import torch
from benchmarks.remote_sensing import CONTENDERS, SIZES
from files.paths import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import backbones.openmmlab  # noqa: F401 (registers)
from backbones.remote_sensing import OPTICAL
from reports.tables import markdown

FOLDER = ROOT / "configs" / "rs_vheat"
#: By what was counted: the paper's numbers, in millions and GMACs ("FLOPs" there); None where it gives none.
PUBLISHED: dict[str, tuple[float | None, float]] = {
    "segmentation": (148, 921),
    "detection": (None, 266),
    "classification": (150, 340),
}


def _numbers(net: nn.Module) -> int:
    """Learned numbers and stored gains."""
    return sum(t.numel() for t in net.state_dict().values() if t.is_floating_point())


def _macs(net: Any, image: Tensor) -> int:
    # Attention counts as the matrix products it is only where it is not fused.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(image)
    return counter.get_total_flops() // 2


def _image(size: int) -> Tensor:
    return torch.zeros(1, 3, size, size, device="meta")


def _built(name: str, size: int) -> nn.Module:
    """The model of a config, its maps stored at a size."""
    config = Config.fromfile(FOLDER / name)
    config.model.backbone.img_size = size
    init_default_scope(config.default_scope)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mmseg's own base leaves open what its loss averages over
        return MODELS.build(config.model).eval()


def _segmentor(stored: int) -> tuple[int, int]:
    net = _built("upernet_rs-vheat-b_160k_isaid-896x896.py", stored)

    def both_heads(image: Tensor) -> None:
        maps = net.extract_feat(image)
        net.decode_head(maps)
        net.auxiliary_head(maps)

    return _numbers(net), _macs(both_heads, _image(896))


def _detector(precomputed: bool) -> tuple[int, int]:
    net = _built("faster-rcnn_rs-vheat-b_fpn_1x_dior.py", 224)
    if precomputed:
        with torch.device("meta"):
            net.backbone.reparameterize([800], keep_source=False)
    return _numbers(net), _macs(lambda image: net.rpn_head(net.extract_feat(image)), _image(800))


def _classifier(precomputed: bool) -> tuple[int, int]:
    net = timm.create_model("rs_vheat_base", modalities=[OPTICAL], num_classes=1000, device="meta").eval()
    if precomputed:
        with torch.device("meta"):
            net.reparameterize([1024], keep_source=False)
    return _numbers(net), _macs(net, _image(1024))


def _swin(window: int) -> tuple[int, int]:
    with torch.device("meta"):
        net = timm.create_model("swin_base_patch4_window7_224", img_size=1024, window_size=window).eval()
    return _numbers(net), _macs(net, _image(1024))


def decoded() -> str:
    """Sizes and work of RS-vHeat-B in its tasks and of Swin-B, beside the published numbers."""
    rows = [
        ("RS-vHeat-B + UPerNet, as trained, maps stored at 896 px", 896, *_segmentor(896), "segmentation"),
        ("the same, maps stored at 224 px and resized", 896, *_segmentor(224), ""),
        ("RS-vHeat-B + FPN + RPN, precomputed gains", 800, *_detector(True), "detection"),
        ("the same, as trained", 800, *_detector(False), ""),
        ("RS-vHeat-B, 1,000 classes, precomputed gains", 1024, *_classifier(True), "classification"),
        ("the same, as trained", 1024, *_classifier(False), ""),
        ("Swin-B, windows of 7 cells at any size", 1024, *_swin(7), ""),
        ("Swin-B, windows that grow with the image, to 32 cells", 1024, *_swin(32), ""),
    ]
    cells = []
    for title, size, numbers, macs, key in rows:
        parameters, work = PUBLISHED.get(key, (None, None))
        told = " / ".join(f"{value} {unit}" for value, unit in ((parameters, "M"), (work, "G")) if value)
        cells.append((title, f"{size} px", f"{numbers / 1e6:.1f} M", f"{macs / 1e9:.1f}", told or "-"))
    return markdown(["", "image", "parameters", "GMACs", "published"], cells)


def work() -> str:
    """GMACs of the networks that tools/benchmark.py --groups remote-sensing measures."""
    rows = []
    for title, create in CONTENDERS.items():
        counted = []
        for size in SIZES:
            with torch.device("meta"):
                net = create(size)
            counted.append((_numbers(net), _macs(net, _image(size))))
        title = "RS-vHeat-B" if title == "ours" else title.removeprefix("ours, ")
        rows.append((title, *(f"{macs / 1e9:.1f}" for _, macs in counted), f"{counted[-1][0] / 1e6:.1f} M"))
    return markdown(["", *(f"GMACs, {size} px" for size in SIZES), f"parameters for {SIZES[-1]} px"], rows)
