"""Which cases there are, in groups."""

from __future__ import annotations

import torch

from benchmarks.adapters import adapter_inference, adapter_step
from benchmarks.case import STAGES, Group
from benchmarks.linears import layer, network, shapes
from benchmarks.networks import blocks, networks, relatives, training
from benchmarks.operators import linear, operator_step, spectral_part, transforms
from benchmarks.pretraining import itpn_pretraining, spectral_pretraining
from benchmarks.remote_sensing import SIZES, large_images
from benchmarks.runtimes import RUNTIMES, runtimes


def groups(device: torch.device) -> dict[str, Group]:
    """Every group by name. On a GPU batches are larger."""
    gpu = device.type == "cuda"
    batch, batches = (128, (1, 128)) if gpu else (4, (1, 4))
    sides = (224, 384, 512, 768, 1024, 2048)
    return {
        "transforms": Group(
            "Cosine transform and back",
            [transforms(n, c, batch) for n, c in (*STAGES, (128, 64), (256, 16))]
            + [transforms(n, c, batch, dtype=torch.bfloat16) for n, c in STAGES],
        ),
        "transforms-step": Group(
            "Cosine transform and back, forward and backward", [transforms(n, c, batch, step=True) for n, c in STAGES]
        ),
        "spectral": Group(
            "The heat operator with a stored gain: transform, gain, transform back, inference",
            [spectral_part(n, c, batch) for n, c in (*STAGES, (192, 96))],
        ),
        "operator": Group(
            "The heat operator with a learned k, forward and backward", [operator_step(n, c, batch) for n, c in STAGES]
        ),
        "linear": Group("The first linear of an MLP, inference", [linear(n, c, batch) for n, c in STAGES]),
        "block": Group(
            "One block, inference", [blocks(n, c, batch, False, amp) for amp in (False, True) for n, c in STAGES]
        ),
        "block-step": Group(
            "One block, forward and backward",
            [blocks(n, c, batch, True, amp) for amp in (False, True) for n, c in STAGES],
        ),
        "inference": Group("Networks, inference", [networks("tiny", 224, b) for b in batches]),
        "sizes": Group("Larger networks, inference", [networks(size, 224, batches[-1]) for size in ("small", "base")]),
        "resolution": Group("Inference against resolution", [networks("tiny", side, 1, series=True) for side in sides]),
        "bf16": Group(
            "Inference under bfloat16 autocast",
            [*(networks("tiny", 224, b, amp=True) for b in batches), networks("tiny", 768, 1, amp=True)],
        ),
        "training": Group("Training step", [training("tiny", b) for b in ((128,) if gpu else (4, 16))]),
        "pretraining": Group(
            "Masked pre-training, forward and backward", [spectral_pretraining(batch), itpn_pretraining(batch)]
        ),
        "relatives": Group("Relatives, inference", [relatives(batch)]),
        "remote-sensing": Group(
            "RS-vHeat-B on large images, inference",
            [
                large_images(side, 8 if gpu else 1, amp)
                for amp in ((False, True) if gpu else (False,))
                for side in SIZES
            ],
        ),
        "adapter-step": Group("Adapters, training step", [adapter_step(128 if gpu else 8)]),
        "adapter-inference": Group("Adapters, inference", [adapter_inference(b) for b in batches]),
        **({} if gpu else {**_linears(), **_deployment()}),
    }


def _linears() -> dict[str, Group]:
    """By which kernel linears are to be computed, as records of several machines decide."""
    return {
        f"linears{'-step' if train else ''}": Group(
            f"All linears of vHeat-T, {'forward and backward' if train else 'inference'}",
            [layer(*shape, b, train) for b in (1, 4, 16) for shape in shapes()]
            + [network(b, train) for b in ((4, 16) if train else (1, 4, 16))],
            on_request=True,
        )
        for train in (False, True)
    }


def _deployment() -> dict[str, Group]:
    """What takes an hour: each network with all runtimes, of which some compile."""
    return {
        f"runtimes{suffix}": Group(
            f"Networks and runtimes, inference{at}",
            [runtimes("tiny", side, b, precision, rounds) for side, b in sizes for precision in RUNTIMES],
            matrix=True,
            on_request=True,
        )
        for suffix, at, sizes, rounds in (
            ("", "", ((224, 1), (224, 4), (768, 1)), None),
            ("-1024", " at 1024 px", ((1024, 1),), 3),
            ("-2048", " at 2048 px", ((2048, 1),), 3),
        )
    }
