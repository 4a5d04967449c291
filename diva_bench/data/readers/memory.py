"""Rows of a task that was made in Python (`Task.from_rows`): they are in the task itself, and on no disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from diva_bench.data.readers import ClipSource, Raw, file_clip
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec
from diva_bench.specs.rows import Sound


def read(path: Path, task: TaskSpec) -> Iterator[Raw]:
    """The rows in their order. DataError for a task that is known by its record alone."""
    if task.rows is None:
        raise DataError(
            f"task {task.name}: its rows were given in Python and are not on disk. Make the task again and pass it: "
            f"diva_bench.score(runs, tasks=[task]), or diva_bench.run(models, task)."
        )
    for number, row in enumerate(task.rows.rows):
        clip = _clip(row.sound, f"row {number}") if row.sound else None
        yield Raw(f"task {task.name}, row {number}", row.values, clip)


def _clip(sound: Sound, label: str) -> ClipSource:
    """By its content, so that what was once found out about it holds for ever; a file by its stamp."""
    if sound.read is None:
        return file_clip(Path("/"), sound.name)
    return ClipSource(sound.name, sound.read, (), label)
