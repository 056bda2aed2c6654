"""PDE solution operators that are diagonal under the discrete cosine transform, as composable PyTorch modules."""

from spectral_ops.composition import Mixture, Product, Scaled, Sum
from spectral_ops.eigenvalues import laplacian_eigenvalues
from spectral_ops.embedding import SpectralEmbedding, resize_embedding
from spectral_ops.heat import Heat
from spectral_ops.mixer import SpectralMixer
from spectral_ops.operator import Grid, GridOptions, SpectralOperator, apply_gain
from spectral_ops.precomputed import Precomputed
from spectral_ops.quantities import FromEmbedding, Softplus
from spectral_ops.transforms import cosine_basis, dct, dctn, idct, idctn

__version__ = "0.1.0"

__all__ = [
    "FromEmbedding",
    "Grid",
    "GridOptions",
    "Heat",
    "Mixture",
    "Precomputed",
    "Product",
    "Scaled",
    "Softplus",
    "SpectralEmbedding",
    "SpectralMixer",
    "SpectralOperator",
    "Sum",
    "apply_gain",
    "cosine_basis",
    "dct",
    "dctn",
    "idct",
    "idctn",
    "laplacian_eigenvalues",
    "resize_embedding",
]
