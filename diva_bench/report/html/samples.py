"""Samples and answers of stored runs as columns, for the sample browser and the comparisons of the report page.

A page of columns is one data file. Texts stay as they are: the script in the page shows them as text, never as HTML.
Per-sample scores are those of scores.jsonl; without that file the answers are measured here by the scorers that signed the
summary. Either way they are kept only if they give the score in summary.json.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diva_bench import stats
from diva_bench.catalog import Catalog
from diva_bench.errors import UnreadableRun, UserError
from diva_bench.runs import stored_task
from diva_bench.runs.bundle import clips_beside
from diva_bench.runs.run import Run
from diva_bench.runs.store import RunFolder
from diva_bench.scorers import DIAGNOSTIC, PREDICTED, cleaned
from diva_bench.scorers.labels import UNPARSED
from diva_bench.specs import FIELD, TaskSpec
from diva_bench.specs.prompt import build
from diva_bench.tables import cut_to
from diva_bench.types import Floats, Response, Row, Sample, Scorer, WholeScorer

PAGE = 2_000
"""Samples in one data file. A browser reads a file of this size in a few milliseconds."""
_LONGEST = 20_000
"""Characters of a text that a page shows; a longer one is cut, and says so."""
_CODES = {"ok": "o", "unsupported": "u", "error": "e", "missing": "m"}
_CLOSE = 1e-6
"""Points by which per-sample scores together may differ from the summary, for sums in another order."""
_SECONDS = (2, 4, 8, 16)
_WORDS = (5, 10, 20, 40)
CLIP_LENGTH, SPOKEN_WORDS = "clip length", "spoken words"
"""Groups that the page adds to those of a task."""


@dataclass(frozen=True)
class Question:
    """What all runs of a task folder share.

    Attributes:
        task: The task; None if neither the catalog nor a run has a valid one.
        samples: In the order of the data; without stored rows and data only ids are known.
        hidden: Whether texts and clips stay out of the page, because the data of the task is licensed.
        sounds: Sample id -> sha256 of its clip, by the stored rows; empty without stored rows.
        clips: sha256 -> path of the clips that came with the runs in a bundle.
    """

    task: TaskSpec | None
    samples: Sequence[Sample]
    scorers: Mapping[str, Scorer]
    hidden: bool
    sounds: Mapping[str, str] = field(default_factory=dict)
    clips: Mapping[str, Path] = field(default_factory=dict)

    @cached_property
    def ids(self) -> list[str]:
        """The ids of the samples: these are made again each time they are read."""
        return [sample.id for sample in self.samples]

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Group -> its value for every sample: groups of the task, then the length of the clip, or of the transcript."""
        groups: dict[str, list[str]] = {}
        lengths, words = [], []
        for place, sample in enumerate(self.samples):  # once: a long task makes its samples again for every reader
            for name in sample.groups:
                if name not in groups:
                    groups[name] = [""] * place
            for name, values in groups.items():
                values.append(sample.groups.get(name, ""))
            lengths.append(_bin(sample.seconds, _SECONDS, "s") if sample.seconds else "")
            words.append(_bin(len(sample.transcript.split()), _WORDS, "words") if sample.transcript else "")
        if any(lengths):
            groups[CLIP_LENGTH] = lengths
        elif any(words):
            groups[SPOKEN_WORDS] = words
        return groups


def _bin(value: float, edges: Sequence[int], unit: str) -> str:
    """The range that a value is in: "2 to 4 s"; an edge belongs to the range below it."""
    for low, high in zip((0, *edges), edges, strict=False):
        if value <= high:
            return f"{low} to {high} {unit}"
    return f"over {edges[-1]} {unit}"


@dataclass
class Answers:
    """The answers of one run, in the order of the samples.

    Attributes:
        responses: None for a sample without an answer.
        rows: Scorer -> the statistics of every answer; empty ones for answers that are not scored.
        scores: Metric -> the value of every answer alone, NaN without one; the primary metric first.
        note: Why there are no scores by sample; "" if there are.
        damaged: A file is the reason.
    """

    run: Run
    responses: Sequence[Response | None]
    rows: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    scores: Mapping[str, Floats] = field(default_factory=dict)
    note: str = ""
    damaged: bool = False

    @property
    def counts(self) -> Counter[str]:
        """Status -> number of samples."""
        return Counter("missing" if r is None else r.status for r in self.responses)


