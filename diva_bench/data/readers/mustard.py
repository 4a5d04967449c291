"""Reader of MUStARD as published: sarcasm_data.json and the videos of the utterances.

    sarcasm_data.json            {"1_60": {"utterance": ..., "speaker": "SHELDON", "show": "BBT", "sarcasm": true, ...}, ...}
    utterances_final/1_60.mp4    in a folder, or in the zip (mmsd_raw_data.zip); or as extracted audio

The videos of the context (context_final/1_60_c.mp4) are not read: as in the paper, models get only the utterance.

Columns: id, text, label, paper_label, show, speaker, show_speaker.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diva_bench import textfile
from diva_bench.data.readers import Raw
from diva_bench.data.readers.corpus import find, one
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec

_KEYS = {"utterance": str, "speaker": str, "show": str, "sarcasm": bool}


def read(folder: Path, task: TaskSpec) -> Iterator[Raw]:
    """One row per utterance, in the order of the JSON."""
    file = one(folder, ("**/sarcasm_data.json", "*sarcasm_data.json"), "labels of MUStARD")
    rows = _rows(file)
    clips = find(folder, lambda path: path.stem in rows, ("**/*.zip",))
    for ident, row in rows.items():
        where = f"{file}, {ident}"
        for key, kind in _KEYS.items():
            if not isinstance(row, dict) or not isinstance(row.get(key), kind):
                value = repr(row.get(key)) if isinstance(row, dict) and key in row else "nothing"
                raise DataError(f"{where}: {key!r} must be {kind.__name__}, found {value}.")
        values = {
            "id": ident,
            "text": row["utterance"],
            "label": "sarcastic" if row["sarcasm"] else "sincere",
            "paper_label": "Yes" if row["sarcasm"] else "No",
            "show": row["show"],
            "speaker": row["speaker"],
            "show_speaker": f"{row['show']}:{row['speaker']}",  # PERSON is somebody else in every show
        }
        yield Raw(where, values, clips.of(ident, f"utterances_final/{ident}.mp4"))


def _rows(file: Path) -> dict[str, Any]:
    rows = textfile.json_file(file)
    if not isinstance(rows, dict) or not rows:
        raise DataError(f"{file}: expected a JSON object of utterances by id, found {type(rows).__name__}.")
    return rows
