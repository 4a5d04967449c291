"""Cluster bootstrap over additive statistics: intervals, paired differences with p-values, Holm, the at-chance flag.

Everything here works on sums. One answer gives a sparse row of numbers; rows of one cluster (question, sentence,
dialogue, speaker: what makes answers depend on each other) are added up; a resample draws as many clusters as there
are, with replacement, and adds those up; `reduce` turns any sum into scores. So the corpus score is computed anew on
every resample, never averaged over items. Method: Koehn 2004 (bootstrap of corpus metrics), Liu and Peng 2020
(arXiv 1912.09508, blocks in place of items); percentile interval, 95 %.

Shapes: N answers, C clusters, K statistics, B resamples.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from diva_bench.types import Floats, Row, T

RESAMPLES = 10_000
SEED = 12345  # sacreBLEU's own, see its README
LEVEL = 0.95
FEW_CLUSTERS = 20  # below it a cluster bootstrap is known to be too narrow (Cameron, Gelbach and Miller 2008)

_BLOCK = 64  # resamples per random stream; part of the definition of the draw: changing it changes every interval
_DIGITS = 9  # intervals, and differences held against 0, are rounded to 1e-9: last bits differ between processors

Reduce = Callable[[Mapping[str, Floats]], Mapping[str, Floats]]


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends of a 95 % percentile interval, on the scale of the score."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score or a difference of scores with its interval; `n` answers in `clusters` clusters."""

    value: float
    interval: Interval
    n: int
    clusters: int

    @property
    def low(self) -> float:
        return self.interval.low

    @property
    def high(self) -> float:
        return self.interval.high

    @property
    def few_clusters(self) -> bool:
        """The interval is optimistic: too few clusters to resample."""
        return self.clusters < FEW_CLUSTERS


@dataclass(frozen=True, slots=True)
class Difference(Estimate):
    """A paired difference of scores; `p`: two-sided, of the hypothesis that there is none."""

    p: float


# ---------------------------------------------------------------- rows and sums


def stack(rows: Sequence[Row]) -> tuple[list[str], Floats]:
    """Sparse rows as (keys, matrix): keys sorted, shape (K,); matrix (N, K), 0 where a row has no such key."""
    keys = sorted(set(chain.from_iterable(rows)))
    column = {key: i for i, key in enumerate(keys)}
    sizes = np.fromiter(map(len, rows), np.intp, len(rows))
    filled = int(sizes.sum())
    columns = np.fromiter(map(column.__getitem__, chain.from_iterable(rows)), np.intp, filled)
    values = np.fromiter(chain.from_iterable(row.values() for row in rows), np.float64, filled)
    matrix = np.zeros((len(rows), len(keys)))
    matrix[np.repeat(np.arange(len(rows)), sizes), columns] = values
    return keys, matrix


def unstack(keys: Sequence[str], sums: Floats) -> dict[str, Floats]:
    """Sums of shape (..., K) as what `reduce` takes: key -> array of shape (...)."""
    return {key: sums[..., i] for i, key in enumerate(keys)}


def totals(rows: Sequence[Row]) -> dict[str, Floats]:
    """The sum of all rows: key -> array of shape (). `reduce(totals(rows))` is the point estimate."""
    keys, matrix = stack(rows)
    return unstack(keys, matrix.sum(axis=0))


def dense(totals: Mapping[str, Floats], keys: Sequence[str]) -> Floats:
    """The statistics `keys` of some totals as one array of shape (..., len(keys)); a missing one is 0."""
    zero = np.zeros(np.shape(next(iter(totals.values()), 0.0)))
    return np.stack([totals.get(key, zero) for key in keys], axis=-1)


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below, and 0 where `below` is 0."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=np.not_equal(below, 0))


def cluster_sums(matrix: Floats, clusters: Sequence[str]) -> Floats:
    """Rows (N, K) added up by cluster: (C, K), clusters in the order of their names, so that the order of the rows does
    not matter to what is drawn later."""
    if len(clusters) != len(matrix):
        raise ValueError(f"{len(matrix)} rows but {len(clusters)} cluster names")
    _, member = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    order = np.argsort(member, kind="stable")
    starts = np.flatnonzero(np.diff(member[order], prepend=-1))
    return np.add.reduceat(matrix[order], starts, axis=0) if len(matrix) else matrix


# ---------------------------------------------------------------- the bootstrap


