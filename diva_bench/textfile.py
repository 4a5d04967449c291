"""Text files from elsewhere: one set of rules for encoding, lines, JSON and tables.

Encoding  UTF-8, with or without a byte order mark; UTF-16 and UTF-32 if the mark says so. Any other encoding and NUL
          characters are errors.
Lines     end with a line feed, with or without a carriage return before it; in a file without any line feed, with a
          carriage return. U+2028 and similar characters do not end a line, because texts contain them.
JSON      RFC 8259, and NaN and Infinity. A repeated key, a number with too many digits and too deep nesting are errors.
          Half a surrogate pair is an error, or becomes U+FFFD.
Tables    comma or tab, as in the header, with quotes as in RFC 4180; or tabs only, with literal quotes.

Every function takes the class of the error that it raises, and `where`, the name of the file for messages.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from diva_bench.errors import DataError, UserError

Failure = type[UserError]
Lines = Iterable[tuple[int, str]]
"""(number from 1, line with its end)."""

LARGEST = 2 << 30
"""Largest file in bytes that is read as a whole. Tables of answers are far smaller, and it fits into memory."""
_LONGEST = 256 << 20  # bytes of the longest line or field
_DEEPEST = 200  # levels of arrays and objects; recursive functions can still walk, print and hash such a value
_HEAD = 1 << 16  # bytes that are searched for the kind of line ends
_MARKS = (  # UTF-32 first, because its mark begins like that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_HALF = re.compile("[\ud800-\udfff]")
_HALF_WRITTEN = re.compile(r"\\u[dD][89a-fA-F]")  # half of a surrogate pair as JSON escapes it


# ---------------------------------------------------------------- bytes to text


def read(path: Path, error: Failure = DataError) -> str:
    """The text of a file."""
    return decode(content(path, error), str(path), error)


def content(path: Path, error: Failure = DataError) -> bytes:
    """The bytes of a file. Raises `error` if it cannot be read, is not a regular file, or is larger than LARGEST."""
    try:
        _must_be_a_file(path, error)
        with path.open("rb") as file:
            # as many bytes are reserved as may be read
            data = file.read(min(os.fstat(file.fileno()).st_size, LARGEST) + 1)
    except (OSError, ValueError) as err:  # ValueError: a name with a NUL in it
        raise _unreadable(path, err, error) from err
    if len(data) > LARGEST:
        raise error(f"{path}: is larger than {LARGEST >> 20} MiB, the most that is read. Split it.")
    return data


def decode(data: bytes, where: str, error: Failure = DataError) -> str:
    """Decode bytes to text."""
    codec = _codec(data, where, error)
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as err:
        if codec != "utf-8-sig":
            raise error(f"{where}: begins as {codec.upper()} but is not. Save the file as UTF-8.") from err
        raise _not_utf8(where, _line_of(data, err.start), data[err.start], error) from err
    if "\0" in text:
        raise _binary(where, _line_of(text.encode(), text.encode().index(b"\0")), error)
    return text


def lines(path: Path, error: Failure = DataError, *, packed: bool = False) -> Iterator[tuple[int, str]]:
    """Read a text file of any size line by line; memory holds one line.

    Args:
        path: The file.
        error: The class of errors.
        packed: Unpack a gzip file while reading; without it a gzip file is an error.

    Yields:
        (line number from 1, line with its line end)
    """
    try:
        _must_be_a_file(path, error)
        if packed and _is_gzip(path):
            with gzip.open(path, "rb") as unpacked:
                yield from _fed(unpacked, path, error)
            return
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if _codec(head, str(path), error) == "utf-8-sig" and not _ends_with_returns(head):
                file.seek(0)
                yield from _fed(file, path, error)
                return
    except (OSError, ValueError, EOFError, zlib.error) as err:
        raise _unreadable(path, err, error) from err
    yield from split(read(path, error))


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def split(text: str) -> Iterator[tuple[int, str]]:
    """(line number, line with its line end) of a text."""
    end = "\n" if "\n" in text else "\r"
    start, number = 0, 1
    while start < len(text):
        stop = text.find(end, start) + 1 or len(text)
        yield number, text[start:stop]
        start, number = stop, number + 1


def _fed(file: Any, path: Path, error: Failure) -> Iterator[tuple[int, str]]:
    """Lines of UTF-8 text that end with line feeds."""
    number = 0
    while raw := file.readline(_LONGEST + 1):
        number += 1
        if len(raw) > _LONGEST:
            raise error(f"{path}:{number}: is longer than {_LONGEST >> 20} MiB, the most that is read of one line.")
        if b"\0" in raw:
            raise _binary(str(path), number, error)
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as err:
            raise _not_utf8(str(path), number, raw[err.start], error) from err


def _codec(data: bytes, where: str, error: Failure) -> str:
    """The encoding by the byte order mark. Raises `error` for a packed file."""
    for magic, name in _PACKED.items():
        if data.startswith(magic):
            raise error(f"{where}: is binary: it is packed ({name}). Unpack it first.")
    return next((codec for mark, codec in _MARKS if data.startswith(mark)), "utf-8-sig")


def _ends_with_returns(head: bytes) -> bool:
    """Whether lines end with carriage returns only, as in old spreadsheet files."""
    return b"\r" in head.removesuffix(b"\r") and b"\n" not in head


def _must_be_a_file(path: Path, error: Failure) -> None:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise error(f"{path}: is {what}, not a file.")


def _unreadable(path: Path, err: Exception, error: Failure) -> UserError:
    return error(f"{path}: cannot be read ({getattr(err, 'strerror', None) or err}).")


def _line_of(data: bytes, place: int) -> int:
    end = b"\n" if b"\n" in data else b"\r"
    return data.count(end, 0, place) + 1


def _not_utf8(where: str, line: int, byte: int, error: Failure) -> UserError:
    return error(
        f"{where}:{line}: is not UTF-8 (byte 0x{byte:02x}); it may be Latin-1 or Windows-1252. Save the file as UTF-8."
    )


def _binary(where: str, line: int, error: Failure) -> UserError:
    return error(
        f"{where}:{line}: is binary, not text (it has a NUL), or UTF-16 without a byte order mark. Save the file as UTF-8."
    )


# ---------------------------------------------------------------- JSON


def json_value(
    text: str, where: str, error: Failure = DataError, *, line: int | None = None, mend: bool = False
) -> Any:
    """Parse one JSON value.

    Args:
        text: The JSON text.
        where: Name of the file.
        error: The class of errors.
        line: Line number of the text, if it is one line of the file.
        mend: Replace half a surrogate pair with U+FFFD, because a model may write one; without it that is an error.
    """
    place = where if line is None else f"{where}:{line}"
    try:
        value = json.loads(text, object_pairs_hook=_unique)
        if text.count("[") + text.count("{") > _DEEPEST and _deeper(value, _DEEPEST):
            raise RecursionError
        return _whole(value, mend) if _HALF_WRITTEN.search(text) else value
    except json.JSONDecodeError as err:
        place = place if line is not None else f"{where}:{err.lineno}"
        cut = " Was the file cut off?" if not text[err.pos :].strip() or err.msg.startswith("Unterminated") else ""
        raise error(f"{place}: is not valid JSON ({err.msg}, column {err.colno}).{cut}") from err
    except RecursionError as err:
        raise error(f"{place}: is nested too deeply (more than {_DEEPEST} arrays and objects in one another).") from err
    except _Wrong as err:
        raise error(f"{place}: {err}.") from err
    except ValueError as err:  # Python refuses integers with too many digits
        raise error(f"{place}: has a number of too many digits.") from err


def json_file(path: Path, error: Failure = DataError, *, mend: bool = False) -> Any:
    """The JSON value of a file."""
    return json_value(read(path, error), str(path), error, mend=mend)


def json_rows(
    numbered: Lines, where: str, error: Failure = DataError, *, mend: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of a JSON lines file; empty lines are skipped."""
    for number, line in numbered:
        if not line.strip():
            continue
        row = json_value(line, where, error, line=number, mend=mend)
        if not isinstance(row, dict):
            raise error(f"{where}:{number}: expected a JSON object, found {_kind(row)}.")
        yield number, row


