"""Graphs made of the networks, as timm's own tests make them: torch.fx, TorchScript, torch.export.

By default the smallest size of the families is traced; ``make sweep`` traces all.
"""

from __future__ import annotations

import io

import onnxruntime
import pytest
import timm
import torch
from compatibility.subject import OPTIONS
from timm.models import create_feature_extractor, get_graph_node_names, get_notrace_modules
from timm.utils.onnx import onnx_export
from timm_models import SIZE, create, every, images, names
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.fx.custom_config import PrepareCustomConfig
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

import backbones
from backbones import FAMILIES, stage_sizes

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@every
def test_fx(name):
    net = create(name, num_classes=5).eval()
    train_nodes, eval_nodes = get_graph_node_names(net)
    assert train_nodes == eval_nodes and eval_nodes[-1].startswith("head.")
    assert "stages.2.blocks.0.mlp.fc1" in eval_nodes and "stages.2.blocks.0.mixer" in eval_nodes
    graph = create_feature_extractor(net, ["stages.1.blocks.0", eval_nodes[-1]])
    for size in (SIZE, (32, 50)):
        inner, logits = graph(images(*size, batch=2)).values()
        torch.testing.assert_close(logits, net(images(*size, batch=2)), rtol=1e-4, atol=1e-5)
        assert inner.shape == (2, *stage_sizes(size)[1], backbones.ARCHS[name.rpartition("_")[2]]["dims"][1])
    logits.mean().backward()
    assert not [n for n, p in graph.named_parameters() if p.grad is None]
    with pytest.raises(ValueError, match=r"images must have shape \(B, 3, H, W\)"):
        graph(images(channels=1))


@pytest.mark.parametrize("keep_source", [True, False])
@torch.no_grad()
def test_fx_of_precomputed_gains(keep_source):
    net = create("vheat_nano", num_classes=5).eval()
    net.reparameterize([SIZE], keep_source=keep_source)
    graph = create_feature_extractor(net, ["stages.0", "head.fc"])
    torch.testing.assert_close(graph(images())["head.fc"], net(images()))


@every
@torch.no_grad()
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # of comparisons that a graph fixes: checks of arguments
def test_torchscript_by_tracing(name):
    net = create(name, num_classes=5).eval()
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(net, images(batch=2)), file)
    file.seek(0)
    traced = torch.jit.load(file)
    for size in (SIZE, (32, 50)):
        torch.testing.assert_close(traced(images(*size, batch=3)), net(images(*size, batch=3)), rtol=1e-4, atol=1e-4)


@names("vheat_nano")
@torch.no_grad()
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torchscript_of_an_fx_graph(name):
    net = create(name, num_classes=5).eval()
    graph = create_feature_extractor(net, ["stages.1", "head.fc"])
    traced = torch.jit.trace(graph, images(), strict=False)  # it returns a dict
    torch.testing.assert_close(traced(images())["head.fc"], net(images()), rtol=1e-4, atol=1e-4)


@names("vheat_nano", "vtail_nano", "vmix_nano")  # every operator is in one of them
@torch.no_grad()
@pytest.mark.filterwarnings("ignore")  # of torch's exporter about itself
def test_onnx_by_tracing_as_timm_exports(name, tmp_path):
    net = create(name, num_classes=5).eval()
    file = str(tmp_path / "net.onnx")
    onnx_export(net, file, input_size=(3, *SIZE), dynamic_size=True, batch_size=2)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for size in (SIZE, (100, 70)):
        x = images(*size)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_scripting_is_refused_with_the_roads_that_are_open():
    with pytest.raises(TypeError, match=r"use torch\.export, torch\.jit\.trace or torch\.onnx\.export"):
        torch.jit.script(create("vheat_nano"))


@names("vheat_nano", "vtail_nano", "vmix_nano")  # every operator is in one of them
@torch.no_grad()
def test_export(name):
    net = create(name, num_classes=5).eval()
    program = torch.export.export(net, (images(),))
    torch.testing.assert_close(program.module()(images()), net(images()), rtol=1e-4, atol=1e-4)


@pytest.mark.sweep
@torch.no_grad()
def test_export_for_every_size():
    net, dynamic = create("vheat_nano", num_classes=5).eval(), torch.export.Dim.DYNAMIC
    program = torch.export.export(net, (images(batch=2),), dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},))
    for x in (images(), images(224, 224), images(33, 100, batch=3)):
        torch.testing.assert_close(program.module()(x), net(x), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_compiles_without_break():
    net = create("vheat_nano", num_classes=5).eval()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images()), net(images()), rtol=1e-4, atol=1e-5)
    exported = torch.export.export(net, (images(),), strict=True).module()
    torch.testing.assert_close(exported(images()), net(images()), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@every
@torch.no_grad()
def test_a_trace_at_the_size_of_the_embeddings_serves_others(name):
    net = create(name, num_classes=3, img_size=64).eval()
    traced = torch.jit.trace(net, images(64, 64), check_trace=False)
    torch.testing.assert_close(traced(images(96, 128)), net(images(96, 128)), rtol=1e-4, atol=1e-5)


@every
def test_gradients_of_each_sample(name):
    net, x = create(name, num_classes=3).eval(), images(32, 32, batch=2)
    parameters = dict(net.named_parameters())

    def loss(parameters, image):
        return torch.func.functional_call(net, parameters, (image[None],)).square().sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for i in range(2):
        expected = torch.autograd.grad(loss(parameters, x[i]), list(parameters.values()))
        for each, gradient in zip(found.values(), expected, strict=True):
            torch.testing.assert_close(each[i], gradient, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*reduce_range will be deprecated")
@pytest.mark.filterwarnings("ignore:must run observer before calling calculate_qparams")
@pytest.mark.parametrize(
    "name", [*(f"{family}_nano" for family in FAMILIES), "hivit_base_patch16_224", "rs_vheat_nano"]
)
@torch.no_grad()
def test_graphs_that_trace_into_everything_say_what_to_keep_whole(name):
    """FX quantisation brings a tracer of its own, which knows nothing of timm's list."""
    options = OPTIONS.get(name, {})
    net = timm.create_model(name, num_classes=5, img_size=64, **options).eval()
    x = torch.randn(2, net.in_chans, 64, 64)
    mapping = get_default_qconfig_mapping("x86")
    with pytest.raises(TypeError, match=r"torch\.fx cannot trace into a \w+, .*get_notrace_modules\(\)"):
        prepare_fx(net, mapping, (x,))
    custom = PrepareCustomConfig().set_non_traceable_module_classes(list(get_notrace_modules()))
    prepared, expected = prepare_fx(net, mapping, (x,), prepare_custom_config=custom), net(x)
    torch.testing.assert_close(prepared(x), expected, rtol=1e-4, atol=1e-4)
    quantised = convert_fx(prepared)(x)
    assert 0 < (quantised - expected).norm() < 0.3 * expected.norm()
