"""Masked autoencoding of a plain ViT, for which :mod:`backbones.pretraining` has no form."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.pretraining import RandomUnits


def patches(x: Tensor, size: int) -> Tensor:
    """(N, 3, H, W) to (N, patches, pixels)."""
    return F.unfold(x, size, stride=size).transpose(1, 2)


class MaskedViT(nn.Module):
    """The loss of masked autoencoding (MAE) of a ViT.

    Args:
        vit: With a class token.
        masked: Share of the patches that it does not see.
        width, depth, heads: Of the decoder.
    """

    def __init__(self, vit: VisionTransformer, masked: float, width: int = 64, depth: int = 1, heads: int = 2) -> None:
        super().__init__()
        self.vit, self.masked = vit, masked
        self.patch = vit.patch_embed.patch_size[0]
        self.enter = nn.Linear(vit.embed_dim, width)
        self.mask = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, vit.pos_embed.shape[1], width))
        self.decoder = nn.Sequential(
            *(Block(width, heads) for _ in range(depth)), nn.LayerNorm(width), nn.Linear(width, 3 * self.patch**2)
        )

    def forward(self, x: Tensor) -> Tensor:
        vit = self.vit
        tokens = vit.patch_embed(x) + vit.pos_embed[:, 1:]
        n, count, channels = tokens.shape
        seen = RandomUnits(self.patch, self.masked).keep(n, x.shape[2:]).to(x.device)
        kept = tokens.gather(1, seen[..., None].expand(-1, -1, channels))
        prefix = (vit.cls_token + vit.pos_embed[:, :1]).expand(n, -1, -1)
        encoded = self.enter(vit.norm(vit.blocks(torch.cat([prefix, kept], 1))))
        index = seen[..., None].expand(-1, -1, encoded.shape[-1])
        full = self.mask.expand(n, count, -1).scatter(1, index, encoded[:, 1:])
        predicted = self.decoder(torch.cat([encoded[:, :1], full], 1) + self.position)[:, 1:]
        target = patches(x, self.patch)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-3).sqrt()
        hidden = x.new_ones(n, count).scatter(1, seen, 0.0)
        return ((predicted - target).square().mean(-1) * hidden).sum() / hidden.sum()
