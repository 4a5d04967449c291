"""Reader of MELD as published: MELD.Raw, unpacked, or only its tables.

    train_sent_emo.csv  dev_sent_emo.csv  test_sent_emo.csv
    train_splits/dia0_utt0.mp4  dev_splits_complete/...  output_repeated_splits_test/...

A table lists utterances in order; the clip and the id of a row are dia<Dialogue_ID>_utt<Utterance_ID>. Clips are
searched in every folder with the name of the split in its name, as mp4 or as extracted audio, and if there are none, in
<split>.tar.gz. The test archive also has final_videos_test* files, which belong to no row of the table: they become
rows with `in_table` false, so that they are counted as left out. Texts are not changed: some have cp1252 characters
that were read as Latin 1 when the table was made.

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
    """One row for every line of the split's table, in its order; then one for every clip without a line."""
    split = task.data.split or "test"
    if split not in FOLDERS:
        raise DataError(f"task {task.name}: MELD has no split {split!r}; it has {', '.join(FOLDERS)}.")
    table = one(folder, (f"**/{split}_sent_emo.csv", f"*{split}_sent_emo.csv"), f"table of MELD's {split} split")

    def accepts(path: PurePosixPath) -> bool | None:
        if split not in _splits(path):
            return False
        return True if _CLIP.match(path.stem) else None

    clips = find(folder, accepts, (f"**/{split}.tar.gz",))
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
    """The splits in the name of the innermost folder (or archive) that names one."""
    for part in reversed(path.parts[:-1]):
        named = {split for split in FOLDERS if split in part.lower()}
        if named:
            return named
    return set()
