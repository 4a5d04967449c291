"""What lies in a folder of runs, for tests."""

from __future__ import annotations

from pathlib import Path

import mini_task
from command_line import call

from diva_bench.runs import Run
from diva_bench.runs.records import RunSummary, folders_in


def collect(results: Path) -> list[RunSummary]:
    """The summaries of all runs, in the order of their paths; the first one that cannot be read is an UnreadableRun."""
    return [Run.open(folder).summary for folder in folders_in(results)]


def two_runs(folder: Path) -> Path:
    """Runs of echo and of another model, both of the task toy with 6 samples, in `results`; task and model are in `specs`."""
    specs = mini_task.write(folder / "specs", count=6)
    mini_task.model(specs, "other", reply="q001")
    got = call(folder, "run", "--path", "specs", "-m", "echo,other", "-t", "toy")
    assert got.returncode == 0, got.stderr
    return folder


def run_of(folder: Path, model: str = "echo") -> Path:
    """The folder of the run of a model in `results`."""
    return next(path for path in folders_in(folder / "results") if path.name.startswith(model))
