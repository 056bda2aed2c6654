"""RS-vHeat: a spectral network for remote sensing, whose images come from several sensors."""

from backbones.remote_sensing.classified import ModalityFolder
from backbones.remote_sensing.frequency import frequency_bands
from backbones.remote_sensing.guidance import BilinearMap, GuidedMixer
from backbones.remote_sensing.modalities import OPTICAL, SAR, UNITS, ModalitySpec, specs_in
from backbones.remote_sensing.network import RSVHeat
from backbones.remote_sensing.pairs import paired_files
from backbones.remote_sensing.reading import BandFile, read_bands, read_header, read_modality, read_pair
from backbones.remote_sensing.stems import ModalityStem, ModalityStems

__all__ = [
    "OPTICAL",
    "SAR",
    "UNITS",
    "BandFile",
    "BilinearMap",
    "GuidedMixer",
    "ModalityFolder",
    "ModalitySpec",
    "ModalityStem",
    "ModalityStems",
    "RSVHeat",
    "frequency_bands",
    "paired_files",
    "read_bands",
    "read_header",
    "read_modality",
    "read_pair",
    "specs_in",
]
