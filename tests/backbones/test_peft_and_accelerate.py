"""LoRA on, and offloading of, every layer of every family: PEFT and accelerate replace and hook them."""

from __future__ import annotations

import copy

import torch
from accelerate import cpu_offload
from peft import LoraConfig, get_peft_model
from timm_models import create, every, images
from torch import nn


@every
def test_lora_on_all_linears_learns_everywhere_and_merges(name):
    net, x = create(name, num_classes=2).eval(), images(64, 64, batch=2)
    model = get_peft_model(net, LoraConfig(target_modules="all-linear", r=2, init_lora_weights=False)).train()
    model(x).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    expected = model.eval()(x)
    torch.testing.assert_close(model.merge_and_unload()(x), expected, rtol=1e-3, atol=1e-4)


@every
def test_offloaded_weights_are_brought_for_each_call(name):
    net, x = create(name, num_classes=2).eval(), images(64, 64, batch=2)
    expected = net(x)
    offloaded = cpu_offload(copy.deepcopy(net), execution_device="cpu")
    assert all(p.is_meta for layer in offloaded.modules() if isinstance(layer, nn.Linear) for p in layer.parameters())
    torch.testing.assert_close(offloaded(x), expected)
