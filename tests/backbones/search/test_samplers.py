"""The samplers in studies: limits, states of trials, repetition, credits and what is refused."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from backbones.search import (
    Agent,
    Choice,
    Float,
    Limit,
    MA2MLLiteSampler,
    MA2MLSampler,
    Ordinal,
    OtherSpace,
    Space,
)
from backbones.search.replay import read_replay
from backbones.search.sampler import AgentSampler

Objective = Callable[[Trial], float]
SAMPLERS: dict[str, Callable[..., AgentSampler]] = {
    "ma2ml": MA2MLSampler,
    "lite": MA2MLLiteSampler,
    "on-policy": lambda space, seed: MA2MLSampler(space, seed, off_policy=False, candidates=1),
    "shared": lambda space, seed: MA2MLSampler(space, seed, credit="shared", order="simultaneous"),
    "mlp": lambda space, seed: MA2MLSampler(space, seed, critic="mlp"),
}
every_sampler = pytest.mark.parametrize("make", list(SAMPLERS.values()), ids=list(SAMPLERS))
both = pytest.mark.parametrize("make", [MA2MLSampler, MA2MLLiteSampler], ids=["ma2ml", "lite"])


def _score(values: dict[str, dict[str, Any]]) -> float:
    nas, hpo = values["nas"], values["hpo"]
    fit = -abs(math.log10(hpo["rate"]) + (2 if nas["operator"] == "wave" else 3))
    return nas["width"] / 64 + fit - hpo["decay"]


def _objective(space: Space) -> Objective:
    return lambda trial: _score(space.suggest(trial))


def _params(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.trials]


# -- limits ------------------------------------------------------------------------------------------------------


@both
def test_none_of_many_proposals_exceeds_the_limit(discrete: Space, make: type[AgentSampler]) -> None:
    """10,000 for both: from the policies after 25 different numbers of trials."""
    study = optuna.create_study(direction="maximize", sampler=make(discrete, seed=0))
    study.optimize(_objective(discrete), n_trials=25)
    proposals = 0
    for _ in range(25):
        study.optimize(_objective(discrete), n_trials=1)
        sampler = make(discrete, seed=1)
        replay = read_replay(discrete, study, -1, sampler.known)
        for _ in range(200):  # each as if it were the next trial, of another number
            proposals += 1
            levels = sampler.propose(replay, np.random.default_rng([1, proposals]), sampler._allowed({}))
            nas = discrete.read(discrete.of_levels(levels, [0.5] * 5))["nas"]
            assert nas["width"] * nas["depth"] <= 50
    assert proposals == 5000


@every_sampler
def test_a_small_space_is_tried_once_before_anything_twice(make: Callable[..., AgentSampler]) -> None:
    space = Space(
        a=Agent(x=Ordinal([1, 2, 3, 4]), y=Ordinal([1, 2, 3]), limits=Limit(lambda v: v["x"] * v["y"], 6)),
        b=Agent(z=Choice(["u", "v"])),
    )
    study = optuna.create_study(direction="maximize", sampler=make(space, 3))
    count = space.combinations
    assert count == 2 * sum(x * y <= 6 for x, y in itertools.product((1, 2, 3, 4), (1, 2, 3)))
    study.optimize(lambda trial: float(space.suggest(trial)["a"]["x"]), n_trials=count + 3)
    assert len({tuple(params.items()) for params in _params(study)[:count]}) == count
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)


# -- repetition --------------------------------------------------------------------------------------------------


def _journal(path: Path, sampler: AgentSampler) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.create_study(
        study_name="s", storage=storage, sampler=sampler, direction="maximize", load_if_exists=True
    )


def _with_states(space: Space) -> Objective:
    def objective(trial: Trial) -> float:
        score = _score(space.suggest(trial)) + trial.suggest_float("undeclared", 0, 1)
        for step in range(3):
            trial.report(score + step, step)
            if trial.number % 5 == 4:
                raise optuna.TrialPruned
        if trial.number % 7 == 6:
            raise RuntimeError("it broke")
        return score

    return objective


@every_sampler
def test_a_continued_study_is_the_uninterrupted_one_to_the_bit(
    tmp_path: Path, mixed: Space, discrete: Space, make: Callable[..., AgentSampler]
) -> None:
    space = Space(nas=discrete.agents["nas"], hpo=Agent(rate=mixed.agents["hpo"].parameters["rate"], decay=Float(0, 1)))
    options: dict[str, Any] = {"catch": (RuntimeError,)}
    whole = _journal(tmp_path / "whole", make(space, 5))
    whole.optimize(_with_states(space), n_trials=20, **options)
    for count in (3, 7, 1, 9):
        part = _journal(tmp_path / "parts", make(space, 5))
        part.optimize(_with_states(space), n_trials=count, **options)
    assert _params(part) == _params(whole)
    assert [t.state for t in part.trials] == [t.state for t in whole.trials]
    assert _params(whole)[10:] != _params(whole)[:10]


def test_a_pickled_sampler_goes_on_as_it_would_have(discrete: Space) -> None:
    space = Space(hpo=discrete.agents["hpo"])  # a limit's function need not be one that can be pickled
    studies = []
    for copy in (lambda sampler: sampler, lambda sampler: pickle.loads(pickle.dumps(sampler))):
        study = optuna.create_study(sampler=MA2MLSampler(space, 3))
        study.optimize(lambda trial: space.suggest(trial)["hpo"]["decay"], n_trials=9)
        study.sampler = copy(study.sampler)
        study.optimize(lambda trial: space.suggest(trial)["hpo"]["decay"], n_trials=3)
        studies.append(study)
    assert _params(studies[0]) == _params(studies[1])


@both
def test_seeds_matter_and_none_draws_one(discrete: Space, make: type[AgentSampler]) -> None:
    def first(seed: int | None) -> list[dict[str, Any]]:
        study = optuna.create_study(sampler=make(discrete, seed))
        study.optimize(_objective(discrete), n_trials=6)
        return _params(study)

    assert first(0) == first(0)
    assert len({str(first(seed)) for seed in (0, 1, None, None)}) == 4


def test_a_proposal_says_which_trials_it_has_seen(discrete: Space) -> None:
    study = optuna.create_study(sampler=MA2MLSampler(discrete, 0))
    study.optimize(_objective(discrete), n_trials=3)
    running = study.ask()
    discrete.suggest(running)
    study.optimize(_objective(discrete), n_trials=1)
    seen = [trial.system_attrs["backbones.search:seen"] for trial in study.trials]
    assert seen == ["", "0", "0-1", "0-2", "0-2; running 3"]


# -- how well ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ma2ml", "on-policy", "shared"])
def test_what_is_best_is_found(discrete: Space, name: str) -> None:
    best = max(
        _score({"nas": {"operator": o, "width": w, "depth": 1}, "hpo": {"rate": r, "decay": 0.0}})
        for o, w, r in itertools.product(("heat", "wave"), (8, 16, 32), (1e-4, 1e-3, 1e-2, 1e-1))
    )
    found = 0
    for seed in range(3):
        study = optuna.create_study(direction="maximize", sampler=SAMPLERS[name](discrete, seed))
        study.optimize(_objective(discrete), n_trials=60)
        found += study.best_value == pytest.approx(best)
    assert found >= 2


def test_minimising_is_maximising_the_negative(discrete: Space) -> None:
    studies = []
    for direction, sign in (("maximize", 1), ("minimize", -1)):
        study = optuna.create_study(direction=direction, sampler=MA2MLSampler(discrete, 0))
        study.optimize(lambda trial, sign=sign: sign * _score(discrete.suggest(trial)), n_trials=25)
        studies.append(study)
    assert _params(studies[0]) == _params(studies[1])


def test_rewards_at_any_scale_give_the_same_proposals(discrete: Space) -> None:
    studies = []
    for change in (lambda v: v, lambda v: math.exp(20 * v)):
        study = optuna.create_study(direction="maximize", sampler=MA2MLSampler(discrete, 0))
        study.optimize(lambda trial, change=change: change(_score(discrete.suggest(trial))), n_trials=25)
        studies.append(study)
    assert _params(studies[0]) == _params(studies[1])


def test_credits_name_the_agent_that_matters(discrete: Space) -> None:
    sampler = MA2MLSampler(discrete, 0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(lambda trial: float(discrete.suggest(trial)["nas"]["width"]), n_trials=40)
    credits = sampler.credits(study)
    assert sorted(credits) == list(range(40))
    spread = {name: np.std([of[name] for of in credits.values()]) for name in ("nas", "hpo")}
    assert spread["nas"] > 5 * spread["hpo"]
    narrow, wide = (
        np.mean([credits[t.number]["nas"] for t in study.trials if t.params["nas.width"] == w]) for w in (0, 2)
    )
    assert narrow < wide
    nas, _ = sampler.policies(study)
    (part,) = discrete.agents["nas"].parts
    widths = part.table[:, part.names.index("width")]
    assert nas.sum() == pytest.approx(1) and nas[widths == 2].sum() > nas[widths == 0].sum()


@pytest.mark.parametrize("most", [4096, 3], ids=["whole", "split"])
def test_credits_of_an_agent_are_zero_on_average_under_its_policy(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Whatever the others did; also where an agent has so many combinations that several policies choose for it."""
    monkeypatch.setattr("backbones.search.agents.MOST_OF_A_PART", most)
    space = Space(a=Agent(p=Choice([0, 1, 2]), q=Ordinal([0, 1])), b=Agent(r=Ordinal([0, 1, 2])))
    assert len(space.parts) == {4096: 2, 3: 3}[most]
    sampler = MA2MLSampler(space, 0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    rewards = np.random.default_rng(0).standard_normal((3, 2, 3))
    study.optimize(
        lambda trial: rewards[tuple(v for of in space.suggest(trial).values() for v in of.values())], n_trials=18
    )
    credits, policies = sampler.credits(study), sampler.policies(study)
    sums = {"a": np.zeros(3), "b": np.zeros(6)}
    for trial in study.trials:
        levels = np.array(space.levels(trial.params))
        chances = {"a": 1.0, "b": 1.0}
        for policy, (agent, part, columns) in zip(policies, space.parts, strict=True):
            chances[agent] *= policy[part.row_of[tuple(levels[columns].tolist())]]
        sums["a"][levels[2]] += chances["a"] * credits[trial.number]["a"]
        sums["b"][2 * levels[0] + levels[1]] += chances["b"] * credits[trial.number]["b"]
    assert np.concatenate(list(sums.values())) == pytest.approx(0, abs=1e-12)
    assert min(np.ptp([of[agent] for of in credits.values()]) for agent in space.agents) > 0.1


# -- Optuna's other ways -----------------------------------------------------------------------------------------


@both
def test_enqueued_trials_are_tried_and_partly_fixed_ones_keep_to_the_limit(
    discrete: Space, make: type[AgentSampler]
) -> None:
    study = optuna.create_study(direction="maximize", sampler=make(discrete, 0))
    default = {"nas": {"operator": "wave", "width": 16, "depth": 2}, "hpo": {"rate": 1e-3, "decay": 0.1}}
    study.enqueue_trial(discrete.stored(default))
    for _ in range(8):
        study.enqueue_trial({"nas.width": 2})
    study.optimize(_objective(discrete), n_trials=9)
    assert discrete.read(study.trials[0].params) == default
    assert all(t.state == TrialState.COMPLETE and t.params["nas.depth"] == 0 for t in study.trials[1:])


def test_what_no_allowed_combination_has_is_refused(discrete: Space) -> None:
    study = optuna.create_study(sampler=MA2MLSampler(discrete, 0))
    study.enqueue_trial({"nas.width": 3, "nas.depth": 2})
    with pytest.raises(
        ValueError, match=r"agent 'nas' that keeps to its limits has \{'nas.width': 3, 'nas.depth': 2\}"
    ):
        study.optimize(_objective(discrete), n_trials=1)


def test_a_fixed_value_out_of_range_is_refused(mixed: Space) -> None:
    study = optuna.create_study(sampler=MA2MLSampler(mixed, 0))
    study.enqueue_trial({"hpo.rate": 7.0})
    with pytest.raises(ValueError, match=r"agent 'hpo' that keeps to its limits has \{'hpo.rate': 7.0\}"):
        study.optimize(lambda trial: mixed.suggest(trial)["hpo"]["rate"], n_trials=1)


@both
def test_ask_and_tell(mixed: Space, make: type[AgentSampler]) -> None:
    study = optuna.create_study(direction="maximize", sampler=make(mixed, 0))
    for number in range(12):
        trial = study.ask()
        values = mixed.suggest(trial)
        assert ("speed" in values["nas"]) == (values["nas"]["operator"] == "wave")
        study.tell(trial, number)
    assert mixed.read(study.best_params)


def test_several_trials_at_once_differ(discrete: Space) -> None:
    study = optuna.create_study(sampler=MA2MLSampler(discrete, 0))
    study.optimize(_objective(discrete), n_trials=10)
    for _ in range(10):
        discrete.suggest(study.ask())
    assert len({tuple(params.items()) for params in _params(study)}) == 20


def test_threads_share_a_sampler(discrete: Space) -> None:
    study = optuna.create_study(sampler=MA2MLSampler(discrete, 0))
    study.optimize(_objective(discrete), n_trials=40, n_jobs=4)
    assert len({tuple(params.items()) for params in _params(study)}) == 40


@pytest.mark.parametrize("pruner", [optuna.pruners.HyperbandPruner(max_resource=3), optuna.pruners.MedianPruner()])
def test_pruners_of_optuna(discrete: Space, pruner: optuna.pruners.BasePruner) -> None:
    def objective(trial: Trial) -> float:
        score = _score(discrete.suggest(trial))
        for step in range(3):
            trial.report(score * (step + 1), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return score

    study = optuna.create_study(direction="maximize", sampler=MA2MLSampler(discrete, 0), pruner=pruner)
    study.optimize(objective, n_trials=30)
    assert {t.state for t in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert study.trials[-1].system_attrs["backbones.search:seen"] == "0-28"


def test_a_database_is_as_good_as_a_journal(tmp_path: Path, discrete: Space) -> None:
    study = optuna.create_study(sampler=MA2MLSampler(discrete, 0), storage=f"sqlite:///{tmp_path}/study.db")
    beside = optuna.create_study(sampler=MA2MLSampler(discrete, 0))
    for each in (study, beside):
        each.optimize(_objective(discrete), n_trials=12)
    assert _params(study) == _params(beside)


def test_other_samplers_search_the_space(mixed: Space) -> None:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(lambda trial: mixed.suggest(trial)["hpo"]["rate"], n_trials=15)
    assert all(mixed.levels(params) is not None for params in _params(study))


def test_policies_without_a_floor_leave_fixed_values_possible() -> None:
    """They can be zero, to the last digit, for all actions that agree with what was enqueued."""
    space = Space(a=Agent(p=Choice([0, 1, 2, 3]), q=Choice(list(range(20)))))
    for sampler in (
        MA2MLSampler(space, 0, floor=0, tau=1, kl=1e-4),
        MA2MLLiteSampler(space, 0, floor=0, learning_rate=1e4),
    ):
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.optimize(lambda trial: float(space.suggest(trial)["a"]["p"]), n_trials=12)
        for p in range(4):
            study.enqueue_trial({"a.p": p})
        study.optimize(lambda trial: float(space.suggest(trial)["a"]["p"]), n_trials=4)
        assert [params["a.p"] for params in _params(study)[12:]] == [0, 1, 2, 3]


def test_a_trial_that_fails_between_two_suggestions_is_not_proposed_again() -> None:
    space = Space(a=Agent(p=Choice([0, 1, 2]), q=Choice([0, 1])))

    def objective(trial: Trial) -> float:
        trial.suggest_categorical("a.p", (0, 1, 2))
        raise RuntimeError

    study = optuna.create_study(sampler=MA2MLSampler(space, 0))
    study.optimize(objective, n_trials=6, catch=(RuntimeError,))
    replay = read_replay(space, study, -1, MA2MLSampler(space).known)
    assert len(replay.numbers) == len(set(map(tuple, replay.levels.tolist()))) == 6


# -- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), "text", None])
def test_an_objective_without_a_number_fails_its_trial_and_loses_nothing(discrete: Space, bad: object) -> None:
    study = optuna.create_study(direction="maximize", sampler=MA2MLSampler(discrete, 0))
    study.optimize(lambda trial: bad if _score(discrete.suggest(trial)) > 0 else 0.0, n_trials=20)
    states = {t.state for t in study.trials}
    assert len(study.trials) == 20 and TrialState.FAIL in states
    assert not {t.number for t in study.trials if t.state == TrialState.FAIL} & {study.best_trial.number}


def test_several_objectives_are_refused(discrete: Space) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=MA2MLSampler(discrete, 0))
    with pytest.raises(ValueError, match="one objective; this one has 2"):
        study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 1.0), n_trials=1)
    with pytest.raises(ValueError, match="one objective"):
        MA2MLSampler(discrete, 0).credits(study)
    with pytest.raises(ValueError, match="one objective"):
        study.ask()
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2


