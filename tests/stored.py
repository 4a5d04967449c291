"""What lies in a folder of runs, for tests."""

from __future__ import annotations

from pathlib import Path

from diva_bench.runs import Run
from diva_bench.runs.records import RunSummary, folders_in


def collect(results: Path) -> list[RunSummary]:
    """The summaries of all runs, in the order of their paths; the first one that cannot be read is an UnreadableRun."""
    return [Run.open(folder).summary for folder in folders_in(results)]
