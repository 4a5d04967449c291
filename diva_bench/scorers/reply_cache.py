"""What another model said of a run's answers, kept beside them: `judge-<hash>.jsonl`, `comet-<hash>.jsonl`.

Append-only. The first line says who was asked and how; each other line is about one answer. The hash in the name is that
of the first line, so that another model or another prompt has a file of its own. A torn last line is cut off before the
next append. A row is found by its `key`, a hash of all that the model read: a changed answer has another key and is asked
about again, two samples with the same words are asked about once. Writers hold the lock of the run folder.
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


def key(*texts: str) -> str:
    """Hash of what a model reads about one answer."""
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()


class Kept:
    """One such file; a context manager while rows are added."""

    def __init__(self, folder: Path, kind: str, settings: Mapping[str, Any]) -> None:
        """`kind`: first part of the file's name. `settings`: JSON-able, all that decides what is said."""
        self._head: Json = {kind: dict(settings)}
        self.path = folder / f"{kind}-{digest(dict(settings))[:8]}.jsonl"
        self._file: FileIO | None = None
        self.rows: dict[str, Json] = {}
        """key -> the last row about it."""

    def __enter__(self) -> Kept:
        try:
            self._file = self.path.open("ab+", buffering=0)  # nothing left to flush when a full disk closes it
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
                f"{self.path}:1: is about {lines[0]}, not {self._head}. Move the file away to have the answers judged again."
            )
        self.rows = {row["key"]: row for row in lines[1:] if "key" in row}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def add(self, rows: Sequence[Json]) -> None:
        """Append rows, in one write, and know them from now on."""
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
