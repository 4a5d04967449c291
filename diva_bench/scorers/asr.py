"""Word and character error rate: 100 (substitutions + deletions + insertions) / length of the reference, by jiwer.

0 and up, lower is better, above 100 where more is wrong than was said. Summed over answers before it is divided. Both
sides go through the `basic` normaliser.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import jiwer
import numpy as np

from diva_bench.scorers import answer, settings
from diva_bench.specs import TaskSpec
from diva_bench.stats import dense
from diva_bench.text import BASIC
from diva_bench.types import Floats, Response, Sample


class Wer:
    """`unit`: word (metric "wer") or char (metric "cer", for languages without spaces; white space is not counted).

    `of`: text, the answer against the sample's references (the one with the lowest rate counts); or heard, what a
    recogniser inside the model heard against the words spoken. Where either is not there, an answer has no statistics.
    Statistics: wer.errors, wer.length (units of the reference).
    """

    higher_is_better = False

    def __init__(self, task: TaskSpec, **args: Any) -> None:
        given = settings("wer", task, args, {"unit": ("word", "char"), "of": ("text", "heard")})
        self._heard = given["of"] == "heard"
        self._words = given["unit"] == "word"
        self._name = "wer" if self._words else "cer"
        self.signature = f"{self._name}|of:{given['of']}|norm:{BASIC.signature}|jiwer:{version('jiwer')}"

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        hypothesis: str | None = answer(response)
        references = sample.references
        if self._heard:
            hypothesis = response.heard
            references = (sample.transcript,) if sample.transcript is not None else ()
        if hypothesis is None or not references:
            return {}
        errors, length = min((self._align(r, hypothesis) for r in references), key=lambda e: e[0] / max(e[1], 1))
        return {"wer.errors": float(errors), "wer.length": float(length)}

    def _align(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """Errors of the best alignment, and the length of the reference."""
        result: jiwer.WordOutput | jiwer.CharacterOutput
        if self._words:
            result = jiwer.process_words(BASIC(reference), BASIC(hypothesis))
        else:
            result = jiwer.process_characters(BASIC(reference).replace(" ", ""), BASIC(hypothesis).replace(" ", ""))
        errors = result.substitutions + result.deletions + result.insertions
        return errors, result.hits + result.substitutions + result.deletions

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """{"wer" or "cer"}. Where no reference has a word, the rate is 100 per inserted word, as jiwer has it."""
        if not totals:
            return {}
        sums = dense(totals, ["wer.errors", "wer.length"])
        return {self._name: np.asarray(100 * sums[..., 0] / np.maximum(sums[..., 1], 1))}
