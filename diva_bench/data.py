"""TaskSpec -> Dataset: the samples, the clips that cannot be used, and the fingerprint of it all.

Every clip is looked at once per data set (bytes hashed, decoded, measured) and the outcome is kept in an index in the
cache, so that a clip that cannot be decoded is known before anybody is asked: it is excluded for every model alike,
also for those that hear nothing, and it is part of the fingerprint. Samples hold no audio; `read` opens the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diva_bench import audio
from diva_bench.errors import ClipError, DataError
from diva_bench.specs import TaskSpec, digest
from diva_bench.types import Progress, Sample

_COLUMNS = {"id": "id", "audio": "audio", "transcript": "text", "cluster": "cluster"}
_INDEX_VERSION = 1  # bump when `_look` would say something else about the same bytes
_BLOCK = 256  # clips handed to the threads at once: bounds memory


@dataclass(frozen=True, slots=True)
class Fault:
    """A sample that nobody is asked about, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Clip:
    """What the index knows about one file: sha256 of its bytes, its length in seconds, or why it cannot be used."""

    size: int
    mtime_ns: int
    sha256: str
    seconds: float
    fault: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """`samples` in file order, `faults` apart; `fingerprint`: sha256 over ordered ids, audio bytes and references."""

    samples: tuple[Sample, ...]
    faults: tuple[Fault, ...]
    fingerprint: str

    def prior(self) -> dict[str, float]:
        """Share of each first reference: what a baseline may know."""
        counts = Counter(s.references[0] for s in self.samples)
        return {reference: n / len(self.samples) for reference, n in sorted(counts.items())}

    def limited(self, limit: int | None, seed: int) -> tuple[Sample, ...]:
        """`limit` samples drawn by a hash of seed and id (the first rows of a file are often all of one kind), in file order."""
        if limit is None or limit >= len(self.samples):
            return self.samples
        ranked = sorted(self.samples, key=lambda s: hashlib.sha256(f"{seed}:{s.id}".encode()).digest())
        chosen = {s.id for s in ranked[:limit]}
        return tuple(s for s in self.samples if s.id in chosen)


def load(task: TaskSpec, cache: Path, progress: Progress) -> Dataset:
    """Read, check and index one task's data.

    Raises DataError on a missing or malformed file, a missing column, a duplicate id, an empty reference, a label
    outside the task's choices, and on row or label counts other than the task asserts.
    """
    path = task.home / task.data.path
    columns = {**_COLUMNS, "reference": task.reference, **task.data.columns}
    rows = list(_read_jsonl(path))
    _check_rows(task, path, rows, columns)
    clips = _index(path, sorted({str(row[columns["audio"]]) for _, row in rows}), cache, progress)
    samples, faults, identity = [], [], []
    for line, row in rows:
        references = _references(path, line, row, columns["reference"], task)
        clip = clips[str(row[columns["audio"]])]
        identity.append([row[columns["id"]], clip.sha256, references, clip.fault])
        if clip.fault:
            faults.append(Fault(str(row[columns["id"]]), f"{row[columns['audio']]}: {clip.fault}"))
        else:
            samples.append(_sample(path, line, row, columns, references, clip, task))
    if not samples:
        raise DataError(f"{path}: none of the {len(rows)} clips can be used; the first: {faults[0].reason}.")
    return Dataset(tuple(samples), tuple(faults), digest(identity))


def _read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row) of every line that is not blank."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as err:
                    raise DataError(f"{path}:{number}: not valid JSON ({err.msg}).") from err
                if not isinstance(row, dict):
                    raise DataError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}.")
                yield number, row
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{path}: cannot be read ({err}). Check `data.path` of the task.") from err


def _check_rows(task: TaskSpec, path: Path, rows: list[tuple[int, dict[str, Any]]], columns: Mapping[str, str]) -> None:
    needed = {columns[role] for role in ("id", "audio", "cluster", "reference")} | set(task.groups)
    seen: dict[str, int] = {}
    for line, row in rows:
        missing = sorted(needed - row.keys())
        if missing:
            raise DataError(f"{path}:{line}: column {missing[0]!r} is missing; the row has {', '.join(sorted(row))}.")
        ident = row[columns["id"]]
        if not isinstance(ident, str) or not ident:
            raise DataError(f"{path}:{line}: the id must be a string that is not empty, found {ident!r}.")
        if ident in seen:
            raise DataError(f"{path}:{line}: id {ident!r} stands in line {seen[ident]} already; ids must be unique.")
        seen[ident] = line
    if len(rows) != task.data.rows:
        raise DataError(f"{path}: {len(rows)} rows, but task {task.name} says there are {task.data.rows}.")
    if task.data.labels is not None:
        found = Counter(str(row[columns["reference"]]) for _, row in rows)
        if found != Counter(task.data.labels):
            raise DataError(
                f"{path}: labels {dict(sorted(found.items()))}, but task {task.name} says "
                f"{dict(sorted(task.data.labels.items()))}."
            )


