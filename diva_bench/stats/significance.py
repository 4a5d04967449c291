"""Tests and planning beside the bootstrap of resampling.py: several systems on the same samples, McNemar, approximate
randomisation, jackknife, minimum detectable difference, ranks, gaps between groups.

All of it is for scores of sums, as resampling.py has them: a corpus metric is computed anew from every sum that is looked at.
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
EXACT = 13  # clusters: up to it all 2^C swaps are looked at, fewer than the trials otherwise drawn

_BLOCK = 64  # trials per random stream; part of the definition of the draw, as in resampling.py
_SWAPS = 1  # first part of the streams' numbers: other streams than the bootstrap's
_DIGITS = 9  # as in resampling.py
_ALIKE = 1e-9  # points: what differs by less is equal but for the last bits

# ---------------------------------------------------------------- several systems, drawn alike


@dataclass(frozen=True, slots=True)
class Lineup:
    """S systems on the samples that all of them have statistics of, drawn by the same resamples.

    `point`: metric -> (S,). `drawn`: metric -> (S, B). Only metrics that every system has.
    """

    point: Mapping[str, Floats]
    drawn: Mapping[str, Floats]
    n: int
    clusters: int

    def score(self, metric: str, system: int) -> Estimate:
        value = float(self.point[metric][system])
        return Estimate(value, interval(self.drawn[metric][system]), self.n, self.clusters)

    def difference(self, metric: str, first: int, second: int) -> Difference:
        """Score of `first` minus score of `second`, as `stats.paired` has it."""
        draws = self.drawn[metric][first] - self.drawn[metric][second]
        value = float(self.point[metric][first] - self.point[metric][second])
        return Difference(value, interval(draws), self.n, self.clusters, p=two_sided(draws))

    def standard_error(self, metric: str, first: int, second: int) -> float:
        """Of the paired difference: the standard deviation of its resamples."""
        return float(np.std(self.drawn[metric][first] - self.drawn[metric][second], ddof=1))

    def ranks(self, metric: str, *, higher_is_better: bool = True) -> list[tuple[int, int]]:
        """The 95 % interval of every system's rank among these, 1 for the best; see `rank_intervals`."""
        return rank_intervals(self.drawn[metric], higher_is_better=higher_is_better)