def question_of(runs: Sequence[Run], catalog: Catalog, licensed: bool) -> Question:
    """The samples of a task from the first of its runs that has them; else their ids, from the stored rows or the answers.

    Args:
        runs: Runs of one task folder.
        catalog: The tasks that are known here.
        licensed: Whether texts and clips of licensed data may be shown.
    """
    task: TaskSpec | None = None
    samples: Sequence[Sample] = ()
    scorers: Mapping[str, Scorer] = {}
    tried: list[Any] = []  # runs with one record of the task fail for one reason, which is told once
    for run in runs:
        if (spec := run.question or run.folder.record()["task"]) in tried:
            continue
        tried.append(spec)
        task, samples, scorers = run.inputs(catalog)
        if samples:
            break
    record = runs[0].folder.record()
    access = task.data.access if task else (record["task"].get("data") or {}).get("access")
    try:
        stored = stored_task.stored(runs[0].folder)
    except UnreadableRun:  # the remarks of its runs say so, and what to do
        stored = None
    if not samples:
        known = [str(row[0]) for row in stored.covered] if stored else (i for run in runs for i in _ids(run))
        samples = tuple(Sample(id=ident, references=(), cluster=ident) for ident in dict.fromkeys(known))
    sounds = {str(row[0]): str(row[1]) for row in stored.covered} if stored else {}
    clips = clips_beside(runs[0].folder.place)
    return Question(task, samples, scorers, bool(access) and not licensed, sounds, clips)


def _ids(run: Run) -> Iterable[str]:
    """The ids that a run has answers of; none if they cannot be read, which `answers_of` tells."""
    try:
        return run.folder.answered()
    except UnreadableRun:
        return ()


# ---------------------------------------------------------------- answers


def answers_of(run: Run, question: Question) -> Answers:
    """The answers of a run with their per-sample scores; without those that a damaged file has."""
    try:
        there = run.folder.answered()
        answers = Answers(run, [there.get(ident) for ident in question.ids])
    except UnreadableRun as err:
        return Answers(run, [None] * len(question.samples), note=str(err), damaged=True)
    if run.changed or not run.summary.metrics:
        answers.note = run.summary.reason or "not scored yet"
        return answers
    try:
        rows = _stored(run, question) or _measured(answers, question)
    except UnreadableRun as err:
        answers.note, answers.damaged = f"no scores by sample: {err}", True
        return answers
    answers.rows = {name: rows[name] for name in rows if any(rows[name])}
    answers.note = _doubt(answers, question)
    if answers.note:
        answers.rows = {}
        return answers
    answers.scores = _scores(answers, question)
    return answers


def _stored(run: Run, question: Question) -> dict[str, list[Row]]:
    """The statistics in scores.jsonl; empty if the file is missing or of another scoring than the summary."""
    if not (run.path / "scores.jsonl").is_file():
        return {}
    header, table = RunFolder(run.path).scores()
    if header["signature"] != run.summary.signature or header.get("answers") != run.summary.answers:
        return {}
    scorers = [name for name, scorer in question.scorers.items() if scorer.signature == header["signature"].get(name)]
    rows = [table.get(ident, {}) for ident in question.ids]
    return {name: [row.get(name, {}) for row in rows] for name in scorers}


def _measured(answers: Answers, question: Question) -> dict[str, list[Row]]:
    """The statistics, measured here by the scorers that signed the summary."""
    signed = answers.run.summary.signature
    wrong = answers.run.summary.errors_as == "wrong"
    rows: dict[str, list[Row]] = {}
    for name, scorer in question.scorers.items():
        lacks = str(getattr(scorer, "lacks", ""))
        if scorer.signature != signed.get(name) or isinstance(scorer, WholeScorer) or lacks:
            continue
        try:
            rows[name] = [
                _measure(scorer, sample, response, wrong)
                for sample, response in zip(question.samples, answers.responses, strict=True)
            ]
        except (UserError, ValueError):  # a reference is missing, or an answer is of another model than the scorer's
            continue
    return rows


def _measure(scorer: Scorer, sample: Sample, response: Response | None, wrong: bool) -> Row:
    if response is None or (response.status == "error" and not wrong) or not sample.references:
        return {}
    as_scored = cleaned(response) if response.status == "ok" else Response(response.id, status="unsupported")
    return scorer.measure(sample, as_scored)


def _doubt(answers: Answers, question: Question) -> str:
    """Why the statistics cannot be shown beside the summary; "" if they give its primary score."""
    summary = answers.run.summary
    main = summary.metrics.get(summary.primary)
    if main is None:
        return f"no value for {summary.primary}"
    again = f"run `diva-bench score {answers.run.path}`"
    if main.scorer and main.scorer not in answers.rows:
        return (
            f"no scores by sample: {main.scorer} is of another version or not on this machine, or its data is; {again}"
        )
    for name, rows in answers.rows.items():
        value = question.scorers[name].reduce(stats.totals(row for row in rows if row)).get(summary.primary)
        if value is not None:
            same = math.isclose(float(value), main.value, abs_tol=_CLOSE)
            return "" if same else f"no scores by sample: they do not give the score in summary.json; {again}"
    return f"no scores by sample: no scorer here gives {summary.primary}; {again}"


