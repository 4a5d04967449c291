"""Reader of NeMo manifests: JSON lines with audio_filepath, duration (seconds) and text; with `offset`, a part of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diva_bench import textfile
from diva_bench.data.readers.forms import Row, file_sound, named, numbered
from diva_bench.data.readers.segments import part_of, seconds_of
from diva_bench.errors import DataError


def rows(path: Path, split: str | None, audio: str) -> Iterator[Row]:
    """Every line. A clip has `duration` seconds from `offset` (default 0); if that is the whole file, the file itself is
    used."""
    for number, (line, values) in enumerate(textfile.json_rows(textfile.lines(path), str(path))):
        where = f"{path}:{line}"
        name = named(values.get(audio), where, audio)
        if name is None:
            raise DataError(f"{where}: {audio} is missing; available: {', '.join(values) or 'no key'}.")
        yield Row(where, numbered(values, number), _sound(path.parent, name, values, where))


def _sound(folder: Path, name: str, values: dict[str, Any], where: str) -> Any:
    start = seconds_of(values.get("offset"), f"{where}: offset") or 0.0
    length = seconds_of(values.get("duration"), f"{where}: duration")
    if not start and not length:
        return file_sound(folder, name)
    return part_of(folder, name, start, length or None, or_whole=not start)


def files(path: Path, split: str | None) -> list[Path]:
    return [path]
