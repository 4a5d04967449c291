"""Reader of UR-FUNNY, version 2, as published: three pickles and the videos.

    data_folds.pkl         {"train": [id, ...], "dev": [...], "test": [...]} humor_label_sdk.pkl    {id: 1 or 0, ...}
    1: the audience laughed after the punchline language_sdk.pkl       {id: {"punchline_sentence": ...,
    "context_sentences": [...], "punchline_intervals": ..., ...}, ...} urfunny2_videos.zip    <id>.mp4; or a folder of
    them, or of extracted audio

`diva_bench.weights.unpickle` reads the pickles without running code. A clip is used as a whole: as far as we know it
has the context and the punchline, so `text` has both. **Known fault**: the label is the laughter of the audience, which
some clips contain. The word intervals would allow a cut before it; the paper did not cut, and neither do we. No file
names the talk or the speaker of a clip, so every clip is its own cluster, and intervals are too narrow if clips of one
talk are similar.

Columns: id, text, punchline, context, label, paper_label, fold.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diva_bench.data.readers import Raw
from diva_bench.data.readers.corpus import find, one
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec
from diva_bench.weights import unpickle

FOLDS = ("train", "dev", "test")


def read(folder: Path, task: TaskSpec) -> Iterator[Raw]:
    """One row for every id of the fold, in its order."""
    fold = task.data.split or "test"
    folds, place = _table(folder, "data_folds.pkl")
    labels, label_place = _table(folder, "humor_label_sdk.pkl")
    language, language_place = _table(folder, "language_sdk.pkl")
    if not isinstance(folds.get(fold), list | tuple):
        raise DataError(f"{place}: has no fold {fold!r}; it has {', '.join(sorted(folds)) or 'none'}.")
    ids = [_ident(value, place) for value in folds[fold]]
    id_set = set(ids)
    clips = find(folder, lambda path: path.stem in id_set, ("**/urfunny2_videos.zip",))
    for number, ident in enumerate(ids, start=1):
        where = f"{place}, {fold}, {number}: id {ident}"
        label = labels.get(ident)
        if label not in (0, 1):
            raise DataError(f"{where}: {label_place.name} says {label!r}; a label is 0 or 1.")
        punchline, context = _sentences(language.get(ident), f"{where}: {language_place.name}")
        values = {
            "id": ident,
            "text": f"{context} {punchline}".strip(),
            "punchline": punchline,
            "context": context,
            "label": "humorous" if label else "serious",
            "paper_label": "Yes" if label else "No",
            "fold": fold,
        }
        yield Raw(where, values, clips.of(ident, f"urfunny2_videos/{ident}.mp4"))


def _table(folder: Path, name: str) -> tuple[dict[str, Any], Path]:
    """A pickled dict, its keys (ids are numbers there) as text."""
    path = one(folder, (f"**/{name}",), f"file {name} of UR-FUNNY")
    table = unpickle.load(path)
    if not isinstance(table, dict):
        raise DataError(f"{path}: expected a dict, found {type(table).__name__}.")
    return {_ident(key, path): value for key, value in table.items()}, path


def _ident(value: Any, place: Path) -> str:
    if isinstance(value, bool) or not (isinstance(value, str) or hasattr(value, "__index__")) or not str(value).strip():
        raise DataError(f"{place}: {value!r} is not an id; ids are numbers or text.")
    return str(value)


def _sentences(entry: Any, where: str) -> tuple[str, str]:
    """Punchline and context of one clip."""
    if not isinstance(entry, dict):
        raise DataError(f"{where} has no entry for it.")
    for key in ("punchline_sentence", "context_sentences"):
        if key not in entry:
            raise DataError(f"{where} has no {key!r}; it has {', '.join(sorted(map(str, entry)))}.")
    return _joined(entry["punchline_sentence"]), _joined(entry["context_sentences"])


def _joined(value: Any) -> str:
    """A sentence, a list of sentences or a list of words as one line of text."""
    if isinstance(value, str):
        return " ".join(value.split())
    return " ".join(_joined(part) for part in value) if isinstance(value, list | tuple) else ""
