"""The runs of the folder that a command line names."""

from __future__ import annotations

import os
from pathlib import Path

from diva_bench.cli.streams import say
from diva_bench.errors import StoreError
from diva_bench.runs.bundle import opened
from diva_bench.runs.run import Runs, load_runs, no_folder
from diva_bench.specs.spec_file import builtin_folder

DEFAULT = Path("results")


def stored_runs(results: Path, *, listed: bool = False) -> Runs:
    """The runs of a folder or a bundle. If it has no runs itself, those of its subfolders (such as the published ones in
    `results/mini-v1` of a checkout), and a message names the subfolder. `listed`: see `load_runs`.

    Raises:
        StoreError: There is no such folder.
    """
    results = opened(results)
    if not results.is_dir():
        raise StoreError(f"{no_folder(results)}{_published()}")
    runs = load_runs([results], listed=listed, processes=min(4, os.cpu_count() or 1))
    folders = {run.path.parent.parent for run in runs}
    for folder in sorted(folder for folder in folders if results in folder.parents):
        say(f"{results} has no runs of its own; these are in {folder}.", error=True)
    return runs


def _published() -> str:
    """A sentence with the folder of the published runs, if it is on this machine."""
    folder = builtin_folder() / DEFAULT / "mini-v1"
    return f" The published runs are in {folder}." if folder.is_dir() else ""
