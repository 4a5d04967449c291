"""Reader of SD-QA (Faisal et al., arXiv 2109.12072): TyDi questions in five languages, each spoken in all dialects of its
language (11 of English).

`config` is the language, by default eng. Three formats: parquet with an audio column per dialect (WillHeld/SD-QA), the
authors' repository (dev/eng/usa/wav_eng/, metadata.csv, ...), and the part of it in VoiceBench (hlt-lab/voicebench, a
file per dialect, one answer per question). Languages other than English are only in the repository. A subset of English
is a dialect, and its ids are those of the questions; in a whole language an id is question-dialect. The cluster is the
question. Each dialect has few speakers, so that a difference between dialects may be a difference between speakers.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diva_bench import textfile
from diva_bench.data.readers import ABSENT, ClipSource, Raw, file_clip
from diva_bench.data.readers.parquet import ParquetTable, split_files
from diva_bench.disk import listed
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec

DIALECTS = ("aus", "gbr", "ind_n", "ind_s", "irl", "kenya", "nga", "nzl", "phl", "usa", "zaf")
"""Of English."""
OTHERS = {
    "ara": ("arabic", ("bhr", "dza", "egy", "jor", "mar", "sau", "tun")),
    "ben": ("bengali", ("dhaka", "ind")),
    "kor": ("korean", ("korn", "kors")),
    "swa": ("swahili", ("kenya", "tanzania")),
}
"""Folder of the language -> (its name in the names of files, its dialects)."""
_NO_ANSWER = "-1"  # in the published data: TyDi has no answer
_UNKNOWN = "not known"
_VOICEBENCH = "sd-qa"


def read(folder: Path, task: TaskSpec) -> Iterator[Raw]:
    """Every question in the subset's dialect, or in all. `answerable` is true if TyDi has an answer."""
    split = task.data.split or "test"
    if task.data.config in OTHERS:
        return _other_language(folder, split, task.data.config)
    dialects = [task.subset] if task.subset in DIALECTS else list(DIALECTS)
    if (folder / split / "eng").is_dir():
        rows = _repository(folder / split / "eng", "english", split, dialects)
    elif (folder / _VOICEBENCH).is_dir():
        rows = _voicebench(folder, dialects)
    elif split_files(folder, task.data.config, split):
        rows = _parquet(ParquetTable.find(folder, task), dialects)
    else:
        raise DataError(
            f"{folder}: neither {split}/eng/ (the owners' repository) nor parquet files of split {split} nor "
            f"{_VOICEBENCH}/ (VoiceBench) in it."
        )
    return (_named(row, len(dialects) > 1) for row in rows)


def _other_language(folder: Path, split: str, code: str) -> Iterator[Raw]:
    place = folder / split / code
    if not place.is_dir():
        raise DataError(f"{folder}: no {split}/{code}/ in it (the owners' repository; the hub has English only).")
    name, dialects = OTHERS[code]
    return (_named(row, several=True) for row in _repository(place, name, split, dialects))


def _named(row: Raw, several: bool) -> Raw:
    """With the dialect in the id, where a question is there in several."""
    if not several:
        return row
    values = {**row.values, "id": f"{row.values['id']}-{row.values['accent']}"}
    return Raw(row.where, values, row.clip, row.fault)


def _row(
    where: str,
    question: tuple[str, str],
    answers: Sequence[str],
    dialect: str,
    clip: ClipSource | None,
    person: Mapping[str, str] | None = None,
    fault: str = "",
) -> Raw:
    """`question`: its id and its words."""
    ident, words = question
    references = [a for a in dict.fromkeys(str(a) for a in answers) if a.strip() not in ("", _NO_ANSWER)]
    person = person or {}
    user = person.get("user_id")
    values = {
        "id": ident,
        "question": words,
        "text": words,
        "answers": references,
        "answerable": bool(references),
        "accent": dialect,
        "gender": person.get("gender") or _UNKNOWN,
        "speaker": f"{dialect}-{user}" if user else _UNKNOWN,
        "cluster": ident,
    }
    return Raw(where, values, clip, fault)


# ---------------------------------------------------------------- parquet


def _parquet(table: ParquetTable, dialects: Sequence[str]) -> Iterator[Raw]:
    table.need(["id", "question", "answers", *dialects])
    for row in table.rows(sound=DIALECTS):
        question = (str(row.values["id"]), str(row.values["question"]))
        for dialect in dialects:
            yield _row(row.where, question, row.values["answers"] or (), dialect, row.clip(dialect))


