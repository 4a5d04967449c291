"""Readers of data sets. A reader turns the published files of a data set (parquet, a corpus folder, jsonl) into rows of
one form.

dataset.py checks, indexes and counts the rows. Readers decode no audio and never drop rows silently. A reader is a
function `read(folder, task) -> Iterator[Raw]`, in which `folder` is the result of `data.locate`. It raises DataError if
the layout or the columns are not those of the published data set; `data.load` checks the number of rows.
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
"""Formats of the user's own data, whose place is in the task file; see `diva_bench.data.readers.forms`."""
READERS = {
    **dict.fromkeys(OWN, "diva_bench.data.readers.forms:read"),
    "covost": "diva_bench.data.readers.covost:read",
    "fleurs": "diva_bench.data.readers.fleurs:read",
    "heysquad": "diva_bench.data.readers.heysquad:read",
    "iemocap": "diva_bench.data.readers.iemocap:read",
    "meld": "diva_bench.data.readers.meld:read",
    MEMORY: "diva_bench.data.readers.memory:read",
    "mustard": "diva_bench.data.readers.mustard:read",
    "parquet": "diva_bench.data.readers.parquet:read",
    "ravdess": "diva_bench.data.readers.ravdess:read",
    "sdqa": "diva_bench.data.readers.sdqa:read",
    "urfunny": "diva_bench.data.readers.urfunny:read",
}
"""What `source:` of a task's data may say."""

ABSENT: Stamp = (-1,)
"""Stamp of a file that does not exist."""


@dataclass(frozen=True, slots=True)
class ClipSource:
    """Where the encoded bytes of one clip are.

    Attributes:
        name: Unique in the data set; gives the place in the container, if there is one.
        read: Returns the bytes; raises OSError or ValueError.
        stamp: Stamp of the file or table with the clip, and of the file that it points to; shows whether the index is
            still valid.
        label: Name in messages, if it differs from `name`.
    """

    name: str
    read: Callable[[], bytes]
    stamp: Stamp = ABSENT
    label: str = ""

    @property
    def shown(self) -> str:
        """The name in messages."""
        return self.label or self.name


@dataclass(frozen=True, slots=True)
class Raw:
    """One row of a data set.

    Attributes:
        where: "file:line" or "file, row 7", for messages.
        values: Column -> value. The columns of the roles (id, cluster, transcript, reference) have the names that the
            task's `columns`
            give, by default `id`, `cluster`, `text` and the task's `reference`.
        clip: None if the data at hand has no audio for the row.
        fault: Why the row cannot be used, else "".
    """

    where: str
    values: Mapping[str, Any]
    clip: ClipSource | None = None
    fault: str = ""


Reader = Callable[[Path, TaskSpec], Iterator[Raw]]


def reader(name: str) -> Reader:
    """A reader by the name in a task's `source`; its module is imported when it is needed."""
    if name not in READERS:
        raise unknown("data source", name, READERS)
    module, _, function = READERS[name].partition(":")
    return cast(Reader, getattr(import_module(module), function))


def file_clip(folder: Path, name: str) -> ClipSource:
    """The clip in the file `folder/name`. It may not exist: that is detected when the clips are checked."""
    path, file_stamp = locate(folder, name)
    return ClipSource(name, partial(read_plain, path), file_stamp)


def locate(folder: Path, name: str) -> tuple[Path, Stamp]:
    """The path of the file `folder/name` in its spelling on the disk, and its stamp."""
    for written in _spellings(name):
        path = folder / written
        try:
            return path, stamp(path)
        except (OSError, ValueError):  # ValueError: a name with a NUL in it
            continue
    return folder / name, ABSENT


def _spellings(name: str) -> Iterator[str]:
    """A file name as the manifest has it, then its other Unicode form (archives made on a Mac separate letters and
    accents), then with Windows separators replaced."""
    yield name
    for turned in dict.fromkeys((name, name.replace("\\", "/"))):
        yield from (normalize(form, turned) for form in ("NFC", "NFD"))
