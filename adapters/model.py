"""The tuner: it puts MoPPA's layers into a network the way PEFT does."""

from __future__ import annotations

import copy
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, _ExcludedModule
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from adapters.affine import Factor, Reweight, ScaleShift
from adapters.config import MoPPAConfig
from adapters.grid import TokenGrid
from adapters.layer import MoPPALayer
from adapters.priors import Quantities, SharedMedia, exact_priors, released_priors
from adapters.router import Router
from adapters.signature import check_signature, signature
from adapters.targets import GridSource, Target, channels_first, find_targets, matches
from adapters.unit import MoPPAUnit
from adapters.watching import probe_grids, watch_grids

__all__ = ["MoPPAModel"]


@dataclass
class _Injection:
    """What is about to be injected."""

    targets: dict[str, Target]
    tokens: dict[str, TokenGrid]
    grids: dict[str, tuple[int, int]]


class MoPPAModel(BaseTuner):
    """A network with MoPPA adapters; made by ``peft.get_peft_model(network, MoPPAConfig(...))``.

    In evaluation mode ``model(x, adapter_names=[...])`` runs a mixed batch: each sample through the adapter that its
    name gives, ``"__base__"`` for none.

    Args:
        model: The network.
        peft_config: The adapter's configuration.
        adapter_name: Its name.
        low_cpu_mem_usage: Create the adapter's weights on the meta device, for loading.
        state_dict: Weights whose names must be those of the adapter; a config says all, so they add nothing.

    Raises:
        ValueError: The config does not fit the network. The network is as it was then.
    """

    prefix = "moppa_"
    tuner_layer_cls = MoPPALayer
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def __init__(
        self,
        model: nn.Module,
        peft_config: MoPPAConfig | dict[str, MoPPAConfig],
        adapter_name: str,
        low_cpu_mem_usage: bool = False,
        state_dict: dict[str, Tensor] | None = None,
    ) -> None:
        # PEFT hands a PeftModel's tuner a dict; with a config alone the tuner is dropped once it has put its layers in.
        if isinstance(peft_config, MoPPAConfig) and peft_config.physics == "released" and peft_config.priors:
            raise ValueError(
                "physics='released' keeps coefficients that its layers share beside the network, where "
                "inject_adapter_in_model and add_adapter of Hugging Face's models keep nothing: use "
                "peft.get_peft_model, or physics='exact'"
            )
        super().__init__(model, peft_config, adapter_name, low_cpu_mem_usage, state_dict)

    def _pre_injection_hook(self, model: nn.Module, config: MoPPAConfig, adapter_name: str) -> None:
        self.moppa_shared = nn.ModuleDict()
        self._hooks: dict[str, list[RemovableHandle]] = {}

    # -- planning: everything that can fail, before anything is changed ---------------------------------------------

    def inject_adapter(
        self,
        model: nn.Module,
        adapter_name: str,
        autocast_adapter_dtype: bool = True,
        low_cpu_mem_usage: bool = False,
        state_dict: dict[str, Tensor] | None = None,
    ) -> None:
        """As in PEFT; everything that can go wrong does so before the network is touched."""
        # A copy: the config may go on to another network, and this adapter's file is written from its own.
        self.peft_config[adapter_name] = config = copy.deepcopy(self.peft_config[adapter_name])
        if any(adapter_name in layer._all_available_adapter_names() for layer in _layers(model)):
            raise ValueError(f"this network already has an adapter called {adapter_name!r}")
        if not adapter_name or "." in adapter_name or hasattr(nn.ModuleDict(), adapter_name):
            raise ValueError(
                f"adapter_name must be a name without dots that torch's ModuleDict has not, got {adapter_name!r}"
            )
        targets = find_targets(model, config)
        self._check_nesting(model, targets)
        self._check_names(state_dict, targets)
        if not config.inference_mode:
            _warn_of_unread(model, config, targets)
        tokens, hooks = watch_grids(model, targets)
        try:
            grids = (
                probe_grids(model, config, targets, tokens) if config.physics == "released" and config.priors else {}
            )
            adapted = {name: signature(target, grids.get(name)) for name, target in targets.items()}
            check_signature(config, adapted)
            config.adapted = adapted
            self._injection: _Injection | None = _Injection(targets, tokens, grids)
            self.moppa_shared[adapter_name] = nn.ModuleDict()
            self._hooks[adapter_name] = hooks
            super().inject_adapter(model, adapter_name, autocast_adapter_dtype, low_cpu_mem_usage)
        except BaseException:
            for hook in hooks:
                hook.remove()
            self._hooks.pop(adapter_name, None)
            if adapter_name in self.moppa_shared:
                del self.moppa_shared[adapter_name]
            raise
        finally:
            self._injection = None

    @staticmethod
    def _check_nesting(model: nn.Module, targets: dict[str, Target]) -> None:
        """Refuse what would act past another adapter, or what PEFT would pass over."""
        kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)
        tuners = {name: m for name, m in model.named_modules() if isinstance(m, kinds)}
        for name, target in targets.items():
            changed = target.rows or target.ssf or target.physics
            if changed and not isinstance(tuners.get(name), MoPPALayer | None):
                raise ValueError(
                    f"{name} belongs to another adapter, whose change rescale, rank, ssf or tune_physics would "
                    "pass over"
                )
            around = next((outer for outer in tuners if name.startswith(f"{outer}.")), None)
            if around is not None:
                raise ValueError(
                    f"{name} lies inside {around}, which another adapter adapts or saves whole: add this first"
                )

    def _check_names(self, state_dict: dict[str, Tensor] | None, targets: dict[str, Target]) -> None:
        """Refuse names of weights that ask for other layers than the config: PEFT would take the names."""
        if state_dict is None:
            return
        keys = (key.removeprefix("base_model.model.") for key in state_dict if f".{self.prefix}" in key)
        named = {key.split(f".{self.prefix}")[0] for key in keys}
        if named != set(targets):
            raise ValueError(
                f"state_dict is not of this config's adapter, they differ in {sorted(named ^ set(targets))}"
            )

    def _check_target_module_exists(self, peft_config: MoPPAConfig, key: str) -> Any:  # type: ignore[override]
        assert self._injection is not None
        excluded = peft_config.exclude_modules
        return _ExcludedModule() if excluded and matches(excluded, key) else key in self._injection.targets

    def _prepare_adapter_config(self, peft_config: MoPPAConfig, model_config: dict[str, Any]) -> MoPPAConfig:
        return peft_config  # the targets are known already

    # -- injection --------------------------------------------------------------------------------------------------

    def _create_and_replace(
        self,
        peft_config: MoPPAConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        if isinstance(parent, MoPPALayer):  # adapted as a whole a moment ago
            parent = parent.get_base_layer()
        parts = self._build(peft_config, adapter_name, current_key, target)
        if isinstance(target, MoPPALayer):
            layer = target
        else:
            layer = MoPPALayer(target)
            layer.train(target.training)
        for part in parts.values():
            part.train(layer.training)
        layer.add(adapter_name, parts)
        if adapter_name not in self.active_adapters:
            for part in parts.values():
                part.requires_grad_(False)
        weight = next(layer.get_base_layer().parameters(), None)
        for part in parts.values():
            if weight is not None and not any(p.is_meta for p in part.parameters()):
                part.to(weight.device)
        if layer is not target:
            self._replace_module(parent, target_name, layer, target)

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        setattr(parent, child_name, new_module)

    def _build(self, config: MoPPAConfig, adapter: str, name: str, module: nn.Module) -> dict[str, nn.Module]:
        assert self._injection is not None
        target = self._injection.targets[name]
        base = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
        identity = config.init == "identity"
        parts: dict[str, nn.Module] = {}
        if target.unit:
            weight = next(base.parameters(), None)
            parts["moppa_unit"] = self._unit(config, adapter, name, target, None if weight is None else weight.device)
        if target.rows:
            assert isinstance(base, nn.Linear)
            parts["moppa_rescale"] = Reweight(
                base, target.rows, rescale=config.rescale, rank=config.rank, shift=target.shift, identity=identity
            )
        if target.ssf:
            dim = 1 if channels_first(base) else -1
            channels = base.out_channels if isinstance(base, nn.Conv2d) else target.channels
            parts["moppa_ssf"] = ScaleShift(channels, dim, identity=identity)
        if target.physics:
            parts["moppa_physics"] = Factor(target.channels)
        return parts

    def _unit(
        self, config: MoPPAConfig, adapter: str, name: str, target: Target, device: torch.device | None
    ) -> MoPPAUnit:
        assert self._injection is not None
        width = target.channels // target.heads
        dims = (-2, -1) if target.layout == "NCHW" else (1, 2)
        quantities = Quantities(target.heads, width, {"dims": dims})
        priors = tuple(config.priors)
        if config.physics == "exact":
            operators = exact_priors(priors, quantities)
        else:
            sizes = self._injection.grids[name]
            shared = self.moppa_shared[adapter]
            key = f"{sizes[0]}x{sizes[1]}x{target.heads}"
            if key not in shared:
                shared[key] = SharedMedia(priors, sizes, target.heads)
                if device is not None and not any(p.is_meta for p in shared[key].parameters()):
                    shared[key].to(device)
            operators = released_priors(priors, quantities, shared, key, config.grid_resize)
        router = Router(
            priors,
            target.heads,
            width,
            conditioned=config.router == "input",
            temperature=config.temperature,
            dropout=config.prior_dropout,
        )
        return MoPPAUnit(
            operators,
            router,
            gated=config.init == "identity",
            scale=config.scale,
            parallel=config.placement == "parallel",
            tokens=self._injection.tokens.get(name),
            route_weight=config.route_weight,
        )

    # -- several adapters, shared media, unloading ------------------------------------------------------------------

    def set_adapter(self, adapter_name: str | list[str], inference_mode: bool = False) -> None:
        """Set the active adapters, also for the media the layers share.

        Raises:
            ValueError: There is no such adapter.
        """
        self._check_known([adapter_name] if isinstance(adapter_name, str) else adapter_name)
        super().set_adapter(adapter_name, inference_mode)
        for name, media in self.moppa_shared.items():
            media.requires_grad_(name in self.active_adapters and not inference_mode)

    def set_requires_grad(self, adapter_names: str | Any, requires_grad: bool = True) -> None:
        """Enable or disable gradients of adapters, also of their shared media.

        Raises:
            ValueError: There is no such adapter.
        """
        self._check_known([adapter_names] if isinstance(adapter_names, str) else adapter_names)
        super().set_requires_grad(adapter_names, requires_grad)
        for name in [adapter_names] if isinstance(adapter_names, str) else adapter_names:
            if name in self.moppa_shared:
                self.moppa_shared[name].requires_grad_(requires_grad)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """Adapters are float32 in networks of half precision too; without the cast they take the layers' dtype."""
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype)
        if autocast_adapter_dtype:
            return
        for layer in _layers(self.model):
            weight = next((p for p in layer.get_base_layer().parameters() if p.is_floating_point()), None)
            for attribute in layer.adapter_layer_names if weight is not None else ():
                if adapter_name in getattr(layer, attribute):
                    getattr(layer, attribute)[adapter_name].to(weight.dtype)
        media = self.moppa_shared[adapter_name]
        if len(media):
            media.to(next(p for p in self.model.parameters() if p.is_floating_point()).dtype)

    def _enable_adapter_layers(self, enabled: bool = True) -> None:
        super()._enable_adapter_layers(enabled)
        for name, media in self.moppa_shared.items():
            media.requires_grad_(enabled and name in self.active_adapters)

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """PEFT's context of a forward pass: ``adapter_names`` gives each sample the adapter it names."""
        if kwargs.get("alora_offsets") is not None:
            raise ValueError("alora_offsets is an argument of LoRA alone, a MoPPA adapter has no use for it")
        names = kwargs.get("adapter_names")
        if names is None:
            yield
            return
        self._check_mixed(names)
        thread = threading.get_ident()
        wrappers = [m for m in self.model.modules() if isinstance(m, AuxiliaryTrainingWrapper)]
        name_samples = partial(_name_samples, thread, list(names))
        hooks = [m.register_forward_pre_hook(name_samples, with_kwargs=True) for m in wrappers]
        for layer in _layers(self.model):
            layer.of_samples[thread] = tuple(names)
        try:
            yield
        finally:
            for layer in _layers(self.model):
                layer.of_samples.pop(thread, None)
            for hook in hooks:
                hook.remove()

    def _check_mixed(self, names: Any) -> None:
        """Refuse a mixed batch that would not run exactly."""
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"adapter_names must be a list with the name of each sample's adapter, got {names!r}")
        unknown = sorted(set(names) - {*self.peft_config, "__base__"})
        if unknown:
            known = [*self.peft_config, "__base__"]
            raise ValueError(f"adapter_names: there is no adapter {', '.join(unknown)}; there are {', '.join(known)}")
        if self.training:
            raise ValueError("adapter_names is for inference: call model.eval() first")
        modules = list(self.model.modules())
        again = ("grad_checkpointing", "gradient_checkpointing")
        if torch.is_grad_enabled() and any(getattr(m, name, False) is True for m in modules for name in again):
            raise ValueError("adapter_names cannot be kept for checkpointed blocks: use torch.no_grad()")
        if any(isinstance(m, MoPPALayer) and m.merged for m in modules):
            raise ValueError("adapter_names needs adapters that are not merged: call unmerge_adapter() first")
        others = [m for m in modules if isinstance(m, BaseTunerLayer) and not isinstance(m, MoPPALayer)]
        if others:
            raise ValueError(f"adapter_names cannot tell samples apart in a {type(others[0]).__name__} beside MoPPA")
        for module in modules:
            if isinstance(module, AuxiliaryTrainingWrapper):
                users = {*names, *self.active_adapters} - {"__base__"}
                if users & module._adapters and users - module._adapters:
                    lacking = ", ".join(sorted(users - module._adapters))
                    raise ValueError(f"adapter_names: {lacking} must have the modules_to_save that the others have")

    def delete_adapter(self, adapter_name: str) -> None:
        """Delete an adapter with its hooks and shared media."""
        super().delete_adapter(adapter_name)
        self._unwatch(adapter_name)
        del self.moppa_shared[adapter_name]
        if self.active_adapters:
            self.set_adapter(self.active_adapters)

    def _unwatch(self, adapter_name: str) -> None:
        for hook in self._hooks.pop(adapter_name, []):
            hook.remove()

    def _check_known(self, adapter_names: Sequence[str] | None) -> None:
        unknown = sorted(set(adapter_names or ()) - set(self.peft_config))
        if unknown:
            raise ValueError(f"there is no adapter {', '.join(unknown)}; there are {', '.join(self.peft_config)}")

    def _check_mergeable(self, adapter_names: list[str] | None) -> None:
        self._check_known(adapter_names)
        for layer in _layers(self.model):
            names = adapter_names or layer.active_adapters
            if any(name in layer.moppa_unit or name in layer.moppa_physics for name in names):
                raise ValueError(
                    "MoPPA's units and its factors of a network's own physics are no weights and cannot be merged: "
                    "only adapters with priors=() and without tune_physics can. unload() takes adapters off, "
                    "adapters.precompute(model, images) makes inference fast"
                )

    def merge_adapter(self, adapter_names: list[str] | None = None, safe_merge: bool = False) -> None:
        """Merge adapters that only change weights, scale and shift.

        Raises:
            ValueError: One of them has units, or factors of physics. Nothing is merged then.
        """
        self._check_mergeable(adapter_names)
        super().merge_adapter(adapter_names, safe_merge)

    def _unload_and_optionally_merge(
        self,
        merge: bool = True,
        progressbar: bool = False,
        safe_merge: bool = False,
        adapter_names: list[str] | None = None,
    ) -> nn.Module:
        if merge:
            self._check_mergeable(adapter_names)
        model = super()._unload_and_optionally_merge(merge, progressbar, safe_merge, adapter_names)
        while _layers(model):  # layers inside a module that was adapted as a whole
            model = super()._unload_and_optionally_merge(merge, progressbar, safe_merge, adapter_names)
        for name in list(self._hooks):
            self._unwatch(name)
        return model

    # -- files ------------------------------------------------------------------------------------------------------

    @classmethod
    def _get_adapter_state_dict(
        cls,
        model: nn.Module,
        config: MoPPAConfig,  # type: ignore[override]
        adapter_name: str,
        state_dict: dict[str, Tensor],
        unwanted_adapter_names: list[str],
    ) -> dict[str, Tensor]:
        # Another method's layers in the same network are not part of this adapter.
        entries = super()._get_adapter_state_dict(model, config, adapter_name, state_dict, unwanted_adapter_names)
        mine = {key: value for key, value in entries.items() if cls.prefix in key}
        factors = sum("physics" in facts for facts in (config.adapted or {}).values())
        if sum(".moppa_physics." in key for key in mine) != factors:
            raise ValueError(
                "the network holds gains only (keep_source=False), this adapter's factors of its physics among them: "
                "save the adapter before the physics is dropped"
            )
        return mine

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        # The name stands behind the attribute of the layer or the tuner, however deep the parameter lies below it.
        # Stored gains put the operator, whose quantity has the factor, under another name, which is not the file's.
        if ".moppa_physics." in key:
            key = re.sub(r"\.source\.(?!moppa_physics)", ".", key, count=1)
        return re.sub(rf"(\.moppa_\w+)\.{re.escape(adapter_name)}(?=\.)", r"\1", key, count=1)


