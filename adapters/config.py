"""The configuration of MoPPA, in PEFT's form."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from peft import PeftConfig
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME, WEIGHTS_NAME, PeftType

from adapters.grid import LAYOUTS, Layout
from adapters.priors import PRIORS
from adapters.router import COLDEST
from spectral_ops.embedding import RESIZE_RULES, ResizeRule
from spectral_ops.scalars import as_float, as_int

__all__ = ["FORMAT_VERSION", "MoPPAConfig"]

#: Of saved adapters. It rises when files change in a way that older code would misread.
FORMAT_VERSION = 2

#: What is added to model cards.
LOADING = """
## Loading

`import adapters` (of spectral-operators) before the adapter is loaded: without it PEFT ends in `KeyError: 'MOPPA'`.
"""

Physics = Literal["exact", "released"]
Placement = Literal["attention", "mlp", "parallel"]
Init = Literal["identity", "released"]
RouterKind = Literal["static", "input"]


@dataclass
class MoPPAConfig(PeftConfig):
    """Configuration of a MoPPA adapter (Mixture of Physical Priors, arXiv 2412.02759).

    Args:
        target_modules: ``"auto"`` adapts every block of a ViT, DeiT, BEiT, EVA, Swin, ConvNeXt or vHeat of timm, a ViT
            of Hugging Face or torchvision, of a network that contains one, or of a class made known by
            :func:`adapters.register_block`. Else names, ends of names or one regular
            expression, as in PEFT: the input of each such module passes a unit (in ``"parallel"``, its output gets
            the unit's).
        exclude_modules: Names, ends of names or a regular expression of modules to leave alone.
        priors: The physical priors to mix: any of ``adapters.PRIORS``, distinct. None at all is possible beside
            ``rescale``, ``rank``, ``ssf`` or ``tune_physics``.
        physics: ``"exact"``, the PDEs' own solutions with constant coefficients, for any grid; or ``"released"``, the
            form of the authors' published code, whose coefficients depend on the cosine mode.
        placement: ``"attention"``: before the norm that feeds the token mixer; ``"mlp"``: before the MLP's norm;
            ``"parallel"``: beside the token mixer, from the same input, added to its output.
        init: ``"identity"``: the adapted network starts exactly as the bare one; ``"released"``: near it, as in the
            published code, without gates.
        router: ``"static"``: weights of the priors learned per layer and head; ``"input"``: they also see the input's
            mean over the grid.
        temperature: Initial temperature of the routers, >= 0.05; it is learned.
        route_weight: The regularisation's weight at the start of training, >= 0; see
            :func:`adapters.route_regularization`.
        prior_dropout: Probability that a layer leaves a prior out of a training step, in [0, 1).
        scale: Constant factor of what the units add, > 0.
        num_heads: Heads the channels are split into; None takes the attention's, or groups of 32 channels (or one)
            where there is none.
        rescale: Also rescale the value, output and MLP projections by a rank-one factor (RLRR).
        rank: Also add a product of this rank to the same weights (as LoRA does), >= 0; 0 for none. It starts at zero.
        ssf: Also scale and shift the outputs of the MLPs' norms, of the last norm and of the patch embedding (SSF).
        tune_physics: Also scale, for each channel, the learned quantities of the network's own spectral operators:
            diffusivity, speed, damping, screening.
        num_prefix_tokens: Tokens before the grid's; None asks the model.
        layout: Of the input of explicitly named modules that are neither norm, linear nor convolution.
        img_size: For ``physics="released"``, image size (int or H, W) whose grids the coefficients are stored at; None
            asks the model. At other sizes they are resized.
        grid_resize: How: ``"bicubic"`` or ``"pad"``, see :func:`spectral_ops.resize_embedding`.
        modules_to_save: Modules to train and save in full beside the adapter, for example ``["head"]``.
        adapted: Filled in: the modules that were adapted and what of them the weights depend on; a file fits only a
            model where these agree.
        format_version: Of the file format; not to be set.

    Raises:
        ValueError: An argument is not among what is accepted.

    Example:
        >>> import timm
        >>> from peft import get_peft_model
        >>> vit = timm.create_model("vit_tiny_patch16_224", num_classes=10)
        >>> model = get_peft_model(vit, MoPPAConfig(target_modules="auto", modules_to_save=["head"]))
        >>> model.print_trainable_parameters()
        trainable params: 4,522 || all params: 5,530,868 || trainable%: 0.0818
    """

    target_modules: str | list[str] | None = field(default="auto", metadata={"help": "Modules to adapt, or 'auto'."})
    exclude_modules: str | list[str] | None = field(default=None, metadata={"help": "Modules to leave alone."})
    priors: tuple[str, ...] | list[str] = field(
        default=("heat", "wave", "poisson"), metadata={"help": "Physical priors to mix."}
    )
    physics: Physics = field(default="exact", metadata={"help": "'exact' or 'released'."})
    placement: Placement = field(default="attention", metadata={"help": "'attention', 'mlp' or 'parallel'."})
    init: Init = field(default="identity", metadata={"help": "'identity' or 'released'."})
    router: RouterKind = field(default="static", metadata={"help": "'static' or 'input'."})
    temperature: float = field(default=5.0, metadata={"help": "Initial temperature of the routers."})
    route_weight: float = field(default=0.0, metadata={"help": "Initial weight of the route regularisation."})
    prior_dropout: float = field(default=0.0, metadata={"help": "Probability of leaving a prior out of a step."})
    scale: float = field(default=1.0, metadata={"help": "Constant factor of what the units add."})
    num_heads: int | None = field(default=None, metadata={"help": "Heads the channels are split into."})
    rescale: bool = field(default=False, metadata={"help": "Also rescale linear layers (RLRR)."})
    rank: int = field(default=0, metadata={"help": "Also add products of this rank to linear layers."})
    ssf: bool = field(default=False, metadata={"help": "Also scale and shift outputs (SSF)."})
    tune_physics: bool = field(default=False, metadata={"help": "Also scale the network's own physics."})
    num_prefix_tokens: int | None = field(default=None, metadata={"help": "Tokens before those of the grid."})
    layout: Layout | None = field(default=None, metadata={"help": "Layout of explicitly named modules' inputs."})
    img_size: int | tuple[int, int] | list[int] | None = field(
        default=None, metadata={"help": "Image size whose grids released coefficients are stored at."}
    )
    grid_resize: ResizeRule = field(default="bicubic", metadata={"help": "How released coefficients are resized."})
    modules_to_save: list[str] | None = field(default=None, metadata={"help": "Modules to train and save in full."})
    adapted: dict[str, dict[str, Any]] | None = field(default=None, metadata={"help": "Filled in."})
    format_version: int = field(default=FORMAT_VERSION, metadata={"help": "Of the file format."})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType.MOPPA
        if not isinstance(self.priors, (tuple, list)):
            raise TypeError(f"priors must be a list of names, got {self.priors!r}")
        self.priors = tuple(self.priors)
        if isinstance(self.img_size, list):
            self.img_size = tuple(self.img_size)  # type: ignore[assignment]
        self._check()

    def _check(self) -> None:
        if not 1 <= (as_int(self.format_version) or 0) <= FORMAT_VERSION:
            raise ValueError(
                f"this adapter has format_version {self.format_version!r}, this library reads 1 to {FORMAT_VERSION}: "
                "update it"
            )
        for name, accepted in (
            ("physics", get_args(Physics)),
            ("placement", get_args(Placement)),
            ("init", get_args(Init)),
            ("router", get_args(RouterKind)),
            ("grid_resize", RESIZE_RULES),
            ("layout", (None, *LAYOUTS)),
            ("rescale", (True, False)),
            ("ssf", (True, False)),
            ("tune_physics", (True, False)),
        ):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} must be one of {accepted}, got {getattr(self, name)!r}")
        unknown = [name for name in self.priors if name not in PRIORS]
        if unknown or len(set(self.priors)) != len(self.priors):
            raise ValueError(f"priors must be distinct names out of {sorted(PRIORS)}, got {list(self.priors)}")
        if not (self.priors or self.rescale or self.rank or self.ssf or self.tune_physics):
            raise ValueError(
                "an adapter without priors needs rescale, rank, ssf or tune_physics: no module would be adapted"
            )
        if not self.target_modules:
            raise ValueError(f"target_modules must be 'auto', names or a regular expression, got {self.target_modules}")
        for name in ("target_modules", "exclude_modules"):
            if isinstance(getattr(self, name), str):
                _check_pattern(name, getattr(self, name))
        for name, low, high in (
            ("temperature", f">= {COLDEST}", math.inf),
            ("route_weight", ">= 0", math.inf),
            ("scale", "> 0", math.inf),
            ("prior_dropout", ">= 0", 1.0),
        ):
            value = as_float(getattr(self, name))
            if value is None:
                raise TypeError(f"{name} must be a number, got {getattr(self, name)!r}")
            setattr(self, name, value)  # a number of Python's, which the saved file can hold
            least, _, bound = low.partition(" ")
            if not (value > float(bound) if least == ">" else value >= float(bound)) or not value < high:
                limits = f"in [0, {high:g})" if high < math.inf else f"finite and {low}"
                raise ValueError(f"{name} must be {limits}, got {value}")
        for name, least, optional in (("num_heads", 1, True), ("num_prefix_tokens", 0, True), ("rank", 0, False)):
            value = getattr(self, name)
            if value is None and optional:
                continue
            if (number := as_int(value)) is None or number < least:
                raise ValueError(f"{name} must be {'None or ' * optional}an int >= {least}, got {value!r}")
            setattr(self, name, number)
        if self.img_size is not None:
            pair = isinstance(self.img_size, tuple)
            sizes = tuple(map(as_int, self.img_size if pair else (self.img_size,) * 2))
            if len(sizes) != 2 or any(n is None or n < 1 for n in sizes):
                raise ValueError(f"img_size must be None or one or two positive ints, got {self.img_size!r}")
            self.img_size = sizes if pair else sizes[0]
        if self.placement == "parallel" and self.init == "released":
            raise ValueError("init='released' is a form of the placements before a layer, not of 'parallel'")
        names = self.modules_to_save
        if names is not None and (isinstance(names, str) or not all(isinstance(name, str) and name for name in names)):
            raise TypeError(f"modules_to_save must be None or a list of names, got {names!r}")
        self._check_effect()

    def _check_effect(self) -> None:
        """Refuse what would have no effect."""
        if self.priors == ("identity",) and self.placement != "parallel":
            raise ValueError("priors=('identity',) before a layer changes nothing: name another prior, or more")
        if self.init == "released" and not (self.priors or self.rescale or self.ssf):
            raise ValueError("init='released' would have no effect: it is one of priors, rescale and ssf")
        of_routes, of_units = ("router", "route_weight", "prior_dropout"), tuple(f.name for f in _of_units())
        idle = of_units if not self.priors else of_routes if len(self.priors) == 1 else ()
        defaults = {f.name: f.default for f in _of_units()}
        given = [f"{name}={getattr(self, name)!r}" for name in idle if getattr(self, name) != defaults[name]]
        if given:
            needs = (
                "two priors or more" if self.priors else "priors: there are no units (exclude_modules limits the rest)"
            )
            raise ValueError(f"{', '.join(given)} would have no effect, it needs {needs}")

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """As in PEFT; a model card beside the config tells how the adapter is loaded, for PEFT itself cannot know."""
        super().save_pretrained(save_directory, **kwargs)
        card = os.path.join(save_directory, "README.md")
        if os.path.isfile(card):
            with open(card, encoding="utf-8") as file:
                text = file.read()
            if LOADING.strip() not in text:
                with open(card, "a", encoding="utf-8") as file:
                    file.write(LOADING)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, subfolder: str | None = None, **kwargs: Any) -> Any:
        """As in PEFT; weights that are only there as a pickle are refused.

        Raises:
            ValueError: The folder holds ``adapter_model.bin`` and no safetensors file.
        """
        folder = os.path.join(pretrained_model_name_or_path, subfolder or "")
        names = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if CONFIG_NAME in names and WEIGHTS_NAME in names and SAFETENSORS_WEIGHTS_NAME not in names:
            raise ValueError(
                f"{os.path.join(folder, WEIGHTS_NAME)} is a pickle, which can run code when it is read: adapters are "
                f"read from {SAFETENSORS_WEIGHTS_NAME} only"
            )
        return super().from_pretrained(pretrained_model_name_or_path, subfolder=subfolder, **kwargs)


def _of_units() -> list[Any]:
    """The fields that say something of units alone."""
    others = {"exclude_modules", "priors", "init", "rescale", "rank", "ssf", "tune_physics"}
    others |= {"modules_to_save", "adapted", "format_version"}
    return [f for f in fields(MoPPAConfig) if f.name in MoPPAConfig.__annotations__ and f.name not in others]


def _check_pattern(name: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{name} must be a valid regular expression, got {pattern!r}: {error}") from None
