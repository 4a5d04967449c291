"""Draft a task file for the user's data: its rows are read once, and the roles of the columns are guessed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from diva_bench.data.detect import PARQUET, DetectedForm
from diva_bench.data.readers.forms import AUDIO, FORMS, TEXT, VOICE, column_of
from diva_bench.data.readers.parquet import ParquetTable, split_files
from diva_bench.errors import DataError, unknown
from diva_bench.specs import Speech
from diva_bench.specs.rows import NUMBER

IDS = ("id", "utt_id", "uid", "key", "sample_id")
ANSWERS = ("answers", "answer", "references", "reference", "target")
TRANSLATIONS = ("translation", "target_text", "translated_text")
LABELS = ("label", "emotion", "intent", "class", "category", "sentiment", "topic", "sarcasm", "humor")
CLUSTERS = ("cluster", "dialogue_id", "dialogue", "conversation_id", "question_id")
"""Names of columns by role; the first one with a value in every row is used."""

_MOST_LABELS = 50
_MOST_GROUPS = 20
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")  # Thai to Han: no spaces


@dataclass(slots=True)
class Column:
    """The content of one column.

    Attributes:
        texts: Number of rows with text that is not blank.
        lists: Number of rows with a list of such texts.
    """

    texts: int = 0
    lists: int = 0
    values: set[str] = field(default_factory=set)
    blank: str = ""
    """The place of the first row with neither."""
    unspaced: int = 0

    def add(self, value: Any, where: str) -> None:
        if isinstance(value, str) and value.strip():
            self.texts += 1
            self.values.add(value)
            self.unspaced += bool(_UNSPACED.search(value))
        elif isinstance(value, list) and value and all(isinstance(v, str) and v.strip() for v in value):
            self.lists += 1
        else:
            self.blank = self.blank or where


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of task: prompt and scoring."""

    what: str
    prompt: str
    scorers: Mapping[str, Any]
    primary: str
    tokens: int


REPEAT = Kind(
    "the words spoken", "Repeat what the user says, word for word, and nothing else.", {"wer": {}}, "wer", 128
)
ANSWER = Kind(
    "the answer to a spoken question",
    "You are a helpful assistant. Answer the user's question in one short sentence.",
    {"qa": {}},
    "contains",
    64,
)
TRANSLATE = Kind(
    "a translation", "Translate what the user says. Answer with the translation only.", {"chrf": {}}, "chrf2", 128
)


@dataclass(slots=True)
class Draft:
    """A draft of a task.

    Attributes:
        task: Keys of the YAML file.
        data: Keys of its edition.
        said: Key -> what the guess is based on.
    """

    task: dict[str, Any]
    data: dict[str, Any]
    guesses: dict[str, str]

    def text(self, command: str) -> str:
        """The YAML file."""
        head = f"# Written by `{command}`. It guessed: check the prompt, the reference and the metric.\n"
        data = "".join(f"    {key}: {_flow(value)}\n" for key, value in self.data.items())
        if "speech" not in self.data:
            data += "    # speech: human  # or synthetic: tables then say what its numbers are worth\n"
        lines = "".join(f"{key}: {_flow(value)}\n" for key, value in self.task.items())
        return f"{head}{lines}editions:\n  full:\n{data}"


def draft(
    form: DetectedForm, name: str, path: str, *, split: str | None, reference: str | None, speech: Speech | None
) -> Draft:
    """Draft the task file of detected data.

    Args:
        path: The path of the data as the file will give it.

    Raises:
        DataError: No column can be the reference, or the data cannot be read.
    """
    count, columns = _looked_at(form, split)
    if not count:
        raise DataError(f"{form.path}: has no rows. A task needs at least one.")

    def whole(names: Iterable[str]) -> str:
        """The first of some columns that has a text in every row."""
        return next((n for n in names if n in columns and columns[n].texts == count), "")

    ident = next((n for n in (*IDS, form.audio, *AUDIO) if n in columns and _is_id(columns[n], count)), NUMBER)
    transcript, cluster = column_of(list(columns), TEXT), whole(CLUSTERS)
    selection, kind, choices = _target(form, columns, count, transcript, reference)
    speaker = whole(name for name in VOICE if name != selection)
    roles = {"id": ident, "audio": form.audio, "transcript": transcript, "cluster": cluster}
    groups = [speaker] if speaker and 1 < len(columns[speaker].values) <= _MOST_GROUPS else []
    task: dict[str, Any] = {"name": name, "version": 1, "description": f"Asks for {kind.what} ({form.path.name})."}
    task |= {"prompt": kind.prompt} | ({"choices": choices} if choices else {})
    task |= {"decode": {"max_new_tokens": kind.tokens}, "reference": selection}
    task |= ({"groups": groups} if groups else {}) | ({"speaker": speaker} if speaker else {})
    task |= {"scorers": dict(kind.scorers), "primary": kind.primary}
    data: dict[str, Any] = {"source": form.source, "path": path} | ({"split": split} if split else {})
    data |= ({"speech": speech} if speech else {}) | {"rows": count}
    default = {"id": "id", "audio": FORMS[form.source].audio if form.source in FORMS else "audio"}
    default |= {"transcript": "text", "cluster": "cluster", "reference": selection}
    named = {role: column for role, column in roles.items() if column and column != default[role]}
    data |= {"columns": named} if named else {}
    return Draft(task, data, _guesses(form, split, count, columns, roles, speaker, selection, kind, choices))


def _looked_at(form: DetectedForm, split: str | None) -> tuple[int, dict[str, Column]]:
    """(number of rows, column name -> content). All rows are read, and none is kept."""
    count, columns = 0, dict[str, Column]()
    for where, values in _rows(form, split):
        for name, value in values.items():
            columns.setdefault(name, Column()).add(value, where)
        count += 1
    for column in columns.values():
        column.blank = column.blank or ("a row without it" if column.texts + column.lists < count else "")
    return count, columns


