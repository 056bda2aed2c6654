"""RS-vHeat: a spectral network for remote sensing, whose images come from several sensors."""

from backbones.remote_sensing.frequency import frequency_bands
from backbones.remote_sensing.guidance import BilinearMap, GuidedMixer
from backbones.remote_sensing.modalities import OPTICAL, SAR, UNITS, ModalitySpec, specs_in
from backbones.remote_sensing.network import RSVHeat
from backbones.remote_sensing.stems import ModalityStem, ModalityStems

__all__ = [
    "OPTICAL",
    "SAR",
    "UNITS",
    "BilinearMap",
    "GuidedMixer",
    "ModalitySpec",
    "ModalityStem",
    "ModalityStems",
    "RSVHeat",
    "frequency_bands",
    "specs_in",
]
