"""Short answers to questions: contains, exact match and token F1 (SQuAD v1.1, Rajpurkar et al. 2016), 0 to 100.

Texts are compared as `short` reads them. With several accepted answers (references) the best one counts. Exact match
punishes a whole sentence, `contains` favours a long one: read them together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from diva_bench.scorers import answer, settings, short
from diva_bench.specs import TaskSpec
from diva_bench.stats import dense, ratio
from diva_bench.types import Floats, Response, Sample

_METRICS = ("contains", "em", "f1")


class QA:
    """contains: some reference's tokens stand in the answer as consecutive whole tokens ("no" is not in "know"); an answer
    that is the reference always counts. em: the answer's tokens are a reference's. f1: 2 P R / (P + R) over tokens as a bag.
    Means over answers.

    em and f1 are those of the SQuAD script for plain English; `short` says where they differ. An empty answer is never right,
    and a right one (em) has an f1 of 1. No settings. Statistics: qa.n, and the sums of qa.contains, qa.em, qa.f1.
    """

    higher_is_better = True

    def __init__(self, task: TaskSpec, **args: Any) -> None:
        settings("qa", task, args, {})
        self.signature = f"qa|{short.SIGNATURE}|refs:max"

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        text = answer(response)
        row = {"qa.n": 1.0}
        if not text.strip():
            return row
        reading = short.read(text)
        references = [short.read(reference) for reference in sample.references]
        held = [short.contains(text, reading, accepted) for accepted in references]
        scores = {
            "qa.contains": float(any(held)),
            "qa.em": float(any(short.exact(reading, accepted) for accepted in references)),
            "qa.f1": max(_f1(reading, accepted, there) for accepted, there in zip(references, held, strict=True)),
        }
        return row | {name: score for name, score in scores.items() if score}

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """{"contains", "em", "f1"}: each 0 to 100."""
        if not totals:
            return {}
        sums = dense(totals, ["qa.n", *(f"qa.{m}" for m in _METRICS)])
        return {m: 100 * ratio(sums[..., i + 1], sums[..., 0]) for i, m in enumerate(_METRICS)}


def _f1(reading: short.Reading, accepted: short.Reading, held: bool) -> float:
    """Token F1 of the SQuAD v1.1 script: 0 where nothing is shared. `held`: whether the answer contains the reference, which
    a reference of nothing but articles or signs must do to have any."""
    if short.exact(reading, accepted):
        return 1.0
    hypothesis, reference = reading.plain, accepted.plain
    if not reference:
        if not held:
            return 0.0
        # "The answer is A" has as many words as "The answer is B"
        hypothesis, reference = (
            ((*reading.plain, *accepted.full), accepted.full) if accepted.full else (reading.signs, accepted.signs)
        )
    shared = sum((Counter(hypothesis) & Counter(reference)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(hypothesis), shared / len(reference)
    return 2 * precision * recall / (precision + recall)
