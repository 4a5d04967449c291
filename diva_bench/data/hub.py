"""Data sets of the Hugging Face hub: find cached files, get the size of missing ones, and download them.

Files are in the cache of the hub client, so that other programs share them. Only the parquet files of one config and
split are downloaded, and those of the config with the references if that is another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from diva_bench.data.readers.parquet import patterns, split_files
from diva_bench.errors import DataError, one_line
from diva_bench.specs import DataSpec, Hub
from diva_bench.types import Progress


@dataclass(frozen=True, slots=True)
class Remote:
    """A file of a repository: its path and its size in bytes."""

    path: str
    bytes: int


def cached(data: DataSpec) -> Path | None:
    """The folder with all files of the split at the revision, by what is known on this machine; None if files are
    missing."""
    folder = _snapshot(data.hub) if data.hub else None
    try:
        here = folder is not None and all(split_files(folder, config, data.split) for config in _configs(data))
    except DataError:  # some of the files
        return None
    return folder if here else None


def _configs(data: DataSpec) -> list[str | None]:
    """The configs whose files a task needs."""
    return [data.config, *([data.reference_config] if data.reference_config else [])]


def revision(folder: Path) -> str:
    """The commit of a cached folder; "" for a folder outside the hub's cache."""
    return folder.name if folder.parent.name == "snapshots" else ""


def remote(data: DataSpec, where: str) -> list[Remote]:
    """The files of the split on the hub. Raises DataError if the hub cannot be reached or has none."""
    import huggingface_hub

    hub = _hub_of(data, where)
    _reachable(hub, where)
    try:
        tree = huggingface_hub.HfApi().list_repo_tree(
            hub.repo, recursive=True, revision=hub.revision, repo_type="dataset"
        )
        files = [Remote(item.path, item.size) for item in tree if isinstance(item, huggingface_hub.hf_api.RepoFile)]
    except Exception as err:  # the client may raise any exception of its HTTP library
        raise _away(hub, where, err) from err
    return list(dict.fromkeys(file for config in _configs(data) for file in _of_config(files, data, config, where)))


def _of_config(files: Sequence[Remote], data: DataSpec, config: str | None, where: str) -> list[Remote]:
    """The files of the split in one config. Raises DataError if there are none."""
    hub = _hub_of(data, where)
    for pattern in patterns(config, data.split):
        if matches := [file for file in files if _matches(file.path, pattern)]:
            return matches
    raise DataError(
        f"{where}: {hub.repo} has no parquet files of it at {hub.revision} "
        f"(looked for {', '.join(patterns(config, data.split))})."
    )


def pull(data: DataSpec, files: Sequence[Remote], where: str, progress: Progress) -> Path:
    """Download files into the cache of the hub client, except those that are there. Returns the folder."""
    import huggingface_hub
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    hub = _hub_of(data, where)
    disable_progress_bars()  # our bar is shown instead
    with progress.bar(f"fetching {hub.repo}", sum(f.bytes for f in files), "bytes") as bar:
        for file in files:
            try:
                huggingface_hub.hf_hub_download(hub.repo, file.path, revision=hub.revision, repo_type="dataset")
            except Exception as err:  # as in `remote`
                raise _away(hub, where, err) from err
            bar.advance(file.bytes, file.path)
    folder = cached(data)
    if folder is None:
        raise DataError(f"{where}: fetched, but its files are not in the hub's cache. Fetch again.")
    return folder


def _matches(path: str, pattern: str) -> bool:
    """Whether a path matches a glob pattern in which `*` does not match a slash."""
    parts, pattern_parts = path.split("/"), pattern.split("/")
    return len(parts) == len(pattern_parts) and all(
        fnmatch(part, glob) for part, glob in zip(parts, pattern_parts, strict=True)
    )


def _hub_of(data: DataSpec, where: str) -> Hub:
    if data.hub is None:
        raise DataError(f"{where}: its data is not on the hub.")
    return data.hub


def _snapshot(hub: Hub) -> Path | None:
    """The folder of a revision in the hub client's cache, without asking the hub."""
    from huggingface_hub import constants

    if not (Path(constants.HF_HUB_CACHE) / f"datasets--{hub.repo.replace('/', '--')}").is_dir():
        return None
    import huggingface_hub

    try:
        snapshot = huggingface_hub.snapshot_download(
            hub.repo, revision=hub.revision, repo_type="dataset", local_files_only=True
        )
    except (OSError, ValueError):  # it was never downloaded, or the cache is damaged
        return None
    return Path(snapshot)


def _reachable(hub: Hub, where: str) -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise DataError(f"{where}: HF_HUB_OFFLINE is set, and {hub.repo} is not in the hub's cache. Unset it to fetch.")
    from diva_bench.weights import fetch  # it loads the libraries of the network

    if problem := fetch.hub_problem(constants.ENDPOINT):
        raise DataError(
            f"{where}: {constants.ENDPOINT} cannot be reached ({problem}), and {hub.repo} is not in its cache. Fetch it "
            "where there is a network, or put its parquet files into the data folder (--data-dir)."
        )


def _away(hub: Hub, where: str, err: Exception) -> DataError:
    return DataError(
        f"{where}: {hub.repo} at {hub.revision} cannot be read from the hub ({one_line(err)[:300]}). Check the "
        "network, and `hf auth login` if it is gated."
    )
