"""Batches: cut from everything, within the budget, the same every time."""

import pytest

from diva_bench.runs import plan
from diva_bench.types import Sample


def samples(*seconds: float) -> list[Sample]:
    return [Sample(f"s{i:02}", ("x",), "c", seconds=s) for i, s in enumerate(seconds)]


@pytest.mark.parametrize(
    ("seconds", "budget", "sizes"),
    [
        ((1, 2, 3), 100, [3]),
        ((1, 2, 3), 6, [1, 2]),  # not 3 x 2 and 1: batches cost about the same
        ((2,) * 10, 8, [4, 3, 3]),  # no small rest: not 4, 4, 2
        ((600, 1, 1), 60, [1, 2]),  # a clip over the budget is a batch of its own
        ((0, 0, 0, 0), 2, [2, 2]),  # a row costs at least a second
        ((), 10, []),
    ],
)
def test_rows_times_the_longest_clip_stay_within_the_budget(seconds, budget, sizes):
    assert [len(b) for b in plan.batches(samples(*seconds), budget)] == sizes


@pytest.mark.parametrize(
    ("count", "rows", "sizes"), [(48, 64, [48]), (65, 64, [33, 32]), (130, 64, [44, 43, 43]), (0, 8, [])]
)
def test_batches_by_rows_are_even_whatever_the_clips(count, rows, sizes):
    cut = plan.batches(samples(*range(count)), 0.1, rows)
    assert [len(b) for b in cut] == sizes
    assert [s.id for b in cut for s in b] == [f"s{i:02}" for i in reversed(range(count))]


def test_the_order_of_the_input_does_not_matter():
    some = samples(3, 1, 2, 2, 5)
    assert plan.batches(some, 6) == plan.batches(some[::-1], 6)


def test_a_batch_that_is_not_finished_is_asked_again_whole():
    cut = plan.batches(samples(4, 3, 2, 1), 8)
    assert [[s.id for s in b] for b in cut] == [["s00", "s01"], ["s02", "s03"]]
    left = plan.remaining(cut, {"s00", "s02", "s03"})
    assert [[s.id for s in b] for b in left] == [["s00", "s01"]]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_share_out_every_batch_once(count):
    cut = plan.batches(samples(*range(1, 12)), 12)
    shares = [b for i in range(count) for b in plan.shard(cut, i, count)]
    assert sorted(shares, key=str) == sorted(cut, key=str)
