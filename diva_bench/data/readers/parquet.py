"""Reader of parquet as on the Hugging Face hub: text columns are read at once, audio by row group when it is needed.

`read` is the reader for any such table; readers of corpora in parquet use `ParquetTable`. It does not need `datasets`
or torchcodec: an Audio column is a struct of bytes and path.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from diva_bench.data.readers import ClipSource, Raw
from diva_bench.disk import listed, read_plain, stamp
from diva_bench.errors import DataError, one_line
from diva_bench.specs import TaskSpec

_BATCH = 512  # rows of the text columns that are converted to Python objects at once
_CACHE_BYTES = 128 * 2**20  # bytes of audio in the cache of row groups; the last group stays whatever its size
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\b")  # numbers of a split's files by the tools of the hub


def read(folder: Path, task: TaskSpec) -> Iterator[Raw]:
    """Every row of a split with its columns, and the running number `row` for tables without an id."""
    table = ParquetTable.find(folder, task)
    column = task.data.columns.get("audio", "audio")
    table.need([column])
    for row in table.rows(sound=[column]):
        values = {"row": str(row.number), **row.values}
        yield Raw(row.where, values, row.clip(column))


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    Attributes:
        number: Number over all files.
        place: (file, row group, row in the group).
        values: Column -> value.
        beside: Audio column -> name of a file, which a cell may give in place of bytes.
    """

    table: ParquetTable
    number: int
    values: Mapping[str, Any]
    where: str
    place: tuple[int, int, int]
    beside: Mapping[str, str]

    def clip(self, column: str) -> ClipSource:
        """The clip in an Audio column; it is not read yet."""
        file, group, index = self.place
        path = self.table.files[file]
        name = f"{path.relative_to(self.table.folder).as_posix()}:{self.number}:{column}"
        held = stamp(path)
        if (other := self.beside.get(column)) and (sound := path.parent / other).is_file():
            held += stamp(sound)
        return ClipSource(name, partial(_cell, path, group, index, column), held)


@dataclass(frozen=True)
class ParquetTable:
    """The files of one split, read in their order."""

    folder: Path
    files: tuple[Path, ...]

    @classmethod
    def find(cls, folder: Path, task: TaskSpec) -> ParquetTable:
        """The table of a task's config and split. Raises DataError, which lists the patterns that were searched."""
        if folder.is_file():
            return cls(folder.parent, (folder,))
        files = split_files(folder, task.data.config, task.data.split)
        if not files:
            patterns_text = ", ".join(patterns(task.data.config, task.data.split))
            raise DataError(f"{folder}: no parquet files of task {task.name} (looked for {patterns_text}).")
        return cls(folder, tuple(files))

    @cached_property
    def columns(self) -> list[str]:
        """The names of the columns. Raises DataError if files differ."""
        names = [list(_open(file).schema_arrow.names) for file in self.files]
        for file, other in zip(self.files, names, strict=True):
            if other != names[0]:
                raise DataError(
                    f"{file}: columns {', '.join(other)}; {self.files[0].name} of the same split has {', '.join(names[0])}."
                )
        return names[0]

    def need(self, names: Sequence[str]) -> None:
        """Raises DataError if a column is missing."""
        if lacks := [name for name in names if name not in self.columns]:
            raise DataError(
                f"{self.files[0]}: column {lacks[0]!r} is missing; the columns are {', '.join(self.columns)}."
            )

    def rows(self, sound: Sequence[str]) -> Iterator[Row]:
        """Every row, without the audio columns `sound`."""
        names, number = [name for name in self.columns if name not in sound], 0
        for position, file in enumerate(self.files):
            table = _open(file)
            named = [column for column in sound if column in self.columns and _names_files(table, column)]
            for group in range(table.num_row_groups):
                index = 0
                for values in _values(file, table, group, [*names, *(f"{column}.path" for column in named)]):
                    where = f"{file}, row {number}"
                    cells = {column: values.pop(column) or {} for column in named}
                    beside = {column: str(cell["path"]) for column, cell in cells.items() if cell.get("path")}
                    yield Row(self, number, values, where, (position, group, index), beside)
                    number, index = number + 1, index + 1


