"""A cache of arrays on disk: outputs of frozen models, computed once and shared by all ablations.

    <folder>/000000.bin      concatenated arrays
    <folder>/000000.jsonl    one line per group of arrays written together: [[key, rows, facts], ...]
    <folder>/000001.bin ...  of another or a later process

A process appends only to its own segment, data before its index line. So after a kill there are complete groups,
perhaps an incomplete last line, and perhaps data without an index line. Nothing is repaired or locked. If two segments
have a key, the older one counts, so that the data of a run does not change. The name of a folder identifies model,
window and template: see `place`.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from diva_bench import disk
from diva_bench.errors import StoreError, UserError
from diva_bench.specs import digest

Array = NDArray[Any]
Group = Sequence[tuple[str, Array | None, dict[str, Any]]]
"""(key, array (rows, width) or None, small facts about it) for each array."""


def place(root: Path, kind: str, made_of: Any) -> Path:
    """The folder for outputs of these inputs: fingerprints of models, window, template, ...."""
    return root / f"{kind}-{digest(made_of)[:16]}"


class ArrayCache:
    """An append-only cache of arrays of shape (rows, width), which are read from the disk one by one. An append beyond
    `limit` bytes raises UserError and writes nothing."""

    def __init__(self, folder: Path, width: int, dtype: str, limit: int) -> None:
        self.folder, self.width, self.dtype, self.limit = folder, width, np.dtype(dtype), limit
        self._where: dict[str, tuple[int, int, int]] = {}  # key -> segment, first row, rows
        self._facts: dict[str, dict[str, Any]] = {}
        self._own: tuple[int, BinaryIO, BinaryIO] | None = None
        self._rows = 0  # in the segment of this process
        folder.mkdir(parents=True, exist_ok=True)
        self.refresh()

    def refresh(self) -> None:
        """Read the index lines that all processes have written so far."""
        self._where, self._facts = {}, {}
        for index in sorted(self.folder.glob("*.jsonl")):
            row = 0
            for line in index.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break  # incomplete: its writer was killed or is still writing
                for key, rows, facts in json.loads(line):
                    if key not in self._facts:
                        self._facts[key] = facts
                        self._where[key] = (int(index.stem), row, rows)
                    row += rows

    def __contains__(self, key: str) -> bool:
        return key in self._facts

    def __len__(self) -> int:
        return len(self._facts)

    def facts(self, key: str) -> dict[str, Any]:
        return self._facts[key]

    def rows(self, key: str) -> int:
        """Length of the array; 0 if there is none."""
        return self._where[key][2]

    def __getitem__(self, key: str) -> Array:
        """(rows, width), read from the disk. Raises StoreError if the file is too short. Memory mapping is not used,
        because mapped pages count as memory of this process: in the end the whole cache."""
        segment, first, rows = self._where[key]
        path = self.folder / f"{segment:06d}.bin"
        start, count = first * self.width * self.dtype.itemsize, rows * self.width
        array = np.fromfile(path, self.dtype, count=count, offset=start)
        if len(array) < count:
            raise StoreError(
                f"{path}: is shorter than {path.with_suffix('.jsonl').name} beside it says. Delete the folder; the next "
                "training makes it again."
            )
        return array.reshape(rows, self.width)

    def append(self, group: Group) -> None:
        """Store a group, completely or not at all."""
        data = b"".join(np.ascontiguousarray(a, dtype=self.dtype).tobytes() for _, a, _ in group if a is not None)
        held = self.bytes_held()
        if held + len(data) > self.limit:
            raise UserError(
                f"{self.folder}: this cache would grow to {disk.size(held + len(data))}, over its limit of "
                f"{disk.size(self.limit)}. Raise it with --cache-gb, or delete what earlier trainings left beside it."
            )
        segment, bin_file, index = self._own or self._open()
        try:
            bin_file.write(data)
            bin_file.flush()
            line = [[key, 0 if a is None else len(a), facts] for key, a, facts in group]
            index.write(json.dumps(line).encode() + b"\n")
            index.flush()
        except OSError as err:
            with contextlib.suppress(OSError):
                self.close()  # the end of this segment is unknown now, so the next append starts a new one
            raise StoreError(
                f"{self.folder}: cannot be written ({err}). What it had is kept; make room and run again."
            ) from err
        for key, a, facts in group:
            rows = 0 if a is None else len(a)
            if key not in self._facts:
                self._facts[key], self._where[key] = facts, (segment, self._rows, rows)
            self._rows += rows

    def bytes_held(self) -> int:
        """Bytes of all segments on the disk."""
        return sum(path.stat().st_size for path in self.folder.glob("*.bin"))

    def _open(self) -> tuple[int, BinaryIO, BinaryIO]:
        """A new segment with the next number; O_EXCL, so that two processes cannot take the same one."""
        number = max((int(p.stem) for p in self.folder.glob("*.bin")), default=-1) + 1
        while True:
            path = self.folder / f"{number:06d}.bin"
            try:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                number += 1
                continue
            break
        self._rows = 0
        self._own = (number, os.fdopen(handle, "wb"), path.with_suffix(".jsonl").open("wb"))
        return self._own

    def close(self) -> None:
        """Close the segment of this process; a later append starts another one."""
        if self._own:
            own, self._own = self._own, None
            try:
                own[1].close()
            finally:
                own[2].close()
