"""Short answers to questions: contains, exact match and token F1 (SQuAD v1.1, Rajpurkar et al. 2016), 0 to 100.

Texts are normalised by `short`. With several accepted answers (references) the best one counts. Exact match punishes
answers in whole sentences, and `contains` favours long ones, so read both.
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
    """Metrics, as means over answers:
    - contains: the tokens of a reference occur in the answer one after another ("no" is not in "know"); an answer that
      equals the reference always counts.
    - em: the answer's tokens equal those of a reference.
    - f1: 2 P R / (P + R) over bags of tokens.

    em and f1 equal those of the SQuAD script for plain English; `short` lists the differences. An empty answer is never
    right, and an exact match has an f1 of 1. No settings. Statistics: qa.n, and the sums of qa.contains, qa.em, qa.f1.
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
        contained = [short.contains(text, reading, accepted) for accepted in references]
        scores = {
            "qa.contains": float(any(contained)),
            "qa.em": float(any(short.exact(reading, accepted) for accepted in references)),
            "qa.f1": max(_f1(reading, accepted, there) for accepted, there in zip(references, contained, strict=True)),
        }
        return row | {name: score for name, score in scores.items() if score}

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """{"contains", "em", "f1"}: each 0 to 100."""
        if not totals:
            return {}
        sums = dense(totals, ["qa.n", *(f"qa.{m}" for m in _METRICS)])
        return {m: 100 * ratio(sums[..., i + 1], sums[..., 0]) for i, m in enumerate(_METRICS)}


def _f1(reading: short.Reading, accepted: short.Reading, contained: bool) -> float:
    """Token F1 of the SQuAD v1.1 script: 0 without shared tokens. `held`: whether the answer contains the reference, which
    is required for a reference of only articles or signs."""
    if short.exact(reading, accepted):
        return 1.0
    hypothesis, reference = reading.plain, accepted.plain
    if not reference:
        if not contained:
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
