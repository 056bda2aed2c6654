"""PDE solution operators that are diagonal under cosine, sine and Fourier transforms, as composable PyTorch modules."""

from spectral_ops._functions import power
from spectral_ops._kernels import use_kernels
from spectral_ops.advection import Advection
from spectral_ops.apply import apply_gain, superpose
from spectral_ops.composition import Mixture, Product, Scaled, Sum
from spectral_ops.eigenvalues import laplacian_eigenvalues
from spectral_ops.embedding import SpectralEmbedding, resize_embedding
from spectral_ops.evolution import Oscillation, Relaxation, SourceResponse, VelocityResponse
from spectral_ops.grid import Grid, GridOptions
from spectral_ops.heat import Biharmonic, FractionalHeat, Heat, ReactionDiffusion
from spectral_ops.identity import Identity
from spectral_ops.mixer import SpectralMixer
from spectral_ops.operator import SpectralOperator
from spectral_ops.poisson import Poisson
from spectral_ops.precomputed import Precomputed
from spectral_ops.quantities import Bounded, FromEmbedding, InputRouter, Softmax, Softplus, SoftplusEmbedding
from spectral_ops.transforms import (
    cosine_basis,
    dct,
    dctn,
    dst,
    dstn,
    fourier_basis,
    idct,
    idctn,
    idst,
    idstn,
    irdftn,
    rdftn,
    sine_basis,
)
from spectral_ops.wave import Plate, Wave

__version__ = "0.1.0"

__all__ = [
    "Advection",
    "Biharmonic",
    "Bounded",
    "FractionalHeat",
    "FromEmbedding",
    "Grid",
    "GridOptions",
    "Heat",
    "Identity",
    "InputRouter",
    "Mixture",
    "Oscillation",
    "Plate",
    "Poisson",
    "Precomputed",
    "Product",
    "ReactionDiffusion",
    "Relaxation",
    "Scaled",
    "Softmax",
    "Softplus",
    "SoftplusEmbedding",
    "SourceResponse",
    "SpectralEmbedding",
    "SpectralMixer",
    "SpectralOperator",
    "Sum",
    "VelocityResponse",
    "Wave",
    "apply_gain",
    "cosine_basis",
    "dct",
    "dctn",
    "dst",
    "dstn",
    "fourier_basis",
    "idct",
    "idctn",
    "idst",
    "idstn",
    "irdftn",
    "laplacian_eigenvalues",
    "power",
    "rdftn",
    "resize_embedding",
    "sine_basis",
    "superpose",
    "use_kernels",
]
