"""diva-bench: run speech language models on spoken benchmarks and get numbers that can be trusted.

    import diva_bench as db

    runs = db.run("cascade", ["heysquad", "covost2-de"], limit=8)
    print(runs[0])                # the table
    runs[0].to_pandas()           # a row a sample
    db.load_runs("results").to_pandas()    # a row a run and metric

Names are imported when they are first used: this module loads no library.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diva_bench.api import compare as compare
    from diva_bench.api import import_predictions as import_predictions
    from diva_bench.api import leaderboard as leaderboard
    from diva_bench.api import load_runs as load_runs
    from diva_bench.api import run as run
    from diva_bench.api import score as score
    from diva_bench.errors import UserError as UserError
    from diva_bench.evaluation.in_memory import Task as Task
    from diva_bench.runs import Run as Run
    from diva_bench.runs import Runs as Runs
    from diva_bench.specs import ModelSpec as ModelSpec
    from diva_bench.tables import Table as Table
    from diva_bench.tables import Tables as Tables
    from diva_bench.types import Adapter as Adapter
    from diva_bench.types import Audio as Audio
    from diva_bench.types import LabelScore as LabelScore
    from diva_bench.types import Progress as Progress
    from diva_bench.types import Request as Request
    from diva_bench.types import Response as Response
    from diva_bench.types import Sample as Sample
    from diva_bench.types import Scorer as Scorer

__version__ = "0.1.0"
__all__ = [
    "Adapter",
    "Audio",
    "LabelScore",
    "ModelSpec",
    "Progress",
    "Request",
    "Response",
    "Run",
    "Runs",
    "Sample",
    "Scorer",
    "Table",
    "Tables",
    "Task",
    "UserError",
    "__version__",
    "compare",
    "import_predictions",
    "leaderboard",
    "load_runs",
    "run",
    "score",
]

_PLACES = {
    "api": ("compare", "import_predictions", "leaderboard", "load_runs", "run", "score"),
    "errors": ("UserError",),
    "tables": ("Table", "Tables"),
    "evaluation.in_memory": ("Task",),
    "runs.run": ("Run", "Runs"),
    "specs": ("ModelSpec",),
    "types": ("Adapter", "Audio", "LabelScore", "Progress", "Request", "Response", "Sample", "Scorer"),
}
_MODULES = {name: (module, name) for module, names in _PLACES.items() for name in names}

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _MODULES[name]
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
