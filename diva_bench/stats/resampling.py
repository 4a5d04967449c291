"""Cluster bootstrap over additive statistics: intervals, paired differences with p-values, Holm.

All functions work on sums. An answer has a sparse row of numbers. Rows of one cluster (question, sentence, dialogue,
speaker: answers in a cluster depend on each other) are summed. A resample draws C of C clusters with replacement and
sums them, and `reduce` computes scores from any sum. So the corpus score is computed for every resample, not averaged
over items. Sources: Koehn 2004 (bootstrap of corpus metrics), Liu and Peng 2020 (arXiv 1912.09508, blocks in place of
items); percentile interval, 95 %.

Rows are sparse, because with many labels an answer has few of very many statistics, and resamples are reduced in
portions, so that memory grows neither with N K nor with B K.

Shapes: N answers, C clusters, K statistics, B resamples.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import scipy  # its parts load when they are used: most commands resample nothing
from threadpoolctl import threadpool_limits

from diva_bench.stats.settings import FEW_CLUSTERS, LEVEL, RESAMPLES, SEED
from diva_bench.stats.table import RowTable, table_of
from diva_bench.types import Floats, Row, T

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

_BLOCK = 64  # resamples per random stream; changing it changes every interval
_DIGITS = (
    9  # intervals, and differences compared with 0, are rounded to 1e-9, because last bits differ between processors
)
_PORTION = 1 << 22  # numbers (32 MiB) that one portion of sums may hold

_PICKED = 1 << 20  # draws (20 MiB) that one thread holds at once

Codes: TypeAlias = "NDArray[np.int32]"
Clusters: TypeAlias = "Sequence[str] | Codes"
"""The cluster of every row: its name, or its number (`numbered`), (N,)."""
Reduce = Callable[[Mapping[str, Floats]], Mapping[str, Floats]]


@dataclass(frozen=True, slots=True)
class Interval:
    """The ends of a 95 % percentile interval, on the scale of the score."""

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
        """Whether there are too few clusters to resample, so that the interval is too narrow."""
        return self.clusters < FEW_CLUSTERS


# ---------------------------------------------------------------- rows and sums


def stack(rows: Sequence[Row], keys: Sequence[str] | None = None) -> tuple[list[str], csr_array]:
    """(keys, sorted, shape (K,); sparse matrix (N, K), 0 for a missing key). `keys`: those of the rows, and others."""
    table = table_of(rows)
    names = table.names if keys is None else list(keys)
    return names, table.stack(names)


def summed(rows: Sequence[Row], clusters: Clusters, keys: Sequence[str] | None = None) -> Sums:
    """The sums of rows by cluster and of all rows, as `cluster_sums` and `total` of their matrix to the last bit, without
    the matrix if it would need more memory than the sums. `clusters`: of every row; `keys`: as in `stack`."""
    table = table_of(rows)
    names = table.names if keys is None else list(keys)
    count, member = _members(clusters, len(table))
    whole = table.total(names)
    if count * len(names) * 8 <= table.entries * 12:
        return Sums(names, table.sums(names, member, count), whole)
    return Sums(names, _belonging(member, count) @ table.stack(names), whole)


@dataclass(frozen=True, slots=True)
class Sums:
    """Statistics of rows: their names, shape (K,); sums by cluster (C, K), of clusters in the order of their names; the
    sum of all rows (K,)."""

    keys: list[str]
    table: Floats | csr_array
    whole: Floats


def side_by_side(tables: Sequence[Floats | csr_array]) -> Floats | csr_array:
    """Tables of the same rows joined by columns, (N, K1 + K2 + ...)."""
    if all(isinstance(table, np.ndarray) for table in tables):
        return np.concatenate(tables, axis=1) if tables else np.zeros((0, 0))
    return scipy.sparse.csr_array(
        scipy.sparse.hstack([scipy.sparse.csr_array(table) for table in tables], format="csr")
    )


def unstack(keys: Sequence[str], sums: Floats) -> dict[str, Floats]:
    """Sums of shape (..., K) in the form for `reduce`: key -> array of shape (...)."""
    return {key: sums[..., i] for i, key in enumerate(keys)}


def totals(rows: Iterable[Row]) -> dict[str, Floats]:
    """The sum of all rows: key -> array of shape (). `reduce(totals(rows))` is the point estimate."""
    if isinstance(rows, RowTable):
        return unstack(names := rows.names, rows.total(names))
    sums: dict[str, float] = {}
    for row in rows:  # in their order, as the product of sparse matrices adds them: the same bits
        for key, value in row.items():
            sums[key] = sums.get(key, 0.0) + value
    return {key: np.asarray(sums[key], dtype=np.float64) for key in sorted(sums)}


def total(matrix: csr_array) -> Floats:
    """The sum of all rows, (K,)."""
    return np.asarray(matrix.sum(axis=0), dtype=np.float64)


def dense(totals: Mapping[str, Floats], keys: Sequence[str]) -> Floats:
    """The statistics `keys` as one array of shape (..., len(keys)); a missing one is 0."""
    zero = np.zeros(np.shape(next(iter(totals.values()), 0.0)))
    return np.stack([totals.get(key, zero) for key in keys], axis=-1)


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below, and 0 if `below` is 0."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=np.not_equal(below, 0))


def cluster_sums(matrix: csr_array, clusters: Clusters) -> csr_array:
    """Rows (N, K) summed by cluster: (C, K), with clusters sorted by name, so that draws do not depend on the order of
    rows."""
    count, member = _members(clusters, matrix.shape[0])
    return _belonging(member, count) @ matrix


def numbered(names: Iterable[str]) -> Codes:
    """The place of every name among all of them, sorted: clusters in 4 bytes each, in the order that draws need."""
    number: dict[str, int] = {}
    codes = np.array([number.setdefault(name, len(number)) for name in names], dtype=np.int32)
    places = np.empty(len(number), dtype=np.int32)
    places[[number[name] for name in sorted(number)]] = np.arange(len(number), dtype=np.int32)
    return places[codes]


def chosen(clusters: Clusters, keep: NDArray[np.bool_]) -> Codes:
    """The clusters of the rows where `keep`, shape (N,), is true."""
    if len(clusters) != len(keep):
        raise ValueError(f"{len(keep)} rows but {len(clusters)} cluster names")
    return (clusters if isinstance(clusters, np.ndarray) else numbered(clusters))[keep]


def _members(clusters: Clusters, rows: int) -> tuple[int, Codes]:
    """(number of clusters that have a row, the number of each row's cluster)."""
    if len(clusters) != rows:
        raise ValueError(f"{rows} rows but {len(clusters)} cluster names")
    codes = clusters if isinstance(clusters, np.ndarray) else numbered(clusters)
    there = np.zeros(int(codes.max(initial=-1)) + 1, dtype=bool)
    there[codes] = True
    return int(there.sum()), (np.cumsum(there, dtype=np.int32) - np.int32(1))[codes]


def _belonging(member: Codes, count: int) -> csr_array:
    """The matrix (C, N) with a 1 where a row belongs to a cluster."""
    rows = np.arange(len(member), dtype=np.int32)
    return scipy.sparse.csr_array((np.ones(len(member)), (member, rows)), shape=(count, len(member)))


def in_portions(
    count: int, width: int, score: Callable[[int, int], Mapping[str, Floats]], multiple: int = 1
) -> dict[str, Floats]:
    """`score(first, last)` for rows 0 to `count`, joined: metric -> (count,). The size of a portion is a multiple of
    `multiple`, and such that an array (portion, width) stays small."""
    step = max(multiple, _PORTION // max(width, 1) // multiple * multiple)
    parts = [score(first, min(first + step, count)) for first in range(0, max(count, 1), step)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def row_by_row(keys: Sequence[str], matrix: csr_array, reduce: Reduce) -> dict[str, Floats]:
    """`reduce` of every row of (N, K) alone: metric -> (N,)."""
    return in_portions(
        matrix.shape[0],
        len(keys),
        lambda first, last: reduce(unstack(keys, matrix[first:last].toarray())),
    )


# ---------------------------------------------------------------- the bootstrap


def resampled(
    sums: csr_array, score: Callable[[Floats], Mapping[str, Floats]], resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Floats]:
    """`score` of every resample of `sums` (C, K): metric -> (B,). `score` takes sums of shape (..., K)."""
    return in_portions(
        resamples,
        sums.shape[1],
        lambda first, last: score(resample(sums, last - first, seed, first)),
        _BLOCK,
    )


def resample(sums: Floats | csr_array, resamples: int = RESAMPLES, seed: int = SEED, first: int = 0) -> Floats:
    """Draw C of C clusters with replacement, B times, and sum them: (C, K) -> (B, K); starting at draw `first`, a multiple
    of 64.

    A draw is C uniform indices. A block of draws is a sparse matrix with a 1 per index, and its product with `sums`
    adds the drawn rows. Every block has its own PCG64 stream, numbered from the seed. So the numbers do not depend on
    the machine or the number of threads, the first draws do not depend on B, and two systems with the same clusters get
    the same draws. Sums are bit-identical everywhere: whole numbers are added exactly in any order, so BLAS adds them;
    other numbers are added one after another.

    Cost: B C random 32-bit numbers and B C K additions, on all cores; memory: 20 bytes for each of 64 C draws, or of 2^20
    or C if that is less, per core; never B C. See
    benchmarks/bootstrap.py.
    """
    clusters, width = sums.shape
    draws = np.empty((resamples, width))
    if not clusters or not width:
        return np.zeros((resamples, width))
    together = min(_BLOCK, max(1, _PICKED // clusters))  # draws
    ones = np.ones(together * clusters)
    starts = np.arange(0, together * clusters + 1, clusters, dtype=np.int32)
    add = _adder(sums)

    def draw(block: int) -> None:
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(first // _BLOCK + block,))))
        into = draws[block * _BLOCK : (block + 1) * _BLOCK]
        for start in range(0, len(into), together):  # drawn in parts, a stream gives the same numbers
            picked = rng.integers(0, clusters, together * clusters, dtype=np.int32)
            counts = scipy.sparse.csr_array((ones, picked, starts), shape=(together, clusters))
            into[start : start + together] = add(counts)[: len(into) - start]

    in_threads(draw, -(-resamples // _BLOCK))
    return draws


def in_threads(work: Callable[[int], T], count: int) -> list[T]:
    """`work` of 0 to count - 1, on all cores, in order, for work that releases the GIL. BLAS gets one thread in each,
    because more threads would only wait for each other."""
    # 8: with more, the blocks do not fit into the CPU caches
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(min(os.cpu_count() or 1, 8, count or 1)) as pool:
        return list(pool.map(work, range(count)))


def _adder(sums: Floats | csr_array) -> Callable[[csr_array], Floats]:
    """The fastest method to add drawn rows of `sums` with the same bits as adding them one after another.

    Confusion counts are mostly zeros: skipping these is 10 times as fast. N-gram counts are not, but they are whole
    numbers: one matrix product of draw counts and sums is 2 to 5 times as fast as adding by index.
    """
    nonzero = np.count_nonzero(sums) if isinstance(sums, np.ndarray) else sums.count_nonzero()
    if nonzero < sums.shape[0] * sums.shape[1] / 4:
        sparse = scipy.sparse.csr_array(sums)
        return lambda picked: (picked @ sparse).toarray()
    table = sums if isinstance(sums, np.ndarray) else sums.toarray()
    if len(table) * np.abs(table).max() < 2**53 and (table == np.rint(table)).all():
        return lambda picked: picked.toarray() @ table
    return lambda picked: picked @ table


def interval(values: Floats) -> Interval:
    """Percentile interval of resampled scores, shape (B,): the 2.5 and 97.5 % quantiles, interpolated linearly."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(round(float(low), _DIGITS), round(float(high), _DIGITS))


def bootstrap(
    rows: Sequence[Row], clusters: Clusters, reduce: Reduce, *, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Estimate]:
    """Every score of `reduce` with its interval.

    Rows without statistics are left out and not counted in `n`. One cluster gives an interval without width, see
    `Estimate.few_clusters`.
    """
    table = table_of(rows)
    keep = table.filled
    sums = summed(table.where(keep), chosen(clusters, keep))
    point = reduce(unstack(sums.keys, sums.whole))
    draws = resampled(sums.table, lambda drawn: reduce(unstack(sums.keys, drawn)), resamples, seed)
    return {
        name: Estimate(float(value), interval(draws[name]), n=int(keep.sum()), clusters=sums.table.shape[0])
        for name, value in point.items()
    }


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p-values of one family (Holm 1979, step-down), in the same order: the probability of any false rejection at
    0.05 in the family is at most 0.05, for any dependence.

    The i-th smallest of m (from 0) is multiplied by m - i; none is smaller than that of a smaller p, or above 1.
    """
    strange = [p for p in ps if not 0 <= p <= 1]
    if strange:
        raise ValueError(f"a p-value lies from 0 to 1, found {strange[0]}")
    adjusted, least = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        adjusted[i] = least = max(least, min(1.0, (len(ps) - rank) * ps[i]))
    return adjusted
