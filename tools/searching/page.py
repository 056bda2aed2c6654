"""What a search found, as text and as a page."""

from __future__ import annotations

import html
import itertools
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from optuna.trial import FrozenTrial, TrialState
from reports import pages
from reports.tables import html as html_table
from scipy import stats

from backbones.search import MA2MLSampler
from backbones.search.critic import PairwiseCritic
from backbones.search.replay import REPLACED, Known, Replay, read_replay
from searching.finals import winner
from searching.study import Search

STYLE = "body{font:16px sans-serif;max-width:60em;margin:2em auto}td,th{padding:.2em .8em}img{width:100%}"


def status(search: Search) -> str:
    """How far a search is, in a few lines."""
    trials = search.study.get_trials(deepcopy=False)
    counted = [t for t in trials if REPLACED not in t.system_attrs]
    states = Counter(t.state.name.lower() for t in counted)
    lines = [
        f"{search.folder}: {search.used(trials)} of {search.settings.searched} trials of the search begun: "
        + ", ".join(f"{n} {state}" for state, n in sorted(states.items())),
    ]
    replaced = Counter(t.user_attrs.get("reason", "stopped") for t in trials if REPLACED in t.system_attrs)
    lines += [f"not counted, {n} trial{'s' * (n > 1)}: {reason}" for reason, n in replaced.most_common(5)]
    lines += [f"trial {t.number} failed: {t.user_attrs.get('reason', 'no reason was kept')}" for t in failed(counted)]
    if best := search.complete()[:1]:
        lines.append(f"best so far: trial {best[0].number} with {best[0].value:.2f}, {_told(search, best[0])}")
    if default := _default(search):
        lines.append(f"default recipe: {default.value:.2f}")
    for path in sorted((*search.folder.glob("finals/*.json"), *search.folder.glob("tests/*.json"))):
        if "error" in (row := json.loads(path.read_text())):
            lines.append(f"{path.parent.name}/{path.stem} failed: {row['error']}")
    if (search.folder / "winner.json").exists():
        lines.append(f"winner: trial {json.loads((search.folder / 'winner.json').read_text())['trial']}, frozen")
    return "\n".join(lines)


