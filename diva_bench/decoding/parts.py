"""Cut a list of items of different sizes into parts that are computed together."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise

_HALVINGS = 40  # of the interval with the smallest budget


def even(sizes: Sequence[float], budget: float) -> list[slice]:
    """Cut items, in their order, into parts in which (number of items) x (largest size) is at most `budget`.

    The number of parts is minimal. Of these cuts one is chosen whose largest part is cheapest, with similar numbers of
    items per part if the sizes allow it, because a small rest costs almost as much as a full part if reading the
    weights takes most of the time. An item that is larger than the budget is a part by itself.
    """
    falling = all(size >= after for size, after in pairwise(sizes))
    count = _count(sizes, budget, falling)
    low, high = 0.0, budget
    for _ in range(_HALVINGS if count > 1 else 0):
        middle = (low + high) / 2
        if _count(sizes, middle, falling) == count:
            high = middle
        else:
            low = middle
    needed = _needed(sizes, high)
    parts: list[slice] = []
    start = 0
    for left in range(needed[0], 0, -1):
        end = start + -(-(len(sizes) - start) // left)
        while needed[end] > left - 1:  # the remaining items would not fit into the remaining parts
            end += 1
        while end > start + 1 and max(sizes[start:end]) * (end - start) > high:
            end -= 1
        parts.append(slice(start, end))
        start = end
    return parts


def _count(sizes: Sequence[float], budget: float, falling: bool) -> int:
    """The number of parts. `falling`: no size is larger than the one before it, so that the first of a part is the largest
    and the end of the part is known at once."""
    count = start = 0
    while start < len(sizes):
        count += 1
        largest, end = sizes[start], start + 1
        if falling:
            end = start + max(1, int(budget / largest))
            while end > start + 1 and largest * (end - start) > budget:  # the division was rounded
                end -= 1
        while end < len(sizes) and max(largest, sizes[end]) * (end + 1 - start) <= budget:
            largest, end = max(largest, sizes[end]), end + 1
        start = end
    return count


def _needed(sizes: Sequence[float], budget: float) -> list[int]:
    """For each item the number of parts for it and all later items; 0 after the last."""
    needed = [0] * (len(sizes) + 1)
    end = len(sizes)
    largest: deque[int] = deque()  # items of the part from `start` to `end`, each larger than all before it
    for start in range(len(sizes) - 1, -1, -1):
        while largest and sizes[largest[0]] <= sizes[start]:
            largest.popleft()
        largest.appendleft(start)
        while end > start + 1 and sizes[largest[-1]] * (end - start) > budget:
            end -= 1  # a part that begins earlier never ends later
            if largest[-1] == end:
                largest.pop()
        needed[start] = 1 + needed[end]
    return needed
