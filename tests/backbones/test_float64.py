"""Devices without float64, such as Apple's: nothing of a float32 network is ever made in it there, nor exported."""

from __future__ import annotations

import pytest
import timm
import torch
from timm_models import create, every
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from spectral_ops import Bounded, Softplus, cosine_basis, laplacian_eigenvalues, sine_basis


class _Doubles(TorchDispatchMode):
    """The operations that make float64 on the meta device, which stands in for one that has none."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
        self.found += [str(func) for t in tensors if t.dtype == torch.float64 and t.device.type == "meta"]
        return result


@every
def test_a_network_on_such_a_device(name):
    with _Doubles() as doubles, torch.device("meta"):
        net = timm.create_model(name, num_classes=3)
        for module in net.modules():
            if hasattr(module, "reset_parameters") and not isinstance(module, nn.Sequential):
                module.reset_parameters()
        net.init_weights()
        net(torch.ones(2, 3, 64, 96)).sum().backward()
        net.eval()(torch.ones(2, 3, 64, 96, dtype=torch.float16).float())
        if name not in ("vtail_nano",):  # whose gains depend on the input
            net.reparameterize([64])
            with torch.no_grad():
                net(torch.ones(2, 3, 64, 64))
    assert not doubles.found


def test_constants_and_resets():
    with _Doubles() as doubles:
        for make in (cosine_basis, sine_basis, laplacian_eigenvalues):
            assert make(7, device="meta").dtype == torch.float32
        for quantity in (Softplus(0.3, (4,)), Bounded(0.7, 0.25, 1.0, (4,))):
            quantity.to("meta").reset_parameters()
    assert not doubles.found


@every
@pytest.mark.parametrize("dynamic", [False, True])
def test_exports_hold_none(name, dynamic):
    net, x = create(name, num_classes=3).eval(), torch.randn(2, 3, 64, 96)
    sizes = {"x": {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}} if dynamic else None
    graph = torch.export.export(net, (x,), dynamic_shapes=sizes).graph
    values = [leaf for node in graph.nodes for leaf in tree_leaves(node.meta.get("val"))]
    assert not [v for v in values if isinstance(v, torch.Tensor) and v.dtype == torch.float64]
