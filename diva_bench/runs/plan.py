"""Which samples are asked together: sorted by audio length, cut by a budget, the finished ones dropped.

Batches are always cut from the full set of samples, never from what is left: in bfloat16 an answer depends on the batch
it was asked in, so a killed run asks its unfinished batches again whole, and ends with the answers of an unbroken one.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from diva_bench.decoding.parts import even
from diva_bench.types import Sample

_FLOOR = 1.0  # seconds: what a row costs at least, so that a thousand silent or text rows are not one batch


def batches(samples: Sequence[Sample], budget: float, rows: int | None = None) -> list[tuple[Sample, ...]]:
    """Cut samples into batches of `rows` at most, or where `rows` is None into batches whose rows x longest clip stays
    within `budget` seconds (one row is always allowed); batches cost about the same each.

    The longest come first: memory trouble shows in the first minute, and time left is overestimated, not underestimated.
    """
    ordered = sorted(samples, key=lambda s: (-s.seconds, s.id))
    parts = (
        even([max(s.seconds, _FLOOR) for s in ordered], budget) if rows is None else even([1.0] * len(ordered), rows)
    )
    return [tuple(ordered[part]) for part in parts]


def remaining(cut: Sequence[tuple[Sample, ...]], finished: Set[str]) -> list[tuple[Sample, ...]]:
    """The batches in which at least one sample is not finished, whole."""
    return [batch for batch in cut if not all(sample.id in finished for sample in batch)]


def shard(cut: Sequence[tuple[Sample, ...]], index: int, count: int) -> list[tuple[Sample, ...]]:
    """Every count-th batch: the share of process `index` (from 0) of `count`."""
    return list(cut[index::count])