def resample(sums: Floats, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """Draw C of C clusters with replacement, B times, and add up their sums: (C, K) -> (B, K).

    A draw is C uniform indices; a block of draws is a sparse matrix with one 1 per index, and its product with `sums`
    adds the drawn rows. Every block has a PCG64 stream of its own, numbered from the seed, so the numbers depend
    neither on the machine nor on the number of threads, the first draws do not depend on B, and two systems with the
    same clusters get the same draws. Sums are bit for bit the same everywhere: whole numbers are added exactly in any
    order, so there BLAS may have them; others are added one after another.

    Cost: B C random 32-bit numbers and B C K additions, on all cores; memory: 64 C counts per core, never B C. See
    benchmarks/bootstrap.py.
    """
    clusters, width = sums.shape
    drawn = np.empty((resamples, width))
    if not clusters or not width:
        return np.zeros((resamples, width))
    ones = np.ones(_BLOCK * clusters)
    starts = np.arange(0, _BLOCK * clusters + 1, clusters, dtype=np.int32 if len(ones) < 2**31 else np.int64)
    add = _adder(sums)

    def draw(block: int) -> None:
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(block,))))
        picked = rng.integers(0, clusters, _BLOCK * clusters, dtype=np.int32).astype(starts.dtype, copy=False)
        into = drawn[block * _BLOCK : (block + 1) * _BLOCK]
        into[:] = add(csr_array((ones, picked, starts), shape=(_BLOCK, clusters)))[: len(into)]

    in_threads(draw, -(-resamples // _BLOCK))
    return drawn


def in_threads(work: Callable[[int], T], count: int) -> list[T]:
    """`work` of 0 to count - 1, on all cores, in order; for work that releases the GIL. BLAS has one thread in each: left
    to itself it would start as many again, which wait for each other."""
    # 8: beyond it the blocks in flight outgrow the caches
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(min(os.cpu_count() or 1, 8, count or 1)) as pool:
        return list(pool.map(work, range(count)))


def _adder(sums: Floats) -> Callable[[csr_array], Floats]:
    """The fastest way to add drawn rows of `sums` that gives the same bits as adding them one after another.

    Confusion counts are mostly zeros: skipping them is 10 times as fast. N-gram counts are not, but whole: how often
    each cluster was drawn, times the counts, is one matrix product, 2 to 5 times as fast as adding index by index.
    """
    filled = np.count_nonzero(sums)
    if filled < sums.size / 4:
        sparse = csr_array(sums)
        return lambda picked: (picked @ sparse).toarray()
    table = np.ascontiguousarray(sums)
    if len(sums) * np.abs(table).max() < 2**53 and (table == np.rint(table)).all():
        return lambda picked: picked.toarray() @ table
    return lambda picked: picked @ table


def interval(values: Floats) -> Interval:
    """Percentile interval of resampled scores, shape (B,): the 2.5 and 97.5 % quantiles, linear between neighbours."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(round(float(low), _DIGITS), round(float(high), _DIGITS))


def bootstrap(
    rows: Sequence[Row], clusters: Sequence[str], reduce: Reduce, *, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Estimate]:
    """Every score of `reduce` with its interval.

    Rows without any statistic do not take part and are not in `n`. One cluster gives an interval without width:
    see `Estimate.few_clusters`.
    """
    keep = [i for i, row in enumerate(rows) if row]
    keys, matrix = stack([rows[i] for i in keep])
    sums = cluster_sums(matrix, [clusters[i] for i in keep])
    point = reduce(unstack(keys, matrix.sum(axis=0)))
    drawn = reduce(unstack(keys, resample(sums, resamples, seed)))
    return {
        name: Estimate(float(value), interval(drawn[name]), n=len(keep), clusters=len(sums))
        for name, value in point.items()
    }


def paired(
    rows: Sequence[Row],
    others: Sequence[Row],
    clusters: Sequence[str],
    reduce: Reduce,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Difference]:
    """Score of `rows` minus score of `others`, for every score that both have; both are drawn by the same resamples.

    `rows[i]` and `others[i]` are two systems' statistics of the same sample, which lies in `clusters[i]`. A pair in
    which either has no statistic does not take part. The p-values are of single comparisons: see `holm`.
    """
    if len(rows) != len(others):
        raise ValueError(f"paired rows must be of the same samples: {len(rows)} and {len(others)} rows")
    keep = [i for i, pair in enumerate(zip(rows, others, strict=True)) if all(pair)]
    (keys, matrix), (other_keys, other_matrix) = stack([rows[i] for i in keep]), stack([others[i] for i in keep])
    both = np.hstack([matrix, other_matrix])
    sums = cluster_sums(both, [clusters[i] for i in keep])

    def differences(summed: Floats) -> dict[str, Floats]:
        ours = reduce(unstack(keys, summed[..., : len(keys)]))
        theirs = reduce(unstack(other_keys, summed[..., len(keys) :]))
        return {name: ours[name] - theirs[name] for name in ours if name in theirs}

    drawn = differences(resample(sums, resamples, seed))
    return {
        name: Difference(float(value), interval(drawn[name]), n=len(keep), clusters=len(sums), p=two_sided(drawn[name]))
        for name, value in differences(both.sum(axis=0)).items()
    }


def two_sided(drawn: Floats) -> float:
    """Bootstrap p-value of resampled differences, shape (B,): twice the share on the rarer side of 0.

    A draw of exactly 0 counts for both sides, and the point itself as one more draw (Davison and Hinkley 1997, 4.11), so
    that p is never 0: at least 2 / (B + 1). It is below 0.05 where the 95 % interval leaves out 0, give or take a draw.
    """
    rounded = np.round(drawn, _DIGITS)
    rarer = 1 + min(np.count_nonzero(rounded <= 0), np.count_nonzero(rounded >= 0))
    return min(1.0, 2 * rarer / (len(drawn) + 1))


def holm(ps: Sequence[float]) -> list[float]:
    """p-values of one family, adjusted so that calling those below 0.05 real is wrong anywhere in the family with a
    probability of at most 0.05, however they depend on each other (Holm 1979, step-down). Order is kept.

    The i-th smallest of m (from 0) is multiplied by m - i; none may be below a smaller one's, nor above 1.
    """
    strange = [p for p in ps if not 0 <= p <= 1]
    if strange:
        raise ValueError(f"a p-value lies from 0 to 1, found {strange[0]}")
    adjusted, least = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        adjusted[i] = least = max(least, min(1.0, (len(ps) - rank) * ps[i]))
    return adjusted


def at_chance(
    rows: Sequence[Row],
    baseline: Sequence[Row],
    clusters: Sequence[str],
    reduce: Reduce,
    metric: str,
    *,
    higher_is_better: bool = True,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> bool:
    """Whether the paired 95 % interval of (model - constant baseline) reaches 0 or lies on the wrong side of it."""
    first, second = (rows, baseline) if higher_is_better else (baseline, rows)
    return paired(first, second, clusters, reduce, resamples=resamples, seed=seed)[metric].low <= 0
