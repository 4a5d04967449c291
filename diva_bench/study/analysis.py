"""What the votes of a study show: win rates with intervals and tests, strengths, agreement, and signs of bias.

Ties and "both bad" name no winner. The win rate and the exact binomial test use the decided votes alone; the second
rate counts every other vote as half a win for each side. A vote between k answers is k - 1 comparisons, the chosen one with
each other one.

Sources: Wilson 1927 (interval); the exact binomial test (sign test); Bradley and Terry 1952, as a logistic regression
without intercept on the difference of two systems, with covariance clustered by rater (Liang and Zeger 1986); Krippendorff
2011 (nominal alpha).
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diva_bench.errors import UserError
from diva_bench.stats import FEW_CLUSTERS, paired
from diva_bench.stats.resampling import Interval
from diva_bench.stats.settings import LEVEL
from diva_bench.study.votes import BOTH_BAD, TIE, Vote
from diva_bench.types import Floats

LEAST_SIDE = 8
"""Votes of a rater from which always the same place is a sign: by chance it has p = 2 / 2**8 = 0.008."""


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share in per cent of n votes with its Wilson interval, and the two-sided p-value of the exact test of 50 %."""

    value: float
    interval: Interval
    n: int
    p: float


@dataclass(frozen=True, slots=True)
class Clustered:
    """The same share with an interval and a p-value from resampled raters."""

    interval: Interval
    p: float
    raters: int
    few: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems against each other.

    Attributes:
        first, second: The systems; shares are those of the first.
        votes: All votes on the pair.
        ties, bad: Votes for no system.
        decided: Share of the first among decided votes; None if there are none.
        by_rater: Its interval and test by rater; None: the votes do not tell raters apart.
        half: Share of the first if every undecided vote is half a win for each, in per cent.
        half_by_rater: As `by_rater`.
        items: Number of different items.
        alpha: Krippendorff's alpha of the choices; None: no item has votes of two raters.
        units: Items that two or more raters voted on.
    """

    first: str
    second: str
    votes: int
    ties: int
    bad: int
    decided: Proportion | None
    by_rater: Clustered | None
    half: float
    half_by_rater: Clustered | None
    items: int
    alpha: float | None
    units: int


@dataclass(frozen=True, slots=True)
class Strength:
    """The Bradley-Terry strength of a system: log-odds against the mean of all systems."""

    system: str
    value: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Rater:
    """A rater in numbers, and why the votes should be looked at ("" if nothing is wrong)."""

    rater: str
    votes: int
    failed: int
    checks: int
    first: float | None
    seconds: float | None
    flag: str


# ---------------------------------------------------------------- shares


def proportion(wins: int, n: int) -> Proportion:
    """A share with its Wilson interval and exact test. `n` is at least 1."""
    from scipy.stats import binomtest

    result = binomtest(wins, n)
    low, high = result.proportion_ci(LEVEL, method="wilson")
    return Proportion(100 * wins / n, Interval(100 * float(low), 100 * float(high)), n, float(result.pvalue))


def compare(votes: Sequence[Vote]) -> list[Comparison]:
    """Every pair of systems that has votes, sorted. `votes`: of people, without attention checks."""
    pairs: dict[tuple[str, str], list[Vote]] = defaultdict(list)
    for vote in votes:
        for pair in itertools.combinations(vote.systems, 2):
            if not vote.decided or vote.choice in pair:
                pairs[pair].append(vote)
    return [_comparison(*pair, pairs[pair]) for pair in sorted(pairs)]


def _comparison(first: str, second: str, votes: Sequence[Vote]) -> Comparison:
    choices = Counter(vote.choice for vote in votes)
    wins, losses = choices[first], choices[second]
    undecided = len(votes) - wins - losses
    if wins < losses:  # shares are those of the winner
        first, second, wins, losses = second, first, losses, wins
    decided = [vote for vote in votes if vote.decided]
    alpha, units = agreement(votes)
    return Comparison(
        first, second, len(votes), choices[TIE], choices[BOTH_BAD],
        proportion(wins, wins + losses) if decided else None,
        clustered(decided, first), 100 * (wins + undecided / 2) / len(votes), clustered(votes, first),
        len({vote.item for vote in votes}), alpha, units,
    )  # fmt: skip


def clustered(votes: Sequence[Vote], first: str) -> Clustered | None:
    """Interval and test of the share of `first` by resampled raters; None if a vote has no rater, or all are of one.

    The difference of the shares of wins and losses is a paired difference, and the share is 50 + half of it.
    """
    raters = [vote.rater for vote in votes if vote.rater is not None]
    if len(raters) < len(votes) or len(set(raters)) < 2:
        return None
    ours = [{"votes": 1.0, "won": float(vote.choice == first)} for vote in votes]
    theirs = [{"votes": 1.0, "won": float(vote.decided and vote.choice != first)} for vote in votes]
    found = paired(ours, theirs, raters, _share)["share"]
    ends = Interval(50 + found.low / 2, 50 + found.high / 2)
    return Clustered(ends, found.p, found.clusters, found.clusters < FEW_CLUSTERS)


def _share(sums: Mapping[str, Floats]) -> dict[str, Floats]:
    return {"share": 100 * sums["won"] / sums["votes"]}


# ---------------------------------------------------------------- strengths


def bradley_terry(votes: Sequence[Vote]) -> list[Strength]:
    """The strength of every system, the strongest first. Undecided votes are half a win for each.

    statsmodels fits it: a maintained library whose covariance can be clustered by rater, which the packages for
    Bradley-Terry models alone do not offer. Votes without raters are clusters of their own.

    Raises:
        UserError: statsmodels is not installed, or there is no finite estimate, because some systems never lost to
            the others.
    """
    rows, wins, groups = [], [], []
    systems = sorted({system for vote in votes for system in vote.systems})
    for number, vote in enumerate(votes):
        for pair in itertools.combinations(vote.systems, 2):
            if vote.decided and vote.choice not in pair:
                continue
            rows.append([(system == pair[0]) - (system == pair[1]) for system in systems])
            wins.append(0.5 if not vote.decided else float(vote.choice == pair[0]))
            groups.append(vote.rater or f"vote {number}")
    _check_connected(systems, np.array(rows, dtype=np.float64), np.array(wins))
    statsmodels = _wanted("statsmodels.api", "the strengths of more than two systems")
    design = np.array(rows, dtype=np.float64)[:, :-1]  # the last system has strength 0, until the mean is taken off
    codes = np.unique(groups, return_inverse=True)[1]
    model = statsmodels.GLM(np.array(wins), design, family=statsmodels.families.Binomial())
    fit = model.fit(cov_type="cluster", cov_kwds={"groups": codes})
    count = len(systems)
    centre = (np.eye(count) - 1 / count)[:, :-1]
    values = centre @ np.asarray(fit.params)
    errors = np.sqrt(np.diag(centre @ np.asarray(fit.cov_params()) @ centre.T))
    z = statistics.NormalDist().inv_cdf((1 + LEVEL) / 2)
    found = [
        Strength(system, float(value), Interval(float(value - z * error), float(value + z * error)))
        for system, value, error in zip(systems, values, errors, strict=True)
    ]
    return sorted(found, key=lambda strength: -strength.value)


def _check_connected(systems: Sequence[str], rows: Floats, wins: Floats) -> None:
    """Ford 1957: the estimate is finite if every system can be reached from every other one along wins."""
    from scipy.sparse.csgraph import connected_components

    beats = np.zeros((len(systems), len(systems)))
    for row, win in zip(rows, wins, strict=True):
        left, right = int(row.argmax()), int(row.argmin())
        beats[left, right] += win
        beats[right, left] += 1 - win
    count, member = connected_components(beats, directed=True, connection="strong")
    if count > 1:
        alone = [system for system, group in zip(systems, member, strict=True) if group == member[0]]
        raise UserError(
            f"Bradley-Terry strengths cannot be estimated: between {', '.join(alone)} and the other systems, one side won every "
            "vote, or there are no votes. Collect more votes."
        )


def _wanted(module: str, what: str) -> Any:
    """A library of the extra. Raises UserError if it is not installed."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as err:
        raise UserError(
            f"{what} need the package {module.partition('.')[0]}: pip install 'diva-bench[study]'."
        ) from err


