"""AdaptedBackbone and the regularisation's hook, in mmengine."""

import pytest
import torch
import toy_run
from mmengine.model import BaseModel, ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmengine.registry import FUNCTIONS, MODELS
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

import adapters.openmmlab  # noqa: F401 (registers)
import backbones.openmmlab  # noqa: F401 (registers)

VHEAT = {"type": "VHeat", "arch": "nano", "img_size": 64}
VIT = {
    "type": "TimmBackbone",
    "model_name": "vit_tiny_patch16_224",
    "options": {"img_size": 64, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2},
    "out_indices": (0, 1),
}
SWIN = {
    "type": "TimmBackbone",
    "model_name": "swin_tiny_patch4_window7_224",
    "options": {"img_size": 64, "embed_dim": 32, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 4, 8), "window_size": 2},
}
RESNET = {"type": "TimmBackbone", "model_name": "resnet10t", "out_indices": (1, 2)}


def _build(backbone, adapter, seed=0, **options):
    torch.manual_seed(seed)
    return MODELS.build({"type": "AdaptedBackbone", "backbone": backbone, "adapter": adapter, **options})


@FUNCTIONS.register_module()
def stack_images(batch):
    return {"inputs": torch.stack(batch)}


class Net(BaseModel):
    """A backbone with a head, as detectors have."""

    def __init__(self, backbone, adapter, **options):
        super().__init__()
        self.backbone = _build(backbone, adapter, **options)
        self.head = nn.LazyConv2d(2, 1)
        self.head(self.backbone(torch.randn(1, 3, 64, 64))[-1])

    def forward(self, inputs, mode="loss"):
        return {"loss": self.head(self.backbone(inputs)[-1]).square().mean()}


@pytest.mark.parametrize("backbone", [VHEAT, VIT, SWIN], ids=["vheat", "vit", "swin"])
def test_the_frozen_part_is_frozen(backbone):
    net = Net(backbone, {"type": "MoPPA"})
    net.init_weights()
    optim = build_optim_wrapper(net, {"optimizer": {"type": "AdamW", "lr": 0.01}})
    frozen = {n: t.clone() for n, t in net.backbone.frozen()}
    for _ in range(2):
        net.train_step({"inputs": torch.randn(2, 3, 64, 64)}, optim)
    assert all(torch.equal(t, frozen[n]) for n, t in net.backbone.frozen())
    trained = {n for n, p in net.named_parameters() if p in optim.optimizer.state}
    assert trained == {n for n, p in net.named_parameters() if p.requires_grad}
    assert any("moppa_unit" in n for n in trained) and "head.weight" in trained


def test_norm_statistics_stay():
    net = _build(RESNET, None).train()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    net(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())


ADAPTERS = [
    {"type": "MoPPA", "physics": "released", "img_size": 64},
    {"type": "LoRA", "target_modules": ["value"]},
    {"type": "IA3", "target_modules": r".*\.value", "feedforward_modules": []},
    None,
]


@pytest.mark.parametrize("adapter", ADAPTERS, ids=["moppa", "lora", "ia3", "frozen"])
def test_checkpoints_hold_what_was_trained(adapter):
    net = Net(VHEAT, adapter)
    with torch.no_grad():
        for p in net.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.rand_like(p))
    state = net.state_dict()
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert sum(t.numel() for t in state.values()) == trained + 1  # and the checksum
    x = torch.randn(1, 3, 64, 64)
    for load in (lambda m: m.load_state_dict(dict(state)), lambda m: load_state_dict(m, dict(state), strict=True)):
        other = Net(VHEAT, adapter)
        load(other)
        assert all(torch.equal(a, b) for a, b in zip(other.eval().backbone(x), net.eval().backbone(x), strict=True))
    with pytest.raises(ValueError, match="trained on other weights of the frozen backbone"):
        Net(VHEAT, adapter, seed=1).load_state_dict(dict(state))
    missing = {n: t for n, t in state.items() if not n.endswith(("logits", "lora_A.default.weight", "head.bias"))}
    with pytest.raises(RuntimeError, match="Missing key"):
        Net(VHEAT, adapter).load_state_dict(missing)


