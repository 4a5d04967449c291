"""Sequences that need little memory: their items are made when they are used.

The samples of a task are read one after another, many times, and 1,000,000 of them as objects take 2 GB. `packed` keeps a
short sequence as it is. It writes the items of a long one into a temporary file, and memory has 8 bytes for each.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar, overload

from diva_bench.errors import UserError

T = TypeVar("T")
U = TypeVar("U")

KEPT = 4096
"""Items of the longest sequence that stays in memory as objects."""


class Lazy(Sequence[T], Generic[T]):
    """A sequence of `make(place)` for every place; a slice is Lazy too."""

    def __init__(self, places: Sequence[int], make: Callable[[int], T]) -> None:
        self._places, self._make = places, make

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[T]:
        return map(self._make, self._places)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        if isinstance(place, slice):
            return Lazy(self._places[place], self._make)
        return self._make(self._places[place])


class Packing(Generic[T]):
    """Makes a sequence of the items that are appended.

    Args:
        dump: An item, and its place in the sequence, as bytes.
        load: Makes an equal item from its place and its bytes.
    """

    def __init__(self, dump: Callable[[int, T], bytes], load: Callable[[int, bytes], T]) -> None:
        self._dump, self._load = dump, load
        self._first: list[T] = []
        self._store: _Store | None = None

    def append(self, item: T) -> None:
        """Raises UserError if the temporary file cannot be written."""
        if self._store is None and len(self._first) < KEPT:
            self._first.append(item)
            return
        if self._store is None:
            self._store = _Store()
            for place, kept in enumerate(self._first):
                self._store.append(self._dump(place, kept))
            self._first.clear()
        self._store.append(self._dump(len(self._store), item))

    def done(self) -> Sequence[T]:
        """The sequence; nothing is appended any more."""
        if self._store is None:
            return tuple(self._first)
        store, load = self._store, self._load
        store.flush()
        return Lazy(range(len(store)), lambda place: load(place, store.read(place)))


def packed(items: Iterable[T], dump: Callable[[int, T], bytes], load: Callable[[int, bytes], T]) -> Sequence[T]:
    """The items as a sequence, see Packing."""
    packing = Packing(dump, load)
    for item in items:
        packing.append(item)
    return packing.done()


def chosen(items: Sequence[T], places: Sequence[int]) -> Sequence[T]:
    """The items at these places; lazily, if the items are."""
    return Lazy(places, items.__getitem__) if isinstance(items, Lazy) else tuple(items[i] for i in places)


def mapped(items: Sequence[T], change: Callable[[T], U]) -> Sequence[U]:
    """`change` of every item; lazily, if the items are."""
    return Lazy(range(len(items)), lambda i: change(items[i])) if isinstance(items, Lazy) else tuple(map(change, items))


def in_order(items: Sequence[T], key: Callable[[T], str]) -> Iterator[T]:
    """The items in the order of their keys; memory holds the keys."""
    keys = [key(item) for item in items]
    return map(items.__getitem__, sorted(range(len(keys)), key=keys.__getitem__))


class _Store:
    """Byte strings, one after another in a temporary file without a name, which disappears with the process."""

    def __init__(self) -> None:
        self._ends = array("Q", [0])
        try:
            file = tempfile.TemporaryFile()  # noqa: SIM115  # it is open as long as the sequence is used
        except OSError as err:
            raise _cannot_write(err) from err
        self._file = file
        weakref.finalize(self, file.close)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, content: bytes) -> None:
        try:
            self._file.write(content)
        except OSError as err:
            raise _cannot_write(err) from err
        self._ends.append(self._ends[-1] + len(content))

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as err:
            raise _cannot_write(err) from err

    def read(self, place: int) -> bytes:
        """What was appended as number `place`, from 0, before the last `flush`; from any thread."""
        start, end = self._ends[place], self._ends[place + 1]
        return os.pread(self._file.fileno(), end - start, start)


def _cannot_write(err: OSError) -> UserError:
    return UserError(
        f"{tempfile.gettempdir()}: a temporary file for the rows of a long task cannot be written ({err.strerror or err}). "
        "Free space there, or name another folder with the environment variable TMPDIR."
    )
