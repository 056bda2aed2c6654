"""Networks as ONNX files, in float32 and with 8-bit products, for the runtimes that read them."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from benchmarks.machine import processor_has


def write_onnx(net: nn.Module, x: Tensor, path: Path) -> None:
    """The network for inputs of the shape of ``x``, in float32."""
    with torch.no_grad(), _quietly():
        torch.onnx.export(net, (x,), path, dynamo=True, external_data=False, verbose=False, input_names=["x"])


class _Batches(CalibrationDataReader):
    """Hands batches to the quantizer, one at a time."""

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"x": batch.numpy()}


def layers(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions and of the products with a matrix of weights behind: not of transforms or attention."""
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm") or (node.op_type == "MatMul" and node.input[1] in weights)
    ]


def write_int8(source: Path, target: Path, calibration: Sequence[Tensor]) -> None:
    """A file of :func:`write_onnx` with linears and convolutions in 8 bits, after training.

    Weights are symmetric for each output channel, activations affine with the extremes that ``calibration`` reaches.
    Without instructions for 8-bit products that add up in 32 bits (VNNI), weights have 7 bits, as ONNX Runtime advises.

    Args:
        source: The file in float32.
        target: Where the other is written.
        calibration: Batches of images, of the shape that the file takes.
    """
    prepared = target.with_suffix(".prepared.onnx")
    with _quietly():
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _Batches(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=not processor_has("avx512_vnni", "avx_vnni", "asimddp"),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=layers(onnx.load(prepared)),
        )
    prepared.unlink()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what exporter and quantizer say about themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
