"""vHeat as public code commonly states it, for benchmarks to compare with: channels-first, cosines by convolutions.

Maps are ``(B, C, H, W)``; norms and linears permute to channels-last and back, with copies. The cosine transform of an
axis is a one-dimensional convolution whose kernel is one wide and whose input channels are the samples. Gains are
``exp(-lambda) ** k``, for each call anew in training, stored for one image size by :meth:`PublicVHeat.precompute`.
Written from that description under official tensor names, so that it computes what ``backbones.vheat_*`` computes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backbones import SpectralNet
from backbones.weights.conversion import to_official

__all__ = ["PublicBlock", "PublicHeat", "PublicVHeat", "decay", "public_dct2", "public_idct2"]


def cosines(n: int) -> Tensor:
    """The DCT-II matrix, rows are modes."""
    positions = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    matrix = torch.cos(torch.arange(n, dtype=torch.float64)[:, None] * positions * math.pi) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix.float()


def decay(height: int, width: int) -> Tensor:
    """``exp(-lambda)`` of unit diffusivity, ``(H, W)``."""
    rows, columns = torch.arange(height) * (math.pi / height), torch.arange(width) * (math.pi / width)
    return torch.exp(-(rows[:, None] ** 2 + columns**2))


def _along_both(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Contract H with the rows of one matrix and W with those of another: ``(B, H, W, C)`` to the same."""
    batch, height, width, channels = x.shape
    x = F.conv1d(x.contiguous().view(batch, height, -1), rows.contiguous()[:, :, None])
    x = F.conv1d(x.contiguous().view(-1, width, channels), columns.contiguous()[:, :, None])
    return x.contiguous().view(batch, height, width, channels)


def public_dct2(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The cosine transform of a channels-last map."""
    return _along_both(x, rows, columns)


def public_idct2(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Its inverse."""
    return _along_both(x, rows.t(), columns.t())


class _Norm(nn.LayerNorm):
    """Over the channels of a channels-first map."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1).contiguous()).permute(0, 3, 1, 2).contiguous()


class _Mlp(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 4 * channels, 1)
        self.fc2 = nn.Conv2d(4 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class PublicHeat(nn.Module):
    """The heat conduction operator on maps ``(B, C, H, W)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.linear = nn.Linear(channels, 2 * channels)
        self.to_k = nn.Sequential(nn.Linear(channels, channels), nn.ReLU())
        self.out_norm = nn.LayerNorm(channels)
        self.out_linear = nn.Linear(channels, channels)
        self._constants: dict[tuple[object, ...], tuple[Tensor, Tensor, Tensor]] = {}
        self.k_exp: Tensor | None = None

    def constants(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cosines of both axes and ``exp(-lambda)``, kept for each size."""
        height, width = x.shape[1:3]
        key = (height, width, x.device)
        if key not in self._constants:
            made = cosines(height), cosines(width), decay(height, width)
            self._constants[key] = tuple(t.to(x.device) for t in made)  # type: ignore[assignment]
        return self._constants[key]

    def gain(self, exponential: Tensor, embedding: Tensor) -> Tensor:
        """``exp(-lambda) ** k``, ``(H, W, C)``."""
        return torch.pow(exponential[..., None], self.to_k(embedding))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.dwconv(x)
        value, gate = self.linear(x.permute(0, 2, 3, 1).contiguous()).chunk(2, dim=-1)
        rows, columns, exponential = self.constants(value)
        gain = self.gain(exponential, embedding) if self.k_exp is None else self.k_exp
        spectrum = torch.einsum("bnmc,nmc->bnmc", public_dct2(value, rows, columns), gain)
        y = self.out_norm(public_idct2(spectrum, rows, columns))
        return self.out_linear(y * F.silu(gate)).permute(0, 3, 1, 2).contiguous()


class PublicBlock(nn.Module):
    """Heat operator and MLP, before norms or, scaled, after them."""

    def __init__(self, channels: int, scale: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = _Norm(channels, eps=1e-6), _Norm(channels, eps=1e-6)
        self.op, self.mlp = PublicHeat(channels), _Mlp(channels)
        self.post = scale
        if scale:
            self.gamma1, self.gamma2 = (nn.Parameter(torch.ones(channels)) for _ in range(2))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        if self.post:
            x = x + self.gamma1[:, None, None] * self.norm1(self.op(x, embedding))
            return x + self.gamma2[:, None, None] * self.norm2(self.mlp(x))
        x = x + self.op(self.norm1(x), embedding)
        return x + self.mlp(self.norm2(x))


class _Stem(nn.Module):
    def __init__(self, in_chans: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, channels // 2, 3, 2, 1)
        self.norm1 = nn.Sequential(nn.Identity(), _Norm(channels // 2, eps=1e-6))
        self.conv2 = nn.Conv2d(channels // 2, channels, 3, 2, 1)
        self.norm2 = nn.Sequential(nn.Identity(), _Norm(channels, eps=1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm2(self.conv2(F.gelu(self.norm1(self.conv1(x)))))


class PublicVHeat(nn.Module):
    """The network, with the weights of one of this project's.

    Args:
        net: A vHeat in train form, drop path 0.
    """

    def __init__(self, net: SpectralNet) -> None:
        super().__init__()
        dims = [stage["num_chs"] for stage in net.feature_info]
        self.depths = [len(stage.blocks) for stage in net.stages]
        post = not net.stages[0].blocks[0].pre_norm
        self.patch_embed = _Stem(net.in_chans, dims[0])
        self.freq_embed = nn.ParameterList(torch.empty_like(stage.embedding.weight) for stage in net.stages)
        self.layers = nn.ModuleList()
        for i, (channels, depth) in enumerate(zip(dims, self.depths, strict=True)):
            stage: list[nn.Module] = [PublicBlock(channels, post) for _ in range(depth)]
            if i < len(dims) - 1:
                down = nn.Conv2d(channels, dims[i + 1], 3, 2, 1, bias=False)
                stage.append(nn.Sequential(down, _Norm(dims[i + 1], eps=1e-5)))
            self.layers.append(nn.ModuleList(stage))
        pool = nn.AdaptiveAvgPool2d(1)
        classes = nn.Linear(dims[-1], net.num_classes)
        self.classifier = nn.Sequential(_Norm(dims[-1], eps=1e-5), pool, nn.Flatten(1), classes)
        self.load_state_dict(to_official(net.state_dict()))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for depth, embedding, stage in zip(self.depths, self.freq_embed, self.layers, strict=True):
            embedding = self._resized(embedding, x.shape[2:])
            for block in stage[:depth]:
                x = block(x, embedding)
            for down in stage[depth:]:
                x = down(x)
        return self.classifier(x)

    @staticmethod
    def _resized(embedding: Tensor, sizes: torch.Size) -> Tensor:
        if embedding.shape[:2] == sizes:
            return embedding
        grid = embedding.permute(2, 0, 1)[None]
        return F.interpolate(grid, size=sizes, mode="bicubic", align_corners=False)[0].permute(1, 2, 0).contiguous()

    @torch.no_grad()
    def precompute(self, sizes: list[tuple[int, int]]) -> None:
        """Store the gains for maps of these sizes, one per stage."""
        for size, depth, embedding, stage in zip(sizes, self.depths, self.freq_embed, self.layers, strict=True):
            embedding = self._resized(embedding, torch.Size(size))
            for block in stage[:depth]:
                block.op.k_exp = block.op.gain(decay(*size).to(embedding.device), embedding)
