"""``adapter_names=``: every sample of a batch through an adapter of its own."""

import threading
from itertools import combinations

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

import adapters

FORMS = {
    "attention": ("vit", {}, {"priors": ("wave", "plate"), "router": "input"}),
    "mlp": ("vit", {"placement": "mlp"}, {}),
    "parallel": ("vit", {"placement": "parallel"}, {"priors": (), "ssf": True}),
    "released": ("vit", {"physics": "released"}, {"rescale": True}),
    "maps": ("vheat", {"rescale": True, "ssf": True}, {"placement": "mlp"}),
    "windows": ("swin", {}, {"placement": "mlp"}),
    "channels_first": ("convnext", {"ssf": True}, {"ssf": True, "placement": "mlp"}),
}


@pytest.fixture
def mixed(adapt, randomise):
    def build(kind, first, second):
        model = adapt(kind, **first)
        model.add_adapter("second", adapters.MoPPAConfig(**second))
        randomise(model)
        return model.eval()

    return build


@pytest.mark.filterwarnings("ignore:the unit of")
@pytest.mark.parametrize("form", FORMS)
def test_every_sample_runs_as_it_would_alone(form, mixed, images):
    kind, first, second = FORMS[form]
    model, x = mixed(kind, first, second), images(kind, batch=5)
    names = ["second", "default", "__base__", "default", "second"]
    alone = {}
    for name in ("default", "second"):
        model.set_adapter(name)
        alone[name] = model(x)
    with model.disable_adapter():
        alone["__base__"] = model(x)
    expected = torch.stack([alone[name][i] for i, name in enumerate(names)])
    found = model(x, adapter_names=names)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for a, b in combinations(alone.values(), 2):
        assert not torch.allclose(a, b, atol=1e-3)
    torch.testing.assert_close(model(x), alone["second"])  # as before


def test_heads_that_are_saved_in_full(mixed, images):
    model, x = mixed("vit", {"modules_to_save": ["head"]}, {"modules_to_save": ["head"]}), images("vit", batch=3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "modules_to_save" in name:
                p.add_(torch.randn_like(p))
    names = ["__base__", "second", "default"]
    alone = []
    for i, name in enumerate(names[1:], 1):
        model.set_adapter(name)
        alone.append(model(x)[i])
    with model.disable_adapter():
        alone.insert(0, model(x)[0])
    torch.testing.assert_close(model(x, adapter_names=names), torch.stack(alone), rtol=1e-4, atol=1e-4)
    model.add_adapter("third", adapters.MoPPAConfig())
    with pytest.raises(ValueError, match="third must have the modules_to_save that the others have"):
        model(x, adapter_names=["third", "second", "default"])


def test_gradients_are_those_of_each_sample(mixed, images):
    model, x = mixed("vit", {"rescale": True}, {}), images("vit")
    grads = []
    for names in (["default", "second"], None):
        z = x.clone().requires_grad_()
        if names:
            y = model(z, adapter_names=names)
        else:
            model.set_adapter("default")
            one = model(z[:1])
            model.set_adapter("second")
            y = torch.cat([one, model(z[1:])])
        grads.append(torch.autograd.grad(y.square().sum(), z)[0])
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["default"], ValueError, "adapters of 1 samples, but 2 come to a LayerNorm"),
        (["default", "third"], ValueError, "no adapter third; there are default, second, __base__"),
        ("default", TypeError, "adapter_names must be a list"),
        ([0, 1], TypeError, "adapter_names must be a list"),
    ],
)
def test_names_that_do_not_fit(names, error, message, mixed, images):
    model = mixed("vit", {}, {})
    before = model(images("vit"))
    with pytest.raises(error, match=message):
        model(images("vit"), adapter_names=names)
    assert torch.equal(model(images("vit")), before)


def test_what_cannot_be_mixed_says_so(mixed, adapt, images):
    names, x = ["default", "__base__"], images("vit")
    model = mixed("vit", {}, {})
    with pytest.raises(ValueError, match=r"inference: call model\.eval"):
        model.train()(x, adapter_names=names)
    model.eval().base_model.model.set_grad_checkpointing()
    with pytest.raises(ValueError, match=r"checkpointed blocks: use torch\.no_grad"):
        model(x, adapter_names=names)
    with torch.no_grad():
        assert model(x, adapter_names=names).isfinite().all()
    with pytest.raises(ValueError, match="alora_offsets is an argument of LoRA"):
        model(x, alora_offsets=[1, 1])
    merged = adapt("vit", priors=(), ssf=True)
    merged.merge_adapter()
    with pytest.raises(ValueError, match="not merged: call unmerge_adapter"):
        merged(x, adapter_names=names)
    windows = adapt("swin", placement="parallel")
    with pytest.raises(ValueError, match="come to a WindowAttention, as where windows are samples"):
        windows(images("swin"), adapter_names=names)
    read = adapt("beit", rescale=True)
    with pytest.raises(ValueError, match="a weight for each sample, but this network reads one for all"):
        read(images("beit"), adapter_names=names)


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute")
def test_another_method_beside(adapt, images):
    model = adapt("vit")
    inject_adapter_in_model(LoraConfig(target_modules=["qkv"]), model.base_model.model, adapter_name="lora")
    with pytest.raises(ValueError, match="cannot tell samples apart in a Linear beside MoPPA"):
        model.eval()(images("vit"), adapter_names=["default", "__base__"])


def test_two_threads_mix_by_themselves(mixed, images):
    model, x = mixed("vit", {}, {}), images("vit")
    batches = [["default", "second"], ["second", "__base__"]]
    with torch.no_grad():
        expected = [model(x, adapter_names=names) for names in batches]
        wrong, start = [], threading.Barrier(2)

        def run(i):
            with torch.no_grad():
                start.wait()
                wrong.extend(not torch.equal(model(x, adapter_names=batches[i]), expected[i]) for _ in range(10))

        threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == [False] * 20
    assert not torch.equal(expected[0], expected[1])


def test_a_mixed_batch_is_that_of_its_thread(mixed, images, network, randomise):
    """Also in what is saved in full, which PEFT tells by an argument."""
    model, x = mixed("vit", {"modules_to_save": ["head"]}, {"modules_to_save": ["head"]}), images("vit")
    with torch.no_grad():
        model.base_model.model.head.modules_to_save["second"].weight.add_(1.0)
        expected, found = model(x), []
        other = threading.Thread(target=lambda: found.append(model(x).detach()))
        with model.base_model._enable_peft_forward_hooks(adapter_names=["second", "second"]):
            other.start()
            other.join()
            mixed_up = model.base_model.model(x)
    assert torch.equal(found[0], expected) and not torch.allclose(mixed_up, expected, atol=1e-3)
