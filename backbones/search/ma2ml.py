"""MA2ML as a sampler of Optuna: agents that share a reward, a critic, credits, and policies that improve one by one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import optuna

from backbones.search.critic import Factors, PairwiseCritic
from backbones.search.mlp_critic import MLPCritic
from backbones.search.policies import Order, behaviours, sweep, uniform
from backbones.search.replay import Replay, read_replay
from backbones.search.sampler import AgentSampler, Allowed
from backbones.search.space import Space

__all__ = ["MA2MLSampler"]

#: Updates of every agent with the critic of a proposal.
SWEEPS = 10
#: Trials of which an on-policy search makes one update.
ON_POLICY = 10


class MA2MLSampler(AgentSampler):
    r"""Joint search by agents that share a reward, after MA2ML, reconstructed from its abstract and from DMAC.

    For every proposal the critic is fitted to all trials (replay), the agents' policies are improved by it from uniform
    ones (ten times :func:`backbones.search.policies.sweep`), joint actions are drawn from them, and of these the one
    with the largest :math:`\mu + \kappa \sigma` by the critic is proposed. Nothing is kept between proposals.

    Args:
        space: What is searched.
        seed: Of all random numbers: with a seed, a study that is continued proposes what an uninterrupted one would.
        kl: Weight w of the divergence from target policies; rewards are normal scores of ranks, of variance 1.
        tau: Share of the improved policy in the new target.
        floor: Share of the uniform policy in what agents act by.
        critic: ``"pairwise"``, closed-form regression on parameters and pairs of them
            (:class:`~backbones.search.critic.PairwiseCritic`), or ``"mlp"``, networks trained on minibatches
            (:class:`~backbones.search.mlp_critic.MLPCritic`).
        credit: ``"counterfactual"``: an agent's action is credited with what it changes beside the others' actions, by
            a critic of all parameters. ``"shared"``: by a critic of its own parameters, to which the others are noise.
        order: ``"sequential"``, which never lowers the critic's expected reward, or ``"simultaneous"``, which can.
        off_policy: Whether all trials are used for every update. Otherwise each is used for one, in its turn.
        candidates: Joint actions that are drawn from the policies; 1 leaves the choice to the policies alone.
        exploration: :math:`\kappa`.
        startup: Trials before policies differ from uniform ones.

    Raises:
        TypeError: ``space`` is no space.
        ValueError: An argument is out of its range, or a study has several objectives.

    Source:
        Z. Wang, K. Su, J. Zhang, H. Jia, Q. Ye, X. Xie, Z. Lu, *Multi-Agent Automated Machine Learning*, CVPR 2023,
        arXiv:2210.09084; no equations are public. K. Su, Z. Lu, *Divergence-Regularized Multi-Agent Actor-Critic*, ICML
        2022. Drawing several and taking the best by the critic's upper bound is ours, as is the prior over neighbours.

    Example:
        >>> from backbones.search import Agent, Choice, LogFloat, MA2MLSampler, Ordinal, Space
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> space = Space(
        ...     nas=Agent(operator=Choice(["heat", "wave"]), width=Ordinal([8, 16, 32])),
        ...     hpo=Agent(lr=LogFloat(1e-4, 1e-2)),
        ... )
        >>> def objective(trial):
        ...     values = space.suggest(trial)
        ...     return values["nas"]["width"] * (values["nas"]["operator"] == "wave")
        >>> study = optuna.create_study(direction="maximize", sampler=MA2MLSampler(space, seed=0))
        >>> study.optimize(objective, n_trials=8)
        >>> space.read(study.best_params)["nas"]
        {'operator': 'wave', 'width': 32}
    """

    def __init__(
        self,
        space: Space,
        seed: int | None = None,
        *,
        kl: float = 0.5,
        tau: float = 0.3,
        floor: float = 0.02,
        critic: Literal["pairwise", "mlp"] = "pairwise",
        credit: Literal["counterfactual", "shared"] = "counterfactual",
        order: Order = "sequential",
        off_policy: bool = True,
        candidates: int = 64,
        exploration: float = 2.0,
        startup: int = 8,
    ) -> None:
        super().__init__(space, seed)
        for name, given, fine in (
            ("kl", kl, kl > 0),
            ("tau", tau, 0 < tau <= 1),
            ("floor", floor, 0 <= floor < 1),
            ("candidates", candidates, _is_whole(candidates) and candidates >= 1),
            ("exploration", exploration, 0 <= exploration < math.inf),
            ("startup", startup, _is_whole(startup) and startup >= 0),
        ):
            if not fine:
                accepted = {
                    "kl": "> 0",
                    "tau": "in (0, 1]",
                    "floor": "in [0, 1)",
                    "candidates": "an int >= 1",
                    "exploration": ">= 0 and finite",
                    "startup": "an int >= 0",
                }
                raise ValueError(f"{name} must be {accepted[name]}, got {given!r}")
        for name, given, known in (
            ("critic", critic, ("pairwise", "mlp")),
            ("credit", credit, ("counterfactual", "shared")),
            ("order", order, ("sequential", "simultaneous")),
        ):
            if given not in known:
                raise ValueError(f"{name} must be one of {known}, got {given!r}")
        self.options = {"kl": kl, "tau": tau, "floor": floor, "order": order}
        self.factors = Factors()
        self.critic, self.credit, self.off_policy = critic, credit, off_policy
        self.candidates, self.exploration, self.startup = candidates, exploration, startup

    def propose(self, replay: Replay, rng: np.random.Generator, allowed: Allowed) -> tuple[int, ...]:
        critic, targets = self._learned(replay, int(rng.integers(2**31)))
        acting = behaviours(targets, self.options["floor"])
        drawn = self.draw(acting, rng, allowed, self.candidates)
        fresh = [levels for levels in np.unique(drawn, axis=0) if self.is_new(levels.tolist(), replay)]
        if not fresh:
            return self.any_new(replay, rng, allowed)
        if self.candidates == 1:
            return tuple(fresh[0].tolist())
        mean, deviation = critic.mean_and_deviation(np.array(fresh))
        return tuple(fresh[int(np.argmax(mean + self.exploration * deviation))].tolist())

    def policies(self, study: optuna.Study, trials: int | None = None) -> list[np.ndarray]:
        """What agents act by after the first ``trials`` ended ones of a study, or all, for each part of the space."""
        replay = _some(self._replay(study), slice(trials))
        return behaviours(self._learned(replay, self.seed)[1], self.options["floor"])

    def credits(self, study: optuna.Study) -> dict[int, dict[str, float]]:
        r"""What each agent contributed to every ended trial, in units of rewards.

        It is :math:`Q(a) - \mathrm{E}_{a_i' \sim \beta_i} Q(a_i', a_{-i})` with the critic and the policies of now.

        Returns:
            By the trial's number, the credit of each agent.
        """
        replay = self._replay(study)
        critic = self._fit(replay, self.seed)
        acting = self.policies(study)
        found: dict[int, dict[str, float]] = {}
        for number, levels in zip(replay.numbers, replay.levels, strict=True):
            rows = [part.row_of[tuple(levels[columns].tolist())] for _, part, columns in self.space.parts]
            points = [np.eye(1, len(policy), row)[0] for policy, row in zip(acting, rows, strict=True)]
            value = critic.values(0, points)[rows[0]]
            found[number] = {}
            for agent in self.space.agents:
                mine = [name == agent for name, _, _ in self.space.parts]
                mixed = [a if m else p for a, p, m in zip(acting, points, mine, strict=True)]
                found[number][agent] = float(value - mixed[0] @ critic.values(0, mixed))
        return found

    def _replay(self, study: optuna.Study) -> Replay:
        self._check_single(study)
        self.space.attach(study)
        return read_replay(self.space, study, -1, self.known)

    # -- learning ---------------------------------------------------------------------------------------------------

    def _learned(self, replay: Replay, seed: int) -> tuple[PairwiseCritic | MLPCritic, list[np.ndarray]]:
        """The critic, and the target policies that follow from all trials."""
        targets = [uniform(len(part.table)) for _, part, _ in self.space.parts]
        if len(replay.numbers) < self.startup:
            return self._fit(replay, seed), targets
        if self.off_policy:
            critic = self._fit(replay, seed)
            for _ in range(SWEEPS):
                targets = self._improved(targets, critic, replay, seed)
            return critic, targets
        for start in range(0, len(replay.numbers) - ON_POLICY + 1, ON_POLICY):
            latest = _some(replay, slice(start, start + ON_POLICY))
            targets = self._improved(targets, self._fit(latest, seed), latest, seed)
        return self._fit(_some(replay, slice(-ON_POLICY, None)), seed), targets

    def _improved(
        self, targets: list[np.ndarray], critic: PairwiseCritic | MLPCritic, replay: Replay, seed: int
    ) -> list[np.ndarray]:
        if self.credit == "counterfactual":
            return sweep(targets, critic.values, **self.options)
        own = {}
        for agent in self.space.agents:
            columns = [i for i, name in enumerate(self.space.parameters) if name.startswith(f"{agent}.")]
            own[agent] = self._fit(replay, seed, columns)
        return sweep(targets, lambda i, acting: own[self.space.parts[i][0]].values(i, acting), **self.options)

    def _fit(self, replay: Replay, seed: int, only: list[int] | None = None) -> PairwiseCritic | MLPCritic:
        if self.critic == "pairwise":
            factors = self.factors if only is None and self.off_policy else None
            return PairwiseCritic(self.space, replay.levels, replay.scores, replay.running, only, factors)
        return MLPCritic(self.space, replay.levels, replay.scores, seed, only)


def _is_whole(given: object) -> bool:
    return isinstance(given, (int, np.integer)) and not isinstance(given, bool)


def _some(replay: Replay, which: slice) -> Replay:
    """Some of the ended trials, ranked among themselves."""
    return replace(replay, **{name: getattr(replay, name)[which] for name in ("numbers", "levels", "ranks")})
