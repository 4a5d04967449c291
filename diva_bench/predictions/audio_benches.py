"""voicebench and audiobench: answers without ids, in the order of the data.

voicebench   github.com/MatthewCYM/VoiceBench, main.py: <model>-<subset>-<split>-<modality>.jsonl; each line is the data's row
             without its audio (`prompt`, the question in words; `reference`, one right answer, in sd-qa) and `response`.
             result-*.jsonl of its api_judge.py has `score` as well, three votes of an LLM judge, which are not imported.
             A later version leaves out items whose generation failed: then the rows do not match, which the check
             of the references detects.
audiobench   github.com/AudioLLMs/AudioBench, log/<model>/<dataset>.json: a list of {`text`, the instruction, drawn anew for
             every item; `answer`, the reference as a sentence; `task_type`; `model_prediction`}; and
             <dataset>_<metric>_score.json: an object whose `details` has {`question`, `reference`, `model_prediction`,
             `judge_response`, `rate_score`, `success`}. Published logs keep the first 20 details only. The rating of
             the LLM judge is not imported.

Rows are matched by their position, checked against the reference; voicebench without one, against the question.
"""

from __future__ import annotations

from typing import Any

from diva_bench.errors import PredictionError
from diva_bench.predictions import AnswerFile, Prediction, ReadOptions


def fits_voicebench(source: AnswerFile, options: ReadOptions) -> bool:
    return {"prompt", "response"} <= source.first.keys()


def read_voicebench(source: AnswerFile, options: ReadOptions) -> list[Prediction]:
    return [
        Prediction(
            where,
            _text(row, "response", where),
            row=i,
            reference=row["reference"] if isinstance(row.get("reference"), str) else None,
            question=_text(row, "prompt", where),
        )
        for i, (where, row) in enumerate(source.rows())
    ]


def fits_audiobench(source: AnswerFile, options: ReadOptions) -> bool:
    if source.zipped or not source.text.lstrip().startswith(("[", "{")):
        return False
    try:
        rows = _audiobench_rows(source)
    except PredictionError:
        return False
    return bool(rows) and isinstance(rows[0], dict) and "model_prediction" in rows[0]


def read_audiobench(source: AnswerFile, options: ReadOptions) -> list[Prediction]:
    predictions = []
    for i, row in enumerate(_audiobench_rows(source)):
        where = f"{source.path}, item {i}"
        if not isinstance(row, dict):
            raise PredictionError(f"{where}: expected an object, found {type(row).__name__}.")
        reference = row.get("answer", row.get("reference"))
        predictions.append(
            Prediction(
                where,
                _text(row, "model_prediction", where),
                row=i,
                reference=reference if isinstance(reference, str) else None,
            )
        )
    return predictions


def _audiobench_rows(source: AnswerFile) -> list[Any]:
    tree = source.tree
    rows = tree.get("details") if isinstance(tree, dict) else tree
    if not isinstance(rows, list):
        raise PredictionError(f"{source.path}: expected a list of items, or an object with a list `details`.")
    return rows


def _text(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise PredictionError(f"{where}: {key} is {value!r}, not text.")
    return value
