"""Find the data of a task on this machine, and say how to get missing data."""

from __future__ import annotations

import os
from pathlib import Path

from diva_bench.data import hub
from diva_bench.data.readers import OWN
from diva_bench.disk import listed
from diva_bench.errors import DataError
from diva_bench.specs import MEMORY, TaskSpec

ENVIRONMENT = "DIVA_BENCH_DATA"
"""Environment variable of the data folder, used without --data-dir."""


def data_folder(folder: Path | None) -> Path | None:
    """The folder with the user's corpora. Raises DataError if the named folder does not exist."""
    named = folder or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    if named is not None and not named.is_dir():
        raise DataError(
            f"{named}: no such folder (--data-dir and {ENVIRONMENT} name a folder of corpora, or one corpus)."
        )
    return named


def locate(task: TaskSpec, data_dir: Path | None = None) -> Path | None:
    """The folder or file with a task's data; None if it is not on this machine.

    The user's own data (`OWN`) is where the task file says. A corpus is searched in this order: the folder of its name
    in the data folder (or one of the same name in it), the data folder itself, a folder beside the task file, the hub's
    cache. Its `layout` decides whether a folder is the corpus.
    """
    if task.data.source == MEMORY:
        return Path(task.name)  # only for messages; the rows are in the task itself
    if task.data.source in OWN:
        return _own(task, data_dir)
    folder = next((place for place in _places(task, data_dir) if place.exists() and _fits(task, place)), None)
    return folder or hub.cached(task.data)


def need(task: TaskSpec, data_dir: Path | None = None) -> Path:
    """As `locate`. Raises DataError, which says where the data was searched and how to get it."""
    place = locate(task, data_dir)
    if place is None:
        raise DataError(_missing(task, data_dir))
    return place


def how_to_get(task: TaskSpec, *, fetched: bool = False) -> str:
    """Instructions to get the data; "" for data that ships. `fetched`: a download was tried before."""
    data, lines = task.data, []
    if data.hub and not fetched:
        lines.append(f"fetch it: diva-bench pull --edition {task.edition} --task {task.name} ({data.hub.repo})")
    if data.access:
        lines.append(f"ask for it: {data.access.url}\n{data.access.note}")
    if data.source not in OWN:
        name = data.path or task.task
        layout = f", a folder with {' or '.join(data.layout)}" if data.layout else ""
        lines.append(f"put it: DIR/{name}{layout}; then give --data-dir DIR (or set {ENVIRONMENT}=DIR)")
    return "\n".join(lines)


def _own(task: TaskSpec, data_dir: Path | None) -> Path:
    """The file or folder of the user's own data. It may not exist: its reader then raises with the path."""
    suffix = f".{task.data.source}" if task.data.source in ("csv", "jsonl") else ""
    beside = task.home / (task.data.path or f"{task.task}{suffix}")
    folder = data_folder(data_dir)
    if not beside.exists() and folder is not None and task.data.path and (folder / task.data.path).exists():
        return folder / task.data.path
    return beside


def _places(task: TaskSpec, data_dir: Path | None) -> list[Path]:
    name, folder = Path(task.data.path or task.task), data_folder(data_dir)
    if name.is_absolute():
        return [name]
    # an archive unpacked into a folder of its name has the corpus one level deeper
    below = [folder / name, folder / name / name.name, folder] if folder is not None else []
    return [*below, task.home / name] if task.data.path else below


def _fits(task: TaskSpec, place: Path) -> bool:
    return place.is_file() or not task.data.layout or any(listed(place, p) for p in task.data.layout)


def _missing(task: TaskSpec, data_dir: Path | None) -> str:
    places = [str(place) for place in _places(task, data_dir) if place.exists()]
    looked = f"looked for {' or '.join(task.data.layout) or 'a folder'} in {', '.join(places)}" if places else ""
    if data_folder(data_dir) is None and not places:
        looked = f"no --data-dir is given, and {ENVIRONMENT} is not set"
    reasons = "; ".join(filter(None, (looked, "not in the hub's cache either" if task.data.hub and places else "")))
    return (
        f"task {task.name}, edition {task.edition}: its data is not on this machine"
        + (f" ({reasons})" if reasons else "")
        + f".\n{how_to_get(task)}"
    )