@pytest.mark.parametrize("kind", ["memory", "journal", "database"])
def test_a_study_of_another_space_loses_nothing_and_keeps_no_running_trial(
    tmp_path: Path, discrete: Space, mixed: Space, kind: str
) -> None:
    storage = {
        "memory": optuna.storages.InMemoryStorage,
        "journal": lambda: JournalStorage(JournalFileBackend(str(tmp_path / "journal"))),
        "database": lambda: f"sqlite:///{tmp_path}/study.db",
    }[kind]()
    study = optuna.create_study(study_name="s", storage=storage, sampler=MA2MLSampler(discrete, 0))
    discrete.attach(study)
    other = optuna.load_study(study_name="s", storage=storage, sampler=MA2MLSampler(mixed, 0))
    with pytest.raises(OtherSpace):
        other.ask()
    fixed = discrete.of_levels((0, 1, 1, 2, 0), [0.5] * 5)
    study.enqueue_trial(fixed)
    for _ in range(2):
        with pytest.raises(OtherSpace):
            other.ask()
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    study.optimize(_objective(discrete), n_trials=2)
    assert study.trials[1].params == fixed and study.trials[1].state == TrialState.COMPLETE
    assert [trial.system_attrs["backbones.search:seen"] for trial in study.trials[2:]] == ["1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl": 0}, "kl must be > 0, got 0"),
        ({"tau": 0}, r"tau must be in \(0, 1\]"),
        ({"tau": 1.5}, r"tau must be in \(0, 1\]"),
        ({"floor": 1}, r"floor must be in \[0, 1\)"),
        ({"candidates": 0}, "candidates must be an int >= 1"),
        ({"candidates": 2.5}, "candidates must be an int >= 1, got 2.5"),
        ({"exploration": -1}, "exploration must be >= 0 and finite"),
        ({"startup": -1}, "startup must be an int >= 0"),
        ({"startup": True}, "startup must be an int >= 0, got True"),
        ({"critic": "gp"}, r"critic must be one of \('pairwise', 'mlp'\), got 'gp'"),
        ({"credit": ""}, "credit must be one of"),
        ({"order": "random"}, "order must be one of"),
        ({"seed": -1}, "seed must be None or an int"),
        ({"seed": 0.5}, "seed must be None or an int"),
    ],
)
def test_bad_arguments_are_refused(discrete: Space, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MA2MLSampler(discrete, **{"seed": 0, **options})


def test_bad_arguments_of_the_lite_form(discrete: Space) -> None:
    for rate in (0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"learning_rate must be > 0 and finite, got {rate}"):
            MA2MLLiteSampler(discrete, learning_rate=rate)
    with pytest.raises(ValueError, match="floor"):
        MA2MLLiteSampler(discrete, floor=-0.1)
    with pytest.raises(TypeError, match="space must be a Space"):
        MA2MLLiteSampler({"x": 1})
