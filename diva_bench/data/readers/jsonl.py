"""Reader of JSON lines with the clips beside the file: the format of the shipped data, and the simplest one for the user's
data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from diva_bench import textfile
from diva_bench.data.readers.forms import Row, file_sound, named, numbered


def rows(path: Path, split: str | None, audio: str) -> Iterator[Row]:
    """Every line that is not blank. The audio column has a path, absolute or relative to the file; a line without it, or
    with null, is a row without audio."""
    for number, (line, values) in enumerate(textfile.json_rows(textfile.lines(path), str(path))):
        name = named(values.get(audio), f"{path}:{line}", audio)
        yield Row(f"{path}:{line}", numbered(values, number), file_sound(path.parent, name) if name else None)


def files(path: Path, split: str | None) -> list[Path]:
    return [path]
