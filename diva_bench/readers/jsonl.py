"""One JSON object a line, with the clips beside it: how the shipped data is, and the simplest form for one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from diva_bench import textfile
from diva_bench.errors import DataError
from diva_bench.readers import Raw, file_clip
from diva_bench.specs import TaskSpec


def read(path: Path, task: TaskSpec) -> Iterator[Raw]:
    """Every line that is not blank. The audio column names a file relative to the manifest, or absolute; a line without
    one, or with null, is a row whose sound is not at hand."""
    column = task.data.columns.get("audio", "audio")
    for number, row in textfile.json_rows(textfile.lines(path), str(path)):
        name = row.get(column)
        if not isinstance(name, str | None):
            raise DataError(f"{path}:{number}: {column} is {name!r}, not the name of a file.")
        yield Raw(f"{path}:{number}", row, None if name is None else file_clip(path.parent, name))
