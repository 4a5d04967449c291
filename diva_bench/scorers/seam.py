"""The seam between scorers and the judge: what a scorer gives is checked before anything of it is written.

Statistics of an answer are finite Python numbers by name; scores are finite, in the shape of the sums, and on the scale of
their metric. A scorer that gives anything else, a plugin's say, is named with the sample or the metric.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from diva_bench.errors import ScorerError
from diva_bench.scorers import METRICS, Ends, range_in_words
from diva_bench.types import Floats, Scorer

_ROUNDING: Final = 1e-6
"""How far a score may lie outside its scale: sums of thousands of statistics are that exact."""
_LISTED: Final[Mapping[tuple[str, str], Ends]] = {(m.scorer, m.name): (m.low, m.high) for m in METRICS}


def scale(name: str, scorer: Scorer, metric: str) -> Ends:
    """The least and the most that a metric can be: as METRICS has it; of one that is not listed, as its scorer says in
    `ranges`, metric -> (least, most), if it has that, else 0 to 100. None: nothing holds it there."""
    if (name, metric) in _LISTED:
        return _LISTED[name, metric]
    if name == "hf_evaluate":  # metrics of anybody's
        return None, None
    given: Ends = getattr(scorer, "ranges", {}).get(metric, (0, 100))
    return given


def check_row(task: str, name: str, sample: str, row: dict[str, float]) -> dict[str, float]:
    """The statistics of one answer, their names shared by all rows: of 200,000 answers the names would take more than the
    numbers. Raises ScorerError where they are not finite Python numbers by name."""
    wrong = f"row {row!r}, not a dict" if not isinstance(row, dict) else ""
    for key, value in row.items() if isinstance(row, dict) else ():
        if not isinstance(key, str):
            wrong = f"a statistic named {key!r}, which is no string"
        elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            wrong = f"{key} = {value!r} ({type(value).__name__}), not a finite Python number"
    if wrong:
        raise ScorerError(
            f"task {task}: scorer {name} gave for sample {sample} {wrong}. Nothing was written; the scorer must be mended."
        )
    return {sys.intern(str(key)): value for key, value in row.items()}


def checked(task: str, name: str, scorer: Scorer) -> Callable[[Mapping[str, Floats]], dict[str, Floats]]:
    """`reduce` of a scorer, which raises ScorerError where it does not give finite numbers on the scale of their metric, in
    the shape of the sums."""

    def reduce(totals: Mapping[str, Floats]) -> dict[str, Floats]:
        found, shape = scorer.reduce(totals), np.shape(next(iter(totals.values()), 0.0))
        wrong = f"{type(found).__name__}, not a dict of scores" if not isinstance(found, dict) else ""
        for metric, values in found.items() if isinstance(found, dict) else ():
            wrong = wrong or _strange(metric, values, shape, scale(name, scorer, metric))
        if wrong:
            raise ScorerError(
                f"task {task}: scorer {name} gave {wrong}. Nothing was written; the scorer must be mended."
            )
        return found

    return reduce


def _strange(metric: object, values: object, shape: tuple[int, ...], ends: Ends) -> str:
    """What is wrong with the values of one metric; "" where nothing is."""
    if not isinstance(metric, str):
        return f"a metric named {metric!r}, which is no string"
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.dtype == np.float32:
        return f"{metric} of type {array.dtype}, not numbers in double precision"
    if array.shape != shape:
        return f"{metric} of shape {array.shape} for sums of shape {shape}"
    if not np.isfinite(array).all():
        return f"{metric} = {array[~np.isfinite(array)].flat[0]}, which is no number"
    low, high = ends
    outside = (array < (-np.inf if low is None else low - _ROUNDING)) | (
        array > (np.inf if high is None else high + _ROUNDING)
    )
    if outside.any():
        return f"{metric} = {array[outside].flat[0]:g}, outside its scale ({range_in_words(low, high)})"
    return ""