class _Wrong(Exception):
    """JSON that can be parsed but is not allowed; the message says why."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Wrong(f"key {twice!r} is given twice; which one is meant is unknown")
    return mapping


def _deeper(value: Any, depth: int) -> bool:
    """Whether arrays and objects are nested more than `depth` levels deep. Not recursive, because a value may have any
    depth."""
    level = [value] if isinstance(value, list | dict) else []
    for _ in range(depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True


def _whole(value: Any, mend: bool) -> Any:
    """The value with halves of surrogate pairs replaced, or an error."""
    if isinstance(value, str):
        half = _HALF.search(value)
        if half and not mend:
            raise _Wrong(f"{half[0]!r} is half a surrogate pair, which is not a character")
        return _HALF.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(inner, mend) for inner in value]
    if isinstance(value, dict):
        return _unique([(_whole(key, mend), _whole(inner, mend)) for key, inner in value.items()])
    return value


def _kind(value: Any) -> str:
    """The type of a JSON value, as JSON calls it."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "an array"}
    return names.get(type(value), "null")


# ---------------------------------------------------------------- tables


class DelimitedTable:
    """A table of delimited text. Iterate over it once for (line number, column -> text) of every row.

    Columns without a name (pandas writes its index as one) are skipped.

    Args:
        numbered: (line number, line) pairs.
        where: Name of the file.
        error: The class of errors.
        literal: Only tabs separate fields, and quotes are ordinary characters (Common Voice, TyDi).

    Raises:
        error: The file is empty, a column occurs twice, a row has another number of fields than the header, or quotes
            are not
            as RFC 4180 allows.
    """

    def __init__(self, numbered: Lines, where: str, error: Failure = DataError, *, literal: bool = False) -> None:
        self._where, self._error, self._line = where, error, 0
        self._lines = self._counted(numbered)
        first = next(self._lines, "")
        if not first.strip():
            raise error(f"{where}: is empty: it has no header.")
        self._delimiter = "\t" if literal or "\t" in first else ","
        self._refuse_other_delimiters(first)
        self._fields = self._literal(first) if literal else self._quoted(first)
        self._columns = next(self._fields)[1]
        self.header = [name for name in self._columns if name]
        if twice := sorted({name for name in self.header if self.header.count(name) > 1}):
            raise error(f"{where}:1: column {twice[0]!r} occurs twice in the header.")

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        for line, fields in self._fields:
            if not fields:
                continue
            if len(fields) != len(self._columns):
                raise self._error(
                    f"{self._where}:{line}: {_fields(len(fields))}, but the header has {len(self._columns)}. Was the file "
                    "cut off, or a field with a delimiter in it not quoted?"
                )
            yield line, {name: value for name, value in zip(self._columns, fields, strict=True) if name}

    def need(self, names: Iterable[str], what: str = "") -> None:
        """Raise `error` if a column is missing; `what` is the advice at the end of the message."""
        if lacks := [name for name in names if name not in self.header]:
            there = ", ".join(self.header) or "none"
            raise self._error(
                f"{self._where}:1: column {lacks[0]!r} is missing; available: {there}.{what and f' {what}'}"
            )

    def _counted(self, numbered: Lines) -> Iterator[str]:
        for number, line in numbered:
            self._line = number
            yield line

    def _refuse_other_delimiters(self, header: str) -> None:
        """Raise if the header has no comma or tab, but another character that may be the delimiter."""
        for other in ";|":
            if self._delimiter not in header and other in header:
                raise self._error(
                    f"{self._where}:1: the delimiter is {other!r}. Save the table with commas or tabs between its fields."
                )

    def _literal(self, first: str) -> Iterator[tuple[int, list[str]]]:
        yield 1, first.rstrip("\r\n").split("\t")
        for line in self._lines:
            bare = line.rstrip("\r\n")
            yield self._line, bare.split("\t") if bare else []

    def _quoted(self, first: str) -> Iterator[tuple[int, list[str]]]:
        def every() -> Iterator[str]:
            yield first
            yield from self._lines

        csv.field_size_limit(_LONGEST)  # a setting of the process; its default of 128 KiB is too small for real answers
        rows = csv.reader(every(), delimiter=self._delimiter, strict=True)
        while True:
            begins = self._line + (rows.line_num > 0)
            try:
                row = next(rows, None)
            except csv.Error as err:
                self._refuse(begins, err)
            if row is None:
                return
            yield begins, row

    def _refuse(self, begins: int, err: csv.Error) -> NoReturn:
        reason = str(err)
        if reason.startswith("unexpected end"):
            reason = "a quote that is opened in this row is never closed"
        elif "expected after" in reason:
            reason = "more text after a closing quote; a quote inside a field is written twice"
        elif reason.startswith("new-line"):
            reason = "a carriage return in a field without quotes"
        elif reason.startswith("field larger"):
            reason = f"a field of more than {_LONGEST >> 20} MiB"
        raise self._error(f"{self._where}:{begins}: is not a valid table ({reason}).") from err


def _fields(count: int) -> str:
    return f"{count} field" if count == 1 else f"{count} fields"
