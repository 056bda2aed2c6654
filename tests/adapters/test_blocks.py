"""Blocks of one's own: registered, adapted, saved and loaded."""

import pickle
import subprocess
import sys

import pytest
import timm
import torch
from peft import PeftModel, get_peft_model
from torch import nn
from torch.utils.checkpoint import checkpoint

import adapters
from adapters.blocks import block_of
from adapters.layer import MoPPALayer

NAMES = {"attention": "before", "mlp": "between", "parallel": "mix"}
VIT = {"attention": "norm1", "mlp": "norm2", "parallel": "attn"}


class Layer(nn.Module):
    """A block of its own kind, on maps (B, H, W, C) or on sequences."""

    def __init__(self, dim):
        super().__init__()
        self.before, self.mix = nn.LayerNorm(dim), nn.Linear(dim, dim)
        self.between, self.mlp = nn.LayerNorm(dim), nn.Linear(dim, dim)
        self.window = (2, 3)

    def forward(self, x, sizes=None):
        x = x + self.mix(self.before(x))
        return x + self.mlp(self.between(x))


class Derived(Layer):
    pass


class Net(nn.Module):
    """Patches, a class token, blocks that are told the grid, one feature."""

    def __init__(self, block=Layer, name="cut"):
        super().__init__()
        torch.manual_seed(0)
        self.name = name
        setattr(self, name, nn.Conv2d(3, 32, 8, 8))
        self.cls_token = nn.Parameter(torch.randn(1, 1, 32))
        self.blocks = nn.ModuleList(block(32) for _ in range(2))
        self.checkpointing = False

    def forward(self, images):
        x = getattr(self, self.name)(images)
        sizes = x.shape[-2:]
        x = torch.cat([self.cls_token.expand(len(x), 1, 32), x.flatten(2).transpose(1, 2)], dim=1)
        for block in self.blocks:
            x = checkpoint(block, x, sizes, use_reentrant=False) if self.checkpointing else block(x, sizes)
        return x


@pytest.fixture
def register():
    before = dict(adapters.BLOCKS)
    yield adapters.register_block
    adapters.BLOCKS.clear()
    adapters.BLOCKS.update(before)


def _told(block, x, sizes=None):
    return sizes


#: Ways to know the grid: from the block's call, from a module of that name, from the usual module.
WAYS = {
    "call": ("cut", {"inputs": _told}),
    "patches": ("cut", {"patches": ("cut",)}),
    "usual": ("conv_proj", {"inputs": {"": "tokens"}}),
}


@pytest.mark.parametrize("placement", ["attention", "mlp", "parallel"])
@pytest.mark.parametrize("way", WAYS)
def test_adapted_saved_and_loaded(way, placement, register, randomise, tmp_path):
    name, options = WAYS[way]
    register(Layer, adapters.Block(**NAMES, linears=("mix", "mlp"), **options))
    x = torch.randn(2, 3, 32, 48)
    bare = Net(Derived, name)(x)
    config = adapters.MoPPAConfig(placement=placement, rescale=True, ssf=True)
    model = get_peft_model(Net(Derived, name), config).eval()
    torch.testing.assert_close(model(x), bare)
    layers = {n for n, m in model.base_model.model.named_modules() if isinstance(m, MoPPALayer) and len(m.moppa_unit)}
    assert layers == {f"blocks.{i}.{NAMES[placement]}" for i in (0, 1)}
    assert {n for n in ("mix", "mlp") if len(model.base_model.model.blocks[0].get_submodule(n).moppa_rescale)} == {
        "mix",
        "mlp",
    }
    assert len(model.base_model.model.blocks[0].between.moppa_ssf)
    randomise(model)
    unit = model.base_model.get_submodule(f"model.blocks.0.{NAMES[placement]}").moppa_unit["default"]
    assert unit.tokens.prefix == 1
    expected = model(x)
    assert not torch.allclose(expected, bare, atol=1e-3)
    assert not torch.allclose(model(x.transpose(2, 3)).transpose(1, 2), expected.transpose(1, 2), atol=1e-3)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(Net(Derived, name), str(tmp_path)).eval()
    torch.testing.assert_close(loaded(x), expected)
    adapters.BLOCKS.pop(Layer)
    with pytest.raises(ValueError, match=r"found no block it knows.*or make its blocks known by adapters\.register_b"):
        PeftModel.from_pretrained(Net(Derived, name), str(tmp_path))


@pytest.mark.parametrize("way", WAYS)
def test_checkpointed_with_turned_images(way, register, randomise):
    name, options = WAYS[way]
    register(Layer, adapters.Block(**NAMES, **options))
    model = get_peft_model(Net(name=name), adapters.MoPPAConfig(placement="mlp")).train()
    randomise(model)
    images = [torch.randn(1, 3, 32, 48), torch.randn(1, 3, 48, 32)]
    grads = []
    for model.base_model.model.checkpointing in (False, True):
        model.zero_grad()
        losses = [model(x).square().sum() for x in images]
        for loss in losses:
            loss.backward()
        grads.append([p.grad for p in model.parameters() if p.requires_grad])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_maps_and_windows(register):
    register(Layer, lambda block: adapters.Block(**NAMES, inputs={"mix": block.window, "": "NHWC"}))
    model = get_peft_model(nn.Sequential(Layer(16)), adapters.MoPPAConfig(placement="mlp"))
    assert model(torch.randn(1, 4, 6, 16)).shape == (1, 4, 6, 16)
    model = get_peft_model(nn.Sequential(Layer(16)), adapters.MoPPAConfig(placement="parallel"))
    assert model.base_model.model[0].mix.moppa_unit["default"].tokens.fixed == (2, 3)
    assert model(torch.randn(5, 6, 16)).shape == (5, 6, 16)


