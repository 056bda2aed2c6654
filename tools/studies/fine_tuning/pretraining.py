"""Pre-training of the backbones without labels.

A ViT learns by masked autoencoding: its encoder sees a quarter of the patches, a small decoder predicts the others'
normalised pixels. A vHeat, which takes whole maps, sees the masked patches in grey, and one linear layer on the sum of
its maps predicts theirs (:mod:`backbones.pretraining`, which has no form for a plain ViT). The images are crops of the
photographs' training tiles and rendered scenes, see ``scenes.tasks.registry``.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from scenes.tasks.registry import unlabelled
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from backbones.pretraining import MaskedPretraining, PretrainingHead, RandomUnits
from studies.fine_tuning.backbones import PATCH, as_input, build
from studies.fine_tuning.masked_vit import MaskedViT


@dataclass
class Recipe:
    """How a backbone is pre-trained: AdamW, linear warm-up over a tenth of the steps, cosine to zero."""

    steps: int = 2400
    batch: int = 64
    images: int = 8000
    lr: float = 1.5e-3
    weight_decay: float = 0.05
    masked: float = 0.75
    seed: int = 0


#: A vHeat is not spared the work on masked patches, so it gets fewer steps in about the same time.
RECIPES = {"vit": Recipe(), "vheat": Recipe(masked=0.6, steps=1500)}


def masked_network(network: nn.Module, masked: float) -> MaskedPretraining:
    """The loss of predicting masked patches of a hierarchical network's input, which it sees in grey, from its maps."""
    return MaskedPretraining(
        network,
        head=PretrainingHead(decoder_dim=64),
        target_generator=[{"type": "pixels", "unit": PATCH}],
        mask=RandomUnits(PATCH, masked),
        fill="grey",
    )


def pretrain(backbone: str, out: Path, recipe: Recipe | None = None) -> dict:
    """Pre-train and write ``out/{backbone}.safetensors`` and, last, ``out/{backbone}.json``, the record of it.

    Returns:
        The record: the recipe, the loss along the way, seconds, and the checkpoint's SHA-256.
    """
    recipe = recipe or RECIPES[backbone]
    torch.manual_seed(recipe.seed)
    model = build(backbone, 0)
    task = (
        MaskedViT(model, recipe.masked)
        if isinstance(model, VisionTransformer)
        else masked_network(model, recipe.masked)
    )
    images = torch.from_numpy(unlabelled(recipe.images, recipe.seed))
    task(as_input(images[:2]))  # whose random numbers the recorded ViT was trained after
    optimizer = torch.optim.AdamW(task.parameters(), recipe.lr, betas=(0.9, 0.95), weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_cosine(step, recipe.steps))
    started, losses, total = time.perf_counter(), [], 0.0
    every = max(recipe.steps // 50, 1)
    for step in range(1, recipe.steps + 1):
        batch = as_input(images[torch.randint(len(images), (recipe.batch,))])
        batch = batch.flip(-1) if step % 2 else batch
        loss = task(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % every == 0:
            losses.append(round(total / every, 5))
            print(f"{backbone}: step {step}, loss {losses[-1]}, {time.perf_counter() - started:.0f} s", flush=True)
            total = 0.0
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / f"{backbone}.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, checkpoint)
    record = {
        "backbone": backbone,
        "recipe": asdict(recipe),
        "losses": losses,
        "seconds": round(time.perf_counter() - started, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "sha256": sha256(checkpoint),
    }
    (out / f"{backbone}.json").write_text(json.dumps(record, indent=1))
    return record


def warm_cosine(step: int, steps: int) -> float:
    """Factor of the learning rate: up over the first tenth of the steps, down to zero along a cosine."""
    warm = max(steps // 10, 1)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