def patterns(config: str | None, split: str | None) -> list[str]:
    """Glob patterns of the parquet files of a split in a hub repository, the most specific first."""
    name = split or ""
    heads = [f"{config}/", f"data/{config}/"] if config else ["data/", ""]
    named = [pattern for head in heads for pattern in (f"{head}{name}-*.parquet", f"{head}{name}/*.parquet")]
    bare = [f"{head}*.parquet" for head in heads]
    return [*named, *bare] if split else bare


def split_files(folder: Path, config: str | None, split: str | None) -> list[Path]:
    """The files of a split, in order, without files of other splits; empty if there are none.

    Raises:
        DataError: Some of the numbered files are missing.
    """
    for pattern in patterns(config, split):
        files = listed(folder, pattern)
        if split and not pattern.endswith((f"{split}-*.parquet", f"{split}/*.parquet")):
            files = [file for file in files if not _SHARD.search(file.name)]  # these belong to another split
        if files:
            _all_there(files)
            return files
    return []


def _all_there(files: Sequence[Path]) -> None:
    numbers = [match for file in files if (match := _SHARD.search(file.name))]
    count = int(numbers[0][2]) if numbers else len(files)
    if len(files) != count:
        raise DataError(
            f"{files[0].parent}: {len(files)} of the {count} files of {files[0].name.partition('-')[0]} are here; "
            "fetch the others (`diva-bench pull --task` does)."
        )


# ---------------------------------------------------------------- pyarrow


def _open(file: Path) -> Any:
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        return pyarrow.parquet.ParquetFile(file, memory_map=True)
    except (OSError, pyarrow.ArrowException) as err:
        raise torn(file, err) from err


def _names_files(table: Any, column: str) -> bool:
    """Whether the cells of an audio column have a `path`."""
    import pyarrow

    kind = table.schema_arrow.field(column).type
    return bool(pyarrow.types.is_struct(kind) and kind.get_field_index("path") >= 0)


def _values(file: Path, table: Any, group: int, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    import pyarrow

    if not names:
        yield from ({} for _ in range(table.metadata.row_group(group).num_rows))
        return
    try:
        for batch in table.iter_batches(_BATCH, row_groups=[group], columns=list(names)):
            yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as err:
        raise torn(file, err) from err


def torn(file: Path, err: Exception) -> DataError:
    """What to raise for a file that pyarrow cannot read."""
    return DataError(f"{file}: cannot be read as parquet ({one_line(err)}). Fetch the file again.")


class _Groups:
    """A cache of the audio columns of the latest row groups. Threads share it; while one reads a group, the others wait."""

    def __init__(self) -> None:
        self._arrays: OrderedDict[tuple[Path, int, str], Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, file: Path, group: int, column: str) -> Any:
        """A pyarrow array of the column's cells."""
        key = (file, group, column)
        with self._lock:
            if key not in self._arrays:
                self._arrays[key] = self._read(*key)
                while len(self._arrays) > 1 and sum(cells.nbytes for cells in self._arrays.values()) > _CACHE_BYTES:
                    self._arrays.popitem(last=False)
            self._arrays.move_to_end(key)
            return self._arrays[key]

    @staticmethod
    def _read(file: Path, group: int, column: str) -> Any:
        import pyarrow

        try:
            return _open(file).read_row_group(group, columns=[column], use_threads=False).column(0)
        except (OSError, pyarrow.ArrowException) as err:
            raise OSError(f"row group {group} cannot be read: {one_line(err)}") from err


_GROUPS = _Groups()


def _cell(file: Path, group: int, index: int, column: str) -> bytes:
    """The encoded bytes in one cell. Raises OSError if there are none."""
    cell = _GROUPS.get(file, group, column)[index].as_py()
    encoded = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if isinstance(encoded, bytes):
        return encoded
    beside = cell.get("path") if isinstance(cell, Mapping) else None
    if beside and (sound := file.parent / str(beside)).is_file():
        return read_plain(sound)
    raise OSError(f"column {column} holds no sound")
