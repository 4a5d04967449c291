"""Sources of training speech: any format of `diva_bench.data.readers.forms`, parquet, or the Hugging Face hub, as a
stream.

Memory holds one batch of rows. The caller counts faulty clips; a faulty source is a DataError. Readers yield unread
rows, so that a shard opens only its own clips.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diva_bench import audio, disk
from diva_bench.data.detect import PARQUET, DetectedForm, detect, supported_forms
from diva_bench.data.readers import forms as listings
from diva_bench.data.readers.forms import AUDIO, TEXT, VOICE, Sound, column_of
from diva_bench.data.readers.parquet import torn
from diva_bench.errors import ClipError, DataError, UserError, one_line
from diva_bench.specs.rows import NUMBER
from diva_bench.types import Audio

_BATCH = 64  # rows of a parquet file in memory at a time
_HUB_TOO = "\n  hub:owner/name, hub:owner/name:config or hub:owner/name:config:split"
FORMS = supported_forms() + _HUB_TOO
"""The allowed sources, one per line."""
_HUB = re.compile(r"hub:(?P<name>[\w.-]+/[\w.-]+)(:(?P<config>[^:]*))?(:(?P<split>[^:]+))?")
_HUB_TIMEOUT = 10.0  # seconds to wait for the revision of a data set


@dataclass(frozen=True, slots=True)
class Example:
    """One clip with its text. `audio` is the encoded file, empty if it cannot be read.

    Attributes:
        id: Unique and stable in its source, the same on every machine.
        voice: The speaker, "" if unknown.
    """

    id: str
    audio: bytes
    text: str
    voice: str


Row = Callable[[], Example]  # reads the row when called


def read(source: str, *, shard: int = 0, shards: int = 1) -> Iterator[Example]:
    """Every example whose number modulo `shards` is `shard`, in the order of the source. `FORMS` lists the allowed
    strings."""
    assert 0 <= shard < shards, f"shard {shard} of {shards}"
    rows = _rows(source)
    return (row() for row in itertools.islice(rows, shard, None, shards))


def check(named: Sequence[str], every_batch: int = 0) -> None:
    """Check sources without reading rows.

    Raises:
        DataError: A source does not exist or has no known format.
        UserError: `every_batch` needs a second source.
    """
    for source in named:
        _rows(source)
    if every_batch and len(named) == 1:
        raise UserError(
            f"every_batch is {every_batch}, but there is only one --data ({named[0]}). Name the data that every batch must "
            "have first, and the other data with more --data options."
        )


def fingerprint(source: str) -> dict[str, str]:
    """The entry of a source in the training record: file name -> sha256, or name on the hub -> revision, "latest" if
    unknown. Clips beside a listing are not covered."""
    if source.startswith("hub:"):
        return {source: _revision(_hub_parts(source)[0], source)}
    files = _files(source)
    names = [file.name for file in files]
    whole = len(set(names)) == len(names)
    return {file.name if whole else "/".join(file.parts[-2:]): disk.sha256(file) for file in files}


def left_out(source: str) -> list[str]:
    """Parquet files of a folder that are not read, because others are named train-*.parquet."""
    if source.startswith("hub:") or not Path(source).expanduser().is_dir():
        return []
    form, files = _form_of(source), _files(source)
    every = disk.listed(form.path, "*.parquet") if form.source == PARQUET else []
    return sorted(path.name for path in every if path not in files)


def usable(example: Example, *, max_seconds: float) -> tuple[str, Audio | None]:
    """("", 16 kHz mono) of a usable example, or (reason, None). The length limit is in seconds."""
    if not example.text.strip():
        return "empty text", None
    try:
        sound = audio.decode(example.audio)
    except ClipError:
        return "cannot be decoded", None
    if audio.silent(sound):
        return "silent", None
    if sound.seconds > max_seconds:
        return f"over {max_seconds:g} s", None
    return "", sound


# ---------------------------------------------------------------- which source


def _rows(source: str) -> Iterator[Row]:
    if source.startswith("hub:"):
        return _hub(source)
    form = _form_of(source)
    return _parquet(_files(source)) if form.source == PARQUET else _listed(form)


def _form_of(source: str) -> DetectedForm:
    """The format of a local source."""
    if not source.strip():
        raise DataError(f"training data: the name is empty. It must be one of:\n{FORMS}")
    try:
        return detect(Path(source).expanduser())
    except DataError as err:
        raise DataError(f"training data {err}{_HUB_TOO if str(err).endswith(supported_forms()) else ''}") from err


def _files(source: str) -> list[Path]:
    """The files that list the rows of a local source, in reading order."""
    form = _form_of(source)
    if form.source != PARQUET:
        return listings.FORMS[form.source].files(form.path, _split(form))
    if form.path.is_file():
        return [form.path]
    return disk.listed(form.path, "train-*.parquet") or disk.listed(form.path, "*.parquet")


def _split(form: DetectedForm) -> str | None:
    """ "train" if there are several splits."""
    if len(form.splits) > 1 and "train" not in form.splits:
        raise DataError(
            f"{form.path}: has the splits {', '.join(form.splits)}, and none is called train. Name one's folder."
        )
    return "train" if "train" in form.splits else next(iter(form.splits), None)


def _listed(form: DetectedForm) -> Iterator[Row]:
    """Rows of a listing in any format. `id` is that of the row, else the name of the listing with the line."""
    seen: dict[str, str] = {}
    for row in listings.FORMS[form.source].rows(form.path, _split(form), form.audio):
        text = row.values.get(column_of(row.values, TEXT))
        if text is None and form.source == "arrow" and column_of(row.values, TEXT):
            text = ""  # a cell without a value, as in parquet
        if row.sound is None or not isinstance(text, str):
            listing = ", ".join(f"{key} ({type(value).__name__})" for key, value in row.values.items() if key != NUMBER)
            raise DataError(
                f"{row.where}: found {listing or 'no keys'}; every row must have a clip ({' or '.join(AUDIO)}) and its words as "
                f"text ({' or '.join(TEXT)}); id and voice ({' or '.join(VOICE)}) are optional. Correct or remove the row."
            )
        voice, ident = row.values.get(column_of(row.values, VOICE)), row.values.get("id")
        if ident is None or ident == "":
            ident = Path(row.where).name
        elif (ident := str(ident)) in seen:
            raise DataError(
                f"{row.where}: id {ident!r} is already used in {seen[ident]}. Ids must be unique; drop one."
            )
        else:
            seen[ident] = f"line {place}" if (place := row.where.rpartition(":")[2]).isdigit() else row.where
        yield partial(_example, ident, row.sound, text, "" if voice is None else str(voice))


def _example(ident: str, sound: Sound, text: str, voice: str) -> Example:
    try:
        encoded = sound.read()
    except (
        OSError,
        ValueError,
    ):  # an unreadable clip is counted and does not stop the stream; ValueError: a name with a NUL
        encoded = b""
    return Example(ident, encoded, text, voice)


def _clip(file: Path) -> bytes:
    """The bytes of a clip; empty if it cannot be read, so that it is counted and does not stop the stream."""
    try:
        return disk.read_plain(file)
    except (OSError, ValueError):  # ValueError: a name with a NUL in it
        return b""


# ---------------------------------------------------------------- tables: parquet and the hub


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of the roles in one table; `voice` is "" if the table has none."""

    audio: str
    text: str
    voice: str

    def names(self) -> list[str]:
        return [name for name in (self.audio, self.text, self.voice) if name]

    def example(self, ident: str, values: Mapping[str, Any], fetch: Callable[[str], bytes]) -> Example:
        """`fetch` reads the clip of a row with a path and no bytes."""
        cell = values[self.audio]
        if isinstance(cell, Mapping):
            encoded, path = cell.get("bytes"), cell.get("path")
            cell = encoded if encoded is not None or not path else fetch(path)
        voice = values[self.voice] if self.voice else None
        return Example(ident, cell or b"", values[self.text] or "", "" if voice is None else str(voice))


