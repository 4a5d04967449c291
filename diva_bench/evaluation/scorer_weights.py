"""Weights that scorers take: fetched by `pull`, or taken from a file that the user has. A run goes on without them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from diva_bench.catalog import Catalog
from diva_bench.errors import AssetError
from diva_bench.specs import AssetSpec, TaskSpec
from diva_bench.types import Progress
from diva_bench.weights import assets


def install(catalog: Catalog, files: Sequence[Path], progress: Progress) -> dict[str, Path]:
    """Make ready the weights that files of the user belong to; gives name -> folder.

    Raises AssetError for a file that does not exist, or whose sha256 no weights of the catalog have.
    """
    folders: dict[str, Path] = {}
    for file in files:
        if not file.is_file():
            raise AssetError(f"{file}: no such file (--weights-file).")
        asset, home = _owner(catalog, file)
        folders[asset.name] = assets.ready(asset, home, progress, file)
    return folders


def _owner(catalog: Catalog, file: Path) -> tuple[AssetSpec, Path]:
    hashes: list[str] = []
    for name in catalog.weights_names():
        asset, home = catalog.weights(name)
        if assets.name_of(asset, file):
            return asset, home
        hashes += [*asset.instead, *(f.path for f in asset.files if f.sha256)]
    raise AssetError(
        f"{file}: its sha256 is not that of a known weights file. A file may be renamed, but not changed. Known files: "
        f"{', '.join(sorted(set(hashes)))}."
    )


def fetch(catalog: Catalog, tasks: Iterable[TaskSpec], progress: Progress) -> tuple[dict[str, Path], list[str]]:
    """The weights of the tasks' scorers: name -> folder, and the names of those that could not be had, each with a note."""
    folders: dict[str, Path] = {}
    missing: list[str] = []
    for name in dict.fromkeys(name for task in tasks for name in catalog.scorer_weights(task)):
        asset, home = catalog.weights(name)
        try:
            folders[name] = assets.ready(asset, home, progress)
        except AssetError as err:
            progress.note(f"{err} Without {name}, tasks are run and scored by their other scorers.")
            missing.append(name)
    return folders, missing
