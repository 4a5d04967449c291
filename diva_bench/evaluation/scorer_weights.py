"""Weights from files and folders of the user; and weights of scorers, which `pull` downloads and a run works without."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from diva_bench.catalog import Catalog
from diva_bench.errors import AssetError, unknown
from diva_bench.specs import AssetSpec, InlineWeights, TaskSpec
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


def install_folders(catalog: Catalog, pairs: Sequence[str], progress: Progress) -> dict[str, Path]:
    """Use folders of the user in place of the Hub. Returns name -> folder.

    Args:
        pairs: "NAME=FOLDER": the name of weights, or owner/name of their repository.

    Raises:
        AssetError: There are no such weights, or the folder has none.
    """
    every = {name: catalog.weights(name)[0] for name in catalog.weights_names()}
    candidates = {name: asset for name, asset in every.items() if asset.hub}
    folders: dict[str, Path] = {}
    for pair in pairs:
        name, _, folder = pair.partition("=")
        if not name or not folder.strip():
            raise AssetError(
                f"--weights-folder {pair}: expected NAME=FOLDER, such as llama-3-8b-instruct=/models/llama-3."
            )
        some = [asset for asset in candidates.values() if name in (asset.name, asset.hub)]
        if not some and name.count("/") == 1:  # a repository that a model names in place
            some = [InlineWeights(hub=name).asset()]
        if not some:
            raise unknown("weights", name, candidates, "those from the Hub")
        for asset in some:
            folders[asset.name] = assets.ready(asset, Path(), progress, Path(folder))
    return folders


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
