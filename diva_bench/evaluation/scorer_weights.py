"""Weights of scorers: downloaded by `pull`, or taken from a file of the user. A run works without them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from diva_bench.catalog import Catalog
from diva_bench.errors import AssetError
from diva_bench.specs import AssetSpec, TaskSpec
from diva_bench.types import Progress
from diva_bench.weights import assets


def install(catalog: Catalog, files: Sequence[Path], progress: Progress) -> dict[str, Path]:
    """Install weights from files of the user. Returns name -> folder.

    Raises:
        AssetError: A file does not exist, or its sha256 is not that of known weights.
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
    """(name -> folder of the weights of the tasks' scorers, names of those that are not available; each of them gets a
    note)."""
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
