"""Where the rows of a task come from. A reader turns what its owners ship (parquet, a corpus folder, jsonl) into rows of
one shape; dataset.py checks, indexes and counts them. Readers decode no audio and drop nothing without saying so.

A reader is a function `read(folder, task) -> Iterator[Raw]`: `folder` is what `data.locate` found (a folder of the
corpus; for jsonl the file), `task.data` says which split, configuration and columns. It raises DataError where the
layout or the columns are not the owners'; how many rows there must be, `data.load` checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from unicodedata import normalize

from diva_bench.disk import Stamp, read_plain, stamp
from diva_bench.errors import unknown
from diva_bench.specs import MEMORY, TaskSpec

OWN = ("csv", "jsonl", "audiofolder", "common_voice", "arrow", "kaldi", "nemo", "lhotse")
"""Forms of data of one's own, which lie where the task's YAML file says; see `diva_bench.data.readers.forms`."""
READERS = {
    **dict.fromkeys(OWN, "diva_bench.data.readers.forms:read"),
    "covost": "diva_bench.data.readers.covost:read",
    "heysquad": "diva_bench.data.readers.heysquad:read",
    "iemocap": "diva_bench.data.readers.iemocap:read",
    "meld": "diva_bench.data.readers.meld:read",
    MEMORY: "diva_bench.data.readers.memory:read",
    "mustard": "diva_bench.data.readers.mustard:read",
    "parquet": "diva_bench.data.readers.parquet:read",
    "sdqa": "diva_bench.data.readers.sdqa:read",
    "urfunny": "diva_bench.data.readers.urfunny:read",
}
"""What `source:` of a task's data may say."""

ABSENT: Stamp = (-1,)
"""Of a file that is not there."""


@dataclass(frozen=True, slots=True)
class ClipSource:
    """Where the encoded bytes of one clip are. `name` is unique within the data set and tells the container where the
    bytes do not (its suffix); `read` raises OSError where they cannot be had. `stamp` (of the file, or of the archive or
    table that holds it, and of what that points to) tells whether what the index remembers still holds. `label`: what
    messages call it, where that is not its name.
    """

    name: str
    read: Callable[[], bytes]
    stamp: Stamp = ABSENT
    label: str = ""

    @property
    def shown(self) -> str:
        """What messages call it."""
        return self.label or self.name


@dataclass(frozen=True, slots=True)
class Raw:
    """One row as its owners have it. `where` is "file:line" or "file, row 7", for messages. `values`: column -> value; the
    columns of the roles (id, cluster, transcript, reference) by the names that the task's `columns` give them, by
    default `id`, `cluster`, `text` and the task's `reference`. `clip` is None where the data at hand has no sound for
    the row. `fault`: why nobody can be asked about it, "" where one can.
    """

    where: str
    values: Mapping[str, Any]
    clip: ClipSource | None = None
    fault: str = ""


Reader = Callable[[Path, TaskSpec], Iterator[Raw]]


def reader(name: str) -> Reader:
    """A reader by the name that a task's `source` gives; its module is imported when it is first needed."""
    if name not in READERS:
        raise unknown("data source", name, READERS)
    module, _, function = READERS[name].partition(":")
    return cast(Reader, getattr(import_module(module), function))


def file_clip(folder: Path, name: str) -> ClipSource:
    """The clip in the file `folder/name`, which need not exist: what is missing is found when the clips are looked at."""
    path, file_stamp = locate(folder, name)
    return ClipSource(name, partial(read_plain, path), file_stamp)


def locate(folder: Path, name: str) -> tuple[Path, Stamp]:
    """The file `folder/name`, in whichever spelling it is there, and its stamp."""
    for written in _spellings(name):
        path = folder / written
        try:
            return path, stamp(path)
        except (OSError, ValueError):  # ValueError: a name with a NUL in it
            continue
    return folder / name, ABSENT


def _spellings(name: str) -> Iterator[str]:
    """A file's name as a manifest has it; where there is no such file, in the other Unicode form (archives made on a Mac
    have letters and accents apart), and with the separators of Windows turned."""
    yield name
    for turned in dict.fromkeys((name, name.replace("\\", "/"))):
        yield from (normalize(form, turned) for form in ("NFC", "NFD"))
