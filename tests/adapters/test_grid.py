"""The grid of token sequences, where blocks run again in backward or several threads run."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import timm
import torch
from peft import get_peft_model
from timm.models import checkpoint_seq
from torch.utils.checkpoint import checkpoint

import adapters

pytestmark = pytest.mark.filterwarnings("ignore:the unit of")  # behind a class token

#: a and c have as many tokens and are each other turned, b has another number.
SIZES = {"a": (64, 96), "b": (96, 96), "c": (96, 64)}

#: Forward passes by letter, passes backward by capital letter ("AC" is one for the sum of two).
ORDERS = ("a A c C", "a b B c A C", "a c A C", "a c C A", "a b c AC B", "a c AC", "a A b c B C", "c a b BC A")


class _Blocks(torch.nn.Sequential):
    """Blocks that are checkpointed in segments."""

    def __init__(self, *blocks):
        super().__init__(*blocks)
        self.how = {}

    def forward(self, x):
        return checkpoint_seq(list(self), x, **self.how) if self.how else super().forward(x)


@pytest.fixture
def vit(randomise):
    def build(**options):
        torch.manual_seed(0)
        sizes = {"img_size": 64, "embed_dim": 32, "num_heads": 2, "depth": 3}
        net = timm.create_model("vit_tiny_patch16_224", num_classes=5, dynamic_img_size=True, **sizes)
        net.blocks = _Blocks(*net.blocks)
        model = get_peft_model(net, adapters.MoPPAConfig(**options)).train()
        randomise(model)
        return model

    return build


def _images(name, batch=1):
    generator = torch.Generator().manual_seed(ord(name))
    return torch.randn(batch, 3, *SIZES[name], generator=generator).requires_grad_()  # for reentrant checkpoints


def _gradients(model, order, submit=lambda call, *args: call(*args)):
    model.zero_grad()
    losses = {}
    for step in order.split():
        if step.islower():
            losses[step] = submit(lambda step=step: model(_images(step)).square().sum())
        else:
            submit(sum(losses.pop(name.lower()) for name in step).backward)
    assert not losses
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def _same(one, other):
    for name, grad in one.items():
        torch.testing.assert_close(grad, other[name], rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("placement", ["attention", "mlp", "parallel"])
def test_checkpointed_blocks_find_their_grid(placement, every, use_reentrant, vit):
    """Whatever the order of forward and backward passes."""
    model = vit(placement=placement)
    alone = {name: _gradients(model, f"{name} {name.upper()}") for name in SIZES}
    model.base_model.model.blocks.how = {"every": every, "use_reentrant": use_reentrant}
    for order in ORDERS:
        images = set(order.lower()) - {" "}
        expected = {name: sum(alone[image][name] for image in images) for name in alone["a"]}
        _same(_gradients(model, order), expected)


def test_a_wrong_grid_would_be_seen(vit):
    """a's tokens as a map of c's shape give other gradients."""
    model = vit()
    a = _gradients(model, "a A")
    grid = model.base_model.get_submodule("model.blocks.0.norm1").moppa_unit["default"].tokens
    read = grid.read_output
    for hook in model.base_model._hooks["default"]:
        hook.remove()
    model.base_model.model.patch_embed.proj.register_forward_hook(lambda m, x, y: read(m, x, y.transpose(-2, -1)))
    turned = _gradients(model, "a A")
    assert any(not torch.allclose(grad, turned[name], rtol=1e-2) for name, grad in a.items())


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")  # of the inner checkpoint
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_the_patch_embedding_may_run_again_too(use_reentrant, vit):
    model = vit(placement="mlp")
    expected = _gradients(model, "a c AC")

    def forward(name):
        return checkpoint(model, _images(name), use_reentrant=use_reentrant).square().sum()

    for how in ({}, {"every": 2, "use_reentrant": use_reentrant}):  # a checkpoint inside a checkpoint
        model.base_model.model.blocks.how = how
        model.zero_grad()
        (forward("a") + forward("c")).backward()
        _same(expected, {name: p.grad for name, p in model.named_parameters() if p.requires_grad})


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_units_that_are_checkpointed_without_their_block(use_reentrant, vit):
    model = vit(placement="parallel")
    expected = _gradients(model, "a c A C")
    for block in model.base_model.model.blocks:
        layer = block.attn
        bare = layer.forward
        layer.forward = lambda x, bare=bare, **k: checkpoint(partial(bare, **k), x, use_reentrant=use_reentrant)
    _same(_gradients(model, "a c A C"), expected)


@pytest.mark.parametrize("placement", ["attention", "mlp", "parallel"])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_images_that_are_embedded_before_blocks_run(first, placement, vit):
    """Also when some blocks have run on the one image before the other is embedded."""
    model = vit(placement=placement)
    net = model.base_model.model

    def embed(name):
        return net.norm_pre(net._pos_embed(net.patch_embed(_images(name))))

    def run(x, blocks):
        for block in blocks:
            x = block(x)
        return x

    expected = {name: run(embed(name), net.blocks) for name in SIZES}
    for name, other in ("ab", "bc"):  # another number of tokens is another sequence
        x = run(embed(name), net.blocks[:first])
        y = run(embed(other), net.blocks)
        torch.testing.assert_close(y, expected[other])
        with pytest.raises(ValueError, match=r"expected tokens of shape"):
            run(x, net.blocks[first:])
    for name, other in ("ac", "ca"):
        x = run(embed(name), net.blocks[:first])
        y = embed(other)
        with pytest.raises(ValueError, match=r"grids \[\(4, 6\), \(6, 4\)\].* cannot be told: run the whole"):
            run(run(y, net.blocks) if not first else x, net.blocks[first:])
        torch.testing.assert_close(run(embed(name), net.blocks), expected[name])
    same = [embed("a"), embed("a")]
    assert all(torch.equal(run(x, net.blocks), expected["a"]) for x in same)


def test_what_cannot_be_known_is_an_error(vit):
    """Offloading hands back a copy of what a block started from. With one grid of that length it does no harm."""
    model = vit(placement="mlp")
    expected = _gradients(model, "a A b B")
    model.base_model.model.blocks.how = {"every": 1, "use_reentrant": False}

    def offloaded(call):
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x.clone(), lambda x: x):
            return call()

    _same(_gradients(model, "a A b B", offloaded), expected)
    with pytest.raises(ValueError, match=r"cannot recompute .* grids \[\(4, 6\), \(6, 4\)\] of as many tokens"):
        _gradients(model, "a c A C", offloaded)
    model.base_model.model.blocks.how = {}
    _same(_gradients(model, "a A b B"), expected)


def test_a_tensor_that_started_two_grids_is_an_error(vit):
    model = vit()
    block = model.base_model.model.blocks[0]
    tokens = torch.randn(1, 25, 32).requires_grad_()
    losses = []
    for name in "ac":
        model(_images(name))
        losses.append(checkpoint(block, tokens, use_reentrant=False).square().sum())
    with pytest.raises(ValueError, match="cannot recompute a checkpointed block"):
        losses[0].backward()


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_backward_in_another_thread(use_reentrant, vit):
    model = vit(placement="mlp")
    expected = _gradients(model, "a b c A B C")
    model.base_model.model.blocks.how = {"every": 1, "use_reentrant": use_reentrant}
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        turns = [first, second, second, second, first, first]

        def submit(call):
            return turns.pop(0).submit(call).result()

        _same(_gradients(model, "a b c A B C", submit), expected)


def test_threads_have_their_own_grid(vit):
    model = vit(init="released").eval()
    images = [_images("a"), _images("c")]
    with torch.no_grad():
        expected = [model(x) for x in images]

    def wrong(i):
        with torch.no_grad():
            return sum(not torch.allclose(model(images[i]), expected[i], atol=1e-4) for _ in range(15))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(wrong, (0, 1))) == [0, 0]


def test_threads_that_train_at_once(vit):
    """Both run the same checkpointed network forward and backward, on images turned against each other."""
    model = vit(placement="mlp")
    parameters = [p for p in model.parameters() if p.requires_grad]

    def gradients(name):
        return torch.autograd.grad(model(_images(name)).square().sum(), parameters)

    expected = {name: gradients(name) for name in "ac"}
    model.base_model.model.blocks.how = {"every": 1, "use_reentrant": False}
    start = threading.Barrier(2)

    def wrong(name):
        start.wait()
        runs = [gradients(name) for _ in range(5)]
        return sum(
            not torch.allclose(g, e, rtol=1e-4, atol=1e-4)
            for run in runs
            for g, e in zip(run, expected[name], strict=True)
        )

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(wrong, "ac")) == [0, 0]


def test_a_new_thread_knows_no_grid(vit):
    model = vit()
    model(_images("a"))
    unit = model.base_model.get_submodule("model.blocks.0.norm1").moppa_unit["default"]
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(ValueError, match="not happened in this thread: run the whole adapted model"),
    ):
        pool.submit(unit, torch.randn(1, 25, 32)).result()


def test_nothing_is_kept_of_what_was_freed(vit):
    model = vit()
    model.base_model.model.blocks.how = {"every": 1, "use_reentrant": False}
    grid = model.base_model.get_submodule("model.blocks.0.norm1").moppa_unit["default"].tokens
    loss = model(_images("a")).sum()
    assert len(grid._starts)
    loss.backward()
    del loss
    assert not len(grid._starts)
    assert not len(copy.deepcopy(grid)._starts)
