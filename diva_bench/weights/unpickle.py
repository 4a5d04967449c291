"""Read a pickle that is not trusted, without running code that it names.

A pickle is a program that can call any function by its name. This reader allows only the names in a table: built-in
containers and numbers, numpy arrays and scalars of numbers and text, and names that the caller adds. It refuses every
other name.

- numpy's `__setstate__` trusts the shape and dtype of the file, so it gets only a checked dtype, a checked shape, and
  exactly as many bytes as these need.
- All opcodes are read once before an object is built. Otherwise a declared length beyond the end of the file, or a huge
  memo slot, would be allocated.
- The calls of a file may copy at most eight times its size, because a small file could copy one value again and again.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import pickletools
from collections.abc import Callable, Mapping, Sized
from pathlib import Path
from typing import Any

import numpy as np

from diva_bench.disk import size
from diva_bench.errors import DataError, one_line

LIMIT = 1 << 30
"""The size in bytes of the largest pickle that is read."""
_PLAIN = "biufcSU"  # first letters of numpy dtypes for numbers and text; objects and records are not allowed
_CORES = ("numpy.core", "numpy._core")  # the name before numpy 2, and since
_GROWTH = 8
"""How many times its own size a pickle may copy in all. An ordinary file copies its content once."""
_SIZE_DIGITS = 9  # characters of a dtype name such as U40


class Refused(pickle.UnpicklingError):
    """The pickle uses a name that is not in the table, or declares more bytes than it contains."""


class Record:
    """An instance of a class of which only the data is needed. Use it as a replacement in `allowed` of `load`.

    Attributes:
        arguments: The arguments of the constructor.
        attributes: Attribute name -> value.
    """

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise Refused(f"a state of type {type(state).__name__} where a dict of attributes was expected")
        self.attributes = state


def load(
    source: Path | bytes,
    *,
    allowed: Mapping[str, Callable[..., Any]] | None = None,
    limit: int = LIMIT,
    encoding: str = "latin1",
) -> Any:
    """Read the value of a pickle.

    Args:
        source: A file, or the bytes of a file.
        allowed: "module.name" -> its replacement, in addition to the built-in table: a function, or a class with
            `__setstate__`, such as `Record`.
        limit: Size in bytes of the largest pickle that is read.
        encoding: The encoding of texts that Python 2 wrote.

    Raises:
        DataError: The file cannot be read, is larger than `limit`, is not a pickle, or uses a name that is not allowed.
    """
    where = str(source) if isinstance(source, Path) else "the pickle"
    try:
        if isinstance(source, Path) and source.stat().st_size > limit:
            raise DataError(
                f"{where}: {size(source.stat().st_size)}, more than the {size(limit)} that are read of a pickle."
            )
        encoded = source.read_bytes() if isinstance(source, Path) else source
    except OSError as err:
        raise DataError(f"{where}: cannot be read ({err.strerror}).") from err
    if len(encoded) > limit:
        raise DataError(f"{where}: {size(len(encoded))}, more than the {size(limit)} that are read of a pickle.")
    try:
        _walk(encoded)
        return _Unpickler(encoded, {**_table(_Budget(len(encoded))), **(allowed or {})}, encoding).load()
    except Refused as err:
        raise DataError(f"{where}: refused: {err}. A data file does not need that: get the original file.") from err
    except Exception as err:  # a broken pickle can raise almost any exception
        raise DataError(f"{where}: not a pickle that can be read ({one_line(err)[:200]}).") from err


class _Unpickler(pickle.Unpickler):
    def __init__(self, encoded: bytes, table: Mapping[str, Callable[..., Any]], encoding: str) -> None:
        super().__init__(io.BytesIO(encoded), encoding=encoding)
        self._table = table

    def find_class(self, module: str, name: str, /) -> Any:
        function = self._table.get(f"{module}.{name}")
        if function is None or "." in name:
            raise Refused(f"it asks for {module}.{name}")
        return function if isinstance(function, type) else _Call(function)  # the classes here check their own state

    def persistent_load(self, pid: Any, /) -> Any:
        raise Refused(f"it asks for the outside object {str(pid)[:80]!r}")


class _Call:
    """A function that a pickle may call but not change. Without it, the opcode BUILD could set attributes of the function."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise Refused(f"it sets {name} of a function")

    def __setstate__(self, state: Any) -> None:
        raise Refused("it sets the state of a function")


def _walk(encoded: bytes) -> None:
    """Read all opcodes without building an object. pickletools checks that the file has as many bytes as it declares."""
    for opcode, argument, _ in pickletools.genops(encoded):
        if opcode.name in ("LONG_BINPUT", "PUT") and argument is not None and not 0 <= argument <= len(encoded):
            raise Refused(f"memo slot {argument} in a file of {len(encoded)} bytes")
        if opcode.name in ("EXT1", "EXT2", "EXT4"):
            raise Refused(f"it asks for the registered extension {argument}")