def _references(path: Path, line: int, row: Mapping[str, Any], column: str, task: TaskSpec) -> tuple[str, ...]:
    value = row[column]
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, str) and v.strip() for v in values):
        raise DataError(f"{path}:{line}: the reference ({column}) is empty or not text: {value!r}.")
    if task.choices is not None and not set(values) <= set(task.choices):
        raise DataError(f"{path}:{line}: {column} is {value!r}; task {task.name} allows {', '.join(task.choices)}.")
    return tuple(values)


def _sample(
    path: Path,
    line: int,
    row: Mapping[str, Any],
    columns: Mapping[str, str],
    references: tuple[str, ...],
    clip: Clip,
    task: TaskSpec,
) -> Sample:
    cluster = row[columns["cluster"]]
    if not isinstance(cluster, str) or not cluster:
        raise DataError(f"{path}:{line}: the cluster must be a string that is not empty, found {cluster!r}.")
    transcript = row.get(columns["transcript"])
    return Sample(
        id=row[columns["id"]],
        references=references,
        cluster=cluster,
        read=(path.parent / str(row[columns["audio"]])).read_bytes,
        seconds=clip.seconds,
        transcript=str(transcript) if transcript else None,
        fields={k: v for k, v in row.items() if isinstance(v, str)},
        groups={name: str(row[name]) for name in task.groups},
    )


# ---------------------------------------------------------------- the index of clips


def _index(path: Path, names: list[str], cache: Path, progress: Progress) -> dict[str, Clip]:
    """What is known of every clip, from the cache where size and time of the file are unchanged, else looked at now."""
    store = cache / "index" / f"{path.stem}-{digest([str(path.resolve()), _INDEX_VERSION])[:16]}.json"
    known = _read_index(store)
    fresh: dict[str, Clip] = {}
    stale: list[str] = []
    for name in names:
        clip = known.get(name)
        if clip is not None and (clip.size, clip.mtime_ns) == _stat(path.parent / name):
            fresh[name] = clip
        else:
            stale.append(name)
    if stale:
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            looked = _in_blocks(pool, partial(_look, path.parent), stale)
            for name, clip in progress.track(looked, f"checking {path.stem} clips", total=len(stale)):
                fresh[name] = clip
        _write_index(store, fresh)
    return fresh


def _in_blocks(
    pool: ThreadPoolExecutor, look: Callable[[str], tuple[str, Clip]], names: list[str]
) -> Iterator[tuple[str, Clip]]:
    for start in range(0, len(names), _BLOCK):
        yield from pool.map(look, names[start : start + _BLOCK])


def _stat(file: Path) -> tuple[int, int]:
    """(bytes, modification time in ns); (-1, 0) for a file that is not there."""
    try:
        stat = file.stat()
    except OSError:
        return -1, 0
    return stat.st_size, stat.st_mtime_ns


def _look(folder: Path, name: str) -> tuple[str, Clip]:
    size, mtime = _stat(folder / name)
    try:
        encoded = (folder / name).read_bytes()
    except OSError as err:
        return name, Clip(size, mtime, "", 0.0, f"cannot be read ({err.strerror})")
    sha256 = hashlib.sha256(encoded).hexdigest()
    try:
        sound = audio.decode(encoded)
    except ClipError as err:
        return name, Clip(size, mtime, sha256, 0.0, str(err))
    return name, Clip(size, mtime, sha256, round(sound.seconds, 4), "")


def _read_index(store: Path) -> dict[str, Clip]:
    """The stored index; an index that cannot be read is no index: it is rebuilt, nothing is lost but seconds."""
    try:
        return {name: Clip(**clip) for name, clip in json.loads(store.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write_index(store: Path, clips: Mapping[str, Clip]) -> None:
    """Write aside and rename; a cache that cannot be written costs time, not results."""
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        aside = store.with_suffix(f".{os.getpid()}.tmp")
        aside.write_text(json.dumps({name: asdict(clip) for name, clip in clips.items()}), encoding="utf-8")
        aside.replace(store)
    except OSError:
        return
