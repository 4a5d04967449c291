"""The runs that a command is about, in the folder that was named or beside it."""

from __future__ import annotations

from pathlib import Path

from diva_bench.catalog import builtin_folder
from diva_bench.cli.streams import say
from diva_bench.errors import StoreError
from diva_bench.runs.records import RunSummary, collect

DEFAULT = Path("results")


def stored_runs(results: Path, unreadable: list[str]) -> list[RunSummary]:
    """The runs of a folder. Where the default folder has none of its own, those of its folders, such as the published ones
    in `results/mini` of a checkout, which is said. `unreadable`: gets what is wrong with each that cannot be read.

    Raises StoreError where there is no such folder.
    """
    if not results.is_dir():
        raise StoreError(
            f"{results}: no such folder. Give the folder that `diva-bench run --output` wrote to.{_published()}"
        )
    summaries = collect(results, unreadable)
    if summaries or unreadable or results != DEFAULT:
        return summaries
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        inner = collect(folder, unreadable)
        if inner:
            say(f"{results} has no runs of its own; these are in {folder}.", error=True)
        summaries += inner
    return summaries


def _published() -> str:
    """Where the published runs are, if they are on this machine."""
    folder = builtin_folder() / DEFAULT / "mini"
    return f" The published runs are in {folder}." if folder.is_dir() else ""
