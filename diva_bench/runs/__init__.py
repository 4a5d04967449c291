"""Runs: the answers of one model to one task, in a folder.

`Run` and `Runs` are imported when they are first used, so that lower modules can import the lower modules of this
package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diva_bench.runs.run import Run as Run
    from diva_bench.runs.run import Runs as Runs

__all__ = ["Run", "Runs"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.run"), name)
