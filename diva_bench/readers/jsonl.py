"""One JSON object a line, with the clips beside it: how the shipped data is, and the simplest form for one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diva_bench.errors import DataError
from diva_bench.readers import Raw, file_clip
from diva_bench.specs import TaskSpec


def read(path: Path, task: TaskSpec) -> Iterator[Raw]:
    """Every line that is not blank. The audio column names a file relative to the manifest, or absolute; a line without
    one, or with null, is a row whose sound is not at hand."""
    column = task.data.columns.get("audio", "audio")
    for number, row in _lines(path):
        name = row.get(column)
        yield Raw(f"{path}:{number}", row, None if name is None else file_clip(path.parent, str(name)))


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row)."""
    try:
        with path.open(encoding="utf-8-sig") as file:  # some editors begin a file with a byte order mark
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as err:
                    raise DataError(f"{path}:{number}: not valid JSON ({err.msg}).") from err
                if not isinstance(row, dict):
                    raise DataError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}.")
                yield number, row
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{path}: cannot be read ({err}). Check `data.path` of the task.") from err