def _name_samples(
    thread: int, names: list[str], module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Hook before PEFT's ``modules_to_save``, which know what to do with this argument; for one thread's calls."""
    return args, {**kwargs, "adapter_names": names} if threading.get_ident() == thread else kwargs


def _layers(model: nn.Module) -> list[MoPPALayer]:
    return [module for module in model.modules() if isinstance(module, MoPPALayer)]


def _warn_of_unread(model: nn.Module, config: MoPPAConfig, targets: dict[str, Target]) -> None:
    """Tell of units behind the last token mixer of a classifier that reads the class token alone."""
    kind = type(model)
    classifiers = ("transformers.models.vit.modeling_vit.ViTForImageClassification",)
    classifiers += ("torchvision.models.vision_transformer.VisionTransformer",)
    class_token = (
        getattr(model, "global_pool", None) == "token" or f"{kind.__module__}.{kind.__qualname__}" in classifiers
    )
    if not class_token or config.placement == "attention" or config.target_modules != "auto":
        return
    units = [(name, t.grid_from) for name, t in targets.items() if t.unit and t.prefix]
    last = [
        name for name, source in units if isinstance(source, GridSource) and name.startswith(f"{source.blocks[-1]}.")
    ]
    if last:
        warnings.warn(
            f"the unit of {last[-1]} trains without effect on what {kind.__name__} returns, which behind it reads the "
            f"class token alone: exclude_modules={last!r} leaves it out",
            stacklevel=2,
        )
