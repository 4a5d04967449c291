"""jsonl and csv: one row per sample, with an id and the answer.

jsonl   one object a line: `id` (text or whole number), `text` (or `answer`, or `prediction`). Optional, as in the
        responses.jsonl of our own run folders: `status` (ok, unsupported, error) and `detail`; `choices`, label ->
        [log-likelihood in nats, tokens, log-likelihood of the first token]; `scores.given`; and, only with a `status`
        (otherwise such a column is often the right answer), `label`, the chosen label. A later row replaces
        an error row with the same id, as in a run folder.
csv     a header row and the columns `id`, `text` and `status`; comma or tab, as the header has it; quoted as RFC 4180 says.

Other names: --columns id=NAME,text=NAME; a score that came with the answers: --columns score=NAME (NA or empty: none).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diva_bench.errors import PredictionError
from diva_bench.predictions import AnswerFile, Prediction, ReadOptions, number
from diva_bench.types import LabelScore

_TEXT = ("text", "answer", "prediction")
_STATUSES = ("ok", "unsupported", "error")


def fits_jsonl(source: AnswerFile, options: ReadOptions) -> bool:
    return _has_columns(list(source.first), options)


def read_jsonl(source: AnswerFile, options: ReadOptions) -> list[Prediction]:
    rows: list[Prediction] = []
    last: dict[str | None, int] = {}  # id -> its last row
    again: set[int] = set()  # error rows that a later row answers
    for place, (where, row) in enumerate(source.rows()):
        ident, text, score = _columns(list(row), options, where)
        rows.append(_prediction(where, row, row[ident], row[text], row.get(score) if score else None))
        earlier = last.get(rows[place].id)
        if earlier is not None and rows[earlier].status == "error":
            again.add(earlier)
        last[rows[place].id] = place
    return [row for i, row in enumerate(rows) if i not in again]


def _prediction(where: str, row: Mapping[str, Any], ident: Any, text: Any, score: Any) -> Prediction:
    status, label, detail = row.get("status", "ok"), row.get("label"), row.get("detail", "")
    if status not in _STATUSES:
        raise PredictionError(f"{where}: status is {status!r}. Allowed: {', '.join(_STATUSES)}.")
    if not isinstance(text, str) and not (text is None and status != "ok"):
        raise PredictionError(f"{where}: the answer is {text!r}, not text. A row without an answer has status error.")
    scores = row.get("scores")
    if score is None and isinstance(scores, dict):
        score = scores.get("given")
    return Prediction(
        where,
        text or "",
        id=_ident(ident, where),
        status=status,
        detail=detail if isinstance(detail, str) else "",
        label=label if isinstance(label, str) and "status" in row else None,
        choices=_choices(row.get("choices"), where),
        source_score=number(score, where),
    )


def _choices(value: Any, where: str) -> dict[str, LabelScore] | None:
    if value is None:
        return None
    try:
        return {
            str(k): LabelScore(float(total), int(tokens), float(first)) for k, (total, tokens, first) in value.items()
        }
    except (AttributeError, TypeError, ValueError, OverflowError) as err:
        raise PredictionError(
            f"{where}: `choices` maps each label to [log-likelihood, tokens, log-likelihood of the first token]."
        ) from err


def fits_csv(source: AnswerFile, options: ReadOptions) -> bool:
    if source.zipped or source.text.lstrip().startswith(("{", "[")):
        return False
    try:
        return _has_columns(source.table().header, options)
    except PredictionError:
        return False


def read_csv(source: AnswerFile, options: ReadOptions) -> list[Prediction]:
    table = source.table()
    ident, text, score_column = _columns(table.header, options, f"{source.path}:1")
    rows: list[Prediction] = []
    for line, row in table:
        where = f"{source.path}:{line}"
        score = number(row[score_column], where) if score_column else None
        status = {"status": row["status"] or "ok"} if "status" in row else {}
        rows.append(_prediction(where, status, row[ident], row[text], score))
    return rows


def _ident(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise PredictionError(f"{where}: the id must be text or a whole number, found {value!r}.")
    return str(value)


def _has_columns(names: Sequence[str], options: ReadOptions) -> bool:
    try:
        _columns(names, options, "")
    except PredictionError:
        return False
    return True


def _columns(names: Sequence[str], options: ReadOptions, where: str) -> tuple[str, str, str | None]:
    """The columns of id, answer and score (None: no score)."""
    for role, name in options.columns.items():
        if name not in names:
            raise PredictionError(f"{where}: column {name!r} ({role}) is missing; available: {', '.join(names)}.")
    ident = options.columns.get("id", "id")
    texts = [options.columns["text"]] if "text" in options.columns else [name for name in _TEXT if name in names]
    if ident not in names or not texts:
        missing = "id" if ident not in names else "answer"
        raise PredictionError(
            f"{where}: no column for the {missing} (id, and one of {', '.join(_TEXT)}); available: {', '.join(names)}. Name "
            "them with --columns id=NAME,text=NAME."
        )
    if len(texts) > 1:
        raise PredictionError(
            f"{where}: {' and '.join(texts)} may both be the answer; choose one with --columns text=NAME."
        )
    return ident, texts[0], options.columns.get("score")