# ---------------------------------------------------------------- numpy


class _Dtype:
    """A dtype as a pickle describes it: the name ("f8", "U40") as an argument, and the byte order as a state."""

    def __init__(self, name: Any, *_: Any) -> None:
        text = name.decode("latin1") if isinstance(name, bytes) else name
        if not isinstance(text, str) or text[:1] not in _PLAIN or not (text[1:].isdigit() and len(text) < _SIZE_DIGITS):
            raise Refused(f"it asks for a numpy array of dtype {str(name)[:40]!r}; numbers and text are read")
        self._name, self._order = text, "="

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise Refused(f"numpy byte order {order!r}")
        self._order = order

    @property
    def real(self) -> np.dtype[Any]:
        return np.dtype(self._name) if self._order == "|" else np.dtype(self._order + self._name)


class _Budget:
    """Counts the bytes that the calls and arrays of one pickle copy, and refuses too many. `bytes`: size of the pickle."""

    def __init__(self, bytes: int) -> None:
        self._left = _GROWTH * bytes

    def spend(self, *values: Any) -> None:
        self._left -= sum(len(value) for value in values if isinstance(value, Sized))
        if self._left < 0:
            raise Refused(f"it copies more than {_GROWTH} times what it holds")

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that counts its arguments and then calls `function`."""

        def call(*arguments: Any) -> Any:
            self.spend(*arguments)
            return function(*arguments)

        return call

    def array(self, *_: Any) -> _Array:
        """Replaces numpy's `_reconstruct`: an empty array, which gets its state later."""
        made = _Array.__new__(_Array, (0,), "i1")
        made.budget = self
        return made

    def filled(self, data: Any, dtype: Any, shape: Any, order: Any = "C") -> _Array:
        """Replaces numpy's `_frombuffer`, which pickles of protocol 5 call."""
        made = self.array()
        made.__setstate__((1, shape, dtype, order == "F", bytes(data)))
        return made


class _Array(np.ndarray[Any, Any]):
    """An array whose state is checked before it is set."""

    budget: _Budget

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if isinstance(data, str):  # pickles of Python 2 have bytes as text
            data = data.encode("latin1")
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise Refused("it asks for a numpy array of objects; numbers and text are read")
        if not all(isinstance(n, int) and n >= 0 for n in shape) or math.prod(shape) * dtype.real.itemsize != len(data):
            raise Refused(f"a numpy array of shape {shape} in {len(data)} bytes")
        self.budget.spend(data)
        checked: Any = (1, tuple(shape), dtype.real, bool(fortran), data)
        super().__setstate__(checked)


def _scalar(dtype: Any, data: Any = b"") -> Any:
    if isinstance(data, str):
        data = data.encode("latin1")
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or len(data) != dtype.real.itemsize:
        raise Refused("a numpy scalar that is not a number or text of its declared size")
    return np.frombuffer(data, dtype.real)[0]


def encode(text: Any, codec: Any = "latin1") -> bytes:
    """Replaces `_codecs.encode`: protocol 2 writes bytes as text, and a call of this function that makes bytes of it."""
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise Refused(f"it asks for codec {str(codec)[:40]!r}")
    return text.encode("latin1")


class _NoArray:
    """Replaces `numpy.ndarray`, which an ordinary pickle uses only as an argument of `_reconstruct`."""

    def __new__(cls, *_: Any) -> _NoArray:
        raise Refused("it makes a numpy array by its class")

    def __setstate__(self, state: Any) -> None:
        raise Refused("it sets the state of a class")


def _table(budget: _Budget) -> dict[str, Callable[..., Any]]:
    """The names that every pickle may use, and their replacements."""
    table: dict[str, Callable[..., Any]] = {"numpy.ndarray": _NoArray, "numpy.dtype": _Dtype}
    for core in _CORES:
        table[f"{core}.multiarray._reconstruct"] = budget.array
        table[f"{core}.multiarray.scalar"] = budget.counted(_scalar)
        table[f"{core}.numeric._frombuffer"] = budget.filled
    calls: dict[str, Callable[..., Any]] = {
        "_codecs.encode": encode,
        "collections.OrderedDict": collections.OrderedDict,
    }
    for module in ("builtins", "__builtin__"):
        calls |= {f"{module}.{kind.__name__}": kind for kind in (set, frozenset, complex)}
        calls |= {f"{module}.bytearray": _bytearray, f"{module}.bytes": _bytes}
    return table | {name: budget.counted(function) for name, function in calls.items()}


def _bytes(*arguments: Any) -> bytes:
    """`bytes` without a size as its argument: `bytes(10**12)` would be a terabyte of zeros."""
    if arguments and isinstance(arguments[0], int):
        raise Refused(f"it asks for {arguments[0]} bytes of nothing")
    return bytes(*arguments)


def _bytearray(*arguments: Any) -> bytearray:
    return bytearray(_bytes(*arguments))