def _columns(schema: Any, where: str) -> _Columns:
    """The columns of a table by role, from its pyarrow schema."""
    there = list(schema.names)

    def pick(role: str, allowed: tuple[str, ...]) -> str:
        for name in allowed:
            if name in there:
                return name
        raise DataError(
            f"{where}: no {role} column; the columns are {', '.join(there) or 'none'}. "
            f"Name the {role} column {' or '.join(allowed)}."
        )

    columns = _Columns(pick("audio", AUDIO[:1]), pick("text", TEXT), next((n for n in VOICE if n in there), ""))
    _check_types(schema, columns, where)
    return columns


def _check_types(schema: Any, columns: _Columns, where: str) -> None:
    from pyarrow import types  # type: ignore[import-untyped]

    sound, words = schema.field(columns.audio).type, schema.field(columns.text).type
    parts = {sound.field(i).name for i in range(sound.num_fields)} if types.is_struct(sound) else set()
    if not (types.is_binary(sound) or types.is_large_binary(sound) or parts & {"bytes", "path"}):
        raise DataError(
            f"{where}: column {columns.audio!r} is {sound}; it must hold encoded files, as binary or as a struct of "
            "bytes and path. Write wav, flac, ogg or mp3 files into it."
        )
    if types.is_dictionary(words):
        words = words.value_type
    if not (types.is_string(words) or types.is_large_string(words)):
        raise DataError(f"{where}: column {columns.text!r} is {words}; it must be string. Write the words into it.")