def test_a_network_that_is_one_block(register):
    register(Layer, adapters.Block(**NAMES, inputs="NHWC"))
    model = get_peft_model(Layer(16), adapters.MoPPAConfig())
    assert model.base_model.targeted_module_names == ["before"]


def test_a_name_does_without_the_class(register):
    register(f"{Layer.__module__}.Layer", adapters.Block(**NAMES, inputs="NHWC"))
    assert block_of(Derived(4)) == adapters.Block(**NAMES, inputs="NHWC") and block_of(nn.Linear(2, 2)) is None
    register(Derived, adapters.Block(**{**NAMES, "mlp": "mlp"}, inputs="NHWC"))
    assert block_of(Derived(4)).mlp == "mlp" and block_of(Layer(4)).mlp == "between"


def test_no_library_is_imported_for_its_blocks():
    code = "import sys; before = set(sys.modules); import adapters.blocks; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True)
    assert "adapters.blocks" in done.stdout.split() and not {"timm", "backbones"} & set(done.stdout.split())


def test_every_built_in_name_is_a_class():
    from importlib import import_module

    names = [key for key in adapters.BLOCKS if isinstance(key, str)]
    assert len(names) == 8
    for name in names:
        module, _, cls = name.rpartition(".")
        assert issubclass(getattr(import_module(module), cls), nn.Module)


def test_twice_the_same_is_nothing_new(register):
    block = adapters.Block(**NAMES)
    register(Layer, block)
    register(Layer, adapters.Block(**NAMES))
    with pytest.raises(ValueError, match=r"Layer is registered already; adapters\.BLOCKS\.pop\(<class .*Layer'>\)"):
        register(Layer, adapters.Block(**VIT))
    with pytest.raises(ValueError, match=r"timm\.models\.beit\.Block is registered already"):
        register("timm.models.beit.Block", block)
    with pytest.raises(ValueError, match=r"timm\.models\.beit\.Block is registered already"):
        register(timm.models.beit.Block, block)


@pytest.mark.parametrize(
    ("cls", "block", "error", "message"),
    [
        (Layer(4), adapters.Block(**NAMES), TypeError, "cls must be a class of modules or its dotted name, got Layer"),
        (dict, adapters.Block(**NAMES), TypeError, "cls must be a class of modules .* got <class 'dict'>"),
        ("Layer", adapters.Block(**NAMES), ValueError, "full dotted name like 'package.module.Class', got 'Layer'"),
        ("a..Layer", adapters.Block(**NAMES), ValueError, "full dotted name"),
        (Layer, NAMES, TypeError, "block must be an adapters.Block or a function .* got {'attention'"),
        (Layer, adapters.Block, TypeError, "block must be an adapters.Block"),
    ],
)
def test_what_cannot_be_registered(cls, block, error, message, register):
    with pytest.raises(error, match=message):
        register(cls, block)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"attention": None}, TypeError, "attention must name a module inside the block, got None"),
        ({"parallel": ""}, TypeError, "parallel must name a module inside the block, got ''"),
        ({"linears": "mix"}, TypeError, "linears must be a tuple of names, got 'mix'"),
        ({"patches": "cut"}, TypeError, "patches must be a tuple of names, got 'cut'"),
        ({"inputs": "BCHW"}, ValueError, "inputs must be one of .*'tokens'.* got 'BCHW'"),
        ({"inputs": {"": (0, 2)}}, ValueError, r"inputs must be one of .* got \(0, 2\)"),
    ],
)
def test_what_is_no_block(options, error, message):
    with pytest.raises(error, match=message):
        adapters.Block(**{**NAMES, **options})


def test_registrations_that_do_not_fit(register):
    def refused(block, message, error=ValueError, **options):
        adapters.BLOCKS.pop(Layer, None)
        register(Layer, block)
        with pytest.raises(error, match=message):
            get_peft_model(Net(), adapters.MoPPAConfig(**options))

    refused(
        adapters.Block(**VIT), r"no blocks\.0\.norm1, which .* Layer names for placement='attention'; .* has before"
    )
    refused(adapters.Block(**NAMES), r"before is a token sequence, .* tells its grid: .* names \('patch_embed\.proj', ")
    refused(adapters.Block(**NAMES, inputs={"mix": "NHWC"}), "name neither 'before' nor ''")
    refused(lambda block: NAMES, "must give an adapters.Block, gave {'attention'", TypeError)


@pytest.mark.filterwarnings("ignore:the unit of")  # behind a class token
def test_an_adapted_network_pickles(adapt, images):
    for kind in ("vit", "swin"):
        model = adapt(kind, placement="mlp").base_model.model
        twin = pickle.loads(pickle.dumps(model))
        assert torch.equal(twin(images(kind)), model(images(kind)))
