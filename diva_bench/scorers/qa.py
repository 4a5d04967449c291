"""Short answers to questions: contains, exact match and token F1 (SQuAD v1.1, Rajpurkar et al. 2016), 0 to 100.

Texts are compared after the `squad` normaliser. With several accepted answers (references) the best one counts. Exact
match punishes a whole sentence, `contains` favours a long one: read them together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from diva_bench.scorers import answer, settings
from diva_bench.specs import TaskSpec
from diva_bench.stats import dense, ratio
from diva_bench.text import SQUAD, contains
from diva_bench.types import Floats, Response, Sample

_METRICS = ("contains", "em", "f1")


class QA:
    """contains: some reference's tokens stand in the answer as consecutive whole tokens ("no" is not in "know").
    em: the answer's tokens are a reference's. f1: 2 P R / (P + R) over tokens as a bag. Means over answers.

    One thing differs from the SQuAD script: an empty answer is never right, even if a reference such as "The" is empty
    after normalisation. No settings. Statistics: qa.n, and the sums of qa.contains, qa.em, qa.f1.
    """

    higher_is_better = True

    def __init__(self, task: TaskSpec, **args: Any) -> None:
        settings("qa", task, args, {})
        self.signature = f"qa|norm:{SQUAD.signature}|refs:max"

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        text = answer(response)
        row = {"qa.n": 1.0}
        if not text.strip():
            return row
        tokens = tuple(SQUAD(text).split())
        references = [tuple(SQUAD(r).split()) for r in sample.references]
        scores = {
            "qa.contains": float(any(contains(tokens, r) for r in references)),
            "qa.em": float(tokens in references),
            "qa.f1": max(_f1(tokens, r) for r in references),
        }
        return row | {name: score for name, score in scores.items() if score}

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """{"contains", "em", "f1"}: each 0 to 100."""
        if not totals:
            return {}
        sums = dense(totals, ["qa.n", *(f"qa.{m}" for m in _METRICS)])
        return {m: 100 * ratio(sums[..., i + 1], sums[..., 0]) for i, m in enumerate(_METRICS)}


def _f1(hypothesis: tuple[str, ...], reference: tuple[str, ...]) -> float:
    """Token F1 of the SQuAD v1.1 script: 0 where nothing is shared, so also where both are empty."""
    shared = sum((Counter(hypothesis) & Counter(reference)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(hypothesis), shared / len(reference)
    return 2 * precision * recall / (precision + recall)
