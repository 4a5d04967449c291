"""Match predictions with the samples of a task: responses in the order of the data, without guessing.

A row is matched by its id, if any id of the file is one of the task's; otherwise by its row number, checked against the
file's reference (or whether a label was right) or question. A sample without a row is missing, and the run is then
incomplete. A row without a sample, or two rows for one sample, are an error.
"""

from __future__ import annotations

import ast
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diva_bench.data import Dataset
from diva_bench.errors import PredictionError, SpecError
from diva_bench.predictions import Prediction
from diva_bench.scorers.cleaning import clean
from diva_bench.scorers.source_score import NAME as GIVEN
from diva_bench.specs import TaskSpec
from diva_bench.text import contains, words
from diva_bench.types import LabelScore, Response, Sample

_SHOWN = 10  # ids of one kind that a message lists


@dataclass(frozen=True, slots=True)
class Matched:
    """The result of matching.

    Attributes:
        responses: In the order of the data.
        missing: Ids of samples without a row.
        left_out: Ids of rows about samples that the task leaves out for every model.
        how: By what the rows were matched.
        nameless: Number of rows that name no label.
        unparsed: Number of free texts in which the scorer will find no label.
    """

    responses: tuple[Response, ...]
    missing: tuple[str, ...]
    left_out: tuple[str, ...]
    how: str
    nameless: int = 0
    unparsed: int = 0


def match(
    task: TaskSpec, dataset: Dataset, predictions: Sequence[Prediction], labels: Mapping[str, str] | None = None
) -> Matched:
    """Match the rows of a file with the samples.

    Args:
        labels: Name in the file -> choice.

    Raises:
        PredictionError: Rows are extra or repeated (with counts and the first ten), no row can be matched, or row
            numbers and references do
            not fit each other.
    """
    ids = {sample.id for sample in dataset.samples}
    faults = {fault.id for fault in (*dataset.faults, *dataset.excluded)}
    reading = _Reading(task, labels or {})
    if any(p.id in ids or p.id in faults for p in predictions):
        rows, how = [(str(p.id), p) for p in predictions], "ids"
    else:
        rows, how = _by_position(dataset, predictions, reading)
    pairs = [(ident, p) for ident, p in rows if ident not in faults]
    _check_coverage(task, ids, pairs)
    responses = {ident: reading.response(ident, p) for ident, p in pairs}
    _check_source_scores(list(responses.values()))
    _check_labels(task, list(responses.values()))
    return Matched(
        responses=tuple(responses[s.id] for s in dataset.samples if s.id in responses),
        missing=tuple(s.id for s in dataset.samples if s.id not in responses),
        left_out=tuple(ident for ident, _ in rows if ident in faults),
        how=how,
        nameless=sum(r.label == "" for r in responses.values()),
        unparsed=sum(reading.unparsed(r) for r in responses.values()),
    )


def listed(ids: Sequence[str]) -> str:
    """The first ten ids, and the number of others."""
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(ids[:_SHOWN]) + more


def _check_coverage(task: TaskSpec, ids: set[str], rows: Sequence[tuple[str, Prediction]]) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for ident, prediction in rows:
        places[ident].append(prediction.where)
    extra = [ident for ident in places if ident not in ids]
    twice = [ident for ident, where in places.items() if len(where) > 1]
    if not extra and not twice:
        return
    missing = sorted(ids - places.keys())
    lines = [f"task {task.name} has {len(ids)} samples; these answers do not fit it. Nothing was written."]
    if extra:
        lines.append(f"extra (not in the task): {len(extra)}: {listed(extra)}")
    if twice:
        first = places[twice[0]]
        lines.append(f"more than once: {len(twice)}: {listed(twice)}; the first at {first[0]} and {first[1]}")
    if missing:
        lines.append(f"missing: {len(missing)}: {listed(missing)}")
    raise PredictionError("\n".join(lines))


