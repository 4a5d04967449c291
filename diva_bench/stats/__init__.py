"""Statistics: additive sums and their cluster bootstrap, tests between systems, and audio-blind priors.

Functions are imported when they are first used, because they load numpy and scipy, and most commands compute nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from diva_bench.stats.settings import FEW_CLUSTERS, FEW_NOTE, P_NOTE, RESAMPLES, SEED

if TYPE_CHECKING:
    from diva_bench.stats.differences import Difference, paired
    from diva_bench.stats.resampling import (
        Estimate,
        Interval,
        Reduce,
        bootstrap,
        dense,
        holm,
        numbered,
        ratio,
        row_by_row,
        stack,
        totals,
        unstack,
    )
    from diva_bench.stats.table import RowTable, table_of

__all__ = [
    "FEW_CLUSTERS",
    "FEW_NOTE",
    "P_NOTE",
    "RESAMPLES",
    "SEED",
    "Difference",
    "Estimate",
    "Interval",
    "Reduce",
    "RowTable",
    "bootstrap",
    "dense",
    "holm",
    "numbered",
    "paired",
    "ratio",
    "row_by_row",
    "stack",
    "table_of",
    "totals",
    "unstack",
]

_MODULES = {"Difference": "differences", "paired": "differences", "RowTable": "table", "table_of": "table"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES.get(name, "resampling")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value
