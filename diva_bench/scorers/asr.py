"""Word and character error rate: 100 (substitutions + deletions + insertions) / length of the reference, by jiwer.

Lower is better; the rate can exceed 100. Errors and lengths are summed over answers before the division. Both sides are
normalised with `basic`.
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
    """Word or character error rate. Without the needed texts an answer has no statistics. Statistics: wer.errors,
    wer.length (units of the reference); with both sources also wer.n answers, and wer.heard.errors, ....

    Settings:
    - `unit`: word (metric "wer") or char (metric "cer", for languages without spaces; white space is not counted).
    - `of`: "text" compares the answer with the sample's references (the one with the lowest rate counts); "heard"
      compares the transcript of a recogniser inside the model with the gold transcript; [text, heard] does both, and
      the second metric is "wer_heard" ("cer_heard").
    """

    higher_is_better = False

    def __init__(self, task: TaskSpec, **args: Any) -> None:
        allowed = {"unit": ("word", "char"), "of": ("text", "heard", ["text", "heard"])}
        options = settings("wer", task, args, allowed)
        self._words = options["unit"] == "word"
        self._both = isinstance(options["of"], list)
        sources: list[str] = options["of"] if self._both else [options["of"]]
        name = "wer" if self._words else "cer"
        self._metrics = dict.fromkeys(sources, name) | ({"heard": f"{name}_heard"} if self._both else {})
        self._keys = {source: "wer.heard" if self._both and source == "heard" else "wer" for source in sources}
        self.counted = {self._metrics[s]: (f"{self._keys[s]}.n",) for s in sources} if self._both else {}
        self.signature = f"{name}|of:{'+'.join(sources)}|norm:{BASIC.signature}|jiwer:{version('jiwer')}"

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        row: dict[str, float] = {}
        for source, key in self._keys.items():
            hypothesis: str | None = answer(response)
            references = sample.references
            if source == "heard":
                hypothesis = response.heard
                references = (sample.transcript,) if sample.transcript is not None else ()
            if hypothesis is None or not references:
                continue
            errors, length = min((self._align(r, hypothesis) for r in references), key=lambda e: e[0] / max(e[1], 1))
            row |= {f"{key}.errors": float(errors), f"{key}.length": float(length)}
            row |= {f"{key}.n": 1.0} if self._both else {}
        return row

    def _align(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """(errors of the best alignment, length of the reference)."""
        result: jiwer.WordOutput | jiwer.CharacterOutput
        if self._words:
            result = jiwer.process_words(BASIC(reference), BASIC(hypothesis))
        else:
            result = jiwer.process_characters(BASIC(reference).replace(" ", ""), BASIC(hypothesis).replace(" ", ""))
        errors = result.substitutions + result.deletions + result.insertions
        return errors, result.hits + result.substitutions + result.deletions

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """ "wer" or "cer", and "wer_heard" or "cer_heard", if they have statistics. If no reference has a word, the rate is
        100 per inserted word, as in jiwer."""
        return {
            self._metrics[source]: self._rate(totals, key)
            for source, key in self._keys.items()
            if f"{key}.length" in totals
        }

    def _rate(self, totals: Mapping[str, Floats], key: str) -> Floats:
        sums = dense(totals, [f"{key}.errors", f"{key}.length"])
        return np.asarray(100 * sums[..., 0] / np.maximum(sums[..., 1], 1))