def _check_source_scores(responses: Sequence[Response]) -> None:
    """Either every answer has a score or none: a mean over some of them would look like one over all."""
    without = [r.id for r in responses if r.status == "ok" and GIVEN not in r.scores]
    if without and any(r.scores for r in responses):
        raise PredictionError(
            f"{len(without)} of the answers have no score, the others have: {listed(without)}. Score all of them, give them "
            "status error, or leave the scores out."
        )


def _check_labels(task: TaskSpec, responses: Sequence[Response]) -> None:
    """If most labels name no choice, the file is for another task."""
    nameless = [r.text.strip() for r in responses if r.label == ""]
    if 2 * len(nameless) > len(responses):
        texts = list(dict.fromkeys(nameless))
        raise PredictionError(
            f"{len(nameless)} of {len(responses)} answers name none of {', '.join(task.choices or ())}; they say "
            f"{listed(texts)}. Give the label that it means: --labels {texts[0] or 'TEXT'}=CHOICE,..."
        )


# ---------------------------------------------------------------- by position


def _by_position(
    dataset: Dataset, predictions: Sequence[Prediction], reading: _Reading
) -> tuple[list[tuple[str, Prediction]], str]:
    """Rows in the order of the data, or of its sorted ids if only that order fits every row (so are the released outputs
    for MUStARD, because the published JSON has another order)."""
    unplaced = [p for p in predictions if p.row is None]
    if unplaced:
        raise PredictionError(
            f"{unplaced[0].where}: id {unplaced[0].id!r} is not an id of the task, nor is any other id of the file; ids of "
            f"the task look like {listed([s.id for s in dataset.samples[:3]])}."
        )
    beyond = next((p for p in predictions if (p.row or 0) >= len(dataset.samples)), None)
    if beyond is not None:
        raise PredictionError(
            f"{beyond.where}: row {beyond.row} of the data, which has {len(dataset.samples)} (from 0) and leaves out "
            f"{len(dataset.faults) + len(dataset.excluded)}; the file has {len({p.row for p in predictions})} rows. Is it "
            "another split, or another edition?"
        )
    checks, problem = _checked(dataset.samples, predictions, reading)
    if not problem:
        return _placed(dataset.samples, predictions), f"row numbers, {checks}"
    ordered = sorted(dataset.samples, key=lambda s: s.id)
    checks, other = _checked(ordered, predictions, reading)
    if not other:
        return _placed(ordered, predictions), f"row numbers of the sorted ids, {checks}"
    raise PredictionError(
        f"{problem}. The rows are not in the order of this task's data, nor of its sorted ids; import a file with ids."
    )