def _scores(answers: Answers, question: Question) -> dict[str, Floats]:
    """Every quality metric of every answer alone, the primary one first."""
    primary, count = answers.run.summary.primary, len(question.samples)
    scores: dict[str, Floats] = {}
    for name, rows in answers.rows.items():
        places = [i for i, row in enumerate(rows) if row]
        values = stats.row_by_row(*stats.stack([rows[i] for i in places]), question.scorers[name].reduce)
        for metric, some in values.items():
            if metric == primary or not (name == "labels" or metric in DIAGNOSTIC or metric.startswith(PREDICTED)):
                column = np.full(count, np.nan)
                column[places] = some
                scores[metric] = column
    return {name: scores[name] for name in sorted(scores, key=lambda name: name != primary)}


def confusion(answers: Answers) -> dict[tuple[str, str], int]:
    """(gold label, predicted label) -> number of answers; empty for an open task."""
    pairs: Counter[tuple[str, str]] = Counter()
    for row in answers.rows.get("labels", ()):
        pairs.update(
            (gold, predicted)
            for key in row
            if key.startswith("label:")
            for gold, _, predicted in [key.removeprefix("label:").partition(">")]
        )
    return dict(pairs)


# ---------------------------------------------------------------- data files


def pages(question: Question) -> int:
    """Number of data files for the samples."""
    return max(1, math.ceil(len(question.samples) / PAGE))


def sample_page(question: Question, number: int, clips: Mapping[str, str]) -> dict[str, Any]:
    """The columns of one page of samples.

    Args:
        question: The samples.
        number: Number of the page, from 0.
        clips: Sample id -> name of its clip in the report.
    """
    part = slice(number * PAGE, (number + 1) * PAGE)
    some = list(question.samples[part])
    data: dict[str, Any] = {"id": [sample.id for sample in some]}
    data["seconds"] = [round(sample.seconds, 2) for sample in some]
    data["groups"] = {name: values[part] for name, values in question.groups.items()}
    data["clip"] = [clips.get(sample.id, "") for sample in some]
    if not question.hidden:
        data["transcript"] = [_text(sample.transcript or "") for sample in some]
        data["references"] = [[_text(text) for text in sample.references] for sample in some]
        if question.task and set(FIELD.findall(question.task.prompt)) - question.task.fields.keys() - {"choices"}:
            data["prompt"] = [_prompt(question.task, sample) for sample in some]
    return data


def _prompt(task: TaskSpec, sample: Sample) -> str:
    try:
        return _text(build(task, sample, frozenset()).prompt)
    except UserError:  # only ids of the samples are known
        return ""


def answer_page(answers: Answers, question: Question, number: int) -> dict[str, Any]:
    """The columns of one page of answers: status codes, texts, labels, per-sample scores."""
    part = slice(number * PAGE, (number + 1) * PAGE)
    some = answers.responses[part]
    data: dict[str, Any] = {"status": "".join(_CODES["missing" if r is None else r.status] for r in some)}
    data["detail"] = {i: _text(r.detail) for i, r in enumerate(some) if r and r.detail}
    data["scores"] = {
        name: [None if math.isnan(v) else round(v, 2) for v in values[part].tolist()]
        for name, values in answers.scores.items()
    }
    if rows := answers.rows.get("labels", ())[part]:
        data["label"] = [_decided(row, "label") for row in rows]
        data["unparsed"] = [i for i, row in enumerate(rows) if _decided(row, "text") == UNPARSED]
    if question.hidden:
        return data
    data["text"] = [_text(r.text) if r and r.status == "ok" else "" for r in some]
    if any(r and r.heard is not None for r in some):
        data["heard"] = [None if r is None or r.heard is None else _text(r.heard) for r in some]
    if any(r and r.choices for r in some):
        names = list(next(r.choices for r in some if r and r.choices))
        data["choices"] = [
            [round(s.total, 3) if (s := r.choices.get(name)) else None for name in names] if r and r.choices else None
            for r in some
        ]
        data["choice_names"] = names
    return data


def _decided(row: Row, kind: str) -> str:
    """The predicted label in the statistics of an answer: "" if there is none."""
    return next((key.rpartition(">")[2] for key in row if key.startswith(f"{kind}:")), "")


def _text(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{cut_to(text, _LONGEST)} ({len(text):,} characters)"
