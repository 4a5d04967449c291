"""Batches of samples: sorted by audio length, cut by a budget, without finished ones.

Batches are always cut from the whole task, never from the rest: in bfloat16 an answer depends on its batch. So a killed
run repeats its unfinished batches as a whole, and ends with the same answers as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from diva_bench.decoding.parts import even
from diva_bench.types import Sample

_FLOOR = 1.0  # seconds: the minimum cost of a row, so that very many short or text rows are not one batch


def batches(samples: Sequence[Sample], budget: float, rows: int | None = None) -> list[tuple[Sample, ...]]:
    """Cut samples into batches of about equal cost.

    The longest come first: a lack of memory shows in the first minute, and the time left is rather over- than
    underestimated.

    Args:
        budget: Seconds: rows x longest clip of a batch, if `rows` is None. One row is always allowed.
        rows: Largest number of rows in a batch.
    """
    ordered = sorted(samples, key=lambda s: (-s.seconds, s.id))
    if rows == 1:
        return [(sample,) for sample in ordered]
    parts = (
        even([max(s.seconds, _FLOOR) for s in ordered], budget) if rows is None else even([1.0] * len(ordered), rows)
    )
    return [tuple(ordered[part]) for part in parts]


def remaining(cut: Sequence[tuple[Sample, ...]], finished: Set[str]) -> list[tuple[Sample, ...]]:
    """The batches with at least one unfinished sample, complete."""
    return [batch for batch in cut if not all(sample.id in finished for sample in batch)]


def shard(cut: Sequence[tuple[Sample, ...]], index: int, count: int) -> list[tuple[Sample, ...]]:
    """Every count-th batch: the share of process `index` (from 0) of `count`."""
    return list(cut[index::count])
