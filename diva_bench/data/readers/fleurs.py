"""Reader of FLEURS, 102 languages (Conneau et al., arXiv 2205.12446): sentences of FLORES-101, read aloud.

Two formats: the owners' folder, data/de_de/ with test.tsv and audio/test.tar.gz (or that archive unpacked), and the
parquet files that the hub makes of it, de_de/test/0000.parquet. `config` is the language. Clips have the names of the
owners' files in both, so that both formats give the same ids. Several people may read a sentence, and nothing says who
reads: the cluster is the sentence, whose number is the same in all languages.

With `reference_config` (en_us) a row also has `english`, the sentence with the same number there, and `translated`:
whether there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diva_bench import textfile
from diva_bench.data.readers import ClipSource, Raw, corpus
from diva_bench.data.readers.parquet import ParquetTable, split_files
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec

_TSV = ("id", "file_name", "raw_transcription", "transcription", "characters", "num_samples", "gender")
"""The columns of the owners' tables, which have no header."""
_PARQUET = ("id", "path", "audio", "raw_transcription", "transcription", "gender")
_GENDERS = ("male", "female", "other")  # the hub has their numbers
_SPLITS = {"validation": "dev"}  # "validation" on the hub is "dev" in the owners' folder


def read(folder: Path, task: TaskSpec) -> Iterator[Raw]:
    """Every recording of a split. An empty transcript is a fault of its row."""
    language, split = task.data.config or "", task.data.split or "test"
    english = _sentences(folder, task.data.reference_config, split) if task.data.reference_config else None
    for where, cells, clip in _rows(folder, language, split, sound=True):
        yield _row(where, cells, clip, english)


def _sentences(folder: Path, config: str, split: str) -> dict[str, str]:
    """Number -> sentence as it is written, of one language."""
    return {
        cells["sentence"]: cells["raw_transcription"]
        for _, cells, _ in _rows(folder, config, split, sound=False)
        if cells["raw_transcription"].strip()
    }


def _rows(
    folder: Path, language: str, split: str, *, sound: bool
) -> Iterator[tuple[str, dict[str, Any], ClipSource | None]]:
    """(place, cells, clip) of every recording in one language."""
    name = f"{_SPLITS.get(split, split)}.tsv"
    bases = [base for base in (folder / "data" / language, folder / language) if (base / name).is_file()]
    if bases:
        yield from _owners(bases[0], name, sound)
    elif split_files(folder, language, split):
        yield from _hub(ParquetTable(folder, tuple(split_files(folder, language, split))))
    else:
        raise DataError(
            f"{folder}: neither data/{language}/{name} (the owners' folder) nor {language}/{split}/*.parquet in it."
        )


def _owners(base: Path, name: str, sound: bool) -> Iterator[tuple[str, dict[str, Any], ClipSource | None]]:
    """Rows of the owners' table, in which quotes are literal. Of two rows with one file the last counts, as in the owners'
    script."""
    split = name.removesuffix(".tsv")
    clips = corpus.find(base / "audio", lambda path: path.parent.name == split, (f"{split}.tar.gz",)) if sound else None
    rows: dict[str, tuple[int, list[str]]] = {}
    for number, line in textfile.lines(base / name):
        cells = line.rstrip("\r\n").split("\t")
        if len(cells) != len(_TSV) or not cells[0].isdecimal():
            raise DataError(
                f"{base / name}:{number}: {len(cells)} columns, and the first is {cells[0][:40]!r}. FLEURS has "
                f"{len(_TSV)} columns with tabs between them, no header, and a number in the first. Get the file again."
            )
        rows[cells[1]] = (number, cells)
    for file, (number, cells) in rows.items():
        values = dict(zip(_TSV, cells, strict=True))
        clip = clips.of(Path(file).stem, f"{split}/{file}") if clips else None
        yield f"{base / name}:{number}", _cells(values, file, values["gender"]), clip


def _hub(table: ParquetTable) -> Iterator[tuple[str, dict[str, Any], ClipSource | None]]:
    table.need(_PARQUET)
    for row in table.rows(sound=["audio"]):
        gender = row.values["gender"]
        named = _GENDERS[gender] if isinstance(gender, int) and 0 <= gender < len(_GENDERS) else str(gender)
        file = str(row.values["path"] or row.beside.get("audio") or "")
        yield row.where, _cells(row.values, file, named), row.clip("audio")


def _cells(values: Mapping[str, Any], file: str, gender: str) -> dict[str, Any]:
    """The cells of a row, as both formats have them."""
    return {
        "id": Path(file.replace("\\", "/")).stem,
        "sentence": str(values["id"]),
        "raw_transcription": str(values["raw_transcription"] or ""),
        "transcription": str(values["transcription"] or ""),
        "gender": gender.lower(),
    }


def _row(where: str, cells: Mapping[str, Any], clip: ClipSource | None, english: Mapping[str, str] | None) -> Raw:
    transcript = cells["transcription"].strip()
    values = {**cells, "text": cells["raw_transcription"].strip() or transcript, "cluster": cells["sentence"]}
    if english is not None:
        values["english"] = english.get(cells["sentence"], "")
        values["translated"] = bool(values["english"])
    return Raw(where, values, clip, "" if transcript else "its transcript is empty")
