"""Parts of a list: within the budget, as few as can be, no small rest."""

import itertools
import random

import pytest

from diva_bench.decoding.parts import even


def cost(sizes):
    return len(sizes) * max(sizes)


def best(sizes, budget):
    """(fewest parts, smallest largest cost of so many) by trying every cut."""
    for count in range(1, len(sizes) + 1):
        cuts = []
        for ends in itertools.combinations(range(1, len(sizes)), count - 1):
            edges = [0, *ends, len(sizes)]
            parts = [sizes[a:b] for a, b in itertools.pairwise(edges)]
            if all(len(p) == 1 or cost(p) <= budget for p in parts):
                cuts.append(max(cost(p) for p in parts))
        if cuts:
            return count, min(cuts)
    return 0, 0.0


@pytest.mark.parametrize(
    ("sizes", "budget", "counts"),
    [
        ([], 4, []),
        ([1] * 17, 4, [4, 4, 3, 3, 3]),
        ([1] * 10, 4, [4, 3, 3]),
        ([1] * 8, 4, [4, 4]),
        ([9, 1, 1], 4, [1, 2]),
        ([1, 1, 9], 4, [2, 1]),
        ([1, 9, 1], 4, [1, 1, 1]),
        ([3, 2, 1], 100, [3]),
    ],
)
def test_parts_have_about_as_many_items_each(sizes, budget, counts):
    assert [len(sizes[part]) for part in even(sizes, budget)] == counts


def test_no_cut_has_fewer_parts_or_a_smaller_largest_one():
    draw = random.Random(0)
    for _ in range(300):
        sizes = [float(draw.randint(1, 9)) for _ in range(draw.randint(1, 9))]
        if draw.random() < 0.5:
            sizes.sort(reverse=True)
        budget = draw.randint(1, 40)
        parts = [sizes[part] for part in even(sizes, budget)]
        assert [size for part in parts for size in part] == sizes
        count, largest = best(sizes, budget)
        assert len(parts) == count
        assert max(map(cost, parts)) == pytest.approx(largest)
