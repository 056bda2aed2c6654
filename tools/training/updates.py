"""The updates of a network, but for those whose gradients are not finite."""

from __future__ import annotations

import torch
from torch import nn

from backbones.training.gradients import NormStatistics, gradients_are_finite, names_of_bad_gradients

#: After so many skipped updates in a row there is no use in going on.
LIMIT = 10


class Updates:
    """Makes updates or skips them.

    Args:
        net: The network.
        optimizer: Its optimizer.
        scaler: That of float16, whose scale falls where it finds infinities; or one that is not enabled.
        clip: The largest norm of the gradient; 0 for any.
    """

    def __init__(
        self, net: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, clip: float
    ) -> None:
        self.net, self.optimizer, self.scaler, self.clip = net, optimizer, scaler, clip
        self.statistics = NormStatistics(net)
        self.in_a_row = 0

    def begin(self) -> None:
        """Before the first forward pass of an update."""
        self.statistics.keep()

    def make(self) -> str | None:
        """After the last backward pass: update, or undo what the passes did and say why."""
        self.scaler.unscale_(self.optimizer)
        reason = None
        if gradients_are_finite(self.net.parameters()):
            if self.clip:
                nn.utils.clip_grad_norm_(self.net.parameters(), self.clip)
            self.scaler.step(self.optimizer)
            self.in_a_row = 0
        else:
            self.statistics.restore()
            self.in_a_row += 1
            bad = ", ".join(names_of_bad_gradients(self.net)) or "their sum"
            reason = f"the gradients are not finite, {self.in_a_row} times in a row (first in {bad})"
        self.scaler.update()
        self.optimizer.zero_grad()
        return reason