def line_up(
    systems: Sequence[Sequence[Row]],
    clusters: Sequence[str],
    reduce: Reduce,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Lineup:
    """Score every system and all resamples of it; `systems[s][i]` is of the sample that lies in `clusters[i]`.

    A sample of which any system has no statistic does not take part.
    """
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
    """`tables`: of each system, all of the same clusters."""
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
    """95 % interval of every system's rank from resampled scores (S, B): in each resample a rank is 1 + how many are
    better, so equals share the better one; both ends are ranks that occurred."""
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
    """What every sample adds to the difference (rows - others) of every metric that both have, (N,): half of what would
    change if the two systems swapped their answers to it. So answers that count the same add nothing, and for means over
    answers the parts add up to the difference."""
    keys, both = stack([*rows, *others])
    if not keys:
        return {}
    ours, theirs = both[: len(rows)], both[len(rows) :]
    first, second, change = total(ours), total(theirs), theirs - ours

    def differences(left: dict[str, Floats], right: dict[str, Floats]) -> dict[str, Floats]:
        ours, theirs = reduce(left), reduce(right)
        return {name: ours[name] - theirs[name] for name in ours if name in theirs}

    seen = differences(_own(rows, keys, first), _own(others, keys, second))

    def swapped(start: int, stop: int) -> dict[str, Floats]:
        moved = change[start:stop].toarray()
        return differences(unstack(keys, first + moved), unstack(keys, second - moved))

    after = in_portions(len(rows), len(keys), swapped)
    return {name: np.asarray((seen[name] - after[name]) / 2) for name in seen}


def is_binary(items: Floats, score: float) -> bool:
    """Whether a metric is the share of answers that are right: each answer alone has 0 or 100, and `score`, that of all
    answers, is their mean. So accuracy is, weighted F1 is not, although of one answer it is 0 or 100, too."""
    return bool(len(items) and np.isin(items, (0.0, 100.0)).all() and abs(items.mean() - score) < _ALIKE)


@dataclass(frozen=True, slots=True)
class McNemar:
    """Samples that only the first, and only the second, got right, and the two-sided p of that they are equally many."""

    first: int
    second: int
    p: float


def mcnemar(first: Floats, second: Floats) -> McNemar:
    """The exact test (McNemar 1947) on answers that are right (above 0) or wrong, (N,) each: binomial over the samples on
    which the two differ. It takes samples for independent: a companion of the cluster interval, not a substitute."""
    if len(first) != len(second):
        raise ValueError(f"paired answers must be of the same samples: {len(first)} and {len(second)}")
    ours, theirs = np.asarray(first) > 0, np.asarray(second) > 0
    only = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return McNemar(*only, p=min(1.0, 2 * float(special.bdtr(min(only), sum(only), 0.5))))


# ---------------------------------------------------------------- approximate randomisation


@dataclass(frozen=True, slots=True)
class Randomised:
    """`p`: two-sided; `trials` swaps looked at; `exact`: all there are."""

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

    If the two systems were alike, any cluster's answers could be swapped between them. A trial swaps each cluster with
    probability 1/2, whole, and computes both corpus scores anew from the swapped sums. p is the share of trials with a
    difference at least as large as the one seen, that one counted as a trial, so p > 0. Clusters in which the two have
    the same sums do not matter; where at most `EXACT` others are left, all swaps are looked at, and p is exact.
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
    seen = _gaps(keys, first, second, reduce, shared)

    looked = 2**count if exact else trials

    def larger(block: int) -> dict[str, int]:
        swap = _every_swap(count, block) if exact else _swaps(count, trials, seed, block)
        moved = swap @ change
        differences = _gaps(keys, first + moved, second - moved, reduce, shared)
        return {name: int(np.count_nonzero(gap >= seen[name] - _ALIKE)) for name, gap in differences.items()}

    counts = in_threads(larger, -(-looked // _BLOCK))
    add = 0 if exact else 1  # all swaps hold the one seen; drawn ones need not
    return {name: Randomised((sum(c[name] for c in counts) + add) / (looked + add), looked, exact) for name in seen}


def _own(rows: Sequence[Row], keys: Sequence[str], sums: Floats) -> dict[str, Floats]:
    """The statistics that a system has, so that `reduce` gives no metric that it could not be scored by."""
    has = set(chain.from_iterable(rows))
    return {key: value for key, value in unstack(keys, sums).items() if key in has}


def _gaps(keys: Sequence[str], first: Floats, second: Floats, reduce: Reduce, names: set[str]) -> dict[str, Floats]:
    """Absolute differences of both scores."""
    ours, theirs = reduce(unstack(keys, first)), reduce(unstack(keys, second))
    return {name: np.asarray(np.abs(ours[name] - theirs[name])) for name in ours if name in names}


def _changed(change: csr_array) -> Floats | csr_array:
    """The rows that are not all 0, as the fastest form to multiply swaps with: sparse only where there is much to skip."""
    change.eliminate_zeros()
    rows = change[np.flatnonzero(np.diff(change.indptr))]
    return rows if rows.nnz < rows.shape[0] * rows.shape[1] / 4 else rows.toarray()


def _every_swap(clusters: int, block: int) -> Floats:
    """A block of all swaps (at most `_BLOCK`, C) of zeros and ones."""
    swaps = np.arange(block * _BLOCK, min((block + 1) * _BLOCK, 2**clusters))
    return (swaps[:, None] >> np.arange(clusters) & 1).astype(np.float64)


def _swaps(clusters: int, trials: int, seed: int, block: int) -> Floats:
    """A block of trials (at most `_BLOCK`, C) of zeros and ones; every block has a stream of its own, as in `resample`."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_SWAPS, block))))
    words = np.frombuffer(rng.bytes(_BLOCK * -(-clusters // 8)), np.uint8).reshape(_BLOCK, -1)
    return np.unpackbits(words, axis=1, count=clusters)[: trials - block * _BLOCK].astype(np.float64)


# ---------------------------------------------------------------- standard errors, and what could be found


def jackknife(
    rows: Sequence[Row], others: Sequence[Row], clusters: Sequence[str], reduce: Reduce
) -> dict[str, tuple[float, Interval]]:
    """Standard error and 95 % interval of every paired difference by leaving out one cluster at a time (Efron and Stein
    1981), with Student's t for C - 1 degrees of freedom: wider than the bootstrap where there are few clusters. {} for
    fewer than two."""
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
    """Jackknife standard error and interval of a score from `left` (C,), the score without each of the clusters."""
    count = len(left)
    se = math.sqrt((count - 1) / count * float(((left - left.mean()) ** 2).sum()))
    half = float(special.stdtrit(count - 1, (1 + LEVEL) / 2)) * se
    return se, Interval(round(value - half, _DIGITS), round(value + half, _DIGITS))


def detectable(standard_error: float, power: float = POWER) -> float:
    """The smallest true difference that a two-sided 5 % test finds with this power, from the standard error of the paired
    difference: (z_0.975 + z_power) SE (Miller 2024, section 5), in points."""
    return float(special.ndtri((1 + LEVEL) / 2) + special.ndtri(power)) * standard_error


def planned(standard_error: float) -> float:
    """The same before there is a second system: it is taken to have the same standard error as the one at hand, and to be
    asked other questions, which is the worst case."""
    return detectable(standard_error * math.sqrt(2))


def largest_share(clusters: Sequence[str]) -> float:
    """Share of all answers that lie in the largest cluster, 0 to 1; 0 where there is none."""
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

    `values[i]` is the group's value (an accent) of the answer in `rows[i]`, which lies in `clusters[i]` (a question). The
    same questions are asked in every accent, so resamples draw questions with both answers: what makes a question hard
    cancels. A value that shares no cluster with the reference is left out.
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


# ---------------------------------------------------------------- as sacreBLEU does it


def sacrebleu_bootstrap(
    rows: Sequence[Row], others: Sequence[Row], reduce: Reduce, *, samples: int = 1000, seed: int = SEED
) -> dict[str, float]:
    """p of sacreBLEU's paired bootstrap test (`sacrebleu --paired-bs`; Koehn 2004, as Moses has it): the same indices for
    the same seed, segments taken for independent. The share of resamples (+ 1 of each) whose absolute difference, less
    the mean of all of them, is above the one seen. Of two equal scores sacreBLEU says what this formula gives, 1 / 1001
    for two systems that are the same; here p is 1, for there is no difference that could be real."""
    (keys, first), (other_keys, second) = stack(rows), stack(others)
    rng = np.random.default_rng(seed)
    ours, theirs = np.empty((samples, len(keys))), np.empty((samples, len(other_keys)))
    for at in range(samples):  # row by row: the same stream as one (samples, N) draw, without holding it
        times = np.bincount(rng.choice(len(rows), size=len(rows), replace=True), minlength=len(rows)).astype(np.float64)
        ours[at], theirs[at] = times @ first, times @ second
    seen, scores = [], []
    for names, matrix, draws in ((keys, first, ours), (other_keys, second, theirs)):
        seen.append(reduce(unstack(names, total(matrix))))
        scores.append(reduce(unstack(names, draws)))
    p_values: dict[str, float] = {}
    for name in (name for name in seen[0] if name in seen[1]):
        difference = abs(float(seen[0][name] - seen[1][name]))
        gap = np.abs(scores[0][name] - scores[1][name])
        above = np.count_nonzero(gap - gap.mean() > difference)
        p_values[name] = (above + 1) / (samples + 1) if difference > _ALIKE else 1.0
    return p_values
