"""Reader of Kaldi data folders: wav.scp (recordings), text, and optionally segments, utt2spk, spk2gender, utt2lang."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from diva_bench import textfile
from diva_bench.data.readers.forms import Row, Sound, file_sound, numbered
from diva_bench.data.readers.segments import part_of, seconds_of
from diva_bench.errors import DataError

_IN_ARCHIVE = re.compile(r"\.ark$|:\d+(\[.*\])?$")
_GAP = re.compile(r"[ \t]+")
Parts = dict[str, tuple[str, float, float | None]]
"""Utterance -> (recording, start, length or None: to its end), in seconds."""
_OF_UTTERANCES = {"utt2spk": "speaker", "utt2lang": "language", "utt2gender": "gender"}


def rows(path: Path, split: str | None, audio: str) -> Iterator[Row]:
    """Every utterance of `text` in its order, then those with audio but without text. Columns: id, text, audio, and if
    there are such files speaker, language, gender."""
    folder = path / split if split else path
    recordings = _recordings(folder / "wav.scp")
    parts = _segments(folder / "segments", recordings)
    columns = {column: _pairs(folder / name) for name, column in _OF_UTTERANCES.items() if (folder / name).is_file()}
    genders = _pairs(folder / "spk2gender") if (folder / "spk2gender").is_file() else {}
    listing, there = ("wav.scp", recordings.keys()) if parts is None else ("segments", parts.keys())
    for number, (where, ident, words) in enumerate(_utterances(folder, there, listing)):
        if ident not in there:
            raise DataError(f"{where}: utterance {ident!r} is missing in {listing}. Drop one, or add the other.")
        values = {"id": ident, "text": words} | {
            column: pairs[ident] for column, pairs in columns.items() if ident in pairs
        }
        if "gender" not in values and values.get("speaker") in genders:
            values["gender"] = genders[values["speaker"]]
        sound = _sound(folder, ident, recordings, parts)
        yield Row(where, numbered(values | {"audio": sound.name}, number), sound)


def files(path: Path, split: str | None) -> list[Path]:
    folder = path / split if split else path
    names = ("wav.scp", "segments", "text", *_OF_UTTERANCES, "spk2gender")
    return [folder / name for name in names if (folder / name).is_file()]


def _utterances(folder: Path, there: Iterable[str], listing: str) -> Iterator[tuple[str, str, str]]:
    """(where, utterance, words)."""
    seen: set[str] = set()
    if (folder / "text").is_file():
        for line, ident, words in _fields(folder / "text"):
            if ident in seen:
                raise DataError(f"{folder / 'text'}:{line}: utterance {ident!r} is there twice.")
            seen.add(ident)
            yield f"{folder / 'text'}:{line}", ident, words
    for ident in there:
        if ident not in seen:
            yield f"{folder / 'text'}: no line for utterance {ident!r} of {listing}", ident, ""


def _recordings(file: Path) -> dict[str, str]:
    """Recording -> path, as written."""
    for line, ident, place in _fields(file):
        if place.endswith("|") or place.startswith("|"):
            raise DataError(
                f"{file}:{line}: recording {ident!r} is a command ({place[:80]!r}). Commands are never run: run it yourself, "
                "and write the path of the file that it makes."
            )
        if place in ("", "-") or _IN_ARCHIVE.search(place):
            raise DataError(
                f"{file}:{line}: recording {ident!r} is {place!r}, not a sound file. Archives of Kaldi are not read: write "
                "the path of a WAV or FLAC file."
            )
    return _pairs(file)


def _segments(file: Path, recordings: dict[str, str]) -> Parts | None:
    """The segment of every utterance; None if there is no such file."""
    if not file.is_file():
        return None
    segments: Parts = {}
    for line, ident, rest in _fields(file):
        where, fields = f"{file}:{line}", rest.split()
        if len(fields) not in (3, 4) or fields[0] not in recordings:
            raise DataError(
                f"{where}: expected an utterance, a recording of wav.scp, its start and its end in seconds; found {ident} "
                f"{rest[:80]!r}."
            )
        if ident in segments:
            raise DataError(f"{where}: utterance {ident!r} is there twice.")
        start = seconds_of(fields[1], where) or 0.0
        end = None if fields[2].startswith("-1") else seconds_of(fields[2], where)
        if end is not None and end <= start:
            raise DataError(f"{where}: ends at {end:g} s, not behind its start ({start:g} s).")
        segments[ident] = (fields[0], start, None if end is None else end - start)
    return segments


def _sound(folder: Path, ident: str, recordings: dict[str, str], parts: Parts | None) -> Sound:
    if parts is None:
        return file_sound(folder, recordings[ident])
    recording, start, seconds = parts[ident]
    return part_of(folder, recordings[recording], start, seconds)


def _pairs(file: Path) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for line, ident, rest in _fields(file):
        if ident in pairs:
            raise DataError(f"{file}:{line}: {ident!r} is there twice.")
        pairs[ident] = rest
    return pairs


def _fields(file: Path) -> Iterator[tuple[int, str, str]]:
    """(line number, first word, rest) of every line that is not blank."""
    for number, line in textfile.lines(file):
        ident, *rest = _GAP.split(line.strip(" \t\r\n"), maxsplit=1)
        if ident:
            yield number, ident, rest[0] if rest else ""
