"""A table of one's own: a header, a row a clip, with commas or tabs between the fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from diva_bench import textfile
from diva_bench.data.readers.forms import Row, file_sound, named, numbered


def rows(path: Path, split: str | None, audio: str) -> Iterator[Row]:
    """Every row, its values as text. The audio column names a file relative to the table, or absolute."""
    table = textfile.DelimitedTable(textfile.lines(path), str(path))
    table.need([audio], "`columns: {audio: NAME}` names another.")
    for number, (line, values) in enumerate(table):
        name = named(values[audio], f"{path}:{line}", audio)
        yield Row(f"{path}:{line}", numbered(values, number), file_sound(path.parent, name) if name else None)


def files(path: Path, split: str | None) -> list[Path]:
    return [path]
