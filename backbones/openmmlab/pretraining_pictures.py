"""Pictures of what a masked pre-training makes of hidden units, while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from PIL import Image
from torch import Tensor

from backbones.openmmlab.pretraining import unwrapped
from backbones.training.files import write_whole
from spectral_ops.scalars import as_int

__all__ = ["ReconstructionHook"]

#: Between the images of a picture, in pixels.
_GAP = 4


@HOOKS.register_module()
class ReconstructionHook(Hook):
    """Draws images, what the network saw of them, and what it made of the rest, beside each other.

    The images are the first of the validation set, or of the training set where there is none, and their masks stay the
    same, so that pictures can be compared. They are written to ``reconstructions/iter_N.png`` in the work folder at the
    start, every ``interval`` iterations and at the end. No random number of the training is used up.

    Args:
        interval: In iterations; by default a tenth of the training.
        images: How many.

    Raises:
        ValueError: An argument is no positive int.
    """

    priority = "LOW"

    def __init__(self, interval: int | None = None, images: int = 4) -> None:
        for name, value in (("interval", interval), ("images", images)):
            if value is not None and (as_int(value) or 0) < 1:
                raise ValueError(f"{name} must be a positive int, got {value!r}")
        self.interval, self.images = interval, images
        self._inputs: Tensor | None = None

    def before_train(self, runner: Runner) -> None:
        """Take the images, unless the model restores none."""
        model = unwrapped(runner.model)
        if not is_main_process() or not hasattr(model, "columns"):
            return
        loop = runner.train_loop if runner.val_loop is None else runner.val_loop
        data = loop.dataloader.dataset
        data = getattr(data, "dataset", data)  # without the seeds that places in the stream have
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # torch.manual_seed would set those of GPUs, too
            self._inputs = torch.stack([data[i]["inputs"] for i in range(min(self.images, len(data)))]).float()
            self._mask = model.shown_mask(len(self._inputs), self._inputs.shape[2:])
        self.interval = self.interval or max(1, runner.train_loop.max_iters // 10)
        if runner.iter == 0:
            self._draw(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Draw now and then."""
        if self._inputs is not None and (runner.iter + 1) % (self.interval or 1) == 0:
            self._draw(runner, runner.iter + 1)

    def after_train(self, runner: Runner) -> None:
        """Draw the last one."""
        if self._inputs is not None and runner.iter % (self.interval or 1):
            self._draw(runner)

    def _draw(self, runner: Runner, step: int | None = None) -> None:
        model = unwrapped(runner.model)
        device = next(model.parameters()).device
        inputs = self._inputs
        assert inputs is not None
        try:
            columns = model.columns(inputs.to(device), self._mask.to(device))
        except ValueError as error:  # no target that an image can be restored from
            runner.logger.info(f"ReconstructionHook draws nothing: {error}")
            self._inputs = None
            return
        path = Path(runner.work_dir) / "reconstructions" / f"iter_{runner.iter if step is None else step}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(_side_by_side([column.float().cpu() for column in columns]))
        write_whole(path, lambda part: picture.save(part, format="PNG"))


def _side_by_side(columns: list[Tensor]) -> np.ndarray:
    """Batches of images ``(B, 3, H, W)``, 0..255, to one picture: a row for each image, a column for each batch."""
    padded = [torch.nn.functional.pad(batch, (0, _GAP, 0, _GAP), value=255.0) for batch in columns]
    rows = torch.cat([torch.cat(list(row), dim=2) for row in zip(*padded, strict=True)], dim=1)
    whole: np.ndarray = rows[:, :-_GAP, :-_GAP].clamp(0, 255).round().byte().permute(1, 2, 0).numpy()
    return whole
