"""Tests: several systems on the same samples, McNemar, jackknife, ranks, gaps between groups.

All functions are for scores of sums, as in resampling.py: a corpus metric is computed from every sum.
Shapes: N answers, C clusters, K statistics, B resamples or trials, S systems.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import scipy  # its parts load when they are used; scipy.stats, which has the same tests, takes half a second to load

from diva_bench.stats.differences import ALIKE, Difference, cautious, own, two_sided
from diva_bench.stats.resampling import (
    Estimate,
    Interval,
    Reduce,
    cluster_sums,
    in_portions,
    interval,
    resampled,
    row_by_row,
    side_by_side,
    stack,
    total,
    unstack,
)
from diva_bench.stats.settings import LEVEL, RESAMPLES, SEED
from diva_bench.types import Floats, Row

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_DIGITS = 9  # as in resampling.py

# ---------------------------------------------------------------- several systems with the same resamples


@dataclass(frozen=True, slots=True)
class Lineup:
    """S systems on the samples for which all have statistics, with the same resamples, and the metrics that all have.

    Attributes:
        point: Metric -> (S,).
        drawn: Metric -> (S, B).
    """

    point: Mapping[str, Floats]
    drawn: Mapping[str, Floats]
    n: int
    clusters: int
    rows: Sequence[Sequence[Row]]
    names: Sequence[str]
    reduce: Reduce
    """`rows`: of every system. `names`: the cluster of each sample."""

    def score(self, metric: str, system: int) -> Estimate:
        value = float(self.point[metric][system])
        return Estimate(value, interval(self.drawn[metric][system]), self.n, self.clusters)

    def difference(self, metric: str, first: int, second: int) -> Difference:
        """Score of `first` minus score of `second`, as `stats.paired`."""
        draws = self.drawn[metric][first] - self.drawn[metric][second]
        value = float(self.point[metric][first] - self.point[metric][second])
        ps = {metric: two_sided(draws)}
        p = cautious(ps, self.rows[first], self.rows[second], self.names, self.reduce)[metric]
        return Difference(value, interval(draws), self.n, self.clusters, p)

    def standard_error(self, metric: str, first: int, second: int) -> float:
        """Standard error of the paired difference: the standard deviation of its resamples."""
        return float(np.std(self.drawn[metric][first] - self.drawn[metric][second], ddof=1))

    def ranks(self, metric: str, *, higher_is_better: bool = True) -> list[tuple[int, int]]:
        """The 95 % interval of every system's rank, 1 for the best; see `rank_intervals`."""
        return rank_intervals(self.drawn[metric], higher_is_better=higher_is_better)


