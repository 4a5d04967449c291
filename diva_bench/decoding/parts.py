"""Cut a list of items of different sizes into parts that are computed together."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

_HALVINGS = 40  # of the interval with the smallest budget


def even(sizes: Sequence[float], budget: float) -> list[slice]:
    """Cut items, in their order, into parts in which (number of items) x (largest size) is at most `budget`.

    The number of parts is minimal. Of these cuts one is chosen whose largest part is cheapest, with similar numbers of
    items per part if the sizes allow it, because a small rest costs almost as much as a full part if reading the
    weights takes most of the time. An item that is larger than the budget is a part by itself.
    """
    needed = _needed(sizes, budget)
    low, high = 0.0, budget
    for _ in range(_HALVINGS if needed[0] > 1 else 0):
        middle = (low + high) / 2
        if (fewer := _needed(sizes, middle))[0] == needed[0]:
            needed, high = fewer, middle
        else:
            low = middle
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
