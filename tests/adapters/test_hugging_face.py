"""MoPPA in models of Hugging Face: their adapter methods, files, checkpointing, and the Trainer."""

import copy

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, inject_adapter_in_model
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

import adapters
from adapters.layer import MoPPALayer

pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute")


def _vit():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "image_size": 32, "patch_size": 8, "num_labels": 3}
    return ViTForImageClassification(ViTConfig(num_hidden_layers=2, num_attention_heads=2, **sizes)).eval()


@pytest.fixture
def x():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


OPTIONS = {"rescale": True, "ssf": True, "router": "input"}


def test_an_injected_adapter_is_that_of_a_peft_model(x, randomise):
    net = inject_adapter_in_model(adapters.MoPPAConfig(**OPTIONS), _vit()).eval()
    model = get_peft_model(_vit(), adapters.MoPPAConfig(**OPTIONS)).eval()
    assert {n for n, p in net.named_parameters() if p.requires_grad} == {
        n.removeprefix("base_model.model.") for n, p in model.named_parameters() if p.requires_grad
    }
    for each in (net, model):
        randomise(each)
    assert torch.equal(net(x).logits, model(x).logits)
    mine, theirs = get_peft_model_state_dict(net), get_peft_model_state_dict(model)
    assert {f"base_model.model.{name}" for name in mine} == set(theirs)


@pytest.mark.parametrize("name", ["default", "physics"])
def test_add_save_and_load(name, x, randomise, tmp_path):
    net = _vit()
    bare = net(x).logits
    net.add_adapter(adapters.MoPPAConfig(modules_to_save=["classifier"], **OPTIONS), adapter_name=name)
    trained = {n for n, p in net.named_parameters() if p.requires_grad}
    assert all("moppa_" in n or "classifier" in n for n in trained)
    randomise(net)
    with torch.no_grad():
        net.classifier.modules_to_save[name].weight.add_(0.1)
    expected = net.eval()(x).logits
    assert not torch.allclose(expected, bare, atol=1e-2)
    net.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}

    again = _vit()
    info = again.load_adapter(str(tmp_path), adapter_name=name)
    assert not info.missing_keys and not info.unexpected_keys
    torch.testing.assert_close(again(x).logits, expected)
    assert not any(p.requires_grad for n, p in again.named_parameters() if "moppa_" in n)
    trainable = _vit()
    trainable.load_adapter(str(tmp_path), is_trainable=True)
    assert sum(p.requires_grad for p in trainable.parameters()) == len(trained)
    torch.testing.assert_close(PeftModel.from_pretrained(_vit(), tmp_path)(x).logits, expected)

    state = net.get_adapter_state_dict(name)
    from_memory = _vit()
    from_memory.load_adapter(peft_config=net.peft_config[name], adapter_state_dict=copy.deepcopy(state))
    torch.testing.assert_close(from_memory(x).logits, expected)


@pytest.mark.parametrize("other", [adapters.MoPPAConfig(priors=("wave", "plate")), LoraConfig(target_modules=["fc1"])])
def test_several_adapters(other, x, randomise, tmp_path):
    net = _vit()
    net.add_adapter(adapters.MoPPAConfig(), adapter_name="first")
    randomise(net)
    first = net.eval()(x).logits
    net.disable_adapters()
    torch.testing.assert_close(net(x).logits, _vit()(x).logits)
    net.enable_adapters()
    assert torch.equal(net(x).logits, first)
    net.save_pretrained(tmp_path)
    net.add_adapter(other, adapter_name="second")
    randomise(net)
    net.set_adapter("first")
    assert net.active_adapters() == ["first"]
    net.delete_adapter("second")
    torch.testing.assert_close(_loaded(tmp_path)(x).logits, first)
    net.delete_adapter("first")
    torch.testing.assert_close(net.eval()(x).logits, _vit()(x).logits)
    assert not any("moppa_" in n for n, _ in net.named_parameters())


def _loaded(folder):
    net = _vit()
    net.load_adapter(str(folder))
    return net


