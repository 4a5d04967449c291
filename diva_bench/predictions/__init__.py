"""Predictions of other systems and harnesses: their files become predictions of one form.

One module per family of formats. A format is a pair of functions: `fits_<format>(source, options)` recognises it by the
content, never by the name, and `read_<format>(source, options)` returns every row or raises PredictionError with the
place. The content of a file is only data: nothing is executed, and no path in it is opened. `match.py` matches
predictions with the samples of a task.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from diva_bench import textfile
from diva_bench.errors import PredictionError, unknown
from diva_bench.types import LabelScore, Status

FORMATS = {  # name -> module
    "jsonl": "diva_bench.predictions.tables",
    "csv": "diva_bench.predictions.tables",
    "diva-eval": "diva_bench.predictions.diva_eval",
    "lmms-eval": "diva_bench.predictions.lm_eval",
    "lm-eval": "diva_bench.predictions.lm_eval",
    "voicebench": "diva_bench.predictions.audio_benches",
    "audiobench": "diva_bench.predictions.audio_benches",
    "inspect": "diva_bench.predictions.inspect_ai",
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row of a file, before its sample is known.

    Attributes:
        where: "file:line" or "file, sample 3".
        id: The row's own id, None if it has none.
        row: Its position in the data, from 0; None if unknown.
        first_token: The text is the first token of a label, chosen among those of all labels.
        source_score: The score that came with the answer.
        reference, question: The reference and the question in the file, to check the order of rows.
    """

    where: str
    text: str
    id: str | None = None
    row: int | None = None
    status: Status = "ok"
    detail: str = ""
    first_token: bool = False
    label: str | None = None
    choices: Mapping[str, LabelScore] | None = None
    source_score: float | None = None
    reference: str | None = None
    question: str | None = None


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options of readers.

    Attributes:
        columns: Role (id, text, score) -> column, for jsonl and csv.
        only: Which of several answers to a sample is imported: a filter of lm-eval and lmms-eval, an epoch of inspect.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    only: str | None = None


class AnswerFile:
    """One file, which is read once. Raises PredictionError if it cannot be read, is too large, or has another format than
    requested."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def data(self) -> bytes:
        """The whole file."""
        return textfile.content(self.path, PredictionError)

    @cached_property
    def sha256(self) -> str:
        """Of its bytes; it identifies the file in records."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def zipped(self) -> bool:
        """Whether it begins like a zip archive."""
        return self.data.startswith(b"PK\x03\x04")

    @cached_property
    def text(self) -> str:
        """The file as text."""
        text = textfile.decode(self.data, str(self.path), PredictionError)
        if not text.strip():
            raise PredictionError(f"{self.path}: is empty.")
        return text

    @cached_property
    def tree(self) -> Any:
        """The whole file as one JSON value."""
        return textfile.json_value(self.text, str(self.path), PredictionError, mend=True)

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(place, object) of every line of JSON lines that is not blank."""
        rows = textfile.json_rows(textfile.split(self.text), str(self.path), PredictionError, mend=True)
        return ((f"{self.path}:{number}", row) for number, row in rows)

    def table(self) -> textfile.DelimitedTable:
        """The file as a table."""
        return textfile.DelimitedTable(textfile.split(self.text), str(self.path), PredictionError)

    @cached_property
    def first(self) -> dict[str, Any]:
        """The first row as an object; empty if the file is not JSON lines."""
        if self.zipped or not self.text.lstrip().startswith("{"):
            return {}
        try:
            return next(self.rows())[1]
        except PredictionError:
            return {}


def reader(
    format: str,
) -> tuple[Callable[[AnswerFile, ReadOptions], bool], Callable[[AnswerFile, ReadOptions], list[Prediction]]]:
    """(fits, read) of a format. Raises UnknownName."""
    if format not in FORMATS:
        raise unknown("format", format, ["auto", *FORMATS])
    module, name = import_module(FORMATS[format]), format.replace("-", "_")
    return (
        cast("Callable[[AnswerFile, ReadOptions], bool]", getattr(module, f"fits_{name}")),
        cast("Callable[[AnswerFile, ReadOptions], list[Prediction]]", getattr(module, f"read_{name}")),
    )


def detect(source: AnswerFile, options: ReadOptions) -> str:
    """The format of a file by its content. Raises PredictionError if none or several fit."""
    fitting = [name for name in FORMATS if reader(name)[0](source, options)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise PredictionError(f"{source.path}: may be {' or '.join(fitting)}; choose one with --format.")
    keys = f" Its first row has {', '.join(source.first)}." if source.first else ""
    if not source.zipped and not source.text.lstrip().startswith(("{", "[")):
        keys = f" As a table, it has the columns {', '.join(source.table().header)}."
    raise PredictionError(
        f"{source.path}: fits none of {', '.join(FORMATS)}.{keys} Name the format with --format, and for jsonl and csv the "
        "columns with --columns id=NAME,text=NAME."
    )


def read(sources: Sequence[AnswerFile], format: str, options: ReadOptions) -> tuple[str, list[Prediction]]:
    """(format, all rows of all files in the given order). Several files are one set of answers: parts in one format.

    Raises:
        PredictionError: A file is incomplete or wrong, or files differ in format.
    """
    formats = [detect(s, options) if format == "auto" else format for s in sources]
    if len(set(formats)) > 1:
        listing = ", ".join(f"{s.path} is {f}" for s, f in zip(sources, formats, strict=True))
        raise PredictionError(f"the files are of several formats ({listing}); import those of one format together.")
    if options.columns and formats[0] not in ("jsonl", "csv"):
        raise PredictionError(f"--columns is for jsonl and csv; this is {formats[0]}, whose columns are known.")
    if options.only and formats[0] not in ("lm-eval", "lmms-eval", "inspect"):
        raise PredictionError(f"--only is for lm-eval, lmms-eval and inspect; {formats[0]} has one answer to a sample.")
    predictions: list[Prediction] = []
    for source in sources:
        rows = reader(formats[0])[1](source, options)
        if not rows:
            raise PredictionError(f"{source.path}: has no rows.")
        predictions += rows
    return formats[0], predictions


def number(value: Any, where: str) -> float | None:
    """A score from a file; None if it is absent (empty, null, NA). Raises PredictionError for anything else."""
    if value is None or (isinstance(value, str) and value.strip() in ("", "NA", "nan", "NaN", "None")):
        return None
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        score = float("nan")
    if isinstance(value, bool) or score - score != 0:  # nan and inf
        raise PredictionError(f"{where}: the score is {value!r}, not a finite number or NA.")
    return score
