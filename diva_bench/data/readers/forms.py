"""Formats of the user's own speech data, one reader each, for tasks and for `train --data`.

csv            a table with a header, commas or tabs; a column names the clip
jsonl          one JSON object a line; a key names the clip
audiofolder    a folder of the Hub's AudioFolder: metadata.csv, .jsonl or .parquet with `file_name`; or a folder a label
common_voice   a folder of Common Voice: SPLIT.tsv and clips/
arrow          a folder that `datasets.save_to_disk` wrote
kaldi          a data folder of Kaldi: wav.scp, text, and where there are any segments, utt2spk
nemo           a manifest of NeMo: JSON lines with audio_filepath
lhotse         cuts of Lhotse as JSON lines, or a folder with its recordings and supervisions

A reader yields rows one at a time and reads no clip. The path of a clip is absolute, or relative to the folder of the
listing. Anything other than a path (a command, an address, a place in an archive) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from diva_bench.data.readers import ClipSource, Raw, file_clip
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec
from diva_bench.specs.rows import NUMBER

AUDIO = ("audio", "file_name", "audio_filepath", "audio_path", "path", "file", "wav", "filename")
TEXT = ("text", "sentence", "transcription", "transcript", "normalized_text")
VOICE = ("voice", "speaker_id", "client_id", "speaker")
"""Names of columns by role; the first one that exists is used."""


_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sound:
    """Where the audio of one row is; nothing is read before `read` is called. `name` is unique in the data set."""

    name: str
    clip: Callable[[], ClipSource]
    """For a data set's index."""

    def read(self) -> bytes:
        """The encoded bytes. Raises OSError or ValueError if they cannot be read."""
        return self.clip().read()


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a listing. `where` is "file:line"; `sound` is None if the row has no audio."""

    where: str
    values: Mapping[str, Any]
    sound: Sound | None


@dataclass(frozen=True, slots=True)
class Form:
    """A format of listings.

    Attributes:
        module: Has `rows(path, split, audio)`, which yields the rows, and `files(path, split)`, the files that list
            them.
        what: Description for messages.
        audio: The default column of the clip.
    """

    module: str
    audio: str
    what: str

    def rows(self, path: Path, split: str | None, audio: str) -> Iterator[Row]:
        return cast("Iterator[Row]", import_module(f"diva_bench.data.readers.{self.module}").rows(path, split, audio))

    def files(self, path: Path, split: str | None) -> list[Path]:
        return cast("list[Path]", import_module(f"diva_bench.data.readers.{self.module}").files(path, split))


FORMS = {
    "csv": Form("tables", "audio", "a .csv or .tsv table with a header; a column names the clips"),
    "jsonl": Form("jsonl", "audio", 'a .jsonl manifest, one {"audio": "path", "text": "words"} a line'),
    "audiofolder": Form("audiofolder", "file_name", "an AudioFolder (metadata.csv or .jsonl with file_name)"),
    "common_voice": Form(
        "common_voice", "path", "a Common Voice folder (train.tsv and clips/), or one of its .tsv files"
    ),
    "arrow": Form("arrow", "audio", "a folder that datasets.save_to_disk wrote"),
    "kaldi": Form("kaldi", "audio", "a Kaldi data folder (wav.scp, text)"),
    "nemo": Form("nemo", "audio_filepath", "a NeMo manifest (JSON lines with audio_filepath)"),
    "lhotse": Form(
        "lhotse", "audio", "Lhotse cuts (.jsonl or .jsonl.gz), or its recordings and supervisions in a folder"
    ),
}
"""What a task's `source:` may name of these."""


def read(path: Path, task: TaskSpec) -> Iterator[Raw]:
    """The rows of a task whose `source` is one of these formats."""
    form = FORMS[task.data.source]
    for row in form.rows(path, task.data.split, task.data.columns.get("audio", form.audio)):
        yield Raw(row.where, row.values, row.sound.clip() if row.sound else None)


def file_sound(folder: Path, name: str) -> Sound:
    """The audio in the file `folder/name`, which may not exist. An address is not followed."""
    return Sound(name, partial(_no_address, name) if _ADDRESS.match(name) else partial(file_clip, folder, name))


def _no_address(name: str) -> ClipSource:
    def read() -> bytes:
        raise OSError(0, "is an address; only files on this machine are read", name)

    return ClipSource(name, read)


def named(value: Any, where: str, column: str) -> str | None:
    """The file name of a row's clip; None if the row has none. Raises DataError if it is not text."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise DataError(f"{where}: {column} is {value!r}, not the name of a file.")
    return value


def numbered(values: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A row with its number, unless a column has that name."""
    return {NUMBER: str(number), **values}


def column_of(names: Mapping[str, Any] | list[str], allowed: tuple[str, ...]) -> str:
    """The first allowed name that exists; "" if none does."""
    return next((name for name in allowed if name in names), "")