def test_checkpoints_with_everything():
    net = Net(VHEAT, {"type": "MoPPA"}, save_frozen=True)
    other = Net(VHEAT, {"type": "MoPPA"}, seed=1, save_frozen=True)
    other.load_state_dict(net.state_dict())
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(other.eval().backbone(x)[-1], net.eval().backbone(x)[-1])
    partial = Net(VHEAT, {"type": "MoPPA"}, seed=1)
    partial.load_state_dict(net.state_dict())
    assert torch.equal(partial.eval().backbone(x)[-1], net.backbone(x)[-1])


def test_pretrained_weights_come_before_the_adapter(tmp_path):
    source = MODELS.build(VHEAT)
    torch.save(source.state_dict(), tmp_path / "net.pth")
    config = {**VHEAT, "init_cfg": {"type": "Pretrained", "checkpoint": str(tmp_path / "net.pth")}}
    net = Net(config, {"type": "MoPPA"}, seed=3)
    net.init_weights()  # as the runner does; it must not touch the backbone again
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(net.eval().backbone(x), source.eval()(x))


@pytest.mark.parametrize("update_buffers", [False, True])
def test_averages_hold_the_adapter(update_buffers):
    """mmengine's averaged models are copies without gradients."""
    net = Net(VHEAT, {"type": "MoPPA"})
    average = ExponentialMovingAverage(net, momentum=0.5, update_buffers=update_buffers)
    before = {n: t.clone() for n, t in average.module.state_dict().items()}
    assert set(before) == set(net.state_dict()) and any("moppa_unit" in n for n in before)
    for _ in range(2):
        with torch.no_grad():
            for p in net.parameters():
                if p.requires_grad:
                    p.add_(1.0)
        average.update_parameters(net)
    after = average.module.state_dict()
    assert all(not torch.equal(t, before[n]) for n, t in after.items() if not n.endswith("frozen_checksum"))
    Net(VHEAT, {"type": "MoPPA"}).load_state_dict(after)