def _parquet(files: list[Path]) -> Iterator[Row]:
    """Rows of all files; the columns of all files are checked before the first row."""
    columns = [_columns(_schema(file), str(file)) for file in files]
    for file, names in zip(files, columns, strict=True):
        row = 0
        for batch in _batches(file, names.names()):
            for i in range(batch.num_rows):
                yield partial(_cell, batch.slice(i, 1), f"{file.name}:{row + i}", names, file.parent)
            row += batch.num_rows


def _cell(row: Any, ident: str, columns: _Columns, folder: Path) -> Example:
    return columns.example(ident, row.to_pylist()[0], lambda path: _clip(folder / path))


def _schema(file: Path) -> Any:
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        return pyarrow.parquet.read_schema(file)
    except (OSError, pyarrow.ArrowException) as err:
        raise torn(file, err) from err


def _batches(file: Path, columns: list[str]) -> Iterator[Any]:
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            yield from table.iter_batches(_BATCH, columns=columns)
    except (OSError, pyarrow.ArrowException) as err:
        raise torn(file, err) from err


# ---------------------------------------------------------------- the hub


def _hub(source: str) -> Iterator[Row]:
    name, config, split = _hub_parts(source)

    def load() -> Any:
        import datasets

        return datasets.load_dataset(name, config or None, split=split, streaming=True)

    return _streamed(load, source, split)


def _hub_parts(source: str) -> tuple[str, str, str]:
    """(owner/name, config ("" for the default), split)."""
    match = _HUB.fullmatch(source)
    if match is None:
        raise DataError(f"training data {source!r} does not name a data set of the hub. It must be one of:\n{FORMS}")
    return match["name"], match["config"] or "", match["split"] or "train"


def _streamed(load: Callable[[], Any], source: str, split: str) -> Iterator[Row]:
    """Rows of a `datasets.IterableDataset` with encoded audio; ids are split:number."""
    import datasets

    try:
        stream = load()
        features = (
            stream.features or stream._resolve_features().features
        )  # some formats have no features before a row is read
        columns = _columns(features.arrow_schema, source)
        if isinstance(features[columns.audio], datasets.Audio):
            stream = stream.cast_column(columns.audio, datasets.Audio(decode=False))
        for number, values in enumerate(stream.select_columns(columns.names())):
            yield partial(columns.example, f"{split}:{number}", values, partial(_remote, source))
    except DataError:
        raise
    except Exception as err:  # there is no common base class: OSError, ValueError, httpx.HTTPError, DatasetsError, ...
        raise _away(source, err) from err


def _away(source: str, err: Exception) -> DataError:
    return DataError(
        f"{source}: cannot be read from the hub ({one_line(err)}). Check the name, the config and the split on "
        "https://huggingface.co/datasets, the network, and `hf auth login` if the data set is gated; or download "
        "its parquet files and give their folder."
    )


def _remote(source: str, path: str) -> bytes:
    """A clip of a data set that is a folder of files; `path` is a file or an address for fsspec."""
    import fsspec  # type: ignore[import-untyped]

    try:
        with fsspec.open(path, "rb") as file:
            return bytes(file.read())
    except FileNotFoundError:
        return b""
    except Exception as err:  # an error of the network, not of the clip; going on would count all clips as faulty
        raise _away(source, err) from err


def _revision(name: str, source: str) -> str:
    """The commit of the data set; "latest" if the hub cannot be reached."""
    import huggingface_hub

    try:
        return huggingface_hub.HfApi().dataset_info(name, timeout=_HUB_TIMEOUT).sha or "latest"
    except Exception:  # only information for the record; `read` raises if the data cannot be read
        return "latest"