def test_shared_coefficients_are_refused():
    net = _vit()
    for call in (net.add_adapter, lambda config: inject_adapter_in_model(config, net)):
        with pytest.raises(ValueError, match=r"physics=.released. keeps coefficients .* use peft\.get_peft_model"):
            call(adapters.MoPPAConfig(physics="released"))
    assert not any(isinstance(m, MoPPALayer) for m in net.modules())
    get_peft_model(_vit(), adapters.MoPPAConfig(physics="released"))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
@pytest.mark.parametrize("way", ["add_adapter", "get_peft_model"])
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing_with_gradients_of_the_embeddings(way, use_reentrant, x, randomise):
    grads = []
    for checkpointing in (False, True):
        net = _vit()
        if way == "add_adapter":
            net.add_adapter(adapters.MoPPAConfig(**OPTIONS))
        model = net if way == "add_adapter" else get_peft_model(net, adapters.MoPPAConfig(**OPTIONS))
        randomise(model)
        if checkpointing:
            net.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
            net.enable_input_require_grads()
        model.train()(pixel_values=x, labels=torch.tensor([0, 1])).loss.backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], rtol=1e-4, atol=1e-6, msg=name)


# -- the Trainer ------------------------------------------------------------------------------------------------------


class RouteTrainer(adapters.RouteRegularizationMixin, Trainer):
    pass


def _train(cls, model, folder, steps=2, accumulate=1, **options):
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    data = [{"pixel_values": image, "labels": i % 3} for i, image in enumerate(images)]
    arguments = TrainingArguments(
        str(folder),
        max_steps=steps,
        per_device_train_batch_size=8 // accumulate,
        gradient_accumulation_steps=accumulate,
        learning_rate=1e-2,
        max_grad_norm=0.0,
        optim="sgd",
        lr_scheduler_type="constant",
        report_to=[],
        save_strategy="no",
        remove_unused_columns=False,
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
    )
    trainer = cls(model, arguments, train_dataset=data, eval_dataset=data, **options)
    trainer.train()
    return trainer


def _adapted(randomise, weight=1.0, **options):
    model = get_peft_model(_vit(), adapters.MoPPAConfig(route_weight=weight, **options))
    randomise(model)
    return model


def _routes(model):
    return torch.cat([p.detach().flatten() for n, p in model.named_parameters() if "router" in n])


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")
@pytest.mark.parametrize("router", ["static", "input"])
def test_the_trainer_adds_the_regularisation(router, randomise, tmp_path):
    plain, with_routes, without = (
        _train(cls, _adapted(randomise, weight, router=router), tmp_path)
        for cls, weight in ((Trainer, 1.0), (RouteTrainer, 1.0), (RouteTrainer, 0.0))
    )
    torch.testing.assert_close(_routes(plain.model), _routes(without.model))
    assert not torch.allclose(_routes(plain.model), _routes(with_routes.model), atol=1e-5)
    progress = {m.moppa_unit["default"].progress for m in with_routes.model.modules() if isinstance(m, MoPPALayer)}
    assert progress == {0.5}  # the second of two steps
    assert with_routes.evaluate()["eval_loss"] > 0  # the loss alone: the regularisation is negative


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")
def test_accumulated_gradients_are_those_of_the_batch(randomise, tmp_path):
    one, four = (
        _train(RouteTrainer, _adapted(randomise), tmp_path, steps=1, accumulate=accumulate).model
        for accumulate in (1, 4)
    )
    torch.testing.assert_close(_routes(one), _routes(four), rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")
def test_trainers_that_cannot_add_it_say_so(randomise, tmp_path):
    with pytest.raises(ValueError, match="compute_loss_func says what the loss is"):
        _train(RouteTrainer, _adapted(randomise), tmp_path, compute_loss_func=lambda *a, **k: None)
    with pytest.raises(ValueError, match="no MoPPA adapter"):
        _train(RouteTrainer, _vit(), tmp_path)
