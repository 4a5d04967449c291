"""Rows of statistics in little memory.

A dict takes about 100 bytes for every number. A RowTable stores the names of a row once for all rows that have the same
ones, and its numbers in the smallest type that keeps them exactly: a count below 256 takes one byte. Rows come out as
they went in, with their order of names, and 1 stays different from 1.0, because scores.jsonl has both.

Shapes: N rows, C clusters, K statistics.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import scipy

from diva_bench.types import Floats, Row

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    Numbers = NDArray[Any]

_BLOCK = 1024  # rows whose numbers are in one array
_SMALLEST = (np.uint8, np.uint16, np.int32, np.float32)
_SUMS = 1 << 22  # numbers (32 MiB) of a table of sums of groups
_EXACT = 2**53  # larger whole numbers have no float of their own


class RowTable(Sequence[Row]):
    """A sequence of rows that only grows."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._shapes: list[tuple[tuple[str, ...], tuple[bool, ...]]] = []  # names; which of the numbers are whole
        self._code: dict[tuple[tuple[str, ...], tuple[type, ...]], int] = {}  # names, types -> place in _shapes
        self._codes: list[Numbers] = []  # for every block, the shape of each row
        self._values: list[Numbers] = []  # for every block, the numbers of its rows, one row after another
        self._ends: list[int] = []  # for every block, the number of rows up to its end
        self._new = array("I"), array("d")  # shapes and numbers of the last block, which still grows
        self._huge: dict[int, Row] = {}  # rows with whole numbers that are not exact as floats
        for row in rows:
            self.append(row)

    def append(self, row: Row) -> None:
        values = row.values()
        shape = tuple(row), tuple(map(type, values))
        code = self._code.get(shape)
        if code is None:
            code = self._code[shape] = len(self._shapes)
            self._shapes.append((shape[0], tuple(isinstance(value, int) for value in values)))
        if any(self._shapes[code][1]) and any(abs(value) > _EXACT for value in values):
            self._huge[len(self)] = dict(row)
        codes, numbers = self._new
        codes.append(code)
        numbers.extend(values)
        if len(codes) == _BLOCK:
            self._close(np.array(codes), np.array(numbers))
            self._new = array("I"), array("d")

    def _close(self, codes: Numbers, values: Floats) -> None:
        self._ends.append(len(codes) + (self._ends[-1] if self._ends else 0))
        self._codes.append(codes.astype(np.uint16) if codes.max(initial=0) < 2**16 else codes)
        self._values.append(_smallest(values))

    # ---- as a sequence

    def __len__(self) -> int:
        return (self._ends[-1] if self._ends else 0) + len(self._new[0])

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        i = range(len(self))[place]  # raises IndexError
        block = bisect_right(self._ends, i)
        codes, values = self._block(block)
        before = i - (self._ends[block - 1] if block else 0)
        start = int(self._widths[codes[:before]].sum())
        return self._row(i, int(codes[before]), values[start:].tolist())

    def __iter__(self) -> Iterator[Row]:
        i, widths = 0, self._widths.tolist()
        for block in range(len(self._ends) + 1):
            codes, values = self._block(block)
            numbers, start = values.tolist(), 0
            for code in codes.tolist():
                end = start + widths[code]
                yield self._row(i, code, numbers[start:end])
                i, start = i + 1, end

    def _row(self, i: int, code: int, numbers: list[float]) -> Row:
        if i in self._huge:
            return self._huge[i]
        names, whole = self._shapes[code]
        if not any(whole):
            return dict(zip(names, numbers, strict=False))
        both = zip(names, whole, numbers, strict=False)
        return {name: int(number) if is_whole else number for name, is_whole, number in both}

    @property
    def _widths(self) -> Numbers:
        """The number of statistics of every shape."""
        return np.array([len(names) for names, _ in self._shapes], dtype=np.intp)

    def _block(self, block: int) -> tuple[Numbers, Floats]:
        """(shapes, numbers) of a block; the one behind the last is the block that still grows."""
        if block == len(self._ends):
            return np.array(self._new[0]), np.array(self._new[1])
        return self._codes[block], self._values[block].astype(np.float64)

    # ---- as a table

    @property
    def filled(self) -> NDArray[np.bool_]:
        """Whether a row has statistics, (N,)."""
        widths = self._widths
        parts = [widths[self._block(block)[0]] > 0 for block in range(len(self._ends) + 1) if len(widths)]
        return np.concatenate(parts) if parts else np.zeros(0, bool)

    @property
    def names(self) -> list[str]:
        """The names of all statistics, sorted."""
        used = set().union(*(np.unique(self._block(block)[0]).tolist() for block in range(len(self._ends) + 1)))
        return sorted({name for code in used for name in self._shapes[code][0]})

    def where(self, keep: NDArray[np.bool_]) -> RowTable:
        """The rows where `keep`, shape (N,), is true."""
        if keep.all():
            return self
        selection = RowTable()
        selection._shapes, selection._code = list(self._shapes), dict(self._code)
        widths, start = self._widths, 0
        for block in range(len(self._ends) + 1):
            codes, values = self._block(block)
            here = keep[start : start + len(codes)]
            start += len(codes)
            if here.any():
                selection._close(codes[here], values[np.repeat(here, widths[codes])])
        places = np.cumsum(keep) - 1
        selection._huge = {int(places[i]): row for i, row in self._huge.items() if keep[i]}
        return selection

    def _entries(self, keys: Sequence[str]) -> Iterator[tuple[Numbers, Numbers, Floats]]:
        """For every block: number of statistics of each row; then of every statistic its column in `keys` and its value."""
        column = {key: i for i, key in enumerate(keys)}
        widths = self._widths
        columns = np.zeros((len(widths), widths.max(initial=0)), dtype=np.int32)
        for code, (names, _) in enumerate(self._shapes):
            columns[code, : len(names)] = [column.get(name, -1) for name in names]  # -1: in no row any more
        inside = np.arange(columns.shape[1]) < widths[:, None]
        for block in range(len(self._ends) + 1):
            codes, values = self._block(block)
            yield widths[codes], columns[codes][inside[codes]], values

    def stack(self, keys: Sequence[str]) -> csr_array:
        """The numbers as a sparse matrix (N, K), 0 for a missing statistic. `keys`: names of the columns, all of `names`."""
        parts = list(self._entries(keys))
        ends = np.cumsum(np.concatenate([np.zeros(1, np.intp), *(lengths for lengths, _, _ in parts)]))
        columns = np.concatenate([columns for _, columns, _ in parts])
        values = np.concatenate([values for _, _, values in parts])
        return scipy.sparse.csr_array((values, columns, ends), shape=(len(self), len(keys)))

    def total(self, keys: Sequence[str]) -> Floats:
        """The sum of all rows, (K,), added in their order."""
        sums = np.zeros(len(keys))
        for _, columns, values in self._entries(keys):
            np.add.at(sums, columns, values)
        return sums

    def sums(self, keys: Sequence[str], member: Numbers, count: int) -> Floats:
        """Rows summed by cluster, (C, K), added in their order. `member`: the cluster of every row, (N,)."""
        sums, start = np.zeros(count * len(keys)), 0
        for lengths, columns, values in self._entries(keys):
            first = member[start : start + len(lengths)].astype(np.intp) * len(keys)
            start += len(lengths)
            np.add.at(sums, np.repeat(first, lengths) + columns, values)
        return sums.reshape(count, len(keys))

    def totals_by(self, member: Numbers, count: int) -> Iterator[dict[str, Floats]]:
        """For every group its total as `stats.totals`: without the statistics that none of its rows has. `member`: the group
        of every row, (N,); `count`: the number of groups."""
        names = self.names
        step = max(1, _SUMS // max(1, len(names)))
        for first in range(0, count, step):
            some = self.where((member >= first) & (member < first + step))
            place = member[(member >= first) & (member < first + step)] - first
            width = min(step, count - first)
            sums, there, start = some.sums(names, place, width), np.zeros((width, len(names)), bool), 0
            for lengths, columns, _ in some._entries(names):
                there[np.repeat(place[start : start + len(lengths)], lengths), columns] = True
                start += len(lengths)
            for group in range(width):
                yield {name: sums[group, ..., i] for i, name in enumerate(names) if there[group, i]}

    @property
    def entries(self) -> int:
        """The number of statistics of all rows together."""
        return sum(map(len, self._values)) + len(self._new[1])


def table_of(rows: Iterable[Row]) -> RowTable:
    """The rows as a RowTable."""
    return rows if isinstance(rows, RowTable) else RowTable(rows)


def _smallest(values: Floats) -> Numbers:
    """The numbers in the smallest type that keeps all of them exactly, the sign of -0.0 too."""
    if np.signbit(values[values == 0]).any():
        return values
    with np.errstate(invalid="ignore", over="ignore"):
        return next((small for kind in _SMALLEST if ((small := values.astype(kind)) == values).all()), values)
