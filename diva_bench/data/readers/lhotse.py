"""Reader of Lhotse: cuts as JSON lines, or a folder with recordings*.jsonl and supervisions*.jsonl; gzip files are
allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diva_bench import textfile
from diva_bench.data.readers.forms import Row, Sound, numbered
from diva_bench.data.readers.segments import part_of, seconds_of
from diva_bench.disk import listed
from diva_bench.errors import DataError

Json = Mapping[str, Any]
_KINDS = ("recordings", "supervisions")
_OF_A_SUPERVISION = ("text", "speaker", "language", "gender")


def rows(path: Path, split: str | None, audio: str) -> Iterator[Row]:
    """One row per cut; for a folder, one per supervision. Columns: id, text (several supervisions are joined with spaces),
    speaker, language, gender, audio, and the keys of `custom`."""
    cuts = _cuts(path) if path.is_file() else _supervised(path)
    for number, (where, cut, recording, supervisions) in enumerate(cuts):
        sound = _sound(path if path.is_dir() else path.parent, cut, recording, where)
        values = _values(cut, supervisions) | {"id": str(cut.get("id", "")), "audio": sound.name}
        yield Row(where, numbered(values, number), sound)


def files(path: Path, split: str | None) -> list[Path]:
    return [path] if path.is_file() else [_only(path, kind) for kind in _KINDS]


def is_folder(path: Path) -> bool:
    """Whether a folder has recordings and supervisions."""
    return all(_listings(path, kind) for kind in _KINDS)


def _cuts(path: Path) -> Iterator[tuple[str, Json, Json, list[Json]]]:
    """(where, cut, its recording, its supervisions) of every line."""
    for line, cut in textfile.json_rows(textfile.lines(path, packed=True), str(path)):
        where = f"{path}:{line}"
        recording = cut.get("recording")
        if not isinstance(recording, dict) or cut.get("type", "MonoCut") not in ("MonoCut", "MultiCut", "Cut"):
            raise DataError(
                f"{where}: expected a cut with its recording, found {cut.get('type', 'no cut')!s:.40}. Mixed and padded cuts "
                "are not read: save them as sound first (`save_audios` of Lhotse)."
            )
        yield where, cut, recording, _objects(cut.get("supervisions") or [], f"{where}: supervisions")


def _supervised(folder: Path) -> Iterator[tuple[str, Json, Json, list[Json]]]:
    """The supervisions of a folder, each with its recording. All recordings are in memory, because supervisions have any
    order."""
    listing, supervisions = (_only(folder, kind) for kind in _KINDS)
    recordings: dict[str, Json] = {}
    for line, recording in textfile.json_rows(textfile.lines(listing, packed=True), str(listing)):
        if recordings.setdefault(str(recording.get("id")), recording) is not recording:
            raise DataError(f"{listing}:{line}: recording {recording.get('id')!r} is there twice.")
    for line, part in textfile.json_rows(textfile.lines(supervisions, packed=True), str(supervisions)):
        where, recording_id = f"{supervisions}:{line}", str(part.get("recording_id"))
        if recording_id not in recordings:
            raise DataError(f"{where}: its recording {recording_id!r} does not stand in {listing.name}.")
        yield where, part, recordings[recording_id], [part]


def _sound(folder: Path, cut: Json, recording: Json, where: str) -> Sound:
    if recording.get("transforms"):
        raise DataError(
            f"{where}: its recording is transformed (speed, volume, ...), which is not done here. Save it as sound."
        )
    sources = _objects(recording.get("sources"), f"{where}: sources of the recording")
    channels = cut.get("channel", 0)
    chosen_channel = channels[0] if isinstance(channels, list) and len(channels) == 1 else channels
    every = [c for source in sources for c in source.get("channels") or [0]]
    source = next(
        (s for s in sources if isinstance(chosen_channel, list) or chosen_channel in (s.get("channels") or [0])), None
    )
    if source is None:
        raise DataError(
            f"{where}: channel {chosen_channel!r} is none of the recording's ({', '.join(map(str, every))})."
        )
    name = source.get("source")
    if source.get("type") != "file" or not isinstance(name, str):
        raise DataError(
            f"{where}: its sound is a {source.get('type')!s:.20}, not a file. Commands are never run, and addresses not "
            "followed: save it as a file."
        )
    start = seconds_of(cut.get("start"), f"{where}: start") or 0.0
    whole = isinstance(chosen_channel, list) or len(source.get("channels") or [0]) == 1
    channel = None if whole else source["channels"].index(chosen_channel)
    return part_of(folder, name, start, seconds_of(cut.get("duration"), f"{where}: duration"), channel)


def _values(cut: Json, supervisions: list[Json]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in _OF_A_SUPERVISION:
        texts = [str(one[name]) for one in supervisions if one.get(name)]
        if texts:
            values[name] = " ".join(texts) if name == "text" else texts[0]
    for custom in (one.get("custom") for one in (*supervisions, cut)):
        values |= {k: v for k, v in custom.items() if k not in values} if isinstance(custom, dict) else {}
    return values


def _objects(value: Any, where: str) -> list[Json]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise DataError(f"{where}: expected a list of JSON objects.")
    return value


def _listings(folder: Path, kind: str) -> list[Path]:
    return [p for p in listed(folder, f"*{kind}*") if p.name.endswith((".jsonl", ".jsonl.gz"))]


def _only(folder: Path, kind: str) -> Path:
    listings = _listings(folder, kind)
    if len(listings) != 1:
        raise DataError(
            f"{folder}: {len(listings)} files of Lhotse's {kind} ({', '.join(p.name for p in listings) or 'none'}); one is "
            f"needed. "
            "Give each part a folder of its own."
        )
    return listings[0]
