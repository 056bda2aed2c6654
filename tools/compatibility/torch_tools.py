"""What torch's own tools do with a model: wrap, replace, prune, quantise, count, trace, shard."""

from __future__ import annotations

import copy
import io
import pickle

import torch
import torch.distributed as dist
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel
from torch.utils.flop_counter import FlopCounterMode

from compatibility.subject import Check, Subject, close, linears

__all__ = ["CHECKS"]


@torch.no_grad()
def hooks(subject: Subject) -> None:
    """Forward hooks see the call of every linear layer, and change what it returns"""
    net, x = subject.net(), subject.images()
    expected, called = net(x), set()
    for name, layer in linears(net).items():
        layer.register_forward_hook(lambda _, args, y, name=name: called.add(name))
    net(x)
    assert called == set(linears(net)), f"not called: {sorted(set(linears(net)) - called)}"
    for layer in linears(net).values():
        hook = layer.register_forward_hook(lambda _, args, y: y + 1)
        changed = not torch.equal(net(x), expected)
        hook.remove()
        if not changed:
            raise AssertionError("a hook's result is passed over")


def counters(subject: Subject) -> None:
    """Counters by exact type of layer find the products that `FlopCounterMode` finds"""
    net, counted = subject.net(), []
    for layer in net.modules():
        if type(layer) is nn.Linear:
            layer.register_forward_hook(lambda m, args, y: counted.append(2 * y.numel() * m.in_features))
    with FlopCounterMode(display=False) as flops:
        net(subject.images())
    counts = flops.get_flop_counts()["Global"]
    found = sum(counts.get(op, 0) for op in (torch.ops.aten.addmm, torch.ops.aten.mm))
    assert 0.9 * found < sum(counted) <= found, f"{sum(counted)} of {found}"


@torch.no_grad()
def quantise(subject: Subject) -> None:
    """`quantize_dynamic` replaces every linear layer"""
    net, x = subject.net(), subject.images()
    quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})
    kinds = {type(quantised.get_submodule(name)) for name in linears(net)}
    assert kinds == {torch.ao.nn.quantized.dynamic.Linear}, kinds
    assert (quantised(x) - net(x)).norm() < 0.1 * net(x).norm()


@torch.no_grad()
def pruning(subject: Subject) -> None:
    """`prune.global_unstructured`, made permanent by `prune.remove`"""
    net, x = subject.net(), subject.images()
    expected = net(x)
    prune.global_unstructured([(m, "weight") for m in linears(net).values()], prune.L1Unstructured, amount=0.5)
    pruned = net(x)
    assert not torch.allclose(pruned, expected, atol=1e-4)
    for layer in linears(net).values():
        prune.remove(layer, "weight")
    close(net(x), pruned, 1e-6)


@torch.no_grad()
def parametrised(subject: Subject) -> None:
    """`parametrizations.weight_norm` on every linear layer"""
    net, x = subject.net(), subject.images()
    expected = net(x)
    for layer in linears(net).values():
        parametrizations.weight_norm(layer)
    close(net(x), expected)
    for layer in linears(net).values():
        layer.parametrizations.weight.original0 *= 2
    assert not torch.allclose(net(x), expected, atol=1e-4)


def functional(subject: Subject) -> None:
    """`functional_call`, and an ensemble by `stack_module_state` and `vmap`"""
    nets, x = [subject.net() for _ in range(2)], subject.images()
    nn.init.normal_(nets[1].get_classifier().weight)
    parameters, buffers = stack_module_state(nets)
    base = copy.deepcopy(nets[0]).to("meta")
    found = vmap(lambda p, b: functional_call(base, (p, b), (x,)))(parameters, buffers)
    close(found, torch.stack([net(x) for net in nets]))


def average(subject: Subject) -> None:
    """`swa_utils.AveragedModel`, `update_bn`"""
    net, x = subject.net(), subject.images()
    model = AveragedModel(net)
    model.update_parameters(net)
    torch.optim.swa_utils.update_bn([x], model)
    close(model.eval()(x), net(x))


def copies(subject: Subject) -> None:
    """`deepcopy`, pickle, `torch.save` of a whole model"""
    net, x = subject.net(), subject.images()
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.load(buffer, weights_only=False)):
        close(other(x), net(x), 1e-6)


@torch.no_grad()
def graph(subject: Subject) -> None:
    """`torch.fx.symbolic_trace`"""
    net, x = subject.net(), subject.images()
    from timm.models import get_notrace_functions, get_notrace_modules
    from torchvision.models.feature_extraction import create_feature_extractor

    tracer = {"leaf_modules": get_notrace_modules(), "autowrap_functions": get_notrace_functions()}
    last = [name for name, _ in net.named_children()][-1]
    traced = create_feature_extractor(net, {last: "out"}, tracer_kwargs=tracer).eval()
    close(traced(x)["out"], net(x), 1e-6)


@torch.no_grad()
def traced(subject: Subject) -> None:
    """`torch.jit.trace`, saved and loaded"""
    net, x = subject.net(), subject.images()
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(net, x), buffer)
    buffer.seek(0)
    close(torch.jit.load(buffer)(x), net(x), 1e-5)


@torch.no_grad()
def exported(subject: Subject) -> None:
    """`torch.export` with any batch, saved and loaded"""
    net, x = subject.net(), subject.images()
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    more = subject.images(batch=3)
    close(torch.export.load(buffer).module()(more), net(more), 1e-5)


def compiled(subject: Subject) -> None:
    """`torch.compile(fullgraph=True)`, forward and backward (backend aot_eager)"""
    net, x = subject.net(), subject.images()
    fast = torch.compile(net, fullgraph=True, backend="aot_eager")
    close(fast(x), net(x))
    fast(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    torch._dynamo.reset()


def parallel(subject: Subject) -> None:
    """`DistributedDataParallel`, `fully_shard` and `FullyShardedDataParallel` in one process on the CPU (gloo)"""
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    x, expected = subject.images(), subject.net()(subject.images()).detach()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        net = nn.parallel.DistributedDataParallel(subject.net())
        net(x).sum().backward()
        assert all(p.grad is not None for p in net.parameters())
        sharded = subject.net()
        for layer in linears(sharded).values():
            fully_shard(layer)
        fully_shard(sharded)
        older = FullyShardedDataParallel(subject.net(), use_orig_params=True, device_id=torch.device("cpu"))
        for each in (sharded, older):
            found = each(x)
            close(found.detach(), expected)
            found.sum().backward()
            assert all(p.grad is not None for p in each.parameters())
    finally:
        dist.destroy_process_group()


CHECKS: list[Check] = [hooks, counters, quantise, pruning, parametrised, functional, average, copies, graph, traced]
CHECKS += [exported, compiled, parallel]
