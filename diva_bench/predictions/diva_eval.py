'''diva-eval: the released outputs of the DiVA paper (github.com/SALT-NLP/DiVA-Eval, eval/*_Results/<model>/*_outs.txt).

    <id>[SEP_DIAL]"""<text>"""[SEP_DIAL]<score>

One row per item in the order of the data. Their scripts write a line break within an answer as [NEW_LINE]; an answer with
real line breaks or quotes is read as well. `id` is the data set's own (HeySQuAD, SD-QA, CoVoST2) or the row number from 0
(MELD, MUStARD, IEMOCAP, UR-FUNNY). `score`: the PEDANTS probability (QA), 1 or 0 for a right or wrong label, sentence
BLEU of 0 to 100 (translation), or NA. For label tasks the text is the first token of the chosen label ("Ang", "Ne",
"H"): they chose by the logits of first tokens (eval/classification_eval.py).

"ERROR IN PROCESSING", or the score NA, is a failure of their run: status error here, never an answer. Their own means
drop such rows in QA and translation, count them as wrong in accuracy and as "neutral" in F1 (eval/f1_scores.py).
'''

from __future__ import annotations

import re
from dataclasses import replace

from diva_bench.errors import PredictionError
from diva_bench.predictions import AnswerFile, Prediction, ReadOptions, number

_MARK = "[SEP_DIAL]"
_FAILED = "ERROR IN PROCESSING"
_OPEN, _CLOSE = f'{_MARK}"""', f'"""{_MARK}'
_START = re.compile(r'[^\n\[]+\[SEP_DIAL\]"""')


def fits_diva_eval(source: AnswerFile, options: ReadOptions) -> bool:
    return not source.zipped and _MARK in source.text.lstrip().split("\n", 1)[0]


def read_diva_eval(source: AnswerFile, options: ReadOptions) -> list[Prediction]:
    rows: list[Prediction] = []
    begun: list[str] = []  # lines of an incomplete row
    start = 0
    for number_, line in enumerate(source.text.split("\n"), start=1):
        if not begun and not line.strip():
            continue
        if begun and _START.match(line):
            raise _torn(source, start, begun)
        start = start if begun else number_
        begun.append(line)
        parts = _parts("\n".join(begun).rstrip("\r")) if _CLOSE in line else None
        if parts:
            rows.append(_prediction(f"{source.path}:{start}", *parts))
            begun = []
    if begun:
        raise _torn(source, start, begun)
    if [row.id for row in rows] == [str(i) for i in range(len(rows))]:
        return [replace(row, row=i) for i, row in enumerate(rows)]
    return rows


def _parts(row: str) -> tuple[str, str, str] | None:
    """(id, text, score) of a complete row: the text ends at the last closing mark."""
    ident, opened, rest = row.partition(_OPEN)
    text, closed, score = rest.rpartition(_CLOSE)
    whole = ident and opened and closed and "\n" not in ident + score and "[" not in score
    return (ident.strip(), text.replace("[NEW_LINE]", "\n"), score.strip()) if whole else None


def _prediction(where: str, ident: str, text: str, score: str) -> Prediction:
    if not ident:
        raise PredictionError(f"{where}: the id is empty.")
    if text.strip() == _FAILED or score == "NA":
        return Prediction(where, "", id=ident, status="error", detail=f"their run: {text[:200] or 'score NA'}")
    return Prediction(where, text, id=ident, first_token=True, source_score=number(score, where))


def _torn(source: AnswerFile, line: int, begun: list[str]) -> PredictionError:
    text = "\n".join(begun)[:80]
    return PredictionError(
        f'{source.path}:{line}: not a whole row (<id>{_MARK}"""<text>"""{_MARK}<score>): {text!r}. Was the file cut '
        "off? Remove that row; its sample then counts as missing."
    )
