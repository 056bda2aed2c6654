"""Runtimes predict what the network predicts, or say why they cannot."""

import sys
from types import ModuleType

import onnx
import onnxruntime
import pytest
import timm
import torch
from benchmarks import runtimes
from benchmarks.case import Absent, moved
from benchmarks.measuring import relative_error
from benchmarks.onnx_files import layers, write_int8, write_onnx
from benchmarks.records import measure
from benchmarks.runtimes import RUNTIMES, deployed, digits
from torch import nn

CPU = torch.device("cpu")
#: By what predictions in a precision are off, of their norm.
OFF = {"float32": (0, 1e-5), "bfloat16": (1e-4, 2e-2), "int8": (1e-4, 5e-2)}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 8, 8), nn.GELU(), nn.Flatten(2), nn.Linear(16, 12), nn.Flatten(), nn.Linear(96, 10)
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def batches():
    return digits(32, 2, 3)


@pytest.fixture
def without_openvino(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)


def _deployed(net, batches, precision, runtime):
    *calibration, x = batches
    return deployed(net, x, precision, runtime, calibration), x


def test_digits_are_calibrated_with():
    batches = digits(16, 3, 2)
    assert [b.shape for b in batches] == [(3, 3, 16, 16)] * 2
    assert -1 <= min(b.min() for b in batches) < max(b.max() for b in batches) <= 1
    assert torch.equal(batches[0][:, 0], batches[0][:, 2])


HERE = [(p, r) for p, names in RUNTIMES.items() for r in names if r not in ("OpenVINO", "torch.compile")]


@pytest.mark.parametrize(
    ("precision", "runtime"),
    [*HERE, *(pytest.param(p, "torch.compile", marks=pytest.mark.sweep) for p in ("float32", "bfloat16"))],
)
def test_predictions_are_those_of_the_network(net, batches, precision, runtime):
    predict, x = _deployed(net, batches, precision, runtime)
    if (precision, runtime) == ("bfloat16", "packed") and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert isinstance(predict, Absent) and "needs a processor that oneDNN can use it on" in predict.reason
        return
    assert not isinstance(predict, Absent), predict
    with torch.no_grad():
        found, expected = predict(x), net(x).double()
        least, most = OFF[precision]
        assert least <= relative_error(found.float(), expected) < most
        other = batches[0]  # nothing is remembered of the example
        assert relative_error(predict(other).float(), net(other).double()) < 2 * most


def test_what_is_compiled_is_frozen_and_whole(net, batches, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda model, **options: (asked.append(options), model)[1])
    for precision in ("float32", "bfloat16"):
        predict, x = _deployed(net, batches, precision, "torch.compile")
        assert predict(x).dtype == (torch.bfloat16 if precision == "bfloat16" else torch.float32)
    assert asked == [{"fullgraph": True, "dynamic": False, "options": {"freezing": True}}] * 2


@pytest.mark.parametrize("precision", list(RUNTIMES))
def test_a_runtime_that_is_not_installed(net, batches, precision, without_openvino):
    assert _deployed(net, batches, precision, "OpenVINO")[0] == Absent("not installed")


@pytest.fixture
def openvino(monkeypatch):
    """A stand-in that computes with ONNX Runtime, in float32 whatever is asked for; and what it was asked."""
    asked = []

    class Compiled:
        def __init__(self, content):
            self.session = onnxruntime.InferenceSession(content)

        def get_property(self, name):
            return self

        def get_type_name(self):
            return "f32"

        def __call__(self, x):
            return self.session.run(None, {"x": x})

    class Core:
        def read_model(self, path):
            return path.read_bytes()

        def compile_model(self, model, device, settings):
            asked.append((device, settings))
            return Compiled(model)

    module = ModuleType("openvino")
    module.Core = Core
    monkeypatch.setitem(sys.modules, "openvino", module)
    return asked


