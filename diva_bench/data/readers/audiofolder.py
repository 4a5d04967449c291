"""Reader of the Hub's AudioFolder: a metadata table with `file_name`, or one folder per label."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diva_bench import textfile
from diva_bench.data.readers.forms import Row, file_sound, named, numbered
from diva_bench.disk import listed
from diva_bench.errors import DataError, one_line

TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".aiff", ".au", ".webm", ".mp4")
LABEL = "label"


def rows(path: Path, split: str | None, audio: str) -> Iterator[Row]:
    """Every row of the metadata, or every clip with the name of its folder as `label`. Several tables (one folder per
    split) are read one after another, with the name of the folder as `split`. Clip names are relative to their table."""
    root = _root(path, split)
    tables = _tables(root)
    entries = (row for table in tables for row in _listed(table, audio)) if tables else _labelled(root, audio)
    for number, (where, folder, values) in enumerate(entries):
        below = folder.relative_to(root).as_posix()
        more = {"split": below} if tables and below != "." and "split" not in values else {}
        name = named(values.get(audio), where, audio)
        if name is None:
            raise DataError(f"{where}: {audio} is empty. Name the clip, or drop the row.")
        whole = name if below == "." else f"{below}/{name}"
        yield Row(where, numbered(values | more, number), file_sound(root, name if name.startswith("/") else whole))


def files(path: Path, split: str | None) -> list[Path]:
    return _tables(_root(path, split))


def has_tables(path: Path) -> bool:
    """Whether the folder or one of its subfolders has metadata."""
    return bool(_tables(path))


def is_folder(path: Path) -> bool:
    """Whether the folder has subfolders with clips, one per label."""
    return any(folder != path for folder, _ in _clips(path))


def splits(path: Path) -> list[str]:
    """The subfolders with metadata; empty if the folder itself has metadata."""
    return [table.parent.name for table in _tables(path) if table.parent != path]


def _root(path: Path, split: str | None) -> Path:
    root = path / split if split else path
    if not root.is_dir():
        there = ", ".join(p.name for p in listed(path, "*") if p.is_dir()) or "none"
        raise DataError(f"{root}: no such folder; `split` names one of {path}: {there}.")
    return root


def _tables(root: Path) -> list[Path]:
    here = [root / name for name in TABLES if (root / name).is_file()]
    if len(here) > 1:
        raise DataError(f"{root}: has {here[0].name} and {here[1].name}; which one counts cannot be known. Remove one.")
    return here or sorted(file for name in TABLES for file in listed(root, f"*/{name}"))


def _listed(table: Path, audio: str) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """(where, folder, values) of every row of one table."""
    entries: Iterator[tuple[int, dict[str, Any]]]
    if table.suffix == ".parquet":
        entries = _parquet(table)
    elif table.suffix == ".jsonl":
        entries = textfile.json_rows(textfile.lines(table), str(table))
    else:
        text = textfile.DelimitedTable(textfile.lines(table), str(table))
        text.need([audio], f"An AudioFolder names its clips in {audio}.")
        entries = ((line, dict(values)) for line, values in text)
    for line, values in entries:
        if audio not in values:
            raise DataError(f"{table}:{line}: {audio} is missing; available: {', '.join(values) or 'nothing'}.")
        yield f"{table}:{line}", table.parent, values


def _parquet(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        with pyarrow.parquet.ParquetFile(table) as file:
            batches = (row for batch in file.iter_batches(512) for row in batch.to_pylist())
            yield from enumerate(batches, start=1)
    except (OSError, pyarrow.ArrowException) as err:
        raise DataError(f"{table}: cannot be read as parquet ({one_line(err)}).") from err


def _labelled(root: Path, audio: str) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    for folder, name in _clips(root):
        label = {} if folder == root else {LABEL: folder.name}
        yield f"{folder / name}", folder, {audio: name, **label}


def _clips(root: Path) -> Iterator[tuple[Path, str]]:
    """(folder, name) of every clip, sorted by name."""
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(folder), name
