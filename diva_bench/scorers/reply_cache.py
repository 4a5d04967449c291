"""Replies of another model about a run's answers, stored in the run folder: `judge-<hash>.jsonl`, `comet-<hash>.jsonl`.

The file is append-only. The first line has the model and its settings, and every other line is about one answer. The
hash in the name is that of the first line, so that another model or prompt has another file. An incomplete last line is
cut off before the next append. A row has the `key` of the model's input: a changed answer has another key and is asked
about again, and two samples with the same text once. Writers hold the lock of the run folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from diva_bench.disk import NO_SPACE
from diva_bench.errors import StoreError
from diva_bench.specs import Json, digest

KINDS = ("judge", "comet")
"""First parts of the names of these files."""


_LONGEST = 1 << 20  # bytes of the first line


def key(*texts: str) -> str:
    """Hash of the model's input about one answer."""
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()


def name_of(path: Path, kind: str) -> str:
    """The name that a file of replies must have, by the settings in its first line.

    Raises:
        StoreError: The first line has no settings.
    """
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline(_LONGEST))
        return f"{kind}-{digest(head[kind])[:8]}.jsonl"
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as err:
        raise StoreError(f"{path}:1: has no settings of a {kind} ({err!r}).") from err


class ReplyCache:
    """One file of replies; a context manager while rows are added."""

    def __init__(self, folder: Path, kind: str, settings: Mapping[str, Any]) -> None:
        """Refer to the file of these settings; nothing is read yet.

        Args:
            folder: The run folder.
            kind: First part of the file's name.
            settings: JSON values that decide the replies.
        """
        self._head: Json = {kind: dict(settings)}
        self.path = folder / f"{kind}-{digest(dict(settings))[:8]}.jsonl"
        self._file: FileIO | None = None
        self.rows: dict[str, Json] = {}
        """key -> the last row with this key."""

    def __enter__(self) -> ReplyCache:
        try:
            self._file = self.path.open(
                "ab+", buffering=0
            )  # unbuffered, so that nothing is left to flush when the disk is full
            self._read(self._file)
        except OSError as err:
            self.__exit__(None, None, None)
            raise self._cannot_write(err) from err
        except StoreError:
            self.__exit__(None, None, None)
            raise
        return self

    def _read(self, file: FileIO) -> None:
        file.seek(0)
        whole, newline, torn = file.read().rpartition(b"\n")
        if torn:
            file.truncate(len(whole) + len(newline))
        lines = [self._parse(i, line) for i, line in enumerate(whole.splitlines(), start=1)]
        if not lines:
            self.add([self._head])
        elif lines[0] != self._head:
            raise StoreError(
                f"{self.path}:1: has replies of {lines[0]}, not of {self._head}. Move the file away to score the answers again."
            )
        self.rows = {row["key"]: row for row in lines[1:] if "key" in row}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def add(self, rows: Sequence[Json]) -> None:
        """Append rows in one write, and add them to `rows`."""
        if self._file is None:
            raise ValueError(f"{self.path.name} is not open")
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        try:
            left = memoryview(text.encode("utf-8", "replace"))
            while left:
                left = left[self._file.write(left) :]
        except OSError as err:
            raise self._cannot_write(err) from err
        self.rows |= {row["key"]: row for row in rows if "key" in row}

    def _parse(self, number: int, line: bytes) -> Json:
        try:
            row = json.loads(line)
        except ValueError as err:
            raise StoreError(f"{self.path}:{number}: is not valid JSON ({err}). Remove that line to continue.") from err
        if not isinstance(row, dict):
            raise StoreError(f"{self.path}:{number}: expected a JSON object. Remove that line to continue.")
        return row

    def _cannot_write(self, err: OSError) -> StoreError:
        if err.errno in NO_SPACE:
            return StoreError(f"{self.path}: the disk is full. Free space and run the same command again.")
        return StoreError(f"{self.path}: cannot be written ({os.strerror(err.errno or 0)}). May you write there?")
