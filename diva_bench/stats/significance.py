"""Tests and planning: several systems on the same samples, McNemar, approximate randomisation, jackknife, minimum
detectable difference, ranks, gaps between groups.

All functions are for scores of sums, as in resampling.py: a corpus metric is computed from every sum.
Shapes: N answers, C clusters, K statistics, B resamples or trials, S systems.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy import special  # scipy.stats, which has the same tests, takes half a second to import
from scipy.sparse import csr_array

from diva_bench.stats.resampling import (
    LEVEL,
    RESAMPLES,
    SEED,
    Difference,
    Estimate,
    Interval,
    Reduce,
    cluster_sums,
    in_portions,
    in_threads,
    interval,
    resampled,
    row_by_row,
    side_by_side,
    stack,
    total,
    two_sided,
    unstack,
)
from diva_bench.types import Floats, Row

POWER = 0.8
EXACT = 13  # clusters; up to it all 2^C swaps are computed, which are fewer than the random trials

_BLOCK = 64  # trials per random stream; changing it changes p-values, as in resampling.py
_SWAPS = 1  # first part of the stream numbers, so that streams differ from those of the bootstrap
_DIGITS = 9  # as in resampling.py
_ALIKE = 1e-9  # points; smaller differences are rounding errors

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

    def score(self, metric: str, system: int) -> Estimate:
        value = float(self.point[metric][system])
        return Estimate(value, interval(self.drawn[metric][system]), self.n, self.clusters)

    def difference(self, metric: str, first: int, second: int) -> Difference:
        """Score of `first` minus score of `second`, as `stats.paired`."""
        draws = self.drawn[metric][first] - self.drawn[metric][second]
        value = float(self.point[metric][first] - self.point[metric][second])
        return Difference(value, interval(draws), self.n, self.clusters, p=two_sided(draws))

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
    tables = [_sums([rows[i] for i in keep], names) for rows in systems]
    return _lined(tables, reduce, len(keep), resamples, seed)


_Table = tuple[list[str], csr_array, Floats]  # keys, sums by cluster (C, K), their total (K,)


def _sums(rows: Sequence[Row], clusters: Sequence[str]) -> _Table:
    keys, matrix = stack(rows)
    return keys, cluster_sums(matrix, clusters), total(matrix)


def _lined(tables: Sequence[_Table], reduce: Reduce, n: int, resamples: int, seed: int) -> Lineup:
    """`tables`: one per system, with the same clusters."""
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
    return Lineup(point, resampled(together, scores, resamples, seed), n, together.shape[0])


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

    observed = differences(_own(rows, keys, first), _own(others, keys, second))

    def swapped(start: int, stop: int) -> dict[str, Floats]:
        moved = change[start:stop].toarray()
        return differences(unstack(keys, first + moved), unstack(keys, second - moved))

    after = in_portions(len(rows), len(keys), swapped)
    return {name: np.asarray((observed[name] - after[name]) / 2) for name in observed}


def is_binary(items: Floats, score: float) -> bool:
    """Whether a metric is a share of right answers: each answer alone has 0 or 100, and `score` is their mean. Accuracy
    is; weighted F1 is not, although it is 0 or 100 for one answer."""
    return bool(len(items) and np.isin(items, (0.0, 100.0)).all() and abs(items.mean() - score) < _ALIKE)


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
    return McNemar(*only, p=min(1.0, 2 * float(special.bdtr(min(only), sum(only), 0.5))))


# ---------------------------------------------------------------- approximate randomisation


@dataclass(frozen=True, slots=True)
class Randomised:
    """`p`: two-sided; `trials`: number of swaps; `exact`: whether these are all swaps."""

    p: float
    trials: int
    exact: bool


def randomisation(
    rows: Sequence[Row],
    others: Sequence[Row],
    clusters: Sequence[str],
    reduce: Reduce,
    *,
    trials: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Randomised]:
    """Paired approximate randomisation (Noreen 1989; Riezler and Maxwell 2005), for every metric that both have.

    If the systems were equal, the answers of any cluster could be swapped between them. A trial swaps each cluster with
    probability 1/2 and computes both corpus scores from the swapped sums. p is the share of trials with a difference of
    at least the observed one, which counts as a trial, so p > 0. Clusters with equal sums have no effect; if at most
    `EXACT` others are left, all swaps are computed, and p is exact.
    """
    if len(rows) != len(others):
        raise ValueError(f"paired rows must be of the same samples: {len(rows)} and {len(others)} rows")
    keep = [i for i, pair in enumerate(zip(rows, others, strict=True)) if all(pair)]
    keys, both = stack([*(rows[i] for i in keep), *(others[i] for i in keep)])
    if not keys:
        return {}
    names = [clusters[i] for i in keep]
    ours, theirs = cluster_sums(both[: len(keep)], names), cluster_sums(both[len(keep) :], names)
    first, second = total(ours), total(theirs)
    shared = set(reduce(_own(rows, keys, first))) & set(reduce(_own(others, keys, second)))
    change = _changed(theirs - ours)
    count = change.shape[0]
    exact = count <= EXACT
    observed = _gaps(keys, first, second, reduce, shared)

    looked = 2**count if exact else trials

    def larger(block: int) -> dict[str, int]:
        swap = _every_swap(count, block) if exact else _swaps(count, trials, seed, block)
        moved = swap @ change
        differences = _gaps(keys, first + moved, second - moved, reduce, shared)
        return {name: int(np.count_nonzero(gap >= observed[name] - _ALIKE)) for name, gap in differences.items()}

    counts = in_threads(larger, -(-looked // _BLOCK))
    add = 0 if exact else 1  # all swaps include the observed one; random ones may not
    return {name: Randomised((sum(c[name] for c in counts) + add) / (looked + add), looked, exact) for name in observed}


def _own(rows: Sequence[Row], keys: Sequence[str], sums: Floats) -> dict[str, Floats]:
    """The statistics of one system, so that `reduce` returns no metric for which it has none."""
    has = set(chain.from_iterable(rows))
    return {key: value for key, value in unstack(keys, sums).items() if key in has}


def _gaps(keys: Sequence[str], first: Floats, second: Floats, reduce: Reduce, names: set[str]) -> dict[str, Floats]:
    """Absolute differences of both scores."""
    ours, theirs = reduce(unstack(keys, first)), reduce(unstack(keys, second))
    return {name: np.asarray(np.abs(ours[name] - theirs[name])) for name in ours if name in names}


def _changed(change: csr_array) -> Floats | csr_array:
    """The rows that are not all 0, sparse if that makes multiplication with swaps faster."""
    change.eliminate_zeros()
    rows = change[np.flatnonzero(np.diff(change.indptr))]
    return rows if rows.nnz < rows.shape[0] * rows.shape[1] / 4 else rows.toarray()


def _every_swap(clusters: int, block: int) -> Floats:
    """A block of all swaps (at most `_BLOCK`, C), as zeros and ones."""
    swaps = np.arange(block * _BLOCK, min((block + 1) * _BLOCK, 2**clusters))
    return (swaps[:, None] >> np.arange(clusters) & 1).astype(np.float64)


def _swaps(clusters: int, trials: int, seed: int, block: int) -> Floats:
    """A block of trials (at most `_BLOCK`, C), as zeros and ones; every block has its own stream, as in `resample`."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_SWAPS, block))))
    words = np.frombuffer(rng.bytes(_BLOCK * -(-clusters // 8)), np.uint8).reshape(_BLOCK, -1)
    return np.unpackbits(words, axis=1, count=clusters)[: trials - block * _BLOCK].astype(np.float64)


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
    half = float(special.stdtrit(count - 1, (1 + LEVEL) / 2)) * se
    return se, Interval(round(value - half, _DIGITS), round(value + half, _DIGITS))


def detectable(standard_error: float, power: float = POWER) -> float:
    """Minimum detectable difference in points: the smallest true difference that a two-sided 5 % test finds with this
    power, from the standard error of the paired difference: (z_0.975 + z_power) SE (Miller 2024, section 5)."""
    return float(special.ndtri((1 + LEVEL) / 2) + special.ndtri(power)) * standard_error


def planned(standard_error: float) -> float:
    """The same before there is a second system, which is assumed to have the same standard error and independent questions
    (the worst case)."""
    return detectable(standard_error * math.sqrt(2))


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
) -> dict[str, dict[str, Difference]]:
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
            lineup = _lined(tables, reduce, len(sides[0]), resamples, seed)
            result[value] = {name: lineup.difference(name, 0, 1) for name in lineup.point}
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
        p_values[name] = (above + 1) / (samples + 1) if difference > _ALIKE else 1.0
    return p_values
