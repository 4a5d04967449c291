"""The answers of a run that count, read from its files when they are used.

The last line of an id counts, see store.py. Memory holds where the lines are and not what they say; only of small files it
holds both, so that they are parsed once.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path

from diva_bench.decoding.response import ANSWER, STATUSES, as_stored, from_json, to_json
from diva_bench.errors import UnreadableRun
from diva_bench.runs.lines import REMOVE, parsed, read_lines
from diva_bench.specs import Json, digest_of_rows
from diva_bench.types import Response

_ERROR = STATUSES.index("error")
_SMALL = 16 << 20
"""Bytes of the files of a run that are held parsed: about 60 MB of memory. Those of 15,531 answers have 1 to 5 MB."""


class Answers(Mapping[str, Response]):
    """id -> the answer that counts, in the order of the files. Memory: about 170 bytes for each, most of it the id, and the
    answers themselves if their files are small."""

    def __init__(self, paths: Sequence[Path], newer: bool) -> None:
        """Read all lines once.

        Args:
            paths: The files.
            newer: A newer version wrote the run.

        Raises:
            UnreadableRun: A line is damaged.
        """
        self._open: dict[int, FileIO] = {}
        self._paths, self._newer = paths, newer
        self._slots: dict[str, int] = {}  # id -> place in the columns
        # number of the file, byte offset, bytes, number of the line, round, status
        self._columns = array("I"), array("Q"), array("I"), array("I"), array("Q"), array("B")
        self._rows: list[Json] | None = [] if _bytes(paths) <= _SMALL else None
        self._sorted = True
        self._lines = 0
        for file, path in enumerate(paths):
            for line, offset, length, row in read_answers(path, newer):
                place = (file, offset, length, line, row.get("round", 0), STATUSES.index(row["status"]))
                self._add(row, place)
                self._lines += 1

    def _add(self, row: Json, place: tuple[int, ...]) -> None:
        """Take a line that was read after all others. It replaces another one of its id if it is of a later round, or of the
        same round and later in the file. Older versions wrote no rounds, so two files may have one id in round 0; there
        an error does not replace an answer, because an answered sample is never run again."""
        slot = self._slots.setdefault(row["id"], len(self._slots))
        if slot == len(self._columns[0]):
            for column, value in zip(self._columns, place, strict=True):
                column.append(value)
            if self._rows is not None:
                self._rows.append(row)
            return
        before_file, _, _, _, before_round, before_status = (column[slot] for column in self._columns)
        file, _, _, _, turn, status = place
        later = file == before_file or status != _ERROR or before_status == _ERROR
        if turn > before_round or (turn == before_round and later):
            self._sorted = False
            for column, value in zip(self._columns, place, strict=True):
                column[slot] = value
            if self._rows is not None:
                self._rows[slot] = row

    def __del__(self) -> None:
        for file in self._open.values():
            file.close()

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[str]:
        if self._sorted:
            return iter(self._slots)
        files, offsets, *_ = self._columns
        ids = list(self._slots)
        return map(ids.__getitem__, sorted(range(len(ids)), key=lambda slot: (files[slot], offsets[slot])))

    def __contains__(self, ident: object) -> bool:
        return ident in self._slots

    def __getitem__(self, ident: str) -> Response:
        """Raises UnreadableRun if the line is not what it was."""
        return from_json(self._row(ident))

    def _row(self, ident: str) -> Json:
        """The line of an answer, parsed."""
        if self._rows is not None:
            return self._rows[self._slots[ident]]
        file, offset, length, line, _, _ = (column[self._slots[ident]] for column in self._columns)
        path = self._paths[file]
        try:
            if file not in self._open:
                self._open[file] = path.open("rb", buffering=0)
            content = os.pread(self._open[file].fileno(), length, offset)
        except OSError as err:
            raise UnreadableRun(f"{path}: cannot be read ({err.strerror}). Is this a run folder?") from err
        row = _answer(content, path, line, self._newer)
        if row["id"] != ident:
            raise UnreadableRun(f"{path}:{line}: has changed while it was read. Run the same command again.")
        return row

    @property
    def repeated(self) -> int:
        """Number of lines that another line of their id replaces."""
        return self._lines - len(self._slots)

    def status(self, ident: str) -> str:
        """The status of an answer; "" if there is none."""
        slot = self._slots.get(ident)
        return "" if slot is None else STATUSES[self._columns[-1][slot]]

    def statuses(self) -> Iterator[tuple[str, str]]:
        """(id, status) of every answer."""
        return zip(self._slots, map(STATUSES.__getitem__, self._columns[-1]), strict=True)

    def digest(self) -> str:
        """`digest_of` these answers."""
        return digest_of_rows(as_stored(self._row(ident)) for ident in sorted(self._slots))


def _bytes(paths: Sequence[Path]) -> int:
    """Size of files; 0 for one that cannot be read, which is told when it is."""
    return sum(path.stat().st_size for path in paths if path.is_file())


def read_answers(path: Path, newer: bool) -> Iterator[tuple[int, int, int, Json]]:
    """(number of the line from 1, byte offset, bytes, row) of every answer."""
    for number, offset, line in read_lines(path):
        yield number, offset, len(line), _answer(line, path, number, newer)


def _answer(line: bytes, path: Path, number: int, newer: bool) -> Json:
    """A line of answers. An unknown status becomes an error: counted, not scored, and run again."""
    row: Json = parsed(line, ANSWER, f"{path}:{number}", REMOVE, newer=newer)
    if row["status"] not in STATUSES:
        problem = f"{path.name}:{number} has status {row['status']!r}, which is none of {', '.join(STATUSES)}"
        row = {"id": row["id"], "status": "error", "text": "", "detail": problem, "round": row.get("round", 0)}
    return row


def digest_of(responses: Iterable[Response]) -> str:
    """sha256 of all answers that can be scored, in the order of their ids; times and speed are not part of it."""
    return digest_of_rows(to_json(response) for response in sorted(responses, key=lambda r: r.id))
