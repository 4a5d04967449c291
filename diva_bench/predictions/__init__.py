"""Answers that were given elsewhere: files of other systems and harnesses -> predictions of one shape.

One module per family of formats; each format is a pair of functions, `fits_<format>(source, options)`, which looks at the content
(never at the name) and says whether this is it, and `read_<format>(source, options)`, which gives every row or raises
PredictionError with the place. What stands in a file is data: nothing is run, no path in it is opened.
`match.py` brings predictions together with the samples of a task.
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
    """One row of a file, before it is known which sample it is about. `where`: "file:line" or "file, sample 3".

    `id`: the row's own id, None where it has none; `row`: its position in the data, from 0, None where that is not known.
    `first_token`: the text is the first token of a label, chosen among those of all labels. `given`: the score that came
    with the answer. `reference`, `question`: what the file says was right and was asked; used to check the order of rows.
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
    """`columns`: role (id, text, score) -> column, for jsonl and csv. `only`: which of several answers to one sample is
    meant: a filter of lm-eval and lmms-eval, an epoch of inspect."""

    columns: Mapping[str, str] = field(default_factory=dict)
    only: str | None = None


class AnswerFile:
    """One file, read once. PredictionError where it cannot be read, is too large, or is not what is asked of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def data(self) -> bytes:
        """The whole file."""
        return textfile.content(self.path, PredictionError)

    @cached_property
    def sha256(self) -> str:
        """Of its bytes: what names the file in records."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def zipped(self) -> bool:
        """Whether it begins as a zip archive does."""
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
        """(where, object) of every line that is not blank: JSON lines."""
        rows = textfile.json_rows(textfile.split(self.text), str(self.path), PredictionError, mend=True)
        return ((f"{self.path}:{number}", row) for number, row in rows)

    def table(self) -> textfile.DelimitedTable:
        """The file as a table."""
        return textfile.DelimitedTable(textfile.split(self.text), str(self.path), PredictionError)

    @cached_property
    def first(self) -> dict[str, Any]:
        """The first row as an object; empty where the file is not JSON lines."""
        if self.zipped or not self.text.lstrip().startswith("{"):
            return {}
        try:
            return next(self.rows())[1]
        except PredictionError:
            return {}


def reader(
    format: str,
) -> tuple[Callable[[AnswerFile, ReadOptions], bool], Callable[[AnswerFile, ReadOptions], list[Prediction]]]:
    """(fits, read) of a format; UnknownName names the nearest."""
    if format not in FORMATS:
        raise unknown("format", format, ["auto", *FORMATS])
    module, name = import_module(FORMATS[format]), format.replace("-", "_")
    return (
        cast("Callable[[AnswerFile, ReadOptions], bool]", getattr(module, f"fits_{name}")),
        cast("Callable[[AnswerFile, ReadOptions], list[Prediction]]", getattr(module, f"read_{name}")),
    )


def detect(source: AnswerFile, options: ReadOptions) -> str:
    """The one format that a file's content fits; PredictionError where none or several do."""
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
    """(format, all rows of all files in the order given). Several files are one set of answers: shards of one format.

    Raises PredictionError on a file that is not whole and right, and where files differ in format.
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
    """A score as it stands in a file; None for an absent one (empty, null, NA). PredictionError for anything else."""
    if value is None or (isinstance(value, str) and value.strip() in ("", "NA", "nan", "NaN", "None")):
        return None
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        score = float("nan")
    if isinstance(value, bool) or score - score != 0:  # nan and inf
        raise PredictionError(f"{where}: the score is {value!r}, not a finite number or NA.")
    return score
