"""Detect the format of a file or folder of speech by its content, for `train --data` and `new task`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from diva_bench import textfile
from diva_bench.data.readers import arrow, audiofolder, common_voice, lhotse
from diva_bench.data.readers.forms import AUDIO, FORMS, column_of
from diva_bench.disk import listed
from diva_bench.errors import DataError

PARQUET = "parquet"
_FILES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".gz", ".parquet")


@dataclass(frozen=True, slots=True)
class DetectedForm:
    """A detected format.

    Attributes:
        source: The format, as a task names it.
        path: The file or folder.
        audio: The column of the clips.
        splits: The available splits.
    """

    source: str
    path: Path
    audio: str
    splits: list[str] = field(default_factory=list)


def detect(path: Path) -> DetectedForm:
    """The format at `path`. Raises DataError, which lists the known formats."""
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise _unknown(path, "is no file or folder")
    if path.name == "wav.scp":
        return DetectedForm("kaldi", path.parent, FORMS["kaldi"].audio)
    if path.suffix not in _FILES:
        raise _unknown(path, f"has the suffix {path.suffix!r}, not {', '.join(_FILES)}")
    if path.suffix == ".parquet":
        return DetectedForm(PARQUET, path, "audio")
    return _table(path) if path.suffix in (".csv", ".tsv") else _json_lines(path)


def supported_forms() -> str:
    """All formats that `detect` knows, one per line."""
    lines = ["a folder of *.parquet (train-*.parquet alone where there are such), or one .parquet file"]
    return "\n".join(f"  {line}" for line in [*lines, *(form.what for form in FORMS.values())])


def _folder(path: Path) -> DetectedForm:
    def is_saved(folder: Path) -> bool:
        return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()

    kinds: dict[str, Callable[[Path], bool]] = {
        "arrow": is_saved,
        "kaldi": lambda folder: (folder / "wav.scp").is_file(),
        "common_voice": _is_common_voice,
        "lhotse": lhotse.is_folder,
        PARQUET: lambda folder: bool(listed(folder, "*.parquet")) and not (folder / "metadata.parquet").is_file(),
        "audiofolder": audiofolder.has_tables,
    }
    for source, fits in kinds.items():
        if fits(path):
            return _of_folder(source, path)
    listings = [p for p in listed(path, "*") if p.is_file() and p.suffix in _FILES]
    if len(listings) == 1:
        return detect(listings[0])
    if listings:
        raise DataError(
            f"{path}: has {len(listings)} lists of clips ({', '.join(p.name for p in listings[:5])}); name one."
        )
    if audiofolder.is_folder(path):
        return _of_folder("audiofolder", path)
    raise _unknown(path, "is a folder with no list of clips in it")


def _of_folder(source: str, path: Path) -> DetectedForm:
    splits: list[str] = []
    if source == "arrow":
        splits = arrow.splits(path)
    elif source == "common_voice":
        splits = sorted(p.stem for p in listed(path, "*.tsv") if _has(p, common_voice.COLUMNS))
    elif source == "audiofolder":
        splits = audiofolder.splits(path)
    elif source == PARQUET:
        named = {p.name.split("-")[0] for p in listed(path, "*-*.parquet")}
        splits = sorted(named) if len(named) > 1 else []
    audio = FORMS[source].audio if source in FORMS else "audio"
    if source == "arrow":
        names = arrow.columns(path, splits[0] if splits else None)
        audio = column_of(names, AUDIO) or audio
    return DetectedForm(source, path, audio, splits)


def _is_common_voice(folder: Path) -> bool:
    clips = (folder / "clips").is_dir() and (folder / "train.tsv").is_file()
    return clips or any(_has(table, common_voice.COLUMNS) for table in listed(folder, "*.tsv"))


def _has(table: Path, names: tuple[str, ...]) -> bool:
    try:
        header = textfile.DelimitedTable(textfile.lines(table), str(table), literal=True).header
    except DataError:
        return False
    return set(names) <= set(header)


def _table(path: Path) -> DetectedForm:
    if path.suffix == ".tsv" and ((path.parent / "clips").is_dir() or _has(path, common_voice.COLUMNS)):
        return DetectedForm("common_voice", path, FORMS["common_voice"].audio)
    header = textfile.DelimitedTable(textfile.lines(path), str(path)).header
    audio = column_of(header, AUDIO)
    if not audio:
        raise DataError(
            f"{path}:1: no column names the clips; available: {', '.join(header)}. Name it {' or '.join(AUDIO)}."
        )
    return DetectedForm("csv", path, audio)


def _json_lines(path: Path) -> DetectedForm:
    """The format by the keys of the first line."""
    first = next(textfile.json_rows(textfile.lines(path, packed=True), str(path)), None)
    if first is None:
        raise DataError(f"{path}: is empty. It must hold one JSON object a line.")
    keys = first[1].keys()
    if {"recording", "supervisions"} & keys and not {"audio", "audio_filepath"} & keys:
        return DetectedForm("lhotse", path, FORMS["lhotse"].audio)
    if "audio_filepath" in keys:
        return DetectedForm("nemo", path, "audio_filepath")
    return DetectedForm("jsonl", path, column_of(list(keys), AUDIO) or "audio")


def _unknown(path: Path, why: str) -> DataError:
    return DataError(f"{str(path)!r} {why}. It must be one of:\n{supported_forms()}")
