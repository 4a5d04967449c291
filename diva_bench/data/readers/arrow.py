"""Reader of folders from `datasets.save_to_disk`: one data set, or several splits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from diva_bench import textfile
from diva_bench.data.readers import ClipSource, file_clip
from diva_bench.data.readers.forms import Row, Sound, numbered
from diva_bench.disk import listed, stamp
from diva_bench.errors import DataError, one_line

_BATCH = 512  # rows that are converted to Python objects at once


def rows(path: Path, split: str | None, audio: str) -> Iterator[Row]:
    """Every row; audio stays on the disk until it is read. Labels that are stored as numbers become their names."""
    import datasets

    folder = _folder(path, split)
    table = _load(folder)
    if audio not in table.column_names:
        raise DataError(
            f"{folder}: column {audio!r} is missing; available: {', '.join(table.column_names)}. `columns: {{audio: NAME}}` "
            "names another."
        )
    if isinstance(table.features[audio], datasets.Audio):
        table = table.cast_column(audio, datasets.Audio(decode=False))
    shown, cells = table.remove_columns([audio]), table.select_columns([audio])
    labels = {name: kind for name, kind in table.features.items() if isinstance(kind, datasets.ClassLabel)}
    held = tuple(number for file in table.cache_files for number in stamp(Path(file["filename"])))
    for start in range(0, len(table), _BATCH):
        batch: dict[str, list[Any]] = shown[start : start + _BATCH] if shown.column_names else {}
        for i in range(min(_BATCH, len(table) - start)):
            values = {name: column[i] for name, column in batch.items()}
            for name, kind in labels.items():
                is_label = isinstance(values.get(name), int) and values[name] >= 0
                values[name] = kind.int2str(values[name]) if is_label else None
            number = start + i
            clip = ClipSource(f"{folder.name}:{number}:{audio}", partial(_cell, cells, number, audio, folder), held)
            yield Row(f"{folder}, row {number}", numbered(values, number), Sound(clip.name, partial(_same, clip)))


def columns(path: Path, split: str | None) -> list[str]:
    """Names of the columns."""
    return list(_load(_folder(path, split)).column_names)


def _load(folder: Path) -> Any:
    import datasets

    try:
        return datasets.load_from_disk(str(folder))
    except Exception as err:  # there is no common base class: OSError, ValueError, KeyError, ArrowException, ...
        raise DataError(
            f"{folder}: cannot be read as what save_to_disk wrote ({one_line(err)}). Save it again."
        ) from err


def files(path: Path, split: str | None) -> list[Path]:
    return listed(_folder(path, split), "*.arrow")


def splits(path: Path) -> list[str]:
    """The splits of a folder; empty for a single data set."""
    listing = path / "dataset_dict.json"
    if not listing.is_file():
        return []
    listed_names = textfile.json_file(listing)
    names = listed_names.get("splits") if isinstance(listed_names, dict) else None
    if not isinstance(names, list) or not all(
        isinstance(n, str) and "/" not in n and n not in ("", "..") for n in names
    ):
        raise DataError(f"{listing}: expected the names of splits. Save the data set again.")
    return names


def _folder(path: Path, split: str | None) -> Path:
    names = splits(path)
    if not names:
        return path
    if split is None and len(names) > 1:
        raise DataError(f"{path}: has the splits {', '.join(names)}; name one with `split`.")
    if split is not None and split not in names:
        raise DataError(f"{path}: has no split {split!r}; available: {', '.join(names)}.")
    return path / (split or names[0])


def _same(clip: ClipSource) -> ClipSource:
    return clip


def _cell(cells: Any, number: int, audio: str, folder: Path) -> bytes:
    """The encoded bytes of the audio of one row: its own, or those of the file that it names."""
    cell = cells[number][audio]
    encoded = cell.get("bytes") if isinstance(cell, dict) else cell
    if isinstance(encoded, bytes):
        return encoded
    name = cell.get("path") if isinstance(cell, dict) else cell
    if isinstance(name, str) and name:
        return file_clip(folder, name).read()
    raise OSError(0, f"column {audio} holds no sound")
