"""A backbone alone, from pixels to its maps."""

from __future__ import annotations

from torch import Tensor, nn

from backbones.openmmlab.export.dynamic import with_dynamic_sizes
from backbones.openmmlab.export.pixels import Pixels

__all__ = ["ExportableBackbone"]


class ExportableBackbone(nn.Module):
    """The backbone of a detector or segmentor for one image of any size.

    Args:
        model: What the backbone is a part of, for its data preprocessor; both are copied.
        count: How many maps the backbone gives.
    """

    def __init__(self, model: nn.Module, count: int) -> None:
        super().__init__()
        self.pixels = Pixels(model.data_preprocessor)
        self.backbone = with_dynamic_sizes(model.backbone)
        self.outputs = tuple(f"map{i}" for i in range(count))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Pixels ``(1, 3, H, W)`` to maps ``(1, C_i, H_i, W_i)`` of the padded image."""
        return tuple(self.backbone(self.pixels(image)))
