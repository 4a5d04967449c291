"""Reader of RAVDESS, its speech as sound alone, as published: Audio_Speech_Actors_01-24.zip or the folder unpacked from it.

    Actor_12/03-01-06-01-02-01-12.wav    modality, channel, emotion, intensity, statement, repetition, actor

There is no table: the name of a file says all. The list of codes is the owners' (zenodo.org/record/1188976). Actors with
odd numbers are men. Neutral has no strong intensity. Files of the song part and of the videos are not read.

Columns: id, text, label, speaker, gender, intensity, statement, repetition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from diva_bench.data.readers import Raw
from diva_bench.data.readers.corpus import find
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec

EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgusted",  # the owners: disgust
    "08": "surprised",
}
INTENSITIES = {"01": "normal", "02": "strong"}
STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
_REPETITIONS = {"01": "1", "02": "2"}
_ACTORS = {f"{number:02d}": "female" if number % 2 == 0 else "male" for number in range(1, 25)}
_PARTS = (
    ("emotion", EMOTIONS),
    ("intensity", INTENSITIES),
    ("statement", STATEMENTS),
    ("repetition", _REPETITIONS),
    ("actor", _ACTORS),
)
_SPOKEN = re.compile(r"03-01((?:-[0-9]{2}){5})")  # sound alone, speech; not 02, song


def read(folder: Path, task: TaskSpec) -> Iterator[Raw]:
    """One row per clip: by actor, then by name."""
    clips = find(folder, _is_speech, ("**/Audio_Speech_Actors*.zip",)).by_stem
    if not clips:
        raise DataError(
            f"{folder}: has no speech of RAVDESS: neither Audio_Speech_Actors_01-24.zip "
            "nor files such as Actor_01/03-01-01-01-01-01-01.wav."
        )
    for ident in sorted(clips, key=lambda stem: (stem[-2:], stem)):
        where = f"{folder / clips[ident].name}"
        yield Raw(where, {"id": ident, **_meaning(ident, where)}, clips[ident])


def _is_speech(path: PurePosixPath) -> bool:
    return path.suffix.lower() == ".wav" and _SPOKEN.fullmatch(path.stem) is not None


def _meaning(ident: str, where: str) -> dict[str, str]:
    """The columns that a file name stands for."""
    codes = dict(zip((name for name, _ in _PARTS), ident.split("-")[2:], strict=True))
    for name, table in _PARTS:
        if codes[name] not in table:
            raise DataError(f"{where}: {name} {codes[name]} is not a code of RAVDESS ({min(table)} to {max(table)}).")
    if EMOTIONS[codes["emotion"]] == "neutral" and INTENSITIES[codes["intensity"]] == "strong":
        raise DataError(f"{where}: neutral with strong intensity; RAVDESS has none.")
    return {
        "text": STATEMENTS[codes["statement"]],
        "label": EMOTIONS[codes["emotion"]],
        "speaker": f"actor-{codes['actor']}",
        "gender": _ACTORS[codes["actor"]],
        "intensity": INTENSITIES[codes["intensity"]],
        "statement": codes["statement"],
        "repetition": _REPETITIONS[codes["repetition"]],
    }
