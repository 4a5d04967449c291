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
from diva_bench.predictions import Options, Prediction, Source, number

_MARK = "[SEP_DIAL]"
_FAILED = "ERROR IN PROCESSING"
_ROW = re.compile(r'(?P<id>[^\n]+?)\[SEP_DIAL\]"""(?P<text>.*)"""\[SEP_DIAL\](?P<score>[^\n\[]*)', re.DOTALL)
_START = re.compile(r'[^\n\[]+\[SEP_DIAL\]"""')


def fits_diva_eval(source: Source, options: Options) -> bool:
    return not source.zipped and _MARK in source.text.lstrip().split("\n", 1)[0]


def read_diva_eval(source: Source, options: Options) -> list[Prediction]:
    rows: list[Prediction] = []
    begun, start = "", 0
    for number_, line in enumerate(source.text.split("\n"), start=1):
        if not begun and not line.strip():
            continue
        if begun and _START.match(line):
            raise _torn(source, start, begun)
        begun, start = (f"{begun}\n{line}", start) if begun else (line, number_)
        whole = _ROW.fullmatch(begun.rstrip("\r"))
        if whole:
            rows.append(_prediction(f"{source.path}:{start}", whole))
            begun = ""
    if begun:
        raise _torn(source, start, begun)
    if [row.id for row in rows] == [str(i) for i in range(len(rows))]:
        return [replace(row, row=i) for i, row in enumerate(rows)]
    return rows


def _prediction(where: str, row: re.Match[str]) -> Prediction:
    text, score = row["text"].replace("[NEW_LINE]", "\n"), row["score"].strip()
    ident = row["id"].strip()
    if not ident:
        raise PredictionError(f"{where}: the id is empty.")
    if text.strip() == _FAILED or score == "NA":
        return Prediction(where, "", id=ident, status="error", detail=f"their run: {text[:200] or 'score NA'}")
    return Prediction(where, text, id=ident, first_token=True, given=number(score, where))


def _torn(source: Source, line: int, begun: str) -> PredictionError:
    return PredictionError(
        f'{source.path}:{line}: not a whole row (<id>{_MARK}"""<text>"""{_MARK}<score>): {begun[:80]!r}. Was the file cut '
        "off? Remove that row; its sample then counts as missing."
    )