def test_the_checksum_is_of_the_weights_as_they_were_loaded():
    net = Net(VHEAT, {"type": "MoPPA"})
    state = net.state_dict()
    assert net.half().state_dict()["backbone.frozen_checksum"] == state["backbone.frozen_checksum"]
    net.load_state_dict(state)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_hook_adds_the_regularisation(tmp_path):
    net = Net(VHEAT, {"type": "MoPPA", "route_weight": 0.5})
    seen = []
    bare = net.parse_losses
    net.parse_losses = lambda losses: seen.append(losses["loss_route"].item()) or bare(losses)
    loader = {"dataset": [torch.randn(3, 64, 64)] * 8, "batch_size": 1, "collate_fn": {"type": "stack_images"}}
    runner = Runner(
        net,
        work_dir=str(tmp_path),
        train_dataloader={**loader, "sampler": {"type": "DefaultSampler"}},
        train_cfg={"by_epoch": False, "max_iters": 8},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.0}},
        custom_hooks=[{"type": "RouteRegularizationHook"}],
        default_scope="mmengine",
        log_level="ERROR",
        experiment_name="hook",
    )
    runner.train()
    assert len(seen) == 8 and seen[0] < 0
    for i, value in enumerate(seen):
        assert value == pytest.approx(seen[0] * max(1 - 2 * i / 8, 0), abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adapter": {"type": "Magic"}}, "adapter.type must be 'MoPPA' or another method of PEFT"),
        ({"adapter": {"type": "prompt_tuning", "num_virtual_tokens": 3}}, "got 'prompt_tuning'"),
        ({"adapter": {}}, "adapter.type must be"),
        ({"backbone": {**VHEAT, "frozen_stages": 1}}, "leave its frozen_stages at -1"),
        ({"adapter": {"type": "MoPPA", "scale": -1}}, "scale must be finite and > 0"),
    ],
)
def test_bad_configs(options, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build({"type": "AdaptedBackbone", "backbone": VHEAT, "adapter": {"type": "MoPPA"}, **options})


def test_checkpoints_hold_what_was_made_trainable_later(tmp_path):
    net = Net(VHEAT, {"type": "MoPPA"})
    small = sum(t.numel() for t in net.state_dict().values())
    stage = next(m for name, m in net.backbone.named_modules() if name.endswith("stages.3"))
    stage.requires_grad_(True)
    with torch.no_grad():
        for p in stage.parameters():
            p.add_(0.1)
    x = torch.randn(1, 3, 64, 64)
    for frozen_again in (False, True):
        stage.requires_grad_(not frozen_again)
        state = net.state_dict()
        assert small < sum(t.numel() for t in state.values()) < sum(p.numel() for p in net.parameters())
        other = Net(VHEAT, {"type": "MoPPA"})
        other.load_state_dict(state)
        assert all(torch.equal(a, b) for a, b in zip(other.eval().backbone(x), net.eval().backbone(x), strict=True))
        with pytest.raises(ValueError, match="trained on other weights of the frozen backbone"):
            Net(VHEAT, {"type": "MoPPA"}, seed=1).load_state_dict(dict(state))


@pytest.mark.parametrize("save_frozen", [False, True])
def test_merged_adapters_are_not_saved_twice(save_frozen):
    net = Net(VHEAT, {"type": "MoPPA", "priors": (), "rescale": True}, save_frozen=save_frozen)
    net.backbone.net.merge_adapter()
    with pytest.raises(ValueError, match=r"unmerge_adapter\(\) before one is made"):
        net.state_dict()


def test_stored_gains_are_not_saved():
    net, x = Net(VHEAT, {"type": "MoPPA"}).eval(), torch.randn(1, 3, 64, 64)
    before, maps = net.state_dict(), net.backbone(x)
    net.backbone.net.base_model.model.reparameterize()
    for act in (net.state_dict, lambda: net.load_state_dict(dict(before))):
        with pytest.raises(ValueError, match=r"take stored gains back, unreparameterize\(\), before one is made or"):
            act()
    net.backbone.net.base_model.model.unreparameterize()
    after = net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before) and before.keys() == after.keys()
    assert all(torch.equal(a, b) for a, b in zip(maps, net.backbone(x), strict=True))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("how", ["as it is", "merged", "stored gains"])
def test_exporters_see_every_tensor(how):
    """torch.jit and the TorchScript exporter ask for a network's own tensors."""
    options = {"priors": (), "rescale": True} if how == "merged" else {}
    net, x = Net(VHEAT, {"type": "MoPPA", **options}).eval(), torch.randn(1, 3, 64, 64)
    if how == "merged":
        net.backbone.net.merge_adapter()
    if how == "stored gains":
        net.backbone.net.base_model.model.reparameterize()
    assert {name for name, _ in net.named_parameters(remove_duplicate=False)} <= net.state_dict(keep_vars=True).keys()
    traced = torch.jit.trace(net.backbone, x, check_trace=False)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(traced(x), net.backbone(x), strict=True))


def test_distributed_checkpoints():
    from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict

    net, other = (Net(VHEAT, {"type": "MoPPA"}) for _ in range(2))
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * p.requires_grad)
    set_model_state_dict(other, get_model_state_dict(net))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_a_run_starts_from_a_file_of_the_adapter_alone(tmp_path):
    """Of its backbone it has few tensors, and all that are needed."""
    net, other = (Net(VHEAT, {"type": "MoPPA"}) for _ in range(2))
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * p.requires_grad)
    torch.save({"state_dict": net.state_dict(), "meta": {}}, tmp_path / "adapter.pth")
    run = toy_run.make(tmp_path / "run", load_from=str(tmp_path / "adapter.pth"))
    run.model = other
    run._train_loop = run.build_train_loop(run._train_loop)
    run.load_or_resume()
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
