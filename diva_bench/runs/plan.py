"""Batches of samples: sorted by audio length, cut by a budget, without finished ones.

Batches are always cut from the whole task, never from the rest: in bfloat16 an answer depends on its batch. So a killed
run repeats its unfinished batches as a whole, and ends with the same answers as an uninterrupted one.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence, Set

from diva_bench.decoding.parts import even
from diva_bench.packed import chosen
from diva_bench.types import Sample

_FLOOR = 1.0  # seconds: the minimum cost of a row, so that very many short or text rows are not one batch


def batches(samples: Sequence[Sample], budget: float, rows: int | None = None) -> list[Sequence[Sample]]:
    """Cut samples into batches of about equal cost.

    The longest come first: a lack of memory shows in the first minute, and the time left is rather over- than
    underestimated.

    Args:
        budget: Seconds: rows x longest clip of a batch, if `rows` is None. One row is always allowed.
        rows: Largest number of rows in a batch.
    """
    ids: list[str] = []
    seconds = array("d")
    for sample in samples:
        ids.append(sample.id)
        seconds.append(sample.seconds)
    ordered = sorted(range(len(ids)), key=ids.__getitem__)
    ordered.sort(key=lambda i: -seconds[i])
    places = array("Q", ordered)
    if rows == 1:
        return [chosen(samples, places[i : i + 1]) for i in range(len(places))]
    sizes = array("d", [1.0 if rows is not None else max(seconds[i], _FLOOR) for i in places])
    return [chosen(samples, places[part]) for part in even(sizes, budget if rows is None else rows)]


def remaining(cut: Sequence[Sequence[Sample]], finished: Set[str]) -> list[Sequence[Sample]]:
    """The batches with at least one unfinished sample, complete."""
    return [batch for batch in cut if not finished or not all(sample.id in finished for sample in batch)]


def shard(cut: Sequence[Sequence[Sample]], index: int, count: int) -> list[Sequence[Sample]]:
    """Every count-th batch: the share of process `index` (from 0) of `count`."""
    return list(cut[index::count])