def _placed(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> list[tuple[str, Prediction]]:
    return [(samples[p.row or 0].id, p) for p in predictions]


def _checked(samples: Sequence[Sample], predictions: Sequence[Prediction], reading: _Reading) -> tuple[str, str]:
    """(what the order was checked against, the first row that does not fit, "" if all do)."""
    checks: set[str] = set()
    for prediction in predictions:
        sample = samples[prediction.row or 0]
        check, problem = reading.check(sample, prediction)
        if problem:
            return "", f"{prediction.where}: row {prediction.row} of the data is {sample.id}, but {problem}"
        checks.add(check)
    evidence = " and ".join(sorted(checks - {""}))
    return f"checked against {evidence}" if evidence else "which nothing in the file could confirm", ""


class _Reading:
    """Reads rows for one task."""

    def __init__(self, task: TaskSpec, labels: Mapping[str, str]) -> None:
        self._choices = task.choices or ()
        self._synonyms = task.synonyms
        self._labels = {name.strip().casefold(): choice for name, choice in labels.items()}
        strange = sorted(set(labels.values()) - set(self._choices))
        if strange:
            allowed = ", ".join(self._choices) or "none: it is no label task"
            raise PredictionError(f"--labels leads to {', '.join(strange)}; task {task.name} has {allowed}.")
        from diva_bench.scorers.labels import parser_of  # the tables of the parser take long to load

        try:
            self._parser = parser_of(task) if task.choices else None
        except SpecError as err:
            raise PredictionError(f"--labels: {err} Every name stands for one label.") from err

    def response(self, ident: str, prediction: Prediction) -> Response:
        return Response(
            ident,
            text=prediction.text,
            status=prediction.status,
            detail=prediction.detail,
            choices=self._scored(prediction),
            label=self.label(prediction) if prediction.status == "ok" else None,
            scores={GIVEN: prediction.source_score}
            if prediction.source_score is not None and prediction.status == "ok"
            else {},
        )

    def _scored(self, prediction: Prediction) -> dict[str, LabelScore] | None:
        """The log-likelihoods of the choices of a label task; all of them, or the row is an error."""
        if prediction.choices is None or not self._choices:
            return None
        if set(prediction.choices) != set(self._choices) or not all(
            math.isfinite(s.total) and math.isfinite(s.first) for s in prediction.choices.values()
        ):
            raise PredictionError(
                f"{prediction.where}: needs a finite log-likelihood for each of {', '.join(self._choices)}; has "
                f"{', '.join(prediction.choices)}."
            )
        return dict(prediction.choices)

    def label(self, prediction: Prediction) -> str | None:
        """The chosen label by the source: by --labels, or the only choice with this first token. "" if it is none of the
        choices; None: the answer is free text, which the scorer parses with the names of --labels as synonyms."""
        if self._parser is None:
            return None
        if prediction.label is not None:
            return prediction.label if prediction.label in self._choices else ""
        answer = clean(prediction.text)
        text = answer.strip().casefold()
        if text in self._labels and (prediction.first_token or self._parser.parse(answer) != self._labels[text]):
            return self._labels[text]  # "+" is not a word, so it cannot be a synonym
        if not prediction.first_token:
            return None
        for table in ({c: c for c in self._choices}, self._synonyms):
            begun = {choice for word, choice in table.items() if text and word.casefold().startswith(text)}
            if len(begun) == 1:
                return begun.pop()
        return self._parser.parse(answer) or ""

    def unparsed(self, response: Response) -> bool:
        """Whether an answer to a label task is only text, and the parser finds no label in it."""
        if self._parser is None or response.status != "ok" or response.label is not None or response.choices:
            return False
        return self._parser.parse(clean(response.text)) is None

    def check(self, sample: Sample, prediction: Prediction) -> tuple[str, str]:
        """(what the position was checked against, "" for nothing; what is wrong, "" for nothing)."""
        if prediction.reference is not None:
            agrees = any(self._same(text, sample) for text in _several(prediction.reference))
            reference = " / ".join(sample.references[:3])
            problem = f"the file's reference is {prediction.reference[:80]!r}, the task's {reference[:80]!r}"
            return "the references", "" if agrees else problem
        if prediction.question is not None and sample.transcript:
            agrees = words(prediction.question) == words(sample.transcript)
            problem = f"the file asks {prediction.question[:80]!r}, the task {sample.transcript[:80]!r}"
            return "the questions", "" if agrees else problem
        if self._choices and prediction.status == "ok" and prediction.source_score in (0.0, 1.0):
            label = self.label(prediction) if prediction.first_token else None
            if label:
                right = label == sample.references[0]
                text = "right" if prediction.source_score else "wrong"
                problem = f"the file says that {label} was {text}, and the label is {sample.references[0]}"
                return "which labels were right", "" if right == bool(prediction.source_score) else problem
        return "", ""

    def _same(self, other: str, sample: Sample) -> bool:
        """A reference may be in a sentence ("The speaker's tone sounds anger."), or for labels be a synonym or a number."""
        if self._parser is not None:
            if other.strip().isdigit() and int(other) < len(self._choices):
                return self._choices[int(other)] == sample.references[0]
            return (self._labels.get(other.strip().casefold()) or self._parser.parse(other)) == sample.references[0]
        return (
            any(contains(words(other), words(reference)) for reference in sample.references)
            or other in sample.references
        )


def _several(reference: str) -> list[str]:
    """The references in a text: lm-eval writes a list of them as Python does."""
    if reference.startswith("["):
        try:
            value = ast.literal_eval(reference)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return [reference]
        if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
            return value
    return [reference]
