"""Run what others' tools do on all families, beside timm's ConvNeXt and Swin, and write docs/compatibility.md.

    python tools/check_compatibility.py [--families vheat ...] [--out FILE]

Converters and counters that are not installed are named as such; `pip install openvino thop torchinfo ptflops fvcore`
brings them. Exits with 1 where one of ours fails at what both of timm's do. About half an hour.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import timm
import torch
from compatibility.subject import OURS
from compatibility.table import table
from files.arguments import output_file

import backbones

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/compatibility.md"
HEAD = """# Tools of others

What tools that people use with timm's models make of this project's networks, beside two of timm's own. "yes" means
that it ran and that what it gave was compared: outputs with the bare network's, counts with what is dispatched,
gradients with what should learn. Else it is what was raised. Written by `make compatibility`, with torch {torch} and
timm {timm}, nano sizes, 64 px; HiViT and Fast-iTPN 64 wide with 1 + 1 + 2 blocks, RS-vHeat of packed images without
units. HiViT's stages hand over units of an image and RS-vHeat's the maps of each modality, which hooks on them see;
maps of images are what `forward_intermediates` and `features_only` by timm's getter give.

Gradients of each sample come from `torch.func` (`vmap` of `grad` of `functional_call`). opacus's `GradSampleModule`
fails: it takes every module with parameters to be called with tensors, and some here are called with grids. BackPACK's
`BatchGrad` takes the first axis of every input for samples, and is wrong for vHeat's diffusivity linears, whose input
is one grid for all of them.

PEFT's mixed batches (`adapter_names`) of LoRA on `"all-linear"` need `exclude_modules=".*diffusivity.*"`: those
linears make one diffusivity for all samples. onnxconverter-common's float16 and ONNX Runtime's `quant_pre_process` take
files of `torch.onnx.export(dynamo=True)`.

"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=list(OURS), default=list(OURS))
    parser.add_argument("--out", type=output_file, default=DOCUMENT)
    args = parser.parse_args()
    columns = {}
    for kind in (list(backbones.FAMILIES), ["hivit", "fastitpn"], ["rs_vheat"]):
        if chosen := [family for family in kind if family in args.families]:
            columns[", ".join(chosen)] = [OURS[family] for family in chosen]
    columns |= {name: [name] for name in ("convnext_atto", "swin_tiny_patch4_window7_224")}
    text = table(columns)
    args.out.write_text(HEAD.format(torch=torch.__version__.partition("+")[0], timm=timm.__version__) + text)
    cells = {row: [cell.strip(" |") for cell in row.split(" | ")] for row in text.splitlines()}
    worse = [row for row, (_, *found) in cells.items() if found[-2:] == ["yes", "yes"] and {*found} != {"yes"}]
    print("\n".join(f"fails for ours alone: {row}" for row in worse) or "nothing fails for ours alone")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
