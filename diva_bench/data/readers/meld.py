"""MELD as its owners ship it: MELD.Raw, unpacked, or its tables alone.

    train_sent_emo.csv  dev_sent_emo.csv  test_sent_emo.csv
    train_splits/dia0_utt0.mp4  dev_splits_complete/...  output_repeated_splits_test/...

A table lists what is said in order; a row's clip is dia<Dialogue_ID>_utt<Utterance_ID>, its id here as well. Clips are found
in every folder below whose name has the name of the split in it, as mp4 or as the sound that somebody made of it, and, where
there are none, in <split>.tar.gz. The test archive also holds final_videos_test* files, which belong to no line: they are
rows with `in_table` false, so that they are counted where a task asks for the others. Texts are taken as they are: some have
cp1252 characters that were read as Latin 1 when the table was made.

Columns: id, text, label, paper_label, speaker, dialogue, season, sentiment, in_table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from diva_bench.data.readers import Raw
from diva_bench.data.readers.corpus import find, one
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec
from diva_bench.textfile import DelimitedTable, lines

FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
"""Split -> the owners' folder of its clips."""
EMOTIONS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season")
"""Those that are read."""
_CLIP = re.compile(r"^dia\d+_utt\d+$")


def read(folder: Path, task: TaskSpec) -> Iterator[Raw]:
    """One row for every line of the split's table, in its order; then one for every clip of no line."""
    split = task.data.split or "test"
    if split not in FOLDERS:
        raise DataError(f"task {task.name}: MELD has no split {split!r}; it has {', '.join(FOLDERS)}.")
    table = one(folder, (f"**/{split}_sent_emo.csv", f"*{split}_sent_emo.csv"), f"table of MELD's {split} split")

    def wanted(path: PurePosixPath) -> bool | None:
        if split not in _splits(path):
            return False
        return True if _CLIP.match(path.stem) else None

    clips = find(folder, wanted, (f"**/{split}.tar.gz",))
    rows = DelimitedTable(lines(table), str(table))
    rows.need(COLUMNS)
    for number, row in rows:
        where = f"{table}:{number}"
        if row["Emotion"] not in EMOTIONS:
            raise DataError(f"{where}: Emotion is {row['Emotion']!r}; MELD has {', '.join(EMOTIONS)}.")
        ident = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
        values = {
            "id": ident,
            "text": row["Utterance"],
            "label": row["Emotion"],
            "paper_label": row["Emotion"].capitalize(),
            "speaker": row["Speaker"],
            "dialogue": f"dia{row['Dialogue_ID']}",
            "season": row["Season"],
            "sentiment": row["Sentiment"],
            "in_table": True,
        }
        yield Raw(where, values, clips.of(ident, f"{FOLDERS[split]}/{ident}.mp4"))
    for name in clips.stray:
        yield Raw(f"{folder / name}", {"id": name, "in_table": False})


def _splits(path: PurePosixPath) -> set[str]:
    """The splits that the innermost folder (or archive) with the name of one names."""
    for part in reversed(path.parts[:-1]):
        named = {split for split in FOLDERS if split in part.lower()}
        if named:
            return named
    return set()