def _voicebench(folder: Path, dialects: Sequence[str]) -> Iterator[Raw]:
    """Its rows have no id: the question's words are one. The same words twice are told apart by their number."""
    for dialect in dialects:
        table = ParquetTable(folder, tuple(split_files(folder, _VOICEBENCH, dialect)))
        if not table.files:
            raise DataError(f"{folder}: no {_VOICEBENCH}/{dialect}-*.parquet in it.")
        table.need(["audio", "prompt", "reference"])
        seen: dict[str, int] = {}
        for row in table.rows(sound=["audio"]):
            words = str(row.values["prompt"])
            ident = hashlib.sha256(words.encode()).hexdigest()[:16]
            seen[ident] = seen.get(ident, 0) + 1
            ident += f"-{seen[ident]}" if seen[ident] > 1 else ""
            yield _row(row.where, (ident, words), [row.values["reference"]], dialect, row.clip("audio"))


# ---------------------------------------------------------------- the owners' repository


def _repository(folder: Path, language: str, split: str, dialects: Sequence[str]) -> Iterator[Raw]:
    """`folder`: dev/eng or test/eng. Questions are those of english.<split>.txt, the words that were read aloud; the
    jsonl files have what a recogniser made of them."""
    questions = _questions(folder / f"{language}.{split}.txt")
    gold = _gold(folder, f"{language}.{split}", dialects)
    people = {dialect: _people(folder / dialect / "metadata.csv") for dialect in dialects}
    sounds = f"wav_{folder.name}"
    sound = any((folder / dialect / sounds).is_dir() for dialect in dialects)
    for ident, words in questions.items():
        for dialect in dialects:
            where, name = f"{folder}, question {ident} in {dialect}", f"{dialect}/{sounds}/{ident}.wav"
            clip = file_clip(folder, name) if sound else None
            missing = clip is not None and clip.stamp == ABSENT
            fault = f"it was not recorded in {dialect} ({name} is not there)" if missing else ""
            yield _row(where, (ident, words), gold.get(ident, ()), dialect, clip, people[dialect].get(ident), fault)


def _questions(path: Path) -> dict[str, str]:
    """Id -> words."""
    table = textfile.DelimitedTable(textfile.lines(path), str(path), literal=True)
    table.need(("ID", "sentence"), "The file comes with the repository.")
    return {row["ID"]: row["sentence"] for _, row in table}


def _people(path: Path) -> dict[str, dict[str, str]]:
    """Question -> who read it."""
    if not path.is_file():
        return {}
    table = textfile.DelimitedTable(textfile.lines(path), str(path))
    table.need(["example_id"], "The file comes with the repository.")
    return {row["example_id"]: row for _, row in table}


def _gold(folder: Path, stem: str, dialects: Sequence[str]) -> dict[str, list[str]]:
    """Question -> accepted answers. Every dialect's file has the same; a question may be missing in one of them. `stem`:
    english.test."""
    gold: dict[str, list[str]] = {}
    for dialect in dict.fromkeys(("usa", *dialects)):
        files = listed(folder / dialect, f"{stem}.*.jsonl*")
        triples = [file for file in files if ".triples." in file.name]
        for path in (triples or files)[:1]:
            for ident, answers in _answers(path):
                gold.setdefault(ident, answers)
    if not gold:
        raise DataError(f"{folder}: no {stem}.*.jsonl in its dialects' folders: the answers are there.")
    return gold


def _answers(path: Path) -> list[tuple[str, list[str]]]:
    rows = [row for _, row in textfile.json_rows(_lines(path), str(path))]
    try:
        return [(str(row["example_id"]), _listed(row["answers"]) if "answers" in row else _spans(row)) for row in rows]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as err:
        raise DataError(f"{path}: not as the owners ship it ({type(err).__name__}: {err}).") from err


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Of a text file or of one that gzip packed."""
    if path.suffix != ".gz":
        return textfile.lines(path)
    try:
        with gzip.open(path) as file:
            data = file.read(textfile.LARGEST + 1)
    except (OSError, EOFError, zlib.error) as err:
        raise DataError(f"{path}: cannot be unpacked ({err}). It comes with the repository.") from err
    if len(data) > textfile.LARGEST:
        raise DataError(f"{path}: unpacks to more than {textfile.LARGEST >> 20} MiB: this is not the owners' file.")
    return textfile.split(textfile.decode(data, str(path)))


def _listed(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"`answers` is {value!r}, not a list")
    return [str(answer) for answer in value]


def _spans(row: Mapping[str, Any]) -> list[str]:
    """The answers of one TyDi row from byte spans of the article, the shortest annotation of each annotator first. Sorted
    as in the authors' script sdqa_triples_from_jsonl.py."""
    text = row["document_plaintext"].encode()
    candidates = row["passage_answer_candidates"]
    spans = []
    for annotation in row["annotations"]:
        spans.append(annotation["minimal_answer"])
        if (selection := annotation["passage_answer"]["candidate_index"]) >= 0:
            spans.append(candidates[selection])
    ends = {(s["plaintext_start_byte"], s["plaintext_end_byte"]) for s in spans}
    return sorted({text[a:b].decode(errors="replace").strip() for a, b in ends if a >= 0 and b >= 0} - {""})