# ---------------------------------------------------------------- agreement and bias


def agreement(votes: Sequence[Vote]) -> tuple[float | None, int]:
    """(Krippendorff's nominal alpha of the choices on the same item, items with two or more raters)."""
    of_item: dict[str, dict[str, str]] = defaultdict(dict)
    for vote in votes:
        if vote.rater is not None:
            of_item[vote.item][vote.rater] = vote.choice
    units = [choices for choices in of_item.values() if len(choices) > 1]
    values = sorted({choice for choices in units for choice in choices.values()})
    if len(values) < 2:  # with one value there is no disagreement to expect, and alpha is not defined
        return None, len(units)
    counts = [[sum(choice == value for choice in unit.values()) for value in values] for unit in units]
    library = _wanted("krippendorff", "agreement of raters")
    return float(library.alpha(value_counts=np.array(counts), level_of_measurement="nominal")), len(units)


def first_place(votes: Sequence[Vote]) -> Proportion | None:
    """Share of decided votes for the answer that stood first, of votes between two answers with a known order."""
    known = [vote for vote in votes if vote.decided and vote.shown is not None and len(vote.shown) == 2]
    return proportion(sum(vote.choice == vote.shown[0] for vote in known if vote.shown), len(known)) if known else None


def longer(votes: Sequence[Vote], answers: Mapping[tuple[str, str], str]) -> Proportion | None:
    """Share of decided votes for the answer with more words, of votes between two answers of different lengths."""
    chosen = []
    for vote in votes:
        if vote.decided and len(vote.systems) == 2:
            texts = {system: answers.get((vote.item, system)) for system in vote.systems}
            words = {system: len(text.split()) for system, text in texts.items() if text is not None}
            if len(set(words.values())) == 2:
                chosen.append(vote.choice == max(words, key=lambda system: words[system]))
    return proportion(sum(chosen), len(chosen)) if chosen else None


