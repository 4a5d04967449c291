"""Reader of the user's tables: a header, then one row per clip, with commas or tabs between the fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from diva_bench import textfile
from diva_bench.data.readers.forms import Row, file_sound, named, numbered


def rows(path: Path, split: str | None, audio: str) -> Iterator[Row]:
    """Every row, with its values as text. The audio column has a path, absolute or relative to the table."""
    table = textfile.DelimitedTable(textfile.lines(path), str(path))
    table.need([audio], "`columns: {audio: NAME}` names another.")
    for number, (line, values) in enumerate(table):
        name = named(values[audio], f"{path}:{line}", audio)
        yield Row(f"{path}:{line}", numbered(values, number), file_sound(path.parent, name) if name else None)


def files(path: Path, split: str | None) -> list[Path]:
    return [path]
