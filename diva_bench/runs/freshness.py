"""Detect answers that changed after they were scored, without reading all of them every time.

The digest of a run's answers is in the cache folder, with the stamps of their files (`disk.stamp`); a file is read
again only if its stamp has changed. Deleting the cache costs only time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diva_bench import disk
from diva_bench.errors import UnreadableRun
from diva_bench.runs import rows
from diva_bench.runs.records import RunSummary
from diva_bench.runs.store import RunFolder
from diva_bench.specs import digest

_VERSION = 1  # bump when `digest_of` returns something else for the same answers


def checked(
    summaries: Sequence[RunSummary], results: Path, cache: Path, unreadable: list[str]
) -> tuple[list[RunSummary], int]:
    """Mark runs whose answers, or rows of their task, changed after they were scored: they are no longer complete, and
    their reason says what to do. Runs that are incomplete, and summaries of older versions, stay as they are.

    Args:
        unreadable: Gets the faults of runs whose answers cannot be read; these runs are left out.

    Returns:
        The runs, and the number of changed ones.
    """
    file = cache / "answers" / f"{digest([str(results.resolve()), _VERSION])[:16]}.json"
    memory = disk.read_json(file)
    memory = memory if isinstance(memory, dict) else {}
    summaries_now: list[RunSummary] = []
    changed, before = 0, dict(memory)
    for summary in summaries:
        try:
            reason = _doubt(summary, memory)
        except UnreadableRun as err:
            unreadable.append(str(err))
            continue
        summaries_now.append(summary.doubted(reason) if reason else summary)
        changed += bool(reason)
    if memory != before:
        _keep(file, memory)
    return summaries_now, changed


def _doubt(summary: RunSummary, cache: dict[str, Any]) -> str:
    """Why the scores do not belong to the stored answers; "" if nothing is known against it."""
    if not summary.complete:
        return ""
    again = f"run `diva-bench score {summary.folder}`"
    if summary.answers is not None and summary.answers != _digest(summary.folder, cache):
        return f"answers changed since they were scored: {again}"
    return _doubt_of_rows(RunFolder(summary.folder), cache, again)


def _doubt_of_rows(run: RunFolder, cache: dict[str, Any], again: str) -> str:
    """As `_doubt`, for the rows that are stored with the task."""
    try:
        task = run.task_record()
    except UnreadableRun:  # schema 1 has no rows
        return ""
    path = rows.path_of(run.above, task["hash"])
    if path is None:
        return ""
    key, stamps = str(path.resolve()), [list(disk.stamp(path))]
    entry = cache.get(key)
    if not (isinstance(entry, list) and len(entry) == 2 and entry[0] == stamps):
        try:
            stored = rows.load(run.above, task)
            entry = [stamps, stored.sha256 if stored else ""]
        except UnreadableRun:
            entry = [stamps, ""]
        cache[key] = entry
    if not entry[1]:
        return f"the rows of its task were edited: restore {path} from a copy, or delete it and {again}"
    if run.scored_rows() not in ("", entry[1]):
        return f"the rows of its task changed since it was scored: {again}"
    return ""


def _digest(folder: Path, cache: dict[str, Any]) -> str:
    """Digest of the answers in a run folder, from the cache if no file has changed."""
    run, key = RunFolder(folder), str(folder.resolve())
    stamps = run.stamps()  # before the files are read, so that a change in the meantime is detected
    if isinstance(entry := cache.get(key), list) and len(entry) == 2 and entry[0] == stamps:
        return str(entry[1])
    there = run.answered().digest()
    cache[key] = [stamps, there]
    return there


def _keep(file: Path, cache: dict[str, Any]) -> None:
    """Save the digests of the runs that still exist. If that fails, they are computed again next time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        disk.write_json(file, {key: value for key, value in cache.items() if Path(key).exists()})
    except OSError:
        return