def line_up(
    systems: Sequence[Sequence[Row]],
    clusters: Sequence[str],
    reduce: Reduce,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Lineup:
    """Score every system and all its resamples. `systems[s][i]` is of the sample in `clusters[i]`; a sample for which a
    system has no statistics is left out."""
    sizes = {len(rows) for rows in systems}
    if sizes != {len(clusters)}:
        raise ValueError(f"systems must be of the same samples: {sorted(sizes)} rows, {len(clusters)} cluster names")
    keep = [i for i in range(len(clusters)) if all(rows[i] for rows in systems)]
    names = [clusters[i] for i in keep]
    used = [[rows[i] for i in keep] for rows in systems]
    point, drawn, count = _drawn([_sums(rows, names) for rows in used], reduce, resamples, seed)
    return Lineup(point, drawn, len(keep), count, used, names, reduce)


_Table: TypeAlias = "tuple[list[str], csr_array, Floats]"  # keys, sums by cluster (C, K), their total (K,)


def _sums(rows: Sequence[Row], clusters: Sequence[str]) -> _Table:
    keys, matrix = stack(rows)
    return keys, cluster_sums(matrix, clusters), total(matrix)


def _drawn(
    tables: Sequence[_Table], reduce: Reduce, resamples: int, seed: int
) -> tuple[dict[str, Floats], dict[str, Floats], int]:
    """Scores (S,) and resampled scores (S, B) of every metric, and the number of clusters. `tables`: one per system, with
    the same clusters."""
    together = side_by_side([sums for _, sums, _ in tables])
    edges = np.cumsum([0, *(len(keys) for keys, _, _ in tables)])

    def scores(summed: Floats) -> dict[str, Floats]:
        values = [
            reduce(unstack(keys, summed[..., edges[s] : edges[s + 1]])) if keys else {}
            for s, (keys, _, _) in enumerate(tables)
        ]
        shared = [name for name in values[0] if all(name in other for other in values)]
        return {name: np.stack([one[name] for one in values]) for name in shared}

    point = scores(np.concatenate([whole for _, _, whole in tables]))
    return point, resampled(together, scores, resamples, seed), together.shape[0]


def rank_intervals(draws: Floats, *, higher_is_better: bool = True) -> list[tuple[int, int]]:
    """95 % interval of every system's rank from resampled scores (S, B). In a resample a rank is 1 + the number of better
    systems, so that equal systems share the better rank; both ends are ranks that occurred."""
    signed = np.round(draws if higher_is_better else -draws, _DIGITS)
    ranks = np.stack([1 + (signed > one).sum(axis=0) for one in signed])
    ends = np.quantile(ranks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1, method="inverted_cdf")
    return [(int(low), int(high)) for low, high in ends.T]


# ---------------------------------------------------------------- single answers


def by_item(rows: Sequence[Row], reduce: Reduce) -> dict[str, Floats]:
    """Every metric of every answer alone, (N,)."""
    keys, matrix = stack(rows)
    return row_by_row(keys, matrix, reduce) if keys else {}


def influence(rows: Sequence[Row], others: Sequence[Row], reduce: Reduce) -> dict[str, Floats]:
    """The contribution of every sample to the difference (rows - others) of every metric that both have, (N,): half of the
    change if the systems swapped their answers to it. Equal answers contribute 0, and for means over answers the
    contributions sum to the difference."""
    keys, both = stack([*rows, *others])
    if not keys:
        return {}
    ours, theirs = both[: len(rows)], both[len(rows) :]
    first, second, change = total(ours), total(theirs), theirs - ours

    def differences(left: dict[str, Floats], right: dict[str, Floats]) -> dict[str, Floats]:
        ours, theirs = reduce(left), reduce(right)
        return {name: ours[name] - theirs[name] for name in ours if name in theirs}

    observed = differences(own(rows, keys, first), own(others, keys, second))

    def swapped(start: int, stop: int) -> dict[str, Floats]:
        moved = change[start:stop].toarray()
        return differences(unstack(keys, first + moved), unstack(keys, second - moved))

    after = in_portions(len(rows), len(keys), swapped)
    return {name: np.asarray((observed[name] - after[name]) / 2) for name in observed}


def is_binary(items: Floats, score: float) -> bool:
    """Whether a metric is a share of right answers: each answer alone has 0 or 100, and `score` is their mean. Accuracy
    is; weighted F1 is not, although it is 0 or 100 for one answer."""
    return bool(len(items) and np.isin(items, (0.0, 100.0)).all() and abs(items.mean() - score) < ALIKE)


@dataclass(frozen=True, slots=True)
class McNemar:
    """Numbers of samples that only the first or only the second system got right, and the two-sided p-value of equal
    numbers."""

    first: int
    second: int
    p: float


def mcnemar(first: Floats, second: Floats) -> McNemar:
    """The exact test (McNemar 1947) on answers that are right (above 0) or wrong, (N,) each: binomial over the samples on
    which the systems differ. It assumes independent samples, so use it together with the cluster interval."""
    if len(first) != len(second):
        raise ValueError(f"paired answers must be of the same samples: {len(first)} and {len(second)}")
    ours, theirs = np.asarray(first) > 0, np.asarray(second) > 0
    only = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return McNemar(*only, p=min(1.0, 2 * float(scipy.special.bdtr(min(only), sum(only), 0.5))))


# ---------------------------------------------------------------- standard errors and detectable differences


def jackknife(
    rows: Sequence[Row], others: Sequence[Row], clusters: Sequence[str], reduce: Reduce
) -> dict[str, tuple[float, Interval]]:
    """Standard error and 95 % interval of every paired difference by leaving out one cluster at a time (Efron and Stein
    1981), with Student's t for C - 1 degrees of freedom. It is wider than the bootstrap for few clusters. {} for fewer
    than two clusters."""
    keep = [i for i, pair in enumerate(zip(rows, others, strict=True)) if all(pair)]
    names = [clusters[i] for i in keep]
    parts: list[tuple[Mapping[str, Floats], Mapping[str, Floats]]] = []
    for system in (rows, others):
        keys, matrix = stack([system[i] for i in keep])
        sums = cluster_sums(matrix, names)
        if sums.shape[0] < 2:
            return {}
        parts.append(_with_and_without(keys, sums, reduce))
    (ours, our_left), (theirs, their_left) = parts
    return {
        name: left_out(float(ours[name] - theirs[name]), our_left[name] - their_left[name])
        for name in ours
        if name in theirs
    }


def _with_and_without(
    keys: Sequence[str], sums: csr_array, reduce: Reduce
) -> tuple[Mapping[str, Floats], Mapping[str, Floats]]:
    """Scores of all clusters, and (C,) without each of them."""
    whole = total(sums)

    def without(first: int, last: int) -> Mapping[str, Floats]:
        return reduce(unstack(keys, whole - sums[first:last].toarray()))

    return reduce(unstack(keys, whole)), in_portions(sums.shape[0], len(keys), without)


def left_out(value: float, left: Floats) -> tuple[float, Interval]:
    """Jackknife standard error and interval of a score from `left` (C,), the score without each cluster."""
    count = len(left)
    se = math.sqrt((count - 1) / count * float(((left - left.mean()) ** 2).sum()))
    half = float(scipy.special.stdtrit(count - 1, (1 + LEVEL) / 2)) * se
    return se, Interval(round(value - half, _DIGITS), round(value + half, _DIGITS))


def largest_share(clusters: Sequence[str]) -> float:
    """Share of all answers in the largest cluster, 0 to 1; 0 without clusters."""
    return max(Counter(clusters).values()) / len(clusters) if clusters else 0.0


# ---------------------------------------------------------------- gaps between groups


def gaps(
    rows: Sequence[Row],
    values: Sequence[str],
    clusters: Sequence[str],
    reduce: Reduce,
    reference: str,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, dict[str, Estimate]]:
    """Value of a group -> metric -> its score minus that of `reference`, on the clusters that have both.

    The same questions exist in every accent, so resamples draw questions with both answers, and the difficulty of a
    question cancels.

    Args:
        values: Value of the group (an accent) for each row.
        clusters: Cluster (a question) of each row.
        reference: The value with which the others are compared. A value that shares no cluster with it is left out.
    """
    at: dict[str, list[int]] = {}
    for i, value in enumerate(values):
        if rows[i]:
            at.setdefault(value, []).append(i)
    if reference not in at:
        raise ValueError(f"no answer has the value {reference!r}; there is: {', '.join(sorted(at))}")
    theirs = {clusters[i] for i in at[reference]}
    result = {}
    for value in sorted(at.keys() - {reference}):
        shared = theirs & {clusters[i] for i in at[value]}
        if shared:
            sides = [[i for i in side if clusters[i] in shared] for side in (at[value], at[reference])]
            tables = [_sums([rows[i] for i in side], [clusters[i] for i in side]) for side in sides]
            point, drawn, count = _drawn(tables, reduce, resamples, seed)
            result[value] = {
                name: Estimate(
                    float(both[0] - both[1]), interval(drawn[name][0] - drawn[name][1]), len(sides[0]), count
                )
                for name, both in point.items()
            }
    return result


# ---------------------------------------------------------------- the test of sacreBLEU


def sacrebleu_bootstrap(
    rows: Sequence[Row], others: Sequence[Row], reduce: Reduce, *, samples: int = 1000, seed: int = SEED
) -> dict[str, float]:
    """p-value of sacreBLEU's paired bootstrap test (`sacrebleu --paired-bs`; Koehn 2004, as in Moses): the same indices
    for the same seed, with segments taken as independent. It is the share of resamples (+ 1 each) whose absolute
    difference, minus their mean, is above the observed one. For two equal scores sacreBLEU returns the result of this
    formula, 1 / 1001 for two identical systems; here p is 1."""
    (keys, first), (other_keys, second) = stack(rows), stack(others)
    rng = np.random.default_rng(seed)
    ours, theirs = np.empty((samples, len(keys))), np.empty((samples, len(other_keys)))
    for at in range(samples):  # row by row: the same stream as one (samples, N) draw, with less memory
        times = np.bincount(rng.choice(len(rows), size=len(rows), replace=True), minlength=len(rows)).astype(np.float64)
        ours[at], theirs[at] = times @ first, times @ second
    observed, scores = [], []
    for names, matrix, draws in ((keys, first, ours), (other_keys, second, theirs)):
        observed.append(reduce(unstack(names, total(matrix))))
        scores.append(reduce(unstack(names, draws)))
    p_values: dict[str, float] = {}
    for name in (name for name in observed[0] if name in observed[1]):
        difference = abs(float(observed[0][name] - observed[1][name]))
        gap = np.abs(scores[0][name] - scores[1][name])
        above = np.count_nonzero(gap - gap.mean() > difference)
        p_values[name] = (above + 1) / (samples + 1) if difference > ALIKE else 1.0
    return p_values
