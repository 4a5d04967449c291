"""Statistics: additive sums and their cluster bootstrap, tests between systems, and audio-blind priors."""

from diva_bench.stats.differences import FEW_NOTE, Difference, paired
from diva_bench.stats.resampling import (
    FEW_CLUSTERS,
    RESAMPLES,
    SEED,
    Estimate,
    Interval,
    Reduce,
    bootstrap,
    dense,
    holm,
    ratio,
    row_by_row,
    stack,
    totals,
    unstack,
)

__all__ = [
    "FEW_CLUSTERS",
    "FEW_NOTE",
    "RESAMPLES",
    "SEED",
    "Difference",
    "Estimate",
    "Interval",
    "Reduce",
    "bootstrap",
    "dense",
    "holm",
    "paired",
    "ratio",
    "row_by_row",
    "stack",
    "totals",
    "unstack",
]
