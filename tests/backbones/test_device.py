"""What a forward on a GPU consists of, by fake tensors: no GPU is needed to see its operations."""

from __future__ import annotations

import pytest
import timm
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import backbones  # noqa: F401 - registers the models
from spectral_ops import use_kernels

FAMILIES = ["vheat_nano", "vwave_nano", "vtail_nano", "vpoisson_nano", "vmix_nano"]


class _Record(TorchDispatchMode):
    """The operations, and those that a tensor on another device than the GPU takes part in."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.elsewhere: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.names.append(str(func))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
        self.elsewhere += [str(func) for t in tensors if t.device.type != "cuda"]
        return result


def forward(name, dtype=torch.float32):
    net = timm.create_model(name, device="meta", dtype=dtype).eval()
    # Fake tensors have no values: whatever asks for one, as .item() or nonzero() do, raises an error.
    with FakeTensorMode(allow_non_fake_inputs=True):
        net = net.to_empty(device="cuda")
        images = torch.empty(2, 3, 64, 96, device="cuda", dtype=dtype)
        with _Record() as record:
            assert net(images).device.type == "cuda"
    return record


@pytest.mark.parametrize("name", FAMILIES)
def test_the_host_never_waits(name):
    record = forward(name)
    assert len(record.names) > 100 and not record.elsewhere


def test_the_switch_of_the_fused_kernel():
    pytest.importorskip("triton")
    kernel, product = "spectral_ops.fused_gain.default", "aten.bmm.default"
    off = forward("vheat_nano", torch.bfloat16)
    with use_kernels(fused=True):
        on = forward("vheat_nano", torch.bfloat16)
    blocks = sum(len(stage.blocks) for stage in timm.create_model("vheat_nano", device="meta").stages)
    assert (off.names.count(kernel), on.names.count(kernel)) == (0, blocks)
    assert off.names.count(product) - on.names.count(product) == 4 * blocks
    assert not on.elsewhere
