"""The runs that a command is about, in the folder that was named or beside it."""

from __future__ import annotations

from pathlib import Path

from diva_bench.catalog import builtin_folder
from diva_bench.cli.streams import say
from diva_bench.errors import StoreError
from diva_bench.runs.run import Runs, load_runs

DEFAULT = Path("results")


def stored_runs(results: Path) -> Runs:
    """The runs of a folder. Where it has none of its own, those of its folders, such as the published ones in `results/mini`
    of a checkout; where they are is printed.

    Raises StoreError where there is no such folder.
    """
    if not results.is_dir():
        raise StoreError(
            f"{results}: no such folder. Give the folder that `diva-bench run --output` wrote to.{_published()}"
        )
    runs = load_runs([results])
    folders = {run.path.parent.parent for run in runs}
    for folder in sorted(folder for folder in folders if results in folder.parents):
        say(f"{results} has no runs of its own; these are in {folder}.", error=True)
    return runs


def _published() -> str:
    """Where the published runs are, if they are on this machine."""
    folder = builtin_folder() / DEFAULT / "mini"
    return f" The published runs are in {folder}." if folder.is_dir() else ""
