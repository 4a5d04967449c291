"""Whether the answers of runs are still those that were scored, without reading all of them every time.

The digest of a run's answers is kept in the cache folder, never in the run, beside the stamps of the files that it was
made of (`disk.stamp`): a file is read again only where its stamp is another one. Deleting what is kept costs time alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diva_bench import disk
from diva_bench.errors import UnreadableRun
from diva_bench.runs import rows
from diva_bench.runs.records import RunSummary
from diva_bench.runs.store import RunFolder, digest_of
from diva_bench.specs import digest

_VERSION = 1  # bump when `digest_of` would say something else about the same answers


def checked(
    summaries: Sequence[RunSummary], results: Path, cache: Path, unreadable: list[str]
) -> tuple[list[RunSummary], int]:
    """The runs, and how many of them have other answers, or other rows of their task, than those that were scored: such a run
    is no longer complete, and its reason says what to do. What is not complete anyway, and summaries of older versions, which
    do not say what they are about, stay as they are. `unreadable`: gets what is wrong with runs whose answers cannot be read,
    which are left out."""
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
    """Why the scores are known not to be those of what lies there; "" where nothing is known against them."""
    if not summary.complete:
        return ""
    again = f"run `diva-bench score {summary.folder}`"
    if summary.answers is not None and summary.answers != _digest(summary.folder, cache):
        return f"answers changed since they were scored: {again}"
    return _doubt_of_rows(RunFolder(summary.folder), cache, again)


def _doubt_of_rows(run: RunFolder, cache: dict[str, Any], again: str) -> str:
    """As `_doubt`, of the rows that are stored with the task."""
    try:
        task = run.task_record()
    except UnreadableRun:  # of schema 1, which has no rows
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
    """Of the answers in a run folder: the one that is kept, if no file has changed."""
    run, key = RunFolder(folder), str(folder.resolve())
    stamps = run.stamps()  # before the files are read: what is written meanwhile has another stamp
    if isinstance(entry := cache.get(key), list) and len(entry) == 2 and entry[0] == stamps:
        return str(entry[1])
    there = digest_of(run.responses())
    cache[key] = [stamps, there]
    return there


def _keep(file: Path, cache: dict[str, Any]) -> None:
    """Write down what is known of the runs that are still there; where nothing can be written, it is found out again."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        disk.write_json(file, {key: value for key, value in cache.items() if Path(key).exists()})
    except OSError:
        return
