"""What trained networks look like inside, where the YAML file asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import network_figures as figures
from analysis.costs import stage_costs
from analysis.features import stage_spectra
from analysis.modes import small_modes
from analysis.physics import learned_physics
from analysis.receptive_field import receptive_field
from matplotlib.figure import Figure
from reports.networks import decay

from adapters.openmmlab import AdaptedBackbone
from backbones import SpectralNet
from evaluation.results import Row, name_of
from evaluation.trained import backbone_of, example_images
from spectral_ops import Heat, SpectralMixer

if TYPE_CHECKING:
    from evaluation.study import RunningStudy


def inside(
    study: RunningStudy, rows: Sequence[Row], asked: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Figure, str]]:
    """Titles, figures and captions of the first seeds of some lines of one task."""
    if not rows or not {"physics", "features", "receptive_field"} & asked.keys():
        return
    contenders = {name_of(row.line): study.contenders[row.line.task, row.line.entry] for row in rows}
    images = example_images(next(iter(contenders.values())))
    nets, untrained = {}, {}
    for row in rows:
        seed, name = next(iter(row.seeds)), name_of(row.line)
        checkpoint = Path(row.seeds[seed]["record"]["checkpoint"])
        nets[name] = backbone_of(contenders[name], row.line.protocol, seed, checkpoint)
        untrained[name] = backbone_of(contenders[name], row.line.protocol, seed)
    count = f"{len(images)} images that are tested, first seed"
    if "physics" in asked:
        if learned := {name: found for name, net in nets.items() if (found := learned_physics(net, images))}:
            caption = "Quantities of the operators by layer: means, and the middle 80 % of all modes and channels."
            yield "Learned physics", figures.physics(learned), f"{caption} {count}."
        for name, net in nets.items():
            bare = net.net if isinstance(net, AdaptedBackbone) else net
            if _heats(bare) and images.shape[-1] == images.shape[-2]:
                caption = "k of the modes (n down, m right), its gain, and spatial kernels of a stage's last block."
                yield "", decay(bare, images.shape[-1]), f"{name}: diffusivity {caption}"
        tolerances, spectral = asked["physics"]["small_modes"], {n: net for n, net in nets.items() if _steady(net)}
        if tolerances and spectral:
            small = {name: small_modes(net, images.shape[-2:], tolerances) for name, net in spectral.items()}
            yield "Small modes", figures.small_modes(small), "Modes whose gain is below a tolerance in every channel."
    if "features" in asked:
        spectra = {name: stage_spectra(net, images) for name, net in nets.items()}
        yield "Spectra of features", figures.spectra(spectra), f"Of each map that a backbone returns; {count}."
        costs = {name: stage_costs(net, images.shape[-2:]) for name, net in nets.items()}
        yield "Work by stage", figures.stage_bars(costs), "Of one image of the size that is tested."
    if "receptive_field" in asked:
        for name, net in nets.items():
            fields = {
                "before training": receptive_field(untrained[name], images),
                "after": receptive_field(net, images),
            }
            stride = contenders[name].maps.strides[-1]
            title = "Effective receptive fields" if name == next(iter(nets)) else ""
            caption = "Mean absolute gradient of the last map's centre; squares hold 50 and 99 % of it."
            yield title, figures.receptive_fields(fields, stride), f"{name}. {caption} {count}."


def _steady(net: object) -> bool:
    """Whether the gains of a network's mixers are the same for all images."""
    mixers = [m for m in net.modules() if isinstance(m, SpectralMixer)] if isinstance(net, SpectralNet) else []
    return bool(mixers) and not any(mixer.operator.input_conditioned for mixer in mixers)


def _heats(net: object) -> bool:
    mixers = [m for m in net.modules() if isinstance(m, SpectralMixer)] if isinstance(net, SpectralNet) else []
    return bool(mixers) and all(isinstance(mixer.operator, Heat) for mixer in mixers)
