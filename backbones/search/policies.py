r"""How agents that share a reward improve their policies: one step of MA2ML's loop, in closed form.

A trial is an episode of one step, so the value of a joint action is its expected reward :math:`Q(a)`. Every agent i has
a target policy :math:`\rho_i` and acts by :math:`\beta_i = (1 - \epsilon) \rho_i + \epsilon u_i`, with :math:`u_i`
uniform, so that no choice dies. With

.. math::

    Q_i(a_i) = \mathrm{E}_{a_j \sim \beta_j, j \ne i}\, Q(a), \qquad
    \pi_i = \arg\max_\pi \mathrm{E}_\pi Q_i - w\, \mathrm{KL}(\pi \| \rho_i) \propto \rho_i \exp(Q_i / w), \qquad
    \rho_i \leftarrow (1 - \tau) \rho_i + \tau \pi_i

one agent's update never lowers :math:`\mathrm{E}_\beta Q`: :math:`\mathrm{E}_{\pi_i} Q_i \ge \mathrm{E}_{\rho_i} Q_i`
because the divergence is zero at :math:`\rho_i`. So agents that are updated one after another never lower it, and
agents that are updated at the same time can, each expecting the others to stay as they were. Where they end need not be
the best joint action: no agent alone can improve it.

After MA2ML, reconstructed: arXiv 2210.09084 has no equations; these are the one-step form of those of the same authors'
DMAC (ICML 2022), whose critic, credit and divergence from target policies they keep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

__all__ = ["Order", "behaviours", "counterfactual", "improve", "sweep", "uniform"]

Order = Literal["sequential", "simultaneous"]
#: A policy: the probability of each of an agent's actions.
Policy = np.ndarray


def uniform(actions: int) -> Policy:
    """All actions alike."""
    return np.full(actions, 1 / actions)


def improve(target: Policy, values: np.ndarray, kl: float) -> Policy:
    r""":math:`\pi \propto \rho \exp(Q / w)`, the best policy but for its divergence from the target.

    Args:
        target: :math:`\rho`.
        values: :math:`Q_i` of each action.
        kl: The weight w of the divergence.

    Example:
        >>> improve(uniform(2), np.array([0.0, 1.0]), kl=0.5).round(3).tolist()
        [0.119, 0.881]
    """
    with np.errstate(divide="ignore"):
        logits = np.log(target) + values / kl
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def behaviours(targets: Sequence[Policy], floor: float) -> list[Policy]:
    """The policies that agents act by: their targets with a share ``floor`` of the uniform one."""
    return [(1 - floor) * target + floor / len(target) for target in targets]


def sweep(
    targets: Sequence[Policy],
    values: Callable[[int, list[Policy]], np.ndarray],
    *,
    kl: float,
    tau: float,
    floor: float,
    order: Order = "sequential",
) -> list[Policy]:
    r"""Update every agent once; returns the new target policies.

    Args:
        targets: :math:`\rho_i` of every agent.
        values: From an agent's index and the policies that all act by to :math:`Q_i` of its actions.
        kl: The weight w of the divergence.
        tau: The share of the improved policy in the new target.
        floor: The share of the uniform policy in what agents act by.
        order: ``"sequential"``, each agent knowing the updates of those before it, or ``"simultaneous"``.
    """
    targets = list(targets)
    acting = behaviours(targets, floor)
    for i, target in enumerate(targets):
        targets[i] = (1 - tau) * target + tau * improve(target, values(i, list(acting)), kl)
        if order == "sequential":
            acting[i] = behaviours([targets[i]], floor)[0]
    return targets


def counterfactual(values: np.ndarray, policy: Policy) -> np.ndarray:
    r"""Credits :math:`Q(a) - \mathrm{E}_{a_i' \sim \pi_i} Q(a_i', a_{-i})` of an agent's actions; 0 on average.

    Args:
        values: Q of each action beside what the other agents did.
        policy: Of the agent.
    """
    return values - policy @ values
