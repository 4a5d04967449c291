"""released: the mean of the scores that came with imported answers, 0 to 100; nothing is measured again.

The source may have used another version of a metric, another LLM judge, or another split; beside our own metrics this
score shows the difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diva_bench import stats
from diva_bench.errors import DataError
from diva_bench.scorers import settings
from diva_bench.specs import TaskSpec
from diva_bench.types import Floats, Response, Sample

NAME = "given"
"""Key of the score in `Response.scores`, and name of this scorer."""
METRIC = "released"
ROUNDING = 1e-9
"""Relative rounding error: a perfect sentence BLEU is often 100.00000000000004."""


class SourceScore:
    """The mean of the scores from the source of the answers. Answers without a score are left out, and so are errors (but
    see `imported.ERRORS`). Statistics: given.n and the sum given.score, 0 to 100.

    Setting: `top`, the score of a perfect answer at the source: 1 (probabilities, right or wrong) or 100 (BLEU).
    """

    higher_is_better = True
    reads_answers = False

    def __init__(self, task: TaskSpec, **args: Any) -> None:
        self._top: int = settings(NAME, task, args, {"top": (1, 100)})["top"]
        self.signature = f"given|top:{self._top}|as released"

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        score = response.scores.get(NAME)
        if score is None or response.status == "error":
            return {}
        if not 0 <= score <= self._top * (1 + ROUNDING):
            raise DataError(f"response {response.id}: its score is {score}, outside 0 to {self._top}.")
        return {"given.n": 1.0, "given.score": score * 100 / self._top}

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """{"released"}: 0 to 100; empty if no answer has a score."""
        if not totals:
            return {}
        sums = stats.dense(totals, ["given.n", "given.score"])
        return {METRIC: stats.ratio(sums[..., 1], sums[..., 0])}
