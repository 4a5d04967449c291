"""Data sets of the Hugging Face hub: what of one is on this machine, how large the rest is, and fetching it.

Files lie in the hub client's own cache, so that other programs share them. Only the parquet files of one config and
split are fetched.
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
from diva_bench.weights import fetch


@dataclass(frozen=True, slots=True)
class Remote:
    """One file of a repository: its path in it, and bytes."""

    path: str
    bytes: int


def cached(data: DataSpec) -> Path | None:
    """The folder that holds all files of the split at the revision, as far as this machine knows; None where it does not."""
    folder = _snapshot(data.hub) if data.hub else None
    try:
        return folder if folder is not None and split_files(folder, data.config, data.split) else None
    except DataError:  # some of the files
        return None


def revision(folder: Path) -> str:
    """The commit that a cached folder is of; "" where the folder is not from the hub's cache."""
    return folder.name if folder.parent.name == "snapshots" else ""


def remote(data: DataSpec, where: str) -> list[Remote]:
    """The files of the split as the hub has them. Raises DataError where it cannot be asked or has none."""
    import huggingface_hub

    hub = _asked(data, where)
    _reachable(hub, where)
    try:
        tree = huggingface_hub.HfApi().list_repo_tree(
            hub.repo, recursive=True, revision=hub.revision, repo_type="dataset"
        )
        files = [Remote(item.path, item.size) for item in tree if isinstance(item, huggingface_hub.hf_api.RepoFile)]
    except Exception as err:  # the client passes on the exceptions of whichever HTTP library it uses
        raise _away(hub, where, err) from err
    for pattern in patterns(data.config, data.split):
        if matches := [file for file in files if _matches(file.path, pattern)]:
            return matches
    raise DataError(
        f"{where}: {hub.repo} has no parquet files of it at {hub.revision} "
        f"(looked for {', '.join(patterns(data.config, data.split))})."
    )


def pull(data: DataSpec, files: Sequence[Remote], where: str, progress: Progress) -> Path:
    """Fetch files into the hub client's cache; those that are there are not fetched again. Returns the folder."""
    import huggingface_hub
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    hub = _asked(data, where)
    disable_progress_bars()  # ours is there
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
    """Glob with a `*` that does not cross folders."""
    parts, pattern_parts = path.split("/"), pattern.split("/")
    return len(parts) == len(pattern_parts) and all(
        fnmatch(part, glob) for part, glob in zip(parts, pattern_parts, strict=True)
    )


def _asked(data: DataSpec, where: str) -> Hub:
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
    except (OSError, ValueError):  # it was never fetched, or its cache is not one
        return None
    return Path(snapshot)


def _reachable(hub: Hub, where: str) -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise DataError(f"{where}: HF_HUB_OFFLINE is set, and {hub.repo} is not in the hub's cache. Unset it to fetch.")
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
