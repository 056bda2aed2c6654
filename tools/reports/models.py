"""Tables of docs/models.md: sizes and work of all models, sources of vHeat's k, published figures."""

from __future__ import annotations

import re

import timm
import torch
from files.paths import ROOT
from torch.utils.flop_counter import FlopCounterMode

import backbones
from backbones.operators import DIFFUSIVITIES
from backbones.remote_sensing import OPTICAL
from reports.remote_sensing import decoded, work
from reports.tables import markdown

IMAGE = 224
DOCUMENT = ROOT / "docs" / "models.md"


def count(net: torch.nn.Module, channels: int = 3) -> tuple[int, int]:
    """Numbers of the state dict that are learned or stored gains, and multiply-accumulates of one image."""
    numbers = sum(t.numel() for t in net.state_dict().values() if t.is_floating_point())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, channels, IMAGE, IMAGE, device="meta"))
    return numbers, counter.get_total_flops() // 2


def counted(name: str, **options: object) -> list[str]:
    """Four cells: parameters and work of a model as trained, and with precomputed gains."""
    net = timm.create_model(name, device="meta", **options).eval()
    cells = [*formatted(*count(net, net.in_chans))]
    try:
        with torch.device("meta"):
            net.reparameterize([IMAGE], keep_source=False)
        cells += formatted(*count(net, net.in_chans))
    except ValueError:  # the gain depends on the input
        cells += ["-", "-"]
    return cells


def formatted(numbers: int, macs: int) -> tuple[str, str]:
    return f"{numbers:,}", f"{macs / 1e9:.3f}"


COUNTED = ("parameters", "GMACs", "with precomputed gains", "GMACs")


def sizes() -> str:
    """Every model."""
    names = [f"{family}_{arch}" for family in backbones.FAMILIES for arch in backbones.ARCHS]
    return markdown(["", *COUNTED], ([f"`{name}`", *counted(name)] for name in names))


def hivit() -> str:
    """HiViT and Fast-iTPN, and the backbone with pyramid that published detectors have."""
    nets = {f"`{name}`": timm.create_model(name, device="meta") for name in backbones.HIVIT_MODELS}
    for name in (name.split("_")[1] for name in backbones.HIVIT_MODELS if name.startswith("hivit")):
        net = backbones.ITPN(**backbones.HIVIT_ARCHS[f"hivit_{name}"], device="meta")
        nets[f'`ITPN`, `arch="{name}"`'] = net
    return markdown(["", *COUNTED[:2]], ([name, *formatted(*count(net.eval()))] for name, net in nets.items()))


def rs_vheat() -> str:
    """RS-vHeat with one modality of three bands, and the published size with both."""
    one = {"modalities": [OPTICAL], "num_classes": 1000}
    rows = [(f"`{name}`, optical", *counted(name, **one)) for name in backbones.RS_VHEAT_MODELS]
    rows.append(("`rs_vheat_base`, optical and SAR", *counted("rs_vheat_base", num_classes=1000)))
    return markdown(["", *COUNTED], rows)


def diffusivities() -> str:
    """vHeat-T with each source of k."""
    rows = [[f'`diffusivity="{key}"`', *counted("vheat_tiny", diffusivity=key)] for key in DIFFUSIVITIES]
    rows.append(["`per_axis=True`", *counted("vheat_tiny", per_axis=True)])
    return markdown(["`vheat_tiny` with", *COUNTED], rows)


def published() -> str:
    """The published figures of vHeat."""
    columns = ("", "top-1", "parameters", "GMACs", "images/s", "1x box / mask AP", "3x box / mask AP", "mIoU")
    rows = []
    for name, p in backbones.PUBLISHED.items():
        once, thrice = (f"{box} / {mask}" for box, mask in p.detection)
        cells = (p.top1, f"{p.parameters} M", p.gmacs, p.images_per_second, once, thrice, p.segmentation)
        rows.append((f"{p.title}, here `{name}`", *cells))
    return markdown(columns, rows)


TABLES = {
    **{"sizes": sizes, "hivit": hivit, "rs_vheat": rs_vheat, "rs_vheat_tasks": decoded},
    "rs_vheat_work": work,
    **{"diffusivities": diffusivities, "published": published},
}


def updated(text: str) -> str:
    """The document with every table, between ``<!-- table NAME -->`` and ``<!-- end -->``, written anew."""
    for name, make in TABLES.items():
        table = "\n".join([f"<!-- table {name} -->", make(), "<!-- end -->"])
        text, found = re.subn(rf"<!-- table {name} -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)
        if found != 1:
            raise SystemExit(f"{DOCUMENT} must hold one place for the table {name!r}, it holds {found}")
    return text
