"""Detect answers that changed after they were scored, without reading all of them every time.

The digest of a run's answers is in the cache folder, with the stamps of their files (`disk.stamp`); a file is read
again only if its stamp has changed. Deleting the cache costs only time.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from diva_bench import disk
from diva_bench.errors import UnreadableRun
from diva_bench.runs import rows
from diva_bench.runs.records import RunSummary
from diva_bench.runs.store import RunFolder
from diva_bench.specs import digest

_MUCH = 20 << 20
"""Bytes of answers from which several processes read them: one takes more than 5 seconds for these."""
_VERSION = 1  # bump when `digest_of` returns something else for the same answers


def checked(
    summaries: Sequence[RunSummary], results: Path, cache: Path, unreadable: list[str], processes: int = 1
) -> tuple[list[RunSummary], int]:
    """Mark runs whose answers, or rows of their task, changed after they were scored: they are no longer complete, and
    their reason says what to do. Runs that are incomplete, and summaries of older versions, stay as they are.

    Args:
        unreadable: Gets the faults of runs whose answers cannot be read; these runs are left out.
        processes: So many may read answers; more than 1 only if the main module of this process can be imported again.

    Returns:
        The runs, and the number of changed ones.
    """
    file = cache / "answers" / f"{digest([str(results.resolve()), _VERSION])[:16]}.json"
    memory = disk.read_json(file)
    memory = memory if isinstance(memory, dict) else {}
    summaries_now: list[RunSummary] = []
    changed, before = 0, dict(memory)
    if processes > 1:
        _read_together(summaries, memory, processes)
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


def _read_together(summaries: Sequence[RunSummary], cache: dict[str, Any], processes: int) -> None:
    """Put the digests that the cache lacks into it, if they are of many answers. Faults are left to `_digest`."""
    unknown = [s.folder for s in summaries if s.complete and s.answers is not None and not _known(s.folder, cache)]
    if sum(path.stat().st_size for folder in unknown for path in RunFolder(folder).files("responses")) < _MUCH:
        return
    context = multiprocessing.get_context("spawn")
    # these processes live as long as the reading takes, and nothing of what they make refers to itself
    with ProcessPoolExecutor(min(processes, len(unknown)), mp_context=context, initializer=gc.disable) as pool:
        for folder, entry in zip(unknown, pool.map(_entry_or_none, unknown), strict=True):
            if entry is not None:
                cache[str(folder.resolve())] = entry


def _known(folder: Path, cache: dict[str, Any]) -> str:
    """The digest of the answers in a run folder, if the cache has that of its files as they are now; else ""."""
    entry = cache.get(str(folder.resolve()))
    with contextlib.suppress(UnreadableRun):
        if isinstance(entry, list) and len(entry) == 2 and entry[0] == RunFolder(folder).stamps():
            return str(entry[1])
    return ""


def _entry(folder: Path) -> list[Any]:
    """The stamps and the digest of the answers in a run folder."""
    run = RunFolder(folder)
    stamps = run.stamps()  # before the files are read, so that a change in the meantime is detected
    return [stamps, run.answered().digest()]


def _entry_or_none(folder: Path) -> list[Any] | None:
    """As `_entry`; None if they cannot be read."""
    try:
        return _entry(folder)
    except UnreadableRun:
        return None


def _doubt(summary: RunSummary, cache: dict[str, Any]) -> str:
    """Why the scores do not belong to the stored answers; "" if nothing is known against it."""
    if not summary.complete:
        return ""
    again = f"run `diva-bench score {summary.folder}`"
    if summary.answers is not None and summary.answers != _digest(summary.folder, cache):
        return lost(RunFolder(summary.folder), summary.scored) or f"answers changed since they were scored: {again}"
    return _doubt_of_rows(RunFolder(summary.folder), cache, again)


def lost(run: RunFolder, scored: int) -> str:
    """What to do if the run has fewer answers than were scored; "" if it has as many. To score it again would hide the
    loss, and could drop values that cannot be measured on this machine."""
    left = len(run.answered())
    if left >= scored:
        return ""
    files = ", ".join(path.name for path in run.files("responses")) or "responses.jsonl"
    return (
        f"{scored - left:,} of {scored:,} scored answers are lost: restore {files} from a copy, or run the model again, "
        "which asks only for what is missing"
    )


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
    if not (known := _known(folder, cache)):
        entry = cache[str(folder.resolve())] = _entry(folder)
        known = str(entry[1])
    return known


def _keep(file: Path, cache: dict[str, Any]) -> None:
    """Save the digests of the runs that still exist. If that fails, they are computed again next time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        disk.write_json(file, {key: value for key, value in cache.items() if Path(key).exists()})
    except OSError:
        return
