"""A feature pyramid in mmdet's shape, for where mmdet is not installed: `make bounds`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d


class FPN(nn.Module):
    """Every level through a 1 x 1 convolution, sums from above, a 3 x 3 convolution; pooled levels above the last."""

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int,
        start_level: int = 0,
        norm_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.start_level, self.num_outs = start_level, num_outs

        def layer(channels: int, kernel: int) -> nn.Module:
            parts = OrderedDict(conv=nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2, bias=not norm_cfg))
            return nn.Sequential(parts | ({"bn": nn.BatchNorm2d(out_channels)} if norm_cfg else {}))

        self.lateral_convs = nn.ModuleList(layer(channels, 1) for channels in in_channels[start_level:])
        self.fpn_convs = nn.ModuleList(layer(out_channels, 3) for _ in in_channels[start_level:])

    def init_weights(self) -> None:
        for parameter in self.parameters():
            nn.init.xavier_uniform_(parameter) if parameter.ndim > 1 else nn.init.zeros_(parameter)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        sides = [layer(x) for layer, x in zip(self.lateral_convs, maps[self.start_level :], strict=True)]
        for below in range(len(sides) - 1, 0, -1):
            sides[below - 1] = sides[below - 1] + interpolate(sides[below], sides[below - 1].shape[2:], mode="nearest")
        levels = [layer(x) for layer, x in zip(self.fpn_convs, sides, strict=True)]
        while len(levels) < self.num_outs:
            levels.append(max_pool2d(levels[-1], 1, stride=2))
        return tuple(levels)
