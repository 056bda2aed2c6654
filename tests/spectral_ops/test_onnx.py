"""ONNX export of the matmul path, run by onnxruntime at sizes it was not exported with."""

from __future__ import annotations

import io
import warnings

import onnxruntime
import pytest
import torch
from torch import nn

import spectral_ops as so

MIXED = ("periodic", "dirichlet")
EXPRESSIONS = {
    "transforms": lambda: Transforms(),
    "expression": lambda: 0.5 * so.Heat(0.3) + so.Wave(1.0, 2.0, 0.3) @ so.Poisson(0.4) - 0.2 * so.Identity(),
    "per channel": lambda: so.FractionalHeat(so.Softplus(0.3, (3,)), so.Bounded(0.6, 0.2, 1.0, (3,))),
    "dirichlet": lambda: so.Plate(0.5, 1.2, 0.4, boundary="dirichlet") + so.ReactionDiffusion(boundary="dirichlet"),
    "walls of each side": lambda: so.Heat((0.3, 0.1), boundary=MIXED) + so.Wave((1.0, 0.5), boundary=MIXED),
    "input-conditioned": lambda: so.Mixture([so.Heat(0.5), so.FractionalHeat(0.5)], weights=so.InputRouter(3, 2)),
}


class Transforms(nn.Module):
    def forward(self, x):
        return so.irdftn(so.rdftn(so.idstn(so.dstn(so.idctn(so.dctn(x)) + 1))))


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_export_with_dynamic_sizes(name, draw):
    module, x, dynamic = EXPRESSIONS[name]().eval(), draw(2, 3, 9, 8, dtype=torch.float32), torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter about itself
        program = torch.onnx.export(
            module, (x,), dynamo=True, verbose=False, dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},)
        )
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    for shape in ((2, 3, 9, 8), (3, 3, 14, 17), (1, 3, 1, 64)):
        x = draw(*shape, dtype=torch.float32)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), module(x).detach(), rtol=1e-4, atol=2e-5)