def test_openvino_is_told_the_precision_and_asked_what_it_uses(net, batches, openvino):
    for precision in ("float32", "int8"):
        predict, x = _deployed(net, batches, precision, "OpenVINO")
        with torch.no_grad():
            assert relative_error(predict(x), net(x).double()) < OFF[precision][1]
    found, _ = _deployed(net, batches, "bfloat16", "OpenVINO")
    assert found == Absent("RuntimeError: OpenVINO computes in f32 here")
    assert [settings["INFERENCE_PRECISION_HINT"] for _, settings in openvino] == ["f32", "f32", "bf16"]
    assert {settings["INFERENCE_NUM_THREADS"] for _, settings in openvino} == {torch.get_num_threads()}


def test_faults_of_a_runtime_are_told(net, batches, monkeypatch):
    def fails(net, x, calibration):
        raise RuntimeError("no kernel | for\nthis")

    def nothing(net, x, calibration):
        return lambda x: torch.full((len(x), 10), torch.nan)

    def half(net, x, calibration):
        return lambda x: 0.5 * net(x).detach()

    monkeypatch.setitem(RUNTIMES, "float32", {"fails": fails, "nothing": nothing, "half": half})
    assert _deployed(net, batches, "float32", "fails")[0] == Absent("RuntimeError: no kernel   for this")
    assert _deployed(net, batches, "float32", "nothing")[0] == Absent("computes something else: off by nan")
    assert _deployed(net, batches, "float32", "half")[0] == Absent("computes something else: off by 5.0e-01")


def test_an_error_of_another_module_is_not_taken_for_a_missing_runtime(net, batches, monkeypatch):
    def fails(net, x, calibration):
        raise ModuleNotFoundError("no mine", name="mine")

    monkeypatch.setitem(RUNTIMES, "float32", {"fails": fails})
    with pytest.raises(ModuleNotFoundError, match="no mine"):
        _deployed(net, batches, "float32", "fails")


def test_linears_and_convolutions_get_8_bits_and_transforms_none(tmp_path):
    torch.manual_seed(0)
    small = moved(timm.create_model("vheat_nano", num_classes=4, dims=(8,) * 4, depths=(1,) * 4)).eval()
    small.reparameterize([32], keep_source=False)
    count = sum(isinstance(module, (nn.Linear, nn.Conv2d)) for module in small.modules())
    write_onnx(small, torch.randn(1, 3, 32, 32), tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    assert len(layers(model)) == count
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    assert len(products) > len([node for node in products if node.name in layers(model)])  # the transforms
    write_int8(tmp_path / "a.onnx", tmp_path / "b.onnx", digits(32, 1, 2))
    stored = {tensor.name: tensor.data_type for tensor in onnx.load(tmp_path / "b.onnx").graph.initializer}
    eight = [name for name, kind in stored.items() if kind == onnx.TensorProto.INT8 and name.endswith("_quantized")]
    assert len(eight) == count
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_every_network_meets_every_runtime(net, monkeypatch, without_openvino):
    monkeypatch.setattr(runtimes, "PEERS", {"nano": {"Swin": "swin", "DeiT": "deit"}})
    monkeypatch.setattr(runtimes, "peer", lambda name, image: net)
    monkeypatch.setitem(RUNTIMES, "float32", {n: RUNTIMES["float32"][n] for n in ("eager", "packed", "OpenVINO")})
    found = measure(runtimes.runtimes("nano", 32, 1, "float32"), CPU, rounds=1, seconds=0.0)
    assert list(found) == [
        f"{n}, {r}" for n in ("ours", "public", "Swin", "DeiT") for r in ("eager", "packed", "OpenVINO")
    ]
    for name, figure in found.items():
        if name.endswith("OpenVINO"):
            assert figure["absent"] == "not installed"
        else:
            assert figure["milliseconds"] > 0 and (figure["error"] is None) == name.endswith("eager")
    assert all(found[f"{n}, packed"]["error"] < 1e-5 for n in ("ours", "public", "Swin", "DeiT"))


def test_attention_over_large_images_is_left_out():
    assert list(runtimes.peers("tiny", 768)) == ["Swin", "ConvNeXt", "DeiT"]
    assert list(runtimes.peers("tiny", 1024)) == ["Swin", "ConvNeXt"]
