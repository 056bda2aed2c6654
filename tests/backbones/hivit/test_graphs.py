"""Graphs made of HiViT and its pyramid serve sizes that they were not made at: torch.fx, TorchScript, export, ONNX."""

from __future__ import annotations

import io

import onnxruntime
import pytest
import torch
from timm.models import create_feature_extractor, get_graph_node_names
from timm.utils.onnx import onnx_export
from timm_models import images
from torch import nn

from backbones import ITPN, HiViT

SMALL = {"embed_dim": 32, "depths": (1, 1, 1), "num_heads": 2, "img_size": 64}
#: Multiples of the unit and others, above and below the size that tables are stored for, and that size itself.
SIZES = [(64, 96), (32, 50), (64, 64), (224, 100), (33, 17)]
DYNAMIC = torch.export.Dim.DYNAMIC

forms = pytest.mark.parametrize("form", ["hivit", "fast"])


def randomised(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    return net.eval()


def create(form: str) -> HiViT:
    return randomised(HiViT(**SMALL, form=form, relative_bias=form == "hivit", num_classes=5))


class Levels(nn.Module):
    """All maps of an ITPN."""

    def __init__(self) -> None:
        super().__init__()
        self.net = randomised(ITPN(**SMALL, relative_bias=True, pyramid_dim=8))

    def forward(self, x):
        levels, maps = self.net.forward_levels(x)
        return (*levels, *maps)


def agree(graph, net, sizes=SIZES, batch=3):
    for size in sizes:
        x = images(*size, batch=batch)
        torch.testing.assert_close(graph(x), net(x), rtol=1e-4, atol=1e-4)


@forms
def test_fx(form):
    net = create(form)
    train_nodes, eval_nodes = get_graph_node_names(net)
    assert train_nodes == eval_nodes and eval_nodes[-1] == "head.fc"
    assert {"stages.1.merge.rearrange", "stages.2.positions", "stages.2.blocks.0.norm1"} <= set(eval_nodes)
    graph = create_feature_extractor(net, ["stages.1.blocks.0", "head.fc"])
    agree(lambda x: graph(x)["head.fc"], net)
    assert graph(images(64, 96, batch=2))["stages.1.blocks.0"].shape == (2, 24, 2, 2, 16)


@forms
@torch.no_grad()
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # of checks of arguments, which a trace fixes
def test_torchscript_by_tracing(form):
    net = create(form)
    for size in ((64, 96), (64, 64)):  # also at the size of the tables
        file = io.BytesIO()
        torch.jit.save(torch.jit.trace(net, images(*size, batch=2)), file)
        file.seek(0)
        agree(torch.jit.load(file), net)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("pyramid", (50, 96)),
        pytest.param("hivit", (64, 64), marks=pytest.mark.sweep),  # the size of the tables
        pytest.param("hivit", (50, 96), marks=pytest.mark.sweep),
        pytest.param("fast", (64, 64), marks=pytest.mark.sweep),
        pytest.param("pyramid", (64, 64), marks=pytest.mark.sweep),
    ],
)
@torch.no_grad()
def test_export_for_every_size(kind, size):
    net = Levels() if kind == "pyramid" else create(kind)
    shapes = ({0: DYNAMIC, 2: DYNAMIC, 3: DYNAMIC},)
    program = torch.export.export(net, (images(*size, batch=2),), dynamic_shapes=shapes)
    agree(program.module(), net)


@torch.no_grad()
def test_compiles_without_break():
    net = create("hivit")
    torch._dynamo.reset()
    agree(torch.compile(net, fullgraph=True, dynamic=True, backend="aot_eager"), net, SIZES[:3], batch=2)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")  # of torch's exporter about itself
def test_onnx_by_tracing_as_timm_exports(tmp_path):
    net, file = create("hivit"), str(tmp_path / "net.onnx")
    onnx_export(net, file, input_size=(3, 64, 96), dynamic_size=True, batch_size=2)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    agree(lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0]), net, batch=1)


@forms
@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of attention under vmap
def test_gradients_of_each_sample(form):
    net, x = create(form), images(32, 32, batch=2)
    parameters = dict(net.named_parameters())

    def loss(parameters, image):
        return torch.func.functional_call(net, parameters, (image[None],)).square().sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for i in range(2):
        expected = torch.autograd.grad(loss(parameters, x[i]), list(parameters.values()))
        for each, gradient in zip(found.values(), expected, strict=True):
            torch.testing.assert_close(each[i], gradient, rtol=1e-3, atol=1e-3)
