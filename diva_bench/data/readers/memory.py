"""Reader of the rows of a task made in Python (`Task.from_rows`); they are in the task itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from diva_bench.data.readers import ClipSource, Raw, file_clip
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec
from diva_bench.specs.rows import Sound


def read(path: Path, task: TaskSpec) -> Iterator[Raw]:
    """The rows in their order. Raises DataError if only the record of the task exists."""
    if task.rows is None:
        raise DataError(
            f"task {task.name}: its rows were given in Python and are not on disk. Make the task again and pass it: "
            f"diva_bench.score(runs, tasks=[task]), or diva_bench.run(models, task)."
        )
    for number, row in enumerate(task.rows.rows):
        clip = _clip(row.sound, f"row {number}") if row.sound else None
        yield Raw(f"task {task.name}, row {number}", row.values, clip)


def _clip(sound: Sound, label: str) -> ClipSource:
    """A clip in memory is identified by its content, so that its index entry stays valid; a file by its stamp."""
    if sound.read is None:
        return file_clip(Path("/"), sound.name)
    return ClipSource(sound.name, sound.read, (), label)