def raters(votes: Sequence[Vote]) -> list[Rater]:
    """All raters in numbers, flagged ones first. `votes`: of people, with attention checks."""
    of_rater: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        if vote.rater is not None:
            of_rater[vote.rater].append(vote)
    found = [_rater(name, mine) for name, mine in of_rater.items()]
    return sorted(found, key=lambda rater: (not rater.flag, rater.rater))


def _rater(name: str, votes: Sequence[Vote]) -> Rater:
    checks = [vote for vote in votes if vote.expected is not None]
    failed = sum(vote.choice != vote.expected for vote in checks)
    real = [vote for vote in votes if vote.expected is None]
    places = [vote.shown.index(vote.choice) for vote in real if vote.decided and vote.shown is not None]
    times = [seconds for vote in real if (seconds := vote.seconds) is not None]
    flags = [f"failed {failed} of {len(checks)} attention checks"] if failed else []
    if len(places) >= LEAST_SIDE and len(set(places)) == 1:
        flags.append(f"chose place {places[0] + 1} in all {len(places)} decided votes")
    return Rater(
        name,
        len(real),
        failed,
        len(checks),
        100 * sum(place == 0 for place in places) / len(places) if places else None,
        statistics.median(times) if times else None,
        "; ".join(flags),
    )


@dataclass(frozen=True, slots=True)
class Simulated:
    """A scorer or LLM judge beside the people.

    Attributes:
        name: Of the scorer or judge.
        votes: All of its votes.
        ties: Those for no system.
        same: Share of its choices that are the most common choice of the people, of items with one most common choice.
    """

    name: str
    votes: int
    ties: int
    same: Proportion | None


def simulated(votes: Sequence[Vote], people: Sequence[Vote]) -> list[Simulated]:
    """How every simulated rater agrees with the people."""
    choices: dict[tuple[str, tuple[str, ...]], Counter[str]] = defaultdict(Counter)
    for vote in people:
        choices[vote.item, vote.systems][vote.choice] += 1
    found = []
    for name in sorted({vote.simulated for vote in votes if vote.simulated}):
        mine = [vote for vote in votes if vote.simulated == name and vote.expected is None]
        same = []
        for vote in mine:
            best = choices[vote.item, vote.systems].most_common(2)
            if best and (len(best) == 1 or best[0][1] > best[1][1]):
                same.append(vote.choice == best[0][0])
        found.append(
            Simulated(
                name, len(mine), sum(not v.decided for v in mine), proportion(sum(same), len(same)) if same else None
            )
        )
    return found
