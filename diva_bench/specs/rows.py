"""Rows of a task made in Python, in one form whatever their source, with clips as bytes or files."""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diva_bench.errors import DataError, one_line
from diva_bench.types import RATES

if TYPE_CHECKING:
    import numpy as np

NUMBER = "row"
"""The column with the number of the row, for rows without an id."""
AUDIO_FORMS = (
    "a path; encoded bytes (WAV, FLAC, MP3, ...); (array, sampling rate in Hz); "
    '{"array": ..., "sampling_rate": ...}; {"bytes": ...}; {"path": ...}; a diva_bench Audio; or None'
)
_DTYPES = ("float16", "float32", "float64", "int16", "int32")


@dataclass(frozen=True, slots=True)
class Sound:
    """The clip of one row.

    Attributes:
        name: The path of its file, or the sha256 of its bytes if `read` returns them.
        encoded: The bytes, if they are in memory.
    """

    name: str
    read: Callable[[], bytes] | None = None
    encoded: bytes | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row: column -> value, with its number; `sound` is None if it has no clip."""

    values: Mapping[str, Any]
    sound: Sound | None


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of a task."""

    rows: tuple[Row, ...]

    def has(self, column: str) -> bool:
        return any(column in row.values for row in self.rows)


def rows_of(table: Any, audio: str, text: Sequence[str]) -> Rows:
    """Convert rows.

    Args:
        table: An iterable of mappings, column -> value.
        audio: The column of the clip.
        text: Columns whose numbers become text (ids, references).

    Raises:
        DataError: A row or its clip has a wrong form.
    """
    if isinstance(table, str | bytes | Mapping) or not isinstance(table, Iterable):
        raise DataError(
            f"rows: {_kind(table)} is not a list of rows. Allowed: an iterable of mappings, column -> value; "
            "Task.from_pandas takes a DataFrame, Task.from_dataset a datasets.Dataset."
        )
    rows = tuple(_row(number, values, audio, text) for number, values in enumerate(table))
    if not rows:
        raise DataError("rows: there are none. A task needs at least one.")
    return Rows(rows)


def rows_of_frame(frame: Any, audio: str, text: Sequence[str]) -> Rows:
    """As `rows_of`, for a pandas DataFrame; its index is not read."""
    import pandas

    if not isinstance(frame, pandas.DataFrame):
        raise DataError(f"from_pandas: {_kind(frame)} is not a pandas.DataFrame.")
    if twice := [str(name) for name in frame.columns[frame.columns.duplicated()]]:
        raise DataError(
            f"from_pandas: the frame has more than one column {', '.join(map(repr, dict.fromkeys(twice)))}. Give every column "
            "a unique name."
        )
    return rows_of(_with_whole_numbers(frame).to_dict("records"), audio, text)


def _with_whole_numbers(frame: Any) -> Any:
    """The frame, with whole numbers in columns that pandas stores as floats because of missing values."""
    import pandas

    whole = [
        name
        for name, column in frame.items()
        if pandas.api.types.is_float_dtype(column)
        and column.isna().any()
        and all(float(value).is_integer() for value in column.dropna())
    ]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def rows_of_dataset(dataset: Any, audio: str, text: Sequence[str]) -> Rows:
    """As `rows_of`, for a `datasets.Dataset`: clips stay in the files of the data set, and labels that are stored as
    numbers become their names."""
    import datasets

    if isinstance(dataset, datasets.DatasetDict):
        raise DataError(f"from_dataset: name a split: dataset[{sorted(dataset)[0]!r}], one of {', '.join(dataset)}.")
    if not isinstance(dataset, datasets.Dataset):
        raise DataError(
            f"from_dataset: {_kind(dataset)} is not a datasets.Dataset; Task.from_rows takes any iterable of rows."
        )
    if isinstance(dataset.features.get(audio), datasets.Audio):
        dataset = dataset.cast_column(audio, datasets.Audio(decode=False))
    labels = {name: kind for name, kind in dataset.features.items() if isinstance(kind, datasets.ClassLabel)}

    def values(number: int) -> dict[str, Any]:
        row = dict(dataset[number])
        for name, kind in labels.items():
            row[name] = kind.int2str(row[name]) if isinstance(row[name], int) and row[name] >= 0 else None
        encoded = _encoded(row.get(audio))
        if encoded is not None:  # its bytes stay in the file of the data set
            row[audio] = Sound(_sha256(encoded), partial(_cell, dataset, number, audio))
        return row

    return rows_of((values(number) for number in range(len(dataset))), audio, text)


def _encoded(cell: Any) -> bytes | None:
    content = cell.get("bytes") if isinstance(cell, Mapping) else None
    return content if isinstance(content, bytes) else None


def _cell(dataset: Any, number: int, audio: str) -> bytes:
    encoded = _encoded(dataset[number][audio])
    if encoded is None:
        raise OSError(0, f"column {audio} of row {number} has no audio any more")
    return encoded


def _row(number: int, values: Any, audio: str, text: Sequence[str]) -> Row:
    where = f"row {number}"
    if not isinstance(values, Mapping):
        raise DataError(f"{where}: {_kind(values)} is not a mapping, column -> value.")
    if strange := [name for name in values if not isinstance(name, str)]:
        raise DataError(f"{where}: the column {strange[0]!r} is not text; columns have names.")
    sound = sound_of(values.get(audio), where, audio)
    columns = {name: _plain(value) for name, value in values.items() if name != audio}
    for name in text:
        columns |= {name: _text(columns[name])} if name in columns else {}
    return Row({NUMBER: str(number), **columns}, sound)


