"""Statistics: additive sums and their cluster bootstrap, tests between systems, and audio-blind priors.

Functions are imported when they are first used, because they load numpy and scipy, and most commands compute nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from diva_bench.stats.settings import FEW_CLUSTERS, FEW_NOTE, RESAMPLES, SEED

if TYPE_CHECKING:
    from diva_bench.stats.differences import Difference, paired
    from diva_bench.stats.resampling import (
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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "differences" if name in ("Difference", "paired") else "resampling"
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value