def _rows(form: DetectedForm, split: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if form.source != PARQUET:
        for row in FORMS[form.source].rows(form.path, split, form.audio):
            yield row.where, row.values
        return
    files = [form.path] if form.path.is_file() else split_files(form.path, None, split)
    table = ParquetTable(form.path, tuple(files))
    table.need([form.audio])
    for line in table.rows(sound=[form.audio]):
        yield line.where, {NUMBER: str(line.number), **line.values}


def _is_id(column: Column, count: int) -> bool:
    return column.texts == count == len(column.values)


def _target(
    form: DetectedForm, columns: Mapping[str, Column], count: int, transcript: str, reference: str | None
) -> tuple[str, Kind, list[str]]:
    """(column of the reference, kind of task, labels)."""
    if reference is not None:
        if reference not in columns:
            raise unknown("column", reference, columns, f"{form.path} (--reference)")
        column = columns[reference]
        if column.texts + column.lists < count:
            raise DataError(
                f"{column.blank}: --reference {reference}: is empty there or not text; every row needs an answer."
            )
        few = column.texts == count and 2 * len(column.values) <= count and len(column.values) <= _MOST_LABELS
        if few and reference != transcript:
            return _labels(reference, column)
        kinds = {transcript: _repeat(column), **dict.fromkeys(TRANSLATIONS, TRANSLATE)}
        return reference, kinds.get(reference, ANSWER), []
    for name in (*ANSWERS, *TRANSLATIONS):
        if name in columns and columns[name].texts + columns[name].lists == count:
            return name, TRANSLATE if name in TRANSLATIONS else ANSWER, []
    for name in LABELS:
        if name in columns and columns[name].texts == count and 1 < len(columns[name].values) <= _MOST_LABELS:
            return _labels(name, columns[name])
    if transcript and columns[transcript].texts == count:
        return transcript, _repeat(columns[transcript]), []
    if transcript and columns[transcript].texts:  # the column is right, but some rows have no value
        raise DataError(
            f"{columns[transcript].blank}: {transcript} is empty there or not text, and every row needs an answer: "
            f"{count - columns[transcript].texts:,} of {count:,} rows lack one. Add it, drop the row, or name another column "
            "with --reference."
        )
    why = f"; {transcript} is empty or not text at {columns[transcript].blank}" if transcript else ""
    raise DataError(
        f"{form.path}: no column can be what a model should answer (looked for {', '.join((*ANSWERS, *TRANSLATIONS))}, "
        f"{', '.join((*LABELS, *TEXT))}, with text in every row{why}). Name one with --reference; available: "
        f"{', '.join(name for name in columns if name != NUMBER)}."
    )


def _labels(name: str, column: Column) -> tuple[str, Kind, list[str]]:
    prompt = f"What is the {name.replace('_', ' ')}? Answer with one of these and nothing else: {{choices}}."
    return (
        name,
        Kind(f"the {name}, one of {len(column.values)}", prompt, {"labels": {}}, "accuracy", 12),
        sorted(column.values),
    )


def _repeat(column: Column) -> Kind:
    """Word error rate, or character error rate for scripts without spaces between words."""
    if 2 * column.unspaced <= column.texts:
        return REPEAT
    return Kind(REPEAT.what, REPEAT.prompt, {"wer": {"unit": "char"}}, "cer", REPEAT.tokens)


def _guesses(
    form: DetectedForm,
    split: str | None,
    count: int,
    columns: Mapping[str, Column],
    roles: Mapping[str, str],
    speaker: str,
    selection: str,
    kind: Kind,
    choices: list[str],
) -> dict[str, str]:
    """The guesses, by subject."""
    of = f", split {split} of {', '.join(form.splits)}" if split else ""
    guesses = {"data": f"{form.source}: {form.path}{of}, {count:,} rows"}
    guesses |= {"clip": f"column {form.audio}", "id": f"column {roles['id']}"}
    guesses["id"] += ", the running number" if roles["id"] == NUMBER else ""
    unread = "no column: models that need a transcript cannot be run"
    guesses["words spoken"] = f"column {roles['transcript']}" if roles["transcript"] else unread
    guesses["asked for"] = f"{kind.what}: column {selection}, ranked by {kind.primary}"
    guesses |= {"labels": ", ".join(choices)} if choices else {}
    guesses |= {"speaker": f"column {speaker}, {len(columns[speaker].values)} of them"} if speaker else {}
    guesses["cluster"] = (
        f"column {roles['cluster']}"
        if roles["cluster"]
        else "none, so that every sample counts as independent of the others; if they share speakers or questions, add "
        f"`columns: {{cluster: {speaker or 'COLUMN'}}}`"
    )
    used = {*roles.values(), speaker, selection, NUMBER}
    guesses |= {"not used": ", ".join(name for name in columns if name not in used)} if columns.keys() - used else {}
    return guesses


def name_of(path: Path) -> str:
    """The name of a task from the name of its data; for common names of lists, from the name of their folder."""
    words = [path.name.split(".")[0] if path.is_file() else path.name, path.parent.name, "own"]
    cleaned = [re.sub(r"[^A-Za-z0-9._-]+", "-", word).strip("-._").lower()[:48] for word in words]
    return next(word for word in cleaned if word and word not in _PLAIN)


_PLAIN = {"metadata", "manifest", "train", "test", "dev", "validation", "list", "data", "clips", "wav", "audio", "cuts"}


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1 << 20, sort_keys=False)
    return text.removesuffix("...\n").strip()
