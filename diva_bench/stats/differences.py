"""Paired differences of two systems on the same samples: the interval by the cluster bootstrap, p by resamples and by swaps.

Scores of sums, as in resampling.py: a corpus metric is computed again from every sum. Shapes: N answers, C clusters, K
statistics, B resamples or trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diva_bench.stats.resampling import (
    Clusters,
    Codes,
    Estimate,
    Reduce,
    chosen,
    cluster_sums,
    in_threads,
    interval,
    resampled,
    row_by_row,
    side_by_side,
    stack,
    summed,
    total,
    unstack,
)
from diva_bench.stats.settings import FEW_CLUSTERS, RESAMPLES, SEED
from diva_bench.stats.table import RowTable, table_of
from diva_bench.types import Floats, Row

if TYPE_CHECKING:
    from scipy.sparse import csr_array

EXACT = 13  # clusters; up to it all 2^C swaps are computed, which are fewer than the random trials
ALIKE = 1e-9  # points; smaller differences are rounding errors

_BLOCK = 64  # trials per random stream; changing it changes p-values, as in resampling.py
_SWAPS = 1  # first part of the stream numbers, so that streams differ from those of the bootstrap
_DIGITS = 9  # as in resampling.py


@dataclass(frozen=True, slots=True)
class Difference(Estimate):
    """A paired difference of scores. `p`: two-sided p-value of no difference."""

    p: float

    @property
    def sure(self) -> bool:
        """Whether the interval excludes 0, and p is below 0.05: where few clusters differ, the interval is too narrow."""
        return bool(not self.low <= 0 <= self.high and self.p < 0.05)


def paired(
    rows: Sequence[Row],
    others: Sequence[Row],
    clusters: Clusters,
    reduce: Reduce,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Difference]:
    """Score of `rows` minus score of `others`, for every score that both have; both use the same resamples.

    Args:
        rows: Statistics of one system by sample.
        others: Statistics of the other system for the same samples.
        clusters: Cluster of each sample.
        reduce: Computes scores from sums.

    Returns:
        Metric -> difference. Samples for which one system has no statistics are left out. The p-values are those of
            `cautious`, and not adjusted: see `holm`.
    """
    rows, others, clusters = _both(rows, others, clusters)
    ours, theirs = summed(rows, clusters), summed(others, clusters)
    sums = side_by_side([ours.table, theirs.table])

    def differences(drawn: Floats) -> dict[str, Floats]:
        first = reduce(unstack(ours.keys, drawn[..., : len(ours.keys)]))
        second = reduce(unstack(theirs.keys, drawn[..., len(ours.keys) :]))
        return {name: first[name] - second[name] for name in first if name in second}

    draws = resampled(sums, differences, resamples, seed)
    whole = differences(np.concatenate([ours.whole, theirs.whole]))
    ps = cautious({name: two_sided(draws[name]) for name in whole}, rows, others, clusters, reduce)
    return {
        name: Difference(float(value), interval(draws[name]), n=len(rows), clusters=sums.shape[0], p=ps[name])
        for name, value in whole.items()
    }


def _both(rows: Sequence[Row], others: Sequence[Row], clusters: Clusters) -> tuple[RowTable, RowTable, Codes]:
    """The samples for which both systems have statistics."""
    if len(rows) != len(others):
        raise ValueError(f"paired rows must be of the same samples: {len(rows)} and {len(others)} rows")
    ours, theirs = table_of(rows), table_of(others)
    keep = ours.filled & theirs.filled
    return ours.where(keep), theirs.where(keep), chosen(clusters, keep)


def cautious(
    ps: Mapping[str, float], rows: Sequence[Row], others: Sequence[Row], clusters: Clusters, reduce: Reduce
) -> dict[str, float]:
    """p-value of every metric: that of the bootstrap, `ps`; where fewer than `FEW_CLUSTERS` clusters differ the maximum of it
    and the p-value of `randomisation`.

    A bootstrap of few clusters is too narrow (Cameron, Gelbach and Miller 2008): if four clusters have differences of one
    sign, its p-value is 0.0002, but the smallest possible p-value of swaps of four clusters is 2 / 2**4. Clusters without
    a difference add nothing to the evidence, however many they are. A cluster differs in a metric if its own scores do.
    """
    rows, others, clusters = _both(rows, others, clusters)
    keys, ours, theirs, _ = _changes(rows, others, clusters)
    if not keys:
        return dict(ps)
    first, second = (row_by_row(keys, sums, reduce) for sums in (ours, theirs))
    few = [name for name in ps if np.count_nonzero(np.abs(first[name] - second[name]) > ALIKE) < FEW_CLUSTERS]
    swaps = randomisation(rows, others, clusters, reduce) if few else {}
    return dict(ps) | {name: max(ps[name], swaps[name].p) for name in few}


def two_sided(draws: Floats) -> float:
    """Bootstrap p-value of resampled differences, shape (B,): twice the share on the rarer side of 0.

    A draw of exactly 0 counts for both sides, and the point estimate as one more draw (Davison and Hinkley 1997, 4.11),
    so that p is at least 2 / (B + 1). It is below 0.05 if the 95 % interval excludes 0, up to one draw.
    """
    rounded = np.round(draws, _DIGITS)
    rarer = 1 + min(np.count_nonzero(rounded <= 0), np.count_nonzero(rounded >= 0))
    return min(1.0, 2 * rarer / (len(draws) + 1))


@dataclass(frozen=True, slots=True)
class Randomised:
    """`p`: two-sided; `trials`: number of swaps; `exact`: whether these are all swaps."""

    p: float
    trials: int
    exact: bool


def randomisation(
    rows: Sequence[Row],
    others: Sequence[Row],
    clusters: Clusters,
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
    rows, others, clusters = _both(rows, others, clusters)
    keys, ours, theirs, change = _changes(rows, others, clusters)
    if not keys:
        return {}
    first, second = total(ours), total(theirs)
    shared = set(reduce(own(rows, keys, first))) & set(reduce(own(others, keys, second)))
    count = change.shape[0]
    exact = count <= EXACT
    observed = _gaps(keys, first, second, reduce, shared)

    looked = 2**count if exact else trials

    def larger(block: int) -> dict[str, int]:
        swap = _every_swap(count, block) if exact else _swaps(count, trials, seed, block)
        moved = swap @ change
        differences = _gaps(keys, first + moved, second - moved, reduce, shared)
        return {name: int(np.count_nonzero(gap >= observed[name] - ALIKE)) for name, gap in differences.items()}

    counts = in_threads(larger, -(-looked // _BLOCK))
    add = 0 if exact else 1  # all swaps include the observed one; random ones may not
    return {name: Randomised((sum(c[name] for c in counts) + add) / (looked + add), looked, exact) for name in observed}


def own(rows: Sequence[Row], keys: Sequence[str], sums: Floats) -> dict[str, Floats]:
    """The statistics of one system, so that `reduce` returns no metric for which it has none."""
    has = set(table_of(rows).names)
    return {key: value for key, value in unstack(keys, sums).items() if key in has}


def _gaps(keys: Sequence[str], first: Floats, second: Floats, reduce: Reduce, names: set[str]) -> dict[str, Floats]:
    """Absolute differences of both scores."""
    ours, theirs = reduce(unstack(keys, first)), reduce(unstack(keys, second))
    return {name: np.asarray(np.abs(ours[name] - theirs[name])) for name in ours if name in names}


def _changes(
    rows: RowTable, others: RowTable, clusters: Codes
) -> tuple[list[str], csr_array, csr_array, Floats | csr_array]:
    """(statistics, their sums by cluster of both systems, the differences of the clusters that have any)."""
    keys = sorted({*rows.names, *others.names})
    ours, theirs = (cluster_sums(stack(table, keys)[1], clusters) for table in (rows, others))
    return keys, ours, theirs, _changed(theirs - ours)


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