def failed(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [t for t in trials if t.state == TrialState.FAIL]


def report(search: Search, tests: Mapping[str, Sequence[Mapping[str, float]]] | None) -> str:
    """The page."""
    parts = [f"<p>{html.escape(line)}</p>" for line in status(search).splitlines()]
    parts.append("<p>After MA2ML, reconstructed: nothing here is from the paper's own code or tables.</p>")
    if (chosen := winner(search)) is not None:
        parts += ["<h2>Winner</h2>", _changes(search, chosen["values"]), "<h2>Finalists</h2>", _finalists(chosen)]
    if tests:
        parts += ["<h2>Test</h2>", *_tests(tests, chosen or {})]
    replay = read_replay(search.space, search.study, -1, Known())
    if len(replay.numbers) >= 4:
        parts += [
            *_costs(search, chosen),
            "<h2>Course</h2>",
            _course(search),
            _agents(search, replay),
            *_interactions(search, replay),
        ]
    return pages.page(f"Search in {search.folder.name}", STYLE, parts)


def _told(search: Search, trial: FrozenTrial) -> str:
    values = search.space.read(trial.params)
    return "; ".join(f"{agent} " + ", ".join(f"{k}={_short(v)}" for k, v in of.items()) for agent, of in values.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else repr(value)


def _default(search: Search) -> FrozenTrial | None:
    return next((t for t in search.complete() if t.user_attrs.get("default")), None)


def _changes(search: Search, values: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for agent, of in values.items():
        for key in {**search.task.default[agent], **of}:
            before, after = search.task.default[agent].get(key, "-"), of.get(key, "-")
            rows.append([agent, key, _short(before), _short(after), "" if before == after else "changed"])
    return html_table(["agent", "parameter", "default", "winner", ""], rows)


def _finalists(chosen: Mapping[str, Any]) -> str:
    rows = []
    for row in sorted(chosen["finalists"], key=lambda row: -statistics.mean(row["scores"])):
        mean = statistics.mean(row["scores"])
        failed = len(row.get("failed", ()))
        rows.append([row["trial"], f"{row['search_score']:.2f}", f"{mean:.2f} {_interval(row['scores'])}", failed])
    return html_table(["trial", "in the search", "mean of new seeds, 95 % interval", "failed"], rows)


def _interval(values: Sequence[float]) -> str:
    if len(values) < 2:
        return ""
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"± {half:.2f}"


def _tests(tests: Mapping[str, Sequence[Mapping[str, float]]], chosen: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, measured in tests.items():
        test, validation = ([row[key] for row in measured] for key in ("test", "validation"))
        rows.append([name, *(f"{statistics.mean(v):.2f} {_interval(v)}" for v in (validation, test))])
    optimism = chosen["search_score"] - statistics.mean(row["test"] for row in tests["winner"])
    return [
        html_table(["", "validation", "test"], rows),
        f"<p>Optimism, the winner's score in the search minus its test: {optimism:+.2f}.</p>",
    ]


def _course(search: Search) -> str:
    trials = [t for t in search.study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
    axes.plot([t.number for t in trials], [t.value for t in trials], "o", ms=3)
    axes.step([t.number for t in trials], np.maximum.accumulate([t.value for t in trials]), where="post")
    if (default := _default(search)) is not None:
        axes.axhline(default.value, ls=":", c="grey")
    axes.set(xlabel="trial", ylabel="validation")
    return pages.picture(figure, "Scores of the trials, the best so far, and dotted the default recipe.")


def front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Pareto's: which ones cost less than all that score as much or more, from the cheapest on.

    Example:
        >>> front([3, 1, 2, 2], [70, 50, 50, 60])
        [1, 3, 0]
    """
    found: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -scores[i])):
        if not found or scores[i] > scores[found[-1]]:
            found.append(i)
    return found


def _costs(search: Search, chosen: Mapping[str, Any] | None) -> list[str]:
    """Scores against what the space limits, multiply-accumulates for one; nothing where it limits nothing."""
    limited = [(name, limit) for name, agent in search.space.agents.items() for limit in agent.limits]
    if not limited:
        return []
    name, limit = limited[0]
    trials = sorted(search.complete(), key=lambda trial: trial.number)
    costs = [limit.of_values(search.space.read(trial.params)[name]) for trial in trials]
    scores = [trial.value for trial in trials]
    best = front(costs, scores)
    figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
    axes.plot(costs, scores, "o", ms=3, c="grey")
    axes.step([costs[i] for i in best], [scores[i] for i in best], "o-", ms=3, where="post", label="front")
    marked = {"default": _default(search), "winner": None}
    if chosen is not None:
        marked["winner"] = next(trial for trial in trials if trial.number == chosen["trial"])
    for (label, trial), marker in zip(marked.items(), "s*", strict=True):
        if trial is not None:
            i = trials.index(trial)
            axes.plot(costs[i], scores[i], marker, ms=12, mfc="none", c="C3", label=f"{label}, trial {trial.number}")
    axes.set(xlabel=limit.of, ylabel="validation")
    axes.legend()
    caption = f"Scores of all complete trials against {limit.of}: nothing below the front is cheaper and as good."
    rows = [[trials[i].number, f"{costs[i]:,.0f}", f"{scores[i]:.2f}", _told(search, trials[i])] for i in best]
    return [
        f"<h2>Scores against {html.escape(limit.of)}</h2>",
        pages.picture(figure, caption),
        html_table(["trial", limit.of, "validation", ""], rows),
    ]


def _agents(search: Search, replay: Replay) -> str:
    """Credits and entropies by a default sampler, whatever sampler the search had."""
    sampler = MA2MLSampler(search.space, search.settings.seed)
    credits = sampler.credits(search.study)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for name in search.space.agents:
        left.plot(list(credits), [of[name] for of in credits.values()], "o-", ms=3, lw=0.5, label=name)
    left.set(xlabel="trial", ylabel="credit")
    left.legend()
    counts = np.unique(np.linspace(1, len(replay.numbers), 12, dtype=int))
    acting = [sampler.policies(search.study, int(count)) for count in counts]
    for k, (agent, part, _) in enumerate(search.space.parts):
        entropies = [-float(p[k] @ np.log(p[k])) / max(np.log(len(part.table)), 1e-9) for p in acting]
        right.plot([replay.numbers[n - 1] for n in counts], entropies, "o-", ms=3, label=agent)
    right.set(xlabel="trial", ylabel="entropy, share of the largest", ylim=(0, 1.05))
    return pages.picture(
        figure, "What each agent contributed to each trial, by the critic of now, and its policy's entropy."
    )


def _interactions(search: Search, replay: Replay) -> list[str]:
    names = list(search.space.parameters)
    critic = PairwiseCritic(search.space, replay.levels, replay.scores)
    sizes = [p.levels + 1 for p in search.space.parameters.values()]
    strength = np.zeros((len(names), len(names)))
    for i, j in itertools.combinations(range(len(names)), 2):
        a, b = critic.offsets[i], critic.offsets[j]
        block = critic.pairs[a : a + sizes[i] - 1, b : b + sizes[j] - 1]
        block = block - block.mean(0) - block.mean(1, keepdims=True) + block.mean()
        strength[i, j] = strength[j, i] = block.std()
    figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
    axes.imshow(strength, cmap="magma")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    folds = np.arange(len(replay.numbers)) % 5
    predicted = np.zeros(len(folds))
    for fold in np.unique(folds):
        learnt = folds != fold
        of_fold = PairwiseCritic(search.space, replay.levels[learnt], replay.scores[learnt])
        predicted[~learnt] = of_fold.mean_and_deviation(replay.levels[~learnt])[0]
    trust = stats.spearmanr(predicted, replay.scores).statistic
    caption = f"Interactions that the critic sees. Its rank correlation with trials held out, five-fold: {trust:.2f}."
    return [pages.picture(figure, caption)]
