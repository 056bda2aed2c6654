"""What a user would run a trained network with on a CPU, by precision, and each network with all of them."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import timm
import torch
from scenes.digits import load_digits
from torch import Tensor, nn

from backbones import packed, stage_sizes
from benchmarks.case import Absent, Case, Contenders, inference, moved
from benchmarks.measuring import relative_error
from benchmarks.networks import PEERS, peer
from benchmarks.onnx_files import write_int8, write_onnx
from benchmarks.public import PublicVHeat

Predictor = Callable[[Tensor], Tensor]
#: Makes of a network, an example of its input, and batches to calibrate with what predicts.
Runtime = Callable[[nn.Module, Tensor, Sequence[Tensor]], Predictor]

#: What predictions may be off by, of their norm, from the network in float32, to be taken for its.
LIMITS = {"float32": 1e-3, "bfloat16": 0.1, "int8": 1.0}
#: Batches that extremes of activations are taken from.
CALIBRATION = 4
#: On larger images the public form and DeiT, which take twice as long and more, are left out.
LARGE = 768


def _guarded(predict: Predictor, amp: bool) -> Predictor:
    """Without gradients, under bfloat16 autocast with ``amp``."""
    return lambda x: inference(lambda: predict(x), amp, x.device)()


def _eager(net: nn.Module, x: Tensor, calibration: Sequence[Tensor], amp: bool = False) -> Predictor:
    return _guarded(net, amp)


def _packed(net: nn.Module, x: Tensor, calibration: Sequence[Tensor], amp: bool = False) -> Predictor:
    return _guarded(packed(net, x, dtype=torch.bfloat16 if amp else torch.float32), amp)


def _compiled(net: nn.Module, x: Tensor, calibration: Sequence[Tensor], amp: bool = False) -> Predictor:
    """By Inductor, weights frozen into the program; a graph that breaks is an error."""
    return _guarded(torch.compile(net, fullgraph=True, dynamic=False, options={"freezing": True}), amp)


def _file(net: nn.Module, x: Tensor, calibration: Sequence[Tensor], folder: str, int8: bool) -> Path:
    path = Path(folder) / "float32.onnx"
    write_onnx(net, x, path)
    if int8:
        write_int8(path, path.with_name("int8.onnx"), calibration)
        path = path.with_name("int8.onnx")
    return path


def _onnxruntime(net: nn.Module, x: Tensor, calibration: Sequence[Tensor], int8: bool = False) -> Predictor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")  # else its threads disturb who comes next
    with tempfile.TemporaryDirectory() as folder:
        content = _file(net, x, calibration, folder, int8).read_bytes()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def _openvino(net: nn.Module, x: Tensor, calibration: Sequence[Tensor], precision: str = "f32") -> Predictor:
    """Reads the files of ONNX Runtime; ``precision`` is that of the products, or ``"i8"``, beside float32."""
    openvino: Any = importlib.import_module("openvino")
    hint = {"f32": "f32", "bf16": "bf16", "i8": "f32"}[precision]
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": hint,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = _file(net, x, calibration, folder, precision == "i8")
        model = openvino.Core().compile_model(openvino.Core().read_model(path), "CPU", settings)
    used = model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != hint:
        raise RuntimeError(f"OpenVINO computes in {used} here")
    return lambda x: torch.from_numpy(model(x.numpy())[0].copy())


#: By the precision of the products.
RUNTIMES: dict[str, dict[str, Runtime]] = {
    "float32": {
        "eager": _eager,
        "packed": _packed,
        "torch.compile": _compiled,
        "ONNX Runtime": _onnxruntime,
        "OpenVINO": _openvino,
    },
    "bfloat16": {
        "eager": partial(_eager, amp=True),
        "packed": partial(_packed, amp=True),
        "torch.compile": partial(_compiled, amp=True),
        "OpenVINO": partial(_openvino, precision="bf16"),
    },
    "int8": {
        "ONNX Runtime": partial(_onnxruntime, int8=True),
        "OpenVINO": partial(_openvino, precision="i8"),
    },
}


def deployed(
    net: nn.Module, x: Tensor, precision: str, runtime: str, calibration: Sequence[Tensor] = ()
) -> Predictor | Absent:
    """What predicts as a network does on inputs of the shape of ``x``, or why it cannot run here.

    It has run once, and its predictions are the network's but for what :data:`LIMITS` allow.

    Args:
        net: In eval mode, float32, on the CPU; gains precomputed.
        x: An example.
        precision: One of :data:`RUNTIMES`.
        runtime: One of this precision.
        calibration: Batches of the shape of ``x``, for int8.
    """
    expected = _guarded(net, False)(x)
    try:
        predict = RUNTIMES[precision][runtime](net, x, calibration)
        found = predict(x)
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise
        return Absent("not installed")
    except Exception as error:  # of any of the runtimes
        return Absent(f"{type(error).__name__}: {' '.join(str(error).split())[:100].replace('|', ' ')}")
    off = relative_error(found.float(), expected.double())
    return predict if off <= LIMITS[precision] else Absent(f"computes something else: off by {off:.1e}")


def digits(image: int, batch: int, batches: int) -> list[Tensor]:
    """Batches of scikit-learn's digits in [-1, 1], as large as images are, ``(B, 3, H, W)``."""
    bitmaps = torch.from_numpy(load_digits()[0][: batch * batches]).float()[:, None]
    grey = nn.functional.interpolate(2 * bitmaps - 1, size=(image, image), mode="bilinear", align_corners=False)
    return list(grey.expand(-1, 3, -1, -1).contiguous().split(batch))


def peers(size: str, image: int) -> dict[str, str]:
    """Names of the others; without DeiT on large images."""
    return {title: name for title, name in PEERS[size].items() if title != "DeiT" or image <= LARGE}


def runtimes(size: str, image: int, batch: int, precision: str, rounds: int | None = None) -> Case:
    """All networks with all runtimes of a precision; errors are against each network in float32 as it comes.

    Gains are stored for this size of images, and the physics dropped: the form that is deployed.
    """

    def make(device: torch.device) -> tuple[Contenders, dict[str, Tensor]]:
        torch.compiler.reset()  # else what was compiled for other sizes counts against a limit
        net = moved(timm.create_model(f"vheat_{size}")).eval()
        networks = {"ours": net}
        if image <= LARGE:
            networks["public"] = public = PublicVHeat(net).eval()
            public.precompute(stage_sizes(image))
        net.reparameterize([image], keep_source=False)
        networks |= {title: moved(peer(name, image)).eval() for title, name in peers(size, image).items()}
        *calibration, x = digits(image, batch, CALIBRATION + 1)  # images like those that int8 was calibrated with
        made: Contenders = {}
        exact = {}
        for title, network in networks.items():
            expected = _guarded(network, False)(x).double()
            for runtime in RUNTIMES[precision]:
                predict = deployed(network, x, precision, runtime, calibration)
                name = f"{title}, {runtime}"
                made[name] = predict if isinstance(predict, Absent) else partial(predict, x)
                if (precision, runtime) != ("float32", "eager"):
                    exact[name] = expected
        return made, exact

    return Case(f"{size}, {image} px, batch {batch}, {precision}", make, rounds=rounds)
