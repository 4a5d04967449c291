"""lm-eval and lmms-eval: the per-sample logs of the two harnesses, JSON lines.

lm-eval     lm-evaluation-harness 0.4 with --log_samples, samples_<task>_<date>.jsonl (lm_eval/loggers/evaluation_tracker.py,
            lm_eval/evaluator.py): `doc_id` (row in the data, from 0), `doc` (the data's own row), `target` (text),
            `arguments` ({"gen_args_0": {"arg_0": context, "arg_1": continuation}}), `resps` and `filtered_resps` (one
            entry per request), `filter` (name), `metrics`, `doc_hash`, and the metrics' values.
lmms-eval   its fork for images and sound, <date>_samples_<task>.jsonl: the same without `doc` and `arguments`, with `input`;
            `resps` is left out where it equals `filtered_resps`.

The raw answer (`resps`) is imported, because our scorers parse answers themselves; with --only FILTER the output of
that filter (`filtered_resps`). If a task ran with several filters, a sample has a row for each, and --only must choose
one. A multiple-choice task has one [log-likelihood, is greedy] per request: the answer is the continuation with the
highest log-likelihood; the numbers are not imported, because a log has no token counts. lmms-eval writes a failed
request as an empty answer, which cannot be distinguished from a model without output. Rows are matched by `doc.id` if
that is an id of the task, else by `doc_id`, checked against `target`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from diva_bench.errors import PredictionError
from diva_bench.predictions import AnswerFile, Prediction, ReadOptions

Json = Mapping[str, Any]


def fits_lm_eval(source: AnswerFile, options: ReadOptions) -> bool:
    return _is_log(source.first) and ("doc" in source.first or "arguments" in source.first)


def fits_lmms_eval(source: AnswerFile, options: ReadOptions) -> bool:
    return _is_log(source.first) and "doc" not in source.first and "arguments" not in source.first


def _is_log(row: Json) -> bool:
    return "doc_id" in row and ("resps" in row or "filtered_resps" in row)


def read_lmms_eval(source: AnswerFile, options: ReadOptions) -> list[Prediction]:
    return read_lm_eval(source, options)


def read_lm_eval(source: AnswerFile, options: ReadOptions) -> list[Prediction]:
    rows = list(source.rows())
    filters = sorted({str(row.get("filter", "none")) for _, row in rows})
    if options.only is not None and options.only not in filters:
        raise PredictionError(f"{source.path}: no rows of filter {options.only!r}; available: {', '.join(filters)}.")
    if options.only is None and len(filters) > 1:
        raise PredictionError(
            f"{source.path}: every sample has a row for each filter; choose one with --only: {', '.join(filters)}."
        )
    return [
        _prediction(where, row, filtered=options.only is not None)
        for where, row in rows
        if options.only is None or str(row.get("filter", "none")) == options.only
    ]


def _prediction(where: str, row: Json, filtered: bool) -> Prediction:
    if not _is_log(row):
        raise PredictionError(f"{where}: needs doc_id and resps or filtered_resps; it has {', '.join(row)}.")
    index = row["doc_id"]
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise PredictionError(f"{where}: doc_id is {index!r}, not a row number.")
    resps = row.get("filtered_resps") if filtered else row.get("resps", row.get("filtered_resps"))
    text, detail = _answer(resps, row, where)
    doc = row.get("doc")
    ident = doc.get("id") if isinstance(doc, dict) else None
    target = row.get("target")
    return Prediction(
        where,
        text or "",
        id=str(ident) if isinstance(ident, str | int) else None,
        row=index,
        status="ok" if text is not None else "error",
        detail=detail,
        reference=str(target) if target is not None else None,
    )


def _answer(value: Any, row: Json, where: str) -> tuple[str | None, str]:
    """(text, "") or (None, why there is none)."""
    pairs = [_pair(entry) for entry in value] if isinstance(value, list) else []
    scored = [pair for pair in pairs if pair is not None]
    if scored and len(scored) == len(pairs):
        if any(map(math.isnan, scored)):  # no label is the most likely one
            return None, "a log-likelihood is not a number"
        return _best(scored, row, where), ""
    texts = list(_texts(value))
    if not texts:
        return None, "the log has no answer"
    if len(texts) > 1:
        raise PredictionError(f"{where}: {len(texts)} answers to one sample; one is scored. Log one answer per sample.")
    return texts[0], ""


def _texts(value: Any) -> list[str]:
    if isinstance(value, list | tuple):
        return [text for entry in value for text in _texts(entry)]
    return [] if value is None else [str(value)]


def _pair(value: Any) -> float | None:
    """The log-likelihood in [[log-likelihood, is greedy]] or [log-likelihood, is greedy]; numbers may be text in a log."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not (isinstance(value, list) and len(value) == 2 and str(value[1]) in ("True", "False")):
        return None
    try:
        return float(value[0])
    except (TypeError, ValueError, OverflowError):
        return None


def _best(scores: list[float], row: Json, where: str) -> str:
    """The continuation with the highest log-likelihood; of equal ones the first."""
    arguments = row.get("arguments")
    labels: list[str] = []
    if isinstance(arguments, dict):
        calls = [arguments.get(f"gen_args_{i}") for i in range(len(scores))]
        labels = [str(call["arg_1"]).strip() for call in calls if isinstance(call, dict) and "arg_1" in call]
    elif isinstance(arguments, list):  # the format before the tracker renames it
        labels = [str(call[1]).strip() for call in arguments if isinstance(call, list) and len(call) > 1]
    if len(labels) != len(scores):
        raise PredictionError(
            f"{where}: {len(scores)} log-likelihoods, but the log does not say of which labels (`arguments`)."
        )
    return labels[max(range(len(scores)), key=lambda i: scores[i])]
