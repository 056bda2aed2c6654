"""The space: what it reads and stores, its conditions, its limits and what is refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from backbones import SpectralNet, heat_operator
from backbones.search import (
    Agent,
    Choice,
    Float,
    Infeasible,
    IntRange,
    Limit,
    LogFloat,
    MA2MLSampler,
    Ordinal,
    OtherSpace,
    Space,
    network_macs,
    network_parameters,
)
from backbones.search.parameters import Parameter

PARAMETERS = [
    Choice(["a", None, 2.5, 3, True]),
    Ordinal([8, 16, 64]),
    IntRange(3, 12, step=4),
    Float(-1.0, 2.0, bins=7),
    LogFloat(1e-5, 1.0, bins=5),
]


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: type(p).__name__)
def test_levels_values_and_what_is_stored_invert_each_other(parameter: Parameter) -> None:
    for level, share in itertools.product(range(parameter.levels), (0.0, 0.3, 0.999)):
        stored = parameter.stored(level, share)
        assert parameter.distribution._contains(parameter.distribution.to_internal_repr(stored))
        assert parameter.to_stored(parameter.value(stored)) == stored
        if share > 0:  # the lower end of an interval may round into the one below
            assert parameter.level(stored) == level


@given(st.floats(1e-5, 1.0))
def test_intervals_of_a_log_float_are_equal_in_the_logarithm(value: float) -> None:
    level = LogFloat(1e-5, 1.0, bins=5).level(value)
    assert 10.0 ** (level - 5) * (1 - 1e-9) <= value <= 10.0 ** (level - 4) * (1 + 1e-9)


def test_conditions_leave_inactive_parameters_out(mixed: Space) -> None:
    assert mixed.agents["nas"].combinations == 4
    assert mixed.suggest(optuna.trial.FixedTrial({"nas.operator": "heat", "hpo.rate": 0.01})) == {
        "nas": {"operator": "heat"},
        "hpo": {"rate": 0.01},
    }
    assert mixed.stored({"nas": {"operator": "wave", "speed": 2.0}, "hpo": {"rate": 0.01}}) == {
        "nas.operator": "wave",
        "nas.speed": 2,
        "hpo.rate": 0.01,
    }
    with pytest.raises(ValueError, match=r"nas\.speed is not active"):
        mixed.stored({"nas": {"operator": "heat", "speed": 2.0}, "hpo": {"rate": 0.01}})


def test_a_condition_on_an_inactive_parameter_does_not_hold() -> None:
    agent = Agent(
        a=Choice([0, 1]), b=Choice([0, 1], when={"a": 1}), c=Choice([0, 1], when={"b": [0, 1]}), d=Choice(["only"])
    )
    assert sorted(map(tuple, agent.parts[0].table.tolist())) == [
        (0, 2, 2, 0),
        *((1, b, c, 0) for b in (0, 1) for c in (0, 1)),
    ]


def test_limits_mask_exactly(discrete: Space) -> None:
    allowed = {(o, w, d) for o in "hw" for w in (8, 16, 32, 64) for d in (1, 2, 3) if w * d <= 50}
    (part,) = discrete.agents["nas"].parts
    found = {(o[0], w, d) for o, w, d in (discrete.agents["nas"].values_of(part.names, r).values() for r in part.table)}
    assert found == allowed
    with pytest.raises(Infeasible, match="128 cells, allowed are at most 50"):
        discrete.stored({"nas": {"operator": "heat", "width": 64, "depth": 2}, "hpo": {"rate": 1e-3, "decay": 0.0}})


def test_a_proposal_of_a_sampler_without_limits_is_refused(discrete: Space) -> None:
    fixed = {"nas.operator": "heat", "nas.width": 3, "nas.depth": 2, "hpo.rate": 0, "hpo.decay": 0}
    with pytest.raises(Infeasible, match="192 cells"):
        discrete.suggest(optuna.trial.FixedTrial(fixed))


def test_an_empty_feasible_set_says_what_is_cheapest_and_by_how_much_it_misses() -> None:
    limit = Limit(lambda v: 10 * v["width"] + v["depth"], at_most=75, of="MACs")
    message = r"limit of at most 75 MACs: the cheapest, \{'width': 8, 'depth': 1\}, has 81, which misses it by 6$"
    with pytest.raises(Infeasible, match=message):
        Agent(width=Ordinal([16, 8]), depth=Ordinal([1, 2]), limits=limit)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ([(math.inf, 100)], r"no combination keeps to the limit of at least 100 MACs: the nearest, .* 60, .* by 40$"),
        ([(51, 40)], r"limit of 40 to 51 MACs: the nearest, \{'a': 60\}, has 60, which misses it by 9$"),
        ([(50, 5), (5, 0)], r"no combination of the 1 that keep to the limits before it .* 0 to 5 MACs: the cheapest"),
    ],
    ids=["at least", "gap", "two"],
)
def test_what_is_nearest_is_cheapest_only_where_it_is(bounds: list[tuple[float, float]], message: str) -> None:
    limits = [Limit(lambda v: v["a"], at_most, "MACs", at_least) for at_most, at_least in bounds]
    with pytest.raises(Infeasible, match=message):
        Agent(a=Ordinal([10, 60]), limits=limits)


def test_numbers_of_numpy_are_numbers(discrete: Space) -> None:
    one, two = np.int64(1), np.float32(2)
    plain = Space(
        a=Agent(c=Choice([1, True + 1]), o=Ordinal([1, 2.0]), i=IntRange(1, 3), limits=Limit(lambda v: v["i"], 2)),
        b=Agent(f=Float(1, 2, bins=3), w=Choice([0])),
    )
    same = Space(
        a=Agent(
            c=Choice(np.array([1, 2])),
            o=Ordinal([one, two]),
            i=IntRange(one, np.int8(3), step=one),
            limits=Limit(lambda v: np.int64(v["i"]), np.int32(2)),
        ),
        b=Agent(f=Float(one, two, bins=np.int64(3)), w=Choice([np.int16(0)])),
    )
    assert same.digest == plain.digest and same.combinations == 8 * 3
    values = {"a": {"c": one, "o": two, "i": one}, "b": {"f": np.float32(1.5), "w": 0}}
    stored = same.stored(values)
    assert stored == {"a.c": 1, "a.o": 1, "a.i": 1, "b.f": 1.5, "b.w": 0}
    assert not any(isinstance(value, np.generic) for value in stored.values())
    assert MA2MLSampler(discrete, np.int64(3)).seed == 3


def test_limits_of_networks_are_counted_without_computing() -> None:
    def build(values: dict[str, int]) -> SpectralNet:
        net = SpectralNet(heat_operator, dims=(values["width"],), depths=(values["depth"],), img_size=32, device="meta")
        return net.eval()

    def macs(values: dict[str, int]) -> int:
        return network_macs(build(values), 32)

    agent = Agent(width=Ordinal([8, 16]), depth=Ordinal([1, 2]), limits=Limit(macs, 10**9, "MACs"))
    one, two = (macs({"width": 8, "depth": depth}) for depth in (1, 2))
    assert agent.combinations == 4 and two > one
    # A linear layer of n x m has n m multiply-accumulates for each row.
    assert network_macs(nn.Sequential(nn.Flatten(), nn.Linear(12, 5, device="meta")), 2) == 60
    assert network_parameters(nn.Linear(12, 5, device="meta")) == 65
    assert all(p.device == torch.device("meta") for p in build({"width": 8, "depth": 1}).parameters())


def test_agents_with_many_combinations_are_split_and_conditions_stay_together() -> None:
    agent = Agent(
        **{f"p{i}": Float(0, 1, bins=10) for i in range(5)}, c=Choice([0, 1]), d=Float(0, 1, bins=30, when={"c": 1})
    )
    assert [part.names for part in agent.parts] == [("p0", "p1", "p2"), ("p3", "p4", "c"), ("d",)] or all(
        ("c" in part.names) == ("d" in part.names) for part in agent.parts
    )
    assert agent.combinations == 10**5 * 31
    assert max(len(part.table) for part in agent.parts) <= 4096


def test_every_level_of_a_drawn_combination_is_read_back(mixed: Space) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        levels = mixed.draw(rng)
        assert mixed.levels(mixed.of_levels(levels, rng.random(3).tolist())) == levels


def test_incomplete_and_foreign_trials_have_no_levels(discrete: Space) -> None:
    full = discrete.of_levels((0, 1, 1, 2, 0), [0.5] * 5)
    assert discrete.levels(full) == (0, 1, 1, 2, 0)
    assert discrete.levels({**full, "hpo.rate": 7}) is None
    assert discrete.levels({**full, "nas.width": 3}) is None  # exceeds the limit
    for foreign in (math.inf, math.nan, 1.5, "1", True, None):
        assert discrete.levels({**full, "nas.width": foreign}) is None
    assert discrete.levels({k: v for k, v in full.items() if k != "hpo.rate"}) is None


# -- studies of another space ------------------------------------------------------------------------------------


def test_a_study_is_continued_in_the_same_space_alone(discrete: Space, mixed: Space) -> None:
    study = optuna.create_study(sampler=MA2MLSampler(discrete, 0))
    study.ask()
    discrete.attach(study)
    with pytest.raises(OtherSpace, match=r"(?s)another space.*nas\.parameters\.speed: nothing -> "):
        mixed.attach(study)
    study.sampler = MA2MLSampler(mixed, 0)
    with pytest.raises(OtherSpace, match=r"hpo\.parameters\.rate\.type: \"Ordinal\" -> \"LogFloat\""):
        study.ask()


def test_a_limit_that_allows_as_many_others_is_another() -> None:
    study = optuna.create_study()
    for cost in (lambda v: v["a"], lambda v: v["a"]):
        Space(x=Agent(a=Ordinal([1, 2, 3]), limits=Limit(cost, 2))).attach(study)
    with pytest.raises(OtherSpace, match=r"x\.allowed: \"2 combinations, sha256 .* -> \"2 combinations, sha256 "):
        Space(x=Agent(a=Ordinal([1, 2, 3]), limits=Limit(lambda v: 4 - v["a"], 2))).attach(study)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (Agent(a=Ordinal([1, 2, 4]), b=Choice([1, 2])), r"x\.parameters\.a\.choices: \[1, 2, 3\] -> \[1, 2, 4\]"),
        (Agent(b=Choice([1, 2]), a=Ordinal([1, 2, 3])), r"order \['a', 'b'\] -> \['b', 'a'\]"),
        (Agent(a=Ordinal([1, 2, 3]), b=Choice([1, 2]), limits=Limit(lambda v: 0, 1)), r"x\.allowed: nothing -> \"6 "),
        (Agent(a=Ordinal([1, 2, 3]), b=Choice([1, True + 1.0])), r"\[1, 2\] -> \[1, 2\.0\]"),
    ],
    ids=["choices", "order", "limit", "type"],
)
def test_every_change_of_a_space_is_found_and_named(change: Agent, line: str) -> None:
    study = optuna.create_study()
    space = Space(x=Agent(a=Ordinal([1, 2, 3]), b=Choice([1, 2])))
    space.attach(study)
    assert Space(x=change).digest != space.digest
    with pytest.raises(OtherSpace, match=line):
        Space(x=change).attach(study)


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Choice([]), ValueError, "must not be empty"),
        (lambda: Choice(["a", "a"]), ValueError, "'a' twice"),
        (lambda: Choice([1, True]), ValueError, "must differ"),
        (lambda: Choice("abc"), TypeError, "must be a sequence, got 'abc'"),
        (lambda: Choice([(1, 2)]), TypeError, r"got \(1, 2\)"),
        (lambda: Ordinal([1.0, float("nan")]), ValueError, "finite, got nan"),
        (lambda: IntRange(3, 2), ValueError, "low=3, high=2"),
        (lambda: IntRange(3, 5, step=0), ValueError, "step=0"),
        (lambda: Float(1, 1), ValueError, "low must be below high"),
        (lambda: Float(0, float("inf")), ValueError, "high must be a finite number, got inf"),
        (lambda: LogFloat(0, 1), ValueError, "low must be above 0"),
        (lambda: Float(0, 1, bins=0), ValueError, "bins"),
        (lambda: Choice([1], when=["a"]), TypeError, "when must map"),
        (lambda: Choice([1], when={"a": []}), ValueError, "never active"),
        (lambda: Agent(), ValueError, "at least one parameter"),
        (lambda: Agent(a=3), TypeError, "a must be a Choice"),
        (
            lambda: Agent(a=Choice([1], when={"b": 1}), b=Choice([1])),
            ValueError,
            "a is active by 'b', which must stand",
        ),
        (lambda: Agent(b=Choice([1]), a=Choice([1], when={"b": 2})), ValueError, r"b=2, but it must be one of \[1\]"),
        (lambda: Agent(a=Float(0, 1), limits=Limit(lambda v: 0, 1)), ValueError, "a has any number of values"),
        (lambda: Agent(a=Choice([1]), limits=3), TypeError, "limits"),
        (lambda: Agent(a=Choice([1]), limits=Limit(lambda v: None, 1, "MACs")), ValueError, "MACs returned None"),
        (lambda: Agent(a=Choice([1]), limits=[7]), TypeError, r"got \[7\]"),
        (lambda: Limit(3, 1), TypeError, "cost must be a function"),
        (lambda: Limit(len, float("nan")), ValueError, "at_most must be a number"),
        (lambda: Limit(len, 1, at_least=2), ValueError, "at_least must not be above at_most, got 2 and 1"),
        (lambda: Float(-1.7e308, 1.7e308), ValueError, "high - low must be finite"),
        (lambda: LogFloat(1e-300, 1e300), ValueError, "high / low must be finite"),
        (lambda: Float(0, 1, bins=True), ValueError, "bins must be an int of at least 1, got True"),
        (lambda: Choice(np.eye(2)), TypeError, r"choices must be strings.*got \[1.0, 0.0\]"),
        (lambda: Agent(a=IntRange(16, 4096)), ValueError, "a has 4,081 levels, more than 1,000: give it a larger step"),
        (
            lambda: Agent(
                a=Choice([0, 1]), b=Choice([0, 1], when={"a": 0}), c=Choice([0, 1], when={"a": 1, "b": [0, 1]})
            ),
            ValueError,
            r"c is never active: its conditions \{'a': \(1,\), 'b': \(0, 1\)\} cannot all hold",
        ),
        (
            lambda: Space(**{"a": Agent(**{"b.c": Choice([1])}), "a.b": Agent(c=Choice([2]))}),
            ValueError,
            "an agent's name must have no dot, got 'a.b'",
        ),
        (lambda: network_macs(nn.Linear(12, 5), 2), ValueError, "meta device, .* got one on cpu"),
        (lambda: Space(x=Agent(a=Choice([1]))).stored({"x": 3}), TypeError, "a dict of dicts, got {'x': 3}"),
        (lambda: Agent(**{f"p{i}": IntRange(1, 9) for i in range(6)}, limits=Limit(len, 1)), ValueError, "531,441"),
        (lambda: Space(), ValueError, "at least one agent"),
        (lambda: Space(x=Choice([1])), TypeError, "x must be an Agent"),
        (lambda: Space(x=Agent(a=Choice([1]))).stored({"y": {}}), ValueError, "no agent 'y'"),
        (lambda: Space(x=Agent(a=Choice([1]))).stored({"x": {"b": 1}}), ValueError, "has no 'b'"),
        (lambda: Space(x=Agent(a=Choice([1]))).stored({"x": {"a": 2}}), ValueError, r"x\.a must be one of \[1\]"),
        (lambda: Space(x=Agent(a=Choice([1]))).stored({}), ValueError, r"x\.a is missing"),
    ],
)
def test_bad_declarations_are_refused(make: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
