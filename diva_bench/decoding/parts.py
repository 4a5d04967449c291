"""How a list of items that differ in size is cut into parts that are computed together."""

from __future__ import annotations

from collections.abc import Sequence

_HALVINGS = 40  # of the interval in which the smallest budget lies


def even(sizes: Sequence[float], budget: float) -> list[slice]:
    """Cut items, in their order, into parts in which (number of items) x (largest size) is at most `budget`.

    As few parts as possible; of these cuts one whose largest part costs least, and whose parts have about as many items
    each where the sizes allow it: a small rest costs almost as much as a full part where reading weights is what takes
    the time. An item that is larger than the budget is a part of its own.
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
        while needed[end] > left - 1:  # what follows would not fit into the parts that are left
            end += 1
        while end > start + 1 and max(sizes[start:end]) * (end - start) > high:
            end -= 1
        parts.append(slice(start, end))
        start = end
    return parts


def _needed(sizes: Sequence[float], budget: float) -> list[int]:
    """Per item into how many parts it and all that follow have to be cut; 0 behind the last."""
    needed = [0] * (len(sizes) + 1)
    for start in range(len(sizes) - 1, -1, -1):
        largest, end = sizes[start], start + 1
        while end < len(sizes) and max(largest, sizes[end]) * (end + 1 - start) <= budget:
            largest, end = max(largest, sizes[end]), end + 1
        needed[start] = 1 + needed[end]
    return needed
