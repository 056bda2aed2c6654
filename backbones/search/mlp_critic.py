"""The critic that is nearest to the paper's: small networks, trained on minibatches from the replay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from backbones.search.critic import level_covariance
from backbones.search.space import Space

__all__ = ["MLPCritic"]

#: Networks, whose spread is the uncertainty; hidden width; updates; trials of a minibatch; rate; weight decay.
MEMBERS, WIDTH, UPDATES, BATCH, RATE, DECAY = 5, 32, 150, 32, 2e-2, 1e-3
#: Joint actions of the others that an expectation is averaged over.
DRAWS = 32


class MLPCritic:
    """Networks of one hidden layer, from the levels of all parameters to the reward, trained anew for every proposal.

    Ordered levels enter as roots of :func:`level_covariance`, so neighbours look alike. It needs far more trials than
    the pairwise critic, and takes many times longer.

    Args:
        space: Of the trials.
        levels: Of the trials that have ended, ``(trials, parameters)``.
        scores: Their rewards.
        seed: Of initial weights, minibatches and expectations.
        only: The parameters that it knows of, by index; all by default.
    """

    def __init__(
        self, space: Space, levels: np.ndarray, scores: np.ndarray, seed: int, only: Sequence[int] | None = None
    ) -> None:
        self.space = space
        self.generator = torch.Generator().manual_seed(seed)
        known = range(len(space.parameters)) if only is None else only
        self.roots: list[Tensor | None] = [None] * len(space.parameters)
        for i, parameter in enumerate(space.parameters.values()):
            if i in known:
                values, vectors = np.linalg.eigh(level_covariance(parameter))
                self.roots[i] = torch.from_numpy(vectors * np.sqrt(np.maximum(values, 0))).float()
        width = sum(root.shape[1] for root in self.roots if root is not None)
        shapes = [(MEMBERS, width, WIDTH), (MEMBERS, 1, WIDTH), (MEMBERS, WIDTH, 1), (MEMBERS, 1, 1)]
        scales = [len(known) ** -0.5, 0.5, WIDTH**-0.5, 0.0]
        self.layers = [
            (torch.randn(shape, generator=self.generator) * scale).requires_grad_()
            for shape, scale in zip(shapes, scales, strict=True)
        ]
        self._train(self._features(levels), torch.from_numpy(np.asarray(scores)).float())

    def values(self, part: int, policies: Sequence[np.ndarray]) -> np.ndarray:
        """Expected reward of every action of a part, over draws from the policies of the others."""
        drawn = np.zeros((DRAWS, len(self.space.parameters)), int)
        for (_, other, columns), policy in zip(self.space.parts, policies, strict=True):
            rows = torch.multinomial(torch.from_numpy(policy), DRAWS, replacement=True, generator=self.generator)
            drawn[:, columns] = other.table[rows.numpy()]
        _, mine, columns = self.space.parts[part]
        everything = np.repeat(drawn[None], len(mine.table), 0)
        everything[:, :, columns] = mine.table[:, None]
        mean, _ = self.mean_and_deviation(everything.reshape(-1, drawn.shape[1]))
        return mean.reshape(len(mine.table), DRAWS).mean(1)

    def mean_and_deviation(self, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected reward of joint actions, ``(actions, parameters)``, and how far the networks are apart."""
        with torch.no_grad():
            found = self._forward(self._features(levels).expand(MEMBERS, -1, -1))
        return found.mean(0).double().numpy(), found.std(0).double().numpy()

    def _features(self, levels: np.ndarray) -> Tensor:
        return torch.cat([root[levels[:, i]] for i, root in enumerate(self.roots) if root is not None], 1)

    def _forward(self, x: Tensor) -> Tensor:
        hidden, bias, out, shift = self.layers
        return (torch.tanh(x @ hidden + bias) @ out + shift)[..., 0]

    def _train(self, x: Tensor, y: Tensor) -> None:
        if not len(x):
            return
        optimizer = torch.optim.AdamW(self.layers, lr=RATE, weight_decay=DECAY)
        for _ in range(UPDATES):
            batch = torch.randint(len(x), (MEMBERS, min(BATCH, len(x))), generator=self.generator)
            optimizer.zero_grad()
            (self._forward(x[batch]) - y[batch]).square().mean(1).sum().backward()
            optimizer.step()