def _plain(value: Any) -> Any:
    """A cell as a Python value; missing values of pandas and numpy (NaN, NaT, NA) become None."""
    import numpy as np

    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.tolist()]
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value)):
        return None
    return value


def _text(value: Any) -> Any:
    """Numbers as text; a float that is a whole number has no decimal point."""
    if isinstance(value, list):
        return [_text(one) for one in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)


# ---------------------------------------------------------------- clips


def sound_of(value: Any, where: str, column: str) -> Sound | None:
    """The clip of a cell, see AUDIO_FORMS; None if it is empty. Raises DataError for anything else."""
    value = None if isinstance(value, float) and math.isnan(value) else value
    if value is None or isinstance(value, Sound):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return _held(bytes(value))
    if isinstance(value, str | os.PathLike):
        return Sound(str(Path(os.fsdecode(value)).absolute()))
    array, rate = _wave(value)
    if array is None and isinstance(value, Mapping):
        inner = next((value[key] for key in ("bytes", "path") if value.get(key) is not None), None)
        if isinstance(inner, bytes | str | os.PathLike):
            return sound_of(inner, where, column)
    if array is None:
        raise DataError(f"{where}: {column} is {_kind(value)}. Allowed: {AUDIO_FORMS}.")
    return _held(_wav(array, rate, f"{where}: {column}"))


def _wave(value: Any) -> tuple[Any, Any]:
    """(array, rate) of the forms that have both, else (None, None)."""
    if isinstance(value, Mapping):
        return value.get("array"), value.get("sampling_rate")
    if isinstance(value, tuple) and len(value) == 2:
        return value
    if hasattr(value, "samples") and hasattr(value, "rate"):  # diva_bench.types.Audio
        return value.samples, value.rate
    if hasattr(value, "get_all_samples"):  # the decoder of `datasets`, torchcodec; (channels, n)
        import numpy as np

        sound = value.get_all_samples()
        return np.asarray(sound.data).mean(axis=0), sound.sample_rate
    return None, None


def _wav(array: Any, rate: Any, where: str) -> bytes:
    """A WAV file of a mono array, shape (n,): the same array gives the same bytes."""
    import numpy as np
    from scipy.io import wavfile

    try:
        wave = np.asarray(array)
    except ValueError as err:  # rows of different lengths
        raise DataError(f"{where}: the array is not one sequence of samples ({one_line(err)}).") from err
    if wave.ndim != 1 or wave.dtype.name not in _DTYPES:
        raise DataError(
            f"{where}: an array of shape {wave.shape} and type {wave.dtype}. Allowed: mono, shape (n,), floats in [-1, 1] "
            f"({', '.join(_DTYPES[:3])}) or integers of full scale ({', '.join(_DTYPES[3:])})."
        )
    _check_scale(wave, where)
    whole = isinstance(rate, int | float | np.number) and not isinstance(rate, bool) and float(rate).is_integer()
    if not whole or not RATES[0] <= int(rate) <= RATES[1]:
        raise DataError(
            f"{where}: the sampling rate is {rate!r}. Allowed: a whole number of Hz from {RATES[0]} to {RATES[1]}."
        )
    if wave.dtype.kind == "f":
        wave = wave.astype(np.float32)
    file = io.BytesIO()
    wavfile.write(file, int(rate), wave)
    return file.getvalue()


_OVERSHOOT = 2.0
"""Largest allowed float: resampling and lossy codecs exceed full scale, 1, by less."""
_QUIETEST = 1 << 16
"""For 32-bit integers: a smaller peak is almost silent at full scale, 2**31, so the clip has 16-bit values."""


def _check_scale(wave: np.ndarray[Any, Any], where: str) -> None:
    """Raises DataError if samples are missing, not finite, or not on the scale of their type."""
    if not len(wave):
        raise DataError(f"{where}: an array without samples. Give None for a row without a clip.")
    peak = max(abs(float(wave.max())), abs(float(wave.min())))
    allowed = "Allowed: floats in [-1, 1], or int16"
    if not math.isfinite(peak):
        raise DataError(f"{where}: the array has values that are not finite (NaN or infinity). {allowed}.")
    if wave.dtype.kind == "f" and peak > _OVERSHOOT:
        scale = "divide 16 bit values by 32768, or give the array as int16"
        raise DataError(f"{where}: the largest value of this float array is {peak:g}. {allowed}: {scale}.")
    if wave.dtype.name == "int32" and 0 < peak < _QUIETEST:
        raise DataError(
            f"{where}: the largest value of this int32 array is {peak:g}, which is next to silence: full scale is 2**31. "
            f"{allowed}: give 16 bit values as int16."
        )


def _held(encoded: bytes) -> Sound:
    return Sound(_sha256(encoded), lambda: encoded, encoded)


def _sha256(encoded: bytes) -> str:
    return hashlib.sha256(encoded).hexdigest()


def _kind(value: Any) -> str:
    """A value for messages: "3 (int)"; for long values only the type."""
    text = repr(value) if isinstance(value, str | int | float | bool | None) else ""
    return f"{text} ({type(value).__name__})" if 0 < len(text) < 60 else f"a {type(value).__name__}"
