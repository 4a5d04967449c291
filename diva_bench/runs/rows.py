"""The rows of a task, stored once for all of its runs: rows.jsonl beside task.json.

With them, answers are scored and compared without the task's data. They have no audio, but the sha256 of every clip.
The first line has the sha256 of the other lines, and these have everything that is in the fingerprint of task.json, so
that an edited row is detected by one or the other. Rows of licensed data (`access` in the task file) are in the cache
folder of this machine, not among results that may be shared, unless the user asks for it (`score --share-rows`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from diva_bench import disk
from diva_bench.data import packing
from diva_bench.data.dataset import Dataset, Fault, fingerprint_of, prompt_inputs
from diva_bench.data.packing import Covered
from diva_bench.errors import ClipError, UnreadableRun
from diva_bench.packed import chosen, mapped
from diva_bench.runs import schemas
from diva_bench.runs.lines import line_of, parsed, read_lines
from diva_bench.runs.schemas import SCHEMA
from diva_bench.runs.store import cannot_write
from diva_bench.specs import FIELD, Json, TaskSpec, templates
from diva_bench.specs.prompt import build
from diva_bench.types import Sample
from diva_bench.weights import assets

NAME = "rows.jsonl"
_NAMED = 3  # ids that a message lists


@dataclass(frozen=True)
class Rows:
    """The content of a rows file: `samples` without audio and `covered` as in a Dataset, and the sha256."""

    path: Path
    sha256: str
    samples: Sequence[Sample]
    covered: Sequence[Covered]

    def dataset(self, task: Mapping[str, Any], run: Mapping[str, Any]) -> Dataset:
        """The data set of a run by its task.json, its run.json and these rows."""
        return Dataset(
            self.samples,
            _faults(run, "faults"),
            str(task["fingerprint"]),
            excluded=_faults(run, "excluded"),
            partial=str(task.get("partial", "")),
            notes=tuple(run.get("data_notes", ())),
            revision=str(run.get("data_revision", "")),
            covered=self.covered,
        )

    def joined(self, data: Dataset) -> Dataset:
        """The stored rows together with the audio, columns and groups of a data set; where both have a value, the stored
        one is used."""
        here = _places(data.samples)
        both = chosen(self.samples, [i for i, sample in enumerate(self.samples) if sample.id in here])
        return replace(data, samples=mapped(both, lambda sample: _joined(sample, data.samples[here[sample.id]])))


def _places(samples: Sequence[Sample]) -> dict[str, int]:
    return {sample.id: place for place, sample in enumerate(samples)}


def _joined(stored: Sample, here: Sample) -> Sample:
    fields, groups = {**here.fields, **stored.fields}, {**here.groups, **stored.groups}
    return replace(stored, read=here.read, seconds=here.seconds, fields=fields, groups=groups)


def _faults(run: Mapping[str, Any], key: str) -> tuple[Fault, ...]:
    return tuple(Fault(fault["id"], fault["reason"]) for fault in run.get(key, ()))


# ---------------------------------------------------------------- where they are


def local(task_hash: str) -> Path:
    """The file for rows that must not be shared, outside of any results folder."""
    return assets.cache_folder() / "rows" / f"{task_hash}.jsonl"


def path_of(task_folder: Path, task_hash: str) -> Path | None:
    """The rows of a task: beside its task.json or in the cache of this machine; None if there are none."""
    return next((path for path in (task_folder / NAME, local(task_hash)) if path.is_file()), None)


def load(task_folder: Path, record: Mapping[str, Any]) -> Rows | None:
    """The rows of a task; None if none are stored.

    Args:
        record: Its task.json.

    Raises:
        UnreadableRun: The file is damaged, or not of this task.
    """
    path = path_of(task_folder, str(record["hash"]))
    if path is None:
        return None
    try:
        return _read(path, disk.stamp(path), json.dumps(record, sort_keys=True))
    except OSError as err:
        raise UnreadableRun(f"{path}: cannot be read ({err.strerror}). {_REMEDY}") from err


def digest(path: Path) -> str:
    """The sha256 in the first line of a rows file."""
    return str(_head(path)["sha256"])


# ---------------------------------------------------------------- writing


def keep(task_folder: Path, record: Mapping[str, Any], task: TaskSpec, data: Dataset, *, share: bool = False) -> str:
    """Write the rows of a task if they do not exist.

    Args:
        task_folder: The folder with its task.json.
        record: Its task.json.
        share: Store licensed rows among the results too.

    Returns:
        Their sha256; "" if only ids of the samples are known.
    """
    if not data.covered or not data.questions:
        return ""
    target = task_folder / NAME if share or task.data.access is None else local(str(record["hash"]))
    there = path_of(task_folder, str(record["hash"]))
    if there is not None and not (share and there != target):
        return digest(there)
    head = _head_of(record, task, data)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        disk.write_lines(target, _chain(head, _lines(task, data, "prompt" in head)))
    except OSError as err:
        raise cannot_write(target, err) from err
    return str(head["sha256"])


def _chain(head: Json, lines: Iterator[Json]) -> Iterator[bytes]:
    yield line_of(head)
    yield from map(line_of, lines)


def _head_of(record: Mapping[str, Any], task: TaskSpec, data: Dataset) -> Json:
    """The first line. It has prompt and system message if they are the same for every sample."""
    requests = (build(task, s, frozenset()) for s in data.samples)
    first = next(requests)
    same = all((request.prompt, request.system) == (first.prompt, first.system) for request in requests)
    state, count = hashlib.sha256(), 0
    for line in _lines(task, data, same):
        state.update(line_of(line))
        count += 1
    return {
        "schema": SCHEMA,
        "task": record["hash"],
        "rows": count,
        "sha256": state.hexdigest(),
        **({"speaker": task.speaker} if task.speaker else {}),
        **({"prompt": first.prompt, "system": first.system} if same else {}),
    }


def _lines(task: TaskSpec, data: Dataset, same_prompt: bool) -> Iterator[Json]:
    """One line per row of the data, in its order. A row that is left out for every model has only what the fingerprint
    covers."""
    samples = iter(data.samples)  # in the order of `covered`, which has more
    sample = next(samples, None)
    needed = _needed(task)
    for ident, clip, references, question, *_ in data.covered:
        line: Json = {"id": ident, "audio": clip, "references": references, **({"note": question} if question else {})}
        if sample is None or sample.id != ident:
            yield {**line, "left_out": True}
            continue
        line |= {"transcript": sample.transcript} if sample.transcript is not None else {}
        line |= {"cluster": sample.cluster}
        line |= {"groups": dict(sample.groups)} if sample.groups else {}
        fields = {name: sample.fields[name] for name in needed if name in sample.fields}
        fields = {name: value for name, value in fields.items() if sample.groups.get(name) != value}
        line |= {"fields": fields} if fields else {}
        line |= {"seconds": round(sample.seconds, 3)} if sample.seconds else {}
        if not same_prompt:
            request = build(task, sample, frozenset())
            line |= {"prompt": request.prompt, **({"system": request.system} if request.system else {})}
        yield line
        sample = next(samples, None)


def _needed(task: TaskSpec) -> list[str]:
    """The columns that questions, baselines and scorers use: those in the prompt, the speaker, and all texts in scorer
    settings, because these may be names of columns."""
    named = {text for settings in task.scorers.values() for text in settings.values() if isinstance(text, str)}
    return sorted(
        {
            *FIELD.findall(templates(task.prompt, task.system, task.fields)),
            *named,
            *([task.speaker] if task.speaker else []),
        }
    )


# ---------------------------------------------------------------- reading

_REMEDY = (
    "Restore the file from a copy; or delete it, and run `diva-bench score` on a run of the task where its unchanged data "
    "is: that writes it again."
)


def _head(path: Path) -> Json:
    first = next(read_lines(path, _REMEDY), None)
    if first is None:
        raise UnreadableRun(f"{path}: is empty. {_REMEDY}")
    return _checked(first[2], schemas.ROWS_HEAD, f"{path}:1", True)


def _checked(line: bytes, schema: TypeAdapter[Any], where: str, newer: bool) -> Json:
    record: Json = parsed(line, schema, where, _REMEDY, newer=newer)
    return record


@lru_cache(maxsize=8)
def _read(path: Path, stamp: disk.Stamp, task_json: str) -> Rows:
    """The checked content of the file. `stamp`: part of the cache key, so that a changed file is read again."""
    record: Json = json.loads(task_json)
    head, state = _head(path), hashlib.sha256()
    newer = head.get("schema", 1) > SCHEMA
    samples, covered = packing.samples(), packing.covered()
    seen: set[str] = set()
    texts = templates(record["prompt"], record["system"], record["fields"])
    for number, _, line in read_lines(path, _REMEDY):
        if number == 1:
            continue
        state.update(line)
        row = _checked(line, schemas.ROW, f"{path}:{number}", newer)
        if row["id"] in seen:
            before = 2 + next(i for i, other in enumerate(covered.done()) if other[0] == row["id"])
            raise UnreadableRun(f"{path}:{number}: id {row['id']!r} is already used in line {before}. {_REMEDY}")
        seen.add(row["id"])
        sample = None if row.get("left_out") else _sample(row, f"{path}:{number}")
        question = [] if sample is None else prompt_inputs(texts, head.get("speaker"), sample)
        covered.append([row["id"], row["audio"], row["references"], row.get("note", ""), *question])
        if sample:
            samples.append(sample)
    _check(path, head, record, state.hexdigest(), covered.done())
    return Rows(path, head["sha256"], samples.done(), covered.done())


def _check(path: Path, head: Json, record: Mapping[str, Any], sha256: str, covered: Sequence[Covered]) -> None:
    if head["task"] != record["hash"]:
        raise UnreadableRun(f"{path}:1: holds the rows of another task than the task.json of {record['id']}. {_REMEDY}")
    if len(covered) != head["rows"]:
        raise UnreadableRun(f"{path}: has {len(covered):,} rows, and its first line says {head['rows']:,}. {_REMEDY}")
    pairs = {"their sha256 is not the one in the first line": (head["sha256"], sha256)}
    if sha256 == head["sha256"]:
        found = fingerprint_of(covered)
        pairs = {"they do not give the fingerprint of the data in task.json": (str(record["fingerprint"]), found)}
    for problem, (stored, found) in pairs.items():
        if stored != found:
            raise UnreadableRun(
                f"{path}: its rows were edited since they were written: {problem} (stored {stored}, computed {found}). "
                f"{_REMEDY}"
            )


def _sample(row: Json, where: str) -> Sample:
    if "cluster" not in row or not row["references"]:
        lacks = "cluster" if "cluster" not in row else "references"
        raise UnreadableRun(f"{where}: {lacks}: is missing or empty. {_REMEDY}")
    groups = row.get("groups", {})
    return Sample(
        id=row["id"],
        references=tuple(row["references"]),
        cluster=row["cluster"],
        read=partial(_no_sound, row["id"]) if row["audio"] else None,
        seconds=row.get("seconds", 0.0),
        transcript=row.get("transcript"),
        fields={**groups, **row.get("fields", {})},
        groups=groups,
    )


def _no_sound(ident: str) -> bytes:
    """Takes the place of the clip in a stored row."""
    raise ClipError(f"{ident}: stored rows have no audio")


# ---------------------------------------------------------------- stored rows and data at hand


def differences(stored: Rows, data: Dataset) -> str:
    """How the data on this machine differ from the stored rows: number of samples, kinds of difference, and how to use the
    data; "" if they do not differ."""
    if _same(stored, data):
        return ""
    ours = {str(row[0]): row for row in stored.covered}
    theirs = {str(row[0]): row for row in data.covered}
    samples, here = {s.id: s for s in stored.samples}, {s.id: s for s in data.samples}
    both = [ident for ident in ours if ident in theirs]
    result = {
        "missing from the data": [ident for ident in ours if ident not in theirs],
        "not among the stored rows": [ident for ident in theirs if ident not in ours],
    }
    parts: dict[str, Callable[[str], bool]] = {
        "other sound": lambda i: ours[i][1] != theirs[i][1],
        "other references": lambda i: ours[i][2] != theirs[i][2],
        "left out of one of them": lambda i: ours[i][3] != theirs[i][3],
        "another transcript": lambda i: ours[i][4:5] != theirs[i][4:5],
        "other columns in the prompt": lambda i: ours[i][5:6] != theirs[i][5:6],
        "another speaker": lambda i: ours[i][6:] != theirs[i][6:],
        "another cluster": lambda i: i in samples and i in here and samples[i].cluster != here[i].cluster,
        "other groups": lambda i: i in samples and i in here and _other(samples[i].groups, here[i].groups),
    }
    result |= {what: [ident for ident in both if differs(ident)] for what, differs in parts.items()}
    if not any(result.values()):
        return ""
    what = "; ".join(f"{name}: {_named(ids)}" for name, ids in result.items() if ids)
    count, total = len({ident for ids in result.values() for ident in ids}), len(ours.keys() | theirs.keys())
    return (
        f"{stored.path}: the data on this machine differ from the stored rows in {count:,} of {total:,} samples ({what}). "
        f"The stored rows are used. {_REFRESH if fingerprint_of(stored.covered) == data.fingerprint else _ASK_AGAIN}"
    )


def _same(stored: Rows, data: Dataset) -> bool:
    """Whether all rows are equal and in one order. This needs no table of ids, which others do."""
    if len(stored.covered) != len(data.covered) or len(stored.samples) != len(data.samples):
        return False
    rows_alike = all(list(ours) == list(theirs) for ours, theirs in zip(stored.covered, data.covered, strict=True))
    return rows_alike and all(
        ours.id == theirs.id and ours.cluster == theirs.cluster and not _other(ours.groups, theirs.groups)
        for ours, theirs in zip(stored.samples, data.samples, strict=True)
    )


_REFRESH = "To use the data instead, delete this file, and score all runs of the task again where these data are."
"""The advice if the questions are the same: clusters and groups are in no fingerprint."""
_ASK_AGAIN = "Keep this file: these answers give no scores for the changed data. For those, run the model again."


def _named(ids: Sequence[str]) -> str:
    """Ids of samples; of many the first, and the number."""
    first = ", ".join(ids[:_NAMED])
    return f"{len(ids):,} samples, such as {first}" if len(ids) > _NAMED else first


def _other(stored: Mapping[str, str], here: Mapping[str, str]) -> bool:
    """Whether a group has different values in both."""
    return any(here.get(name, value) != value for name, value in stored.items())


def settled(task_folder: Path, record: Mapping[str, Any], task: TaskSpec, data: Dataset) -> Dataset:
    """The data of a task that is about to be run, with its rows stored. If other runs have stored rows, these are used, so
    that all runs are compared by one table; a difference is logged.

    Raises:
        StoreError: The rows cannot be written.
        UnreadableRun: Stored rows cannot be read.
    """
    stored_rows = load(task_folder, record)
    if stored_rows is None:
        keep(task_folder, record, task, data)
        return data
    warn(differences(stored_rows, data))
    return stored_rows.joined(data)


def warn(difference: str) -> None:
    """Log a difference, if there is one, because a user who changed the data expects other scores."""
    if difference:
        logging.getLogger("diva_bench").warning("%s", difference)
