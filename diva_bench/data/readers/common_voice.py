"""Reader of Common Voice as published: SPLIT.tsv, and the clips in clips/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from diva_bench import textfile
from diva_bench.data.readers.forms import Row, file_sound, numbered
from diva_bench.disk import listed
from diva_bench.errors import DataError

COLUMNS = ("path", "sentence", "client_id")
"""The columns of audio, text and voice in Common Voice."""


def rows(path: Path, split: str | None, audio: str) -> Iterator[Row]:
    """Every row of the split's table (default: train). Quotes are literal, and fields have any length; `id` is the path of
    the clip in the folder."""
    [file] = files(path, split)
    if not (file.parent / "clips").is_dir():
        raise DataError(
            f"{file}: there is no folder clips/ beside it. Put the clips there, as Common Voice ships them."
        )
    table = textfile.DelimitedTable(textfile.lines(file), str(file), literal=True)
    table.need(COLUMNS, f"Common Voice has {', '.join(COLUMNS)}, with a tab between columns.")
    for number, (line, values) in enumerate(table):
        ident = f"clips/{values[audio]}"
        yield Row(f"{file}:{line}", numbered({"id": ident, **values}, number), file_sound(file.parent, ident))


def files(path: Path, split: str | None) -> list[Path]:
    if path.is_file():
        return [path]
    file = path / f"{split or 'train'}.tsv"
    if not file.is_file():
        there = ", ".join(table.stem for table in listed(path, "*.tsv")) or "none"
        raise DataError(f"{path}: has no {file.name}. `split` names another table; available: {there}.")
    return [file]
