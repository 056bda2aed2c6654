"""Linears by either kernel, on the shapes that vHeat-T has."""

import pytest
import timm
import torch
from benchmarks import linears
from benchmarks.linears import layer, network, shapes
from benchmarks.records import measure
from torch import nn

from spectral_ops._kernels import SETTINGS

CPU = torch.device("cpu")


def test_shapes_are_those_of_the_network():
    with torch.device("meta"):
        net = timm.create_model("vheat_tiny", num_classes=0)
    blocks = [block for stage in net.stages for block in stage.blocks]
    called = [(m.in_features, m.out_features) for b in blocks for m in (b.mixer.value, b.mixer.proj, b.mlp.fc1)]
    called += [(b.mlp.fc2.in_features, b.mlp.fc2.out_features) for b in blocks]
    assert {shape[1:] for shape in shapes()} == set(called) and len(list(shapes())) == 12


@pytest.mark.parametrize("train", [False, True])
def test_a_layer_is_the_same_by_either_kernel(train):
    before = SETTINGS.convolved
    found = measure(layer(3, 5, 7, 2, train), CPU, rounds=1, seconds=0.0)
    assert list(found) == ["nn.Linear", "ours, convolved", *([] if train else ["ours, packed"])]
    assert all(figure["error"] < 1e-5 for figure in found.values())
    assert SETTINGS.convolved is before


@pytest.mark.parametrize("train", [False, True])
def test_the_network_runs_by_either_kernel(monkeypatch, train):
    create, used = timm.create_model, []
    monkeypatch.setattr(linears.timm, "create_model", lambda name: create("vheat_nano", dims=(8,) * 4, depths=(1,) * 4))
    convolve = nn.functional.conv2d
    monkeypatch.setattr(nn.functional, "conv2d", lambda *args, **more: used.append(args[1].shape) or convolve(*args))
    runs, _ = network(1, train).make(CPU)
    assert list(runs) == ["ours, plain linears", "ours, convolved", *([] if train else ["ours, packed"])]
    counts = []  # the last stage has 49 cells: products; training asks the embeddings, too
    for run in runs.values():
        used.clear()
        run()
        counts.append(sum(shape[2:] == (1, 1) for shape in used))
    assert counts[0] == 0 and counts[1] == (18 if train else 15) and counts[2:] == [0] * (len(runs) - 2)
