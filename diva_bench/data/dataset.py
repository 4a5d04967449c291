"""TaskSpec -> Dataset: the samples, the clips that cannot be used, and the fingerprint of it all.

A reader gives the rows; here they are filtered, checked against what the task asserts, counted, and joined with what is
known of their clips. A clip that cannot be decoded is excluded for every model alike, also for those that hear nothing,
and it is part of the fingerprint. Samples hold no audio; `read` fetches it, and raises ClipError where it is no longer
the clip that the fingerprint is about.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from diva_bench.audio import CANCELLED, UNPROMISED
from diva_bench.data import hub
from diva_bench.data.clips import Clip, index, reread
from diva_bench.data.place import need
from diva_bench.data.readers import ClipSource, Raw, reader
from diva_bench.errors import DataError
from diva_bench.provenance import without_folders
from diva_bench.specs import FIELD, TaskSpec, digest_of_rows
from diva_bench.specs.rows import NUMBER
from diva_bench.stats import priors
from diva_bench.types import Progress, Sample

_NAMED = 10  # values of a column that a message lists
_HALF = re.compile("[\ud800-\udfff]")
_COLUMNS = {"id": "id", "audio": "audio", "transcript": "text", "cluster": "cluster"}


@dataclass(frozen=True, slots=True)
class Fault:
    """A sample that no model is run on, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """`samples` in file order; `fingerprint`: sha256 over all that a question takes from the data, in the order of ids: audio
    bytes, references, transcript, the columns that the prompt shows, and who speaks. `former`: the fingerprint by the
    rules of older versions, of the first four entries of each row (runs/old_identity.py).

    `faults`: rows that cannot be used; `excluded`: those that the task lists as bad; no model is run on either. `partial`:
    how the rows differ from what the task says there must be, "" where they do not. `notes`: what else a reader of the
    numbers has to know (rows that are not asked, warnings). `revision`: commit of the hub's data set, "" if it is local.
    """

    samples: tuple[Sample, ...]
    faults: tuple[Fault, ...]
    fingerprint: str
    excluded: tuple[Fault, ...] = ()
    partial: str = ""
    notes: tuple[str, ...] = ()
    revision: str = ""
    former: str = ""
    questions: bool = True
    """False where nothing but the ids is known of the samples, so that no prompt can be rendered."""
    covered: tuple[Sequence[object], ...] = field(default=(), repr=False)
    """What the fingerprint covers of every row, in file order: id, sha256 of the clip, references, what is wrong with the row
    or how its clip was decoded; and of a row that is asked also transcript, the columns that the prompt shows, speaker."""

    def prior(self) -> dict[str, float]:
        """Share of each first reference: what a baseline may know."""
        counts = Counter(s.references[0] for s in self.samples)
        return {reference: n / len(self.samples) for reference, n in sorted(counts.items())}

    def limited(self, limit: int | None, seed: int) -> tuple[Sample, ...]:
        """`limit` samples drawn by a hash of seed and id (the first rows of a file are often all of one kind), in file order."""
        if limit is None or limit >= len(self.samples):
            return self.samples
        ranked = sorted(self.samples, key=lambda s: hashlib.sha256(f"{seed}:{s.id}".encode()).digest())
        selection = {s.id for s in ranked[:limit]}
        return tuple(s for s in self.samples if s.id in selection)


def load(
    task: TaskSpec,
    cache: Path,
    progress: Progress,
    *,
    data_dir: Path | None = None,
    allow_partial: bool = False,
    need_audio: bool = True,
) -> Dataset:
    """Read, check and index one task's data.

    `data_dir`: the user's folder of corpora (default: DIVA_BENCH_DATA). `allow_partial`: other counts of rows or labels
    than the task asserts mark the data set as partial. `need_audio` False: rows without a clip are samples that cannot
    be heard, for scoring answers that exist.

    Raises DataError where the data is not here, on a malformed file, a missing column, a duplicate id, an empty reference,
    a label outside the task's choices, a sampling rate the task does not allow, and on wrong counts.
    """
    root = need(task, data_dir)
    every = list(reader(task.data.source)(root, task))
    rows, notes = _asked(task, every)
    if not rows:
        raise DataError(f"{root}: has no rows. A task needs at least one.")
    columns, assumed = _columns(task, rows)
    notes += assumed
    _check_rows(task, rows, columns, need_audio)
    counted, wrong = _total(task, every), _counts(task, rows, columns)
    notes += wrong if task.data.rows_from_memory else []
    partial = "; ".join(counted if task.data.rows_from_memory else [*counted, *wrong])
    if partial and not allow_partial:
        raise DataError(
            f"{root}: {partial}. Get all of it, or give --allow-partial: such a run is left out of all tables."
        )
    excluded = {r.values[columns["id"]]: task.data.exclude.get(r.values[columns["id"]], "") for r in rows}
    usable = [r for r in rows if r.clip and not r.fault and not excluded[r.values[columns["id"]]]]
    if need_audio and not usable:
        _refuse_silence(task, root, rows)
    clips = index(root, list({r.clip.name: r.clip for r in usable if r.clip}.values()), cache, progress)
    _check_rates(task, root, clips)

    def later(clip: ClipSource) -> Callable[[], bytes]:
        return functools.partial(reread, root, clip, clips[clip.name].sha256, cache)

    built = [_build(task, row, columns, clips, excluded[row.values[columns["id"]]], need_audio, later) for row in rows]
    samples = tuple(sample for sample, _, _ in built if sample)
    faults = tuple(
        Fault(row.values[columns["id"]], without_folders(why))
        for row, (_, why, _) in zip(rows, built, strict=True)
        if why
    )
    if not samples:
        raise DataError(f"{root}: none of the {len(rows)} clips can be used; the first: {faults[0].reason}.")
    return Dataset(
        samples,
        tuple(fault for fault in faults if not excluded[fault.id]),
        fingerprint_of([identity for _, _, identity in built]),
        excluded=tuple(fault for fault in faults if excluded[fault.id]),
        partial=partial,
        notes=tuple(
            map(without_folders, (*notes, *_said_of(clips, {r.clip.name: r.clip.shown for r in usable if r.clip})))
        ),
        revision=hub.revision(root) if task.data.hub else "",
        former=digest_of_rows(identity[:4] for _, _, identity in built),
        covered=tuple(identity for _, _, identity in built),
    )


def fingerprint_of(covered: Iterable[Sequence[object]]) -> str:
    """The fingerprint of a data set, from what it covers of every row (`Dataset.covered`)."""
    return digest_of_rows(sorted(covered, key=lambda row: str(row[0])))


def check(task: TaskSpec) -> list[Sample]:
    """The samples of all rows, without their clips, at which nobody looks. Raises DataError for the first row that `load`
    would refuse."""
    rows, _ = _asked(task, list(reader(task.data.source)(need(task), task)))
    columns, _ = _columns(task, rows)
    _check_rows(task, rows, columns, need_audio=False)
    return [_sample(row, columns, _references(row, columns["reference"], task), task) for row in rows]


def unheard(task: TaskSpec, data_dir: Path | None = None) -> str:
    """Why nothing of a task's data on this machine can be heard: the labels are here alone, or it cannot be read. "" where
    a row has a clip; no clip is looked at, and no row counted."""
    root = need(task, data_dir)
    try:
        rows = 0
        for row in reader(task.data.source)(root, task):
            if row.clip:
                return ""
            rows += 1
    except DataError as err:
        return str(err)
    return _labels_alone(task, root, rows)


# ---------------------------------------------------------------- which rows


def _asked(task: TaskSpec, rows: list[Raw]) -> tuple[list[Raw], list[str]]:
    """The rows that `where` leaves, and what it left out in words."""
    allowed = {column: value if isinstance(value, tuple) else (value,) for column, value in task.data.where.items()}
    for row in rows:
        if lacks := [column for column in allowed if column not in row.values]:
            raise DataError(f"{row.where}: column {lacks[0]!r} of `where` is missing; {_has(row)}.")
    selection = [row for row in rows if all(_fits(row.values[c], values) for c, values in allowed.items())]
    if len(selection) == len(rows):
        return selection, []
    only = ", ".join(f"{column} is {_or([_word(one) for one in values])}" for column, values in allowed.items())
    if rows and not selection:
        there = {column: sorted({_word(row.values[column]) for row in rows}) for column in allowed}
        listing = "; ".join(f"{column} is {', '.join(words[:_NAMED])}" for column, words in there.items())
        raise DataError(f"task {task.name}: `where` selects no row: it needs rows where {only}; in the data {listing}.")
    return selection, [
        f"{len(rows) - len(selection):,} of {len(rows):,} rows are left out: only rows where {only} are used"
    ]


def _fits(value: object, values: Sequence[str | bool | int | float]) -> bool:
    """Whether a cell is one of the values of `where`: as it is written, or, where that has a point, as a number."""
    return any(_number(value) == one if isinstance(one, float) else _word(value) == _word(one) for one in values)


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, str | float | int) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None


def _word(value: object) -> str:
    """A cell as YAML would write it: true, false and null, not True, False and None."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _or(values: Sequence[object]) -> str:
    return " or ".join(f"{value:,}" if isinstance(value, int) else str(value) for value in values)


# ---------------------------------------------------------------- checks


def _columns(task: TaskSpec, rows: Sequence[Raw]) -> tuple[dict[str, str], list[str]]:
    """Role -> column, and what was assumed where the task does not say it."""
    columns, notes = {**_COLUMNS, "reference": task.reference, **task.data.columns}, []
    if task.data.rows is None:
        notes.append(f"{len(rows):,} rows; the task does not say how many there must be (`rows: {len(rows)}` would)")
    if "cluster" not in task.data.columns and not any(columns["cluster"] in row.values for row in rows):
        columns["cluster"] = columns["id"]
        notes.append(
            "no cluster column: every sample counts as independent of all others. Where samples share a speaker or a "
            "question, name that column (`columns: {cluster: NAME}`), else the intervals are too narrow"
        )
    return columns, notes


def _check_rows(task: TaskSpec, rows: Sequence[Raw], columns: Mapping[str, str], need_audio: bool) -> None:
    roles = ("id", "cluster", "reference", "audio") if task.data.source == "jsonl" else ("id", "cluster", "reference")
    needed = {columns[role] for role in roles if need_audio or role != "audio"} | set(task.groups)
    seen: dict[str, str] = {}
    for row in rows:
        missing = sorted(needed - row.values.keys())
        if missing:
            raise DataError(f"{row.where}: column {missing[0]!r} is missing; {_has(row)}.")
        ident = row.values[columns["id"]]
        if not isinstance(ident, str) or not ident:
            raise DataError(f"{row.where}: the id must be a string that is not empty, found {ident!r}.")
        if ident in seen:
            raise DataError(f"{row.where}: id {ident!r} is already used in {_short(seen[ident])}; ids must be unique.")
        seen[ident] = row.where
        half = next(
            (v for v in row.values.values() if isinstance(v, str) and not v.isascii() and _HALF.search(v)), None
        )
        if half is not None:
            raise DataError(f"{row.where}: {half[:80]!r} contains half a surrogate pair, which is not a character.")


def _has(row: Raw) -> str:
    return f"the row has {', '.join(sorted(name for name in row.values if name != NUMBER))}"


def _short(where: str) -> str:
    """ "line 4" of "file:4"; other places as they are."""
    number = where.rpartition(":")[2]
    return f"line {number}" if number.isdigit() else where


def _total(task: TaskSpec, rows: Sequence[Raw]) -> list[str]:
    """How the number of rows before `where` differs from those that the owners ship."""
    if not task.data.total or len(rows) in task.data.total:
        return []
    return [f"{len(rows):,} rows in all, but task {task.name} says {_or(task.data.total)}"]


def _counts(task: TaskSpec, rows: Sequence[Raw], columns: Mapping[str, str]) -> list[str]:
    """How the counts differ from those that the task asserts."""
    wrong = []
    if task.data.rows not in (None, len(rows)):
        wrong.append(f"{len(rows):,} rows, but task {task.name} says there are {task.data.rows:,}")
    if task.data.labels is not None:
        counts = Counter(str(row.values[columns["reference"]]) for row in rows)
        if counts != Counter(task.data.labels):
            wrong.append(
                f"labels {dict(sorted(counts.items()))}, but task {task.name} says {dict(sorted(task.data.labels.items()))}"
            )
    return [f"{problem} (that number is from memory)" for problem in wrong] if task.data.rows_from_memory else wrong


def _refuse_silence(task: TaskSpec, root: Path, rows: Sequence[Raw]) -> None:
    """Where no row has a clip that could be looked at: labels alone, or a corpus in which nothing is right."""
    if not any(row.clip for row in rows):
        raise DataError(_labels_alone(task, root, len(rows)))
    fault = next((row.fault for row in rows if row.fault), "all are excluded by the task")
    raise DataError(f"{root}: none of the {len(rows):,} clips can be used; the first: {fault}.")


def _labels_alone(task: TaskSpec, root: Path, rows: int) -> str:
    return (
        f"{root}: the labels of task {task.name} are here ({rows:,} rows), but the audio is not. Put the clips "
        f"beside them as their owners distribute them, or score existing answers with `diva-bench import`."
    )


def _check_rates(task: TaskSpec, root: Path, clips: Mapping[str, Clip]) -> None:
    strange = [name for name, clip in clips.items() if not clip.fault and clip.rate not in task.data.rate]
    if task.data.rate and strange:
        raise DataError(
            f"{root}: {len(strange):,} of {len(clips):,} clips are not sampled at {_or(task.data.rate)} Hz as task {task.name} "
            f"says, the first: {strange[0]} at {clips[strange[0]].rate:,} Hz. This is another copy of the corpus."
        )


def _said_of(clips: Mapping[str, Clip], shown: Mapping[str, str]) -> list[str]:
    """What a reader of the numbers must know of how the clips were decoded. `shown`: name of a clip -> as people know it."""
    meanings = {
        UNPROMISED: "their containers do not state a length, so a clip that was cut short cannot be detected",
        CANCELLED: "their mean would be close to silence, so the louder channel is used",
    }
    notes = []
    for note, meaning in meanings.items():
        if names := [name for name, clip in clips.items() if note in clip.notes]:
            notes.append(f"{note}: {len(names):,} of {len(clips):,} clips, the first {shown[names[0]]} ({meaning})")
    return notes


# ---------------------------------------------------------------- samples


def _build(
    task: TaskSpec,
    row: Raw,
    columns: Mapping[str, str],
    clips: Mapping[str, Clip],
    excluded: str,
    need_audio: bool,
    later: Callable[[ClipSource], Callable[[], bytes]],
) -> tuple[Sample | None, str, list[object]]:
    """(sample, or None and why not, what of the row the fingerprint covers: id, sha256, references, fault, and of a row that
    is asked what else the question takes from it). `later`: clip -> what reads it when it is asked."""
    ident = row.values[columns["id"]]
    if excluded:
        return None, excluded, [ident, "", [], "excluded"]
    if row.fault:
        return None, row.fault, [ident, "", [], row.fault]
    references = _references(row, columns["reference"], task)
    if row.clip is None:
        fault = "has no audio" if need_audio else ""
        if fault:
            return None, fault, [ident, "", list(references), fault]
        sample = _sample(row, columns, references, task)
        return sample, "", [ident, "", list(references), "", *_told(task, sample)]
    clip = clips[row.clip.name]
    fault = clip.fault or _wrong_length(task, clip)
    if fault:
        # that it cannot be used, not in whose words: those of ffmpeg and libsndfile change with their versions
        return None, f"{row.clip.shown}: {fault}", [ident, clip.sha256, list(references), "cannot be used"]
    sample = replace(_sample(row, columns, references, task), read=later(row.clip), seconds=clip.seconds)
    # the same bytes were heard as silence before audio.VERSION 2: those answers are not for this sound
    note = CANCELLED if CANCELLED in clip.notes else ""
    return sample, "", [ident, clip.sha256, list(references), note, *_told(task, sample)]


def _told(task: TaskSpec, sample: Sample) -> list[object]:
    return said_of(task.prompt, task.system, task.speaker, sample)


def said_of(prompt: str, system: str | None, speaker: str | None, sample: Sample) -> list[object]:
    """What a question takes from a sample beside its sound: the words spoken, the columns that a prompt or a system message
    shows (a paraphrase shows the same), and who speaks (`speaker`: the column)."""
    shown = set(FIELD.findall(f"{prompt} {system or ''}"))
    fields = {name: value for name, value in sample.fields.items() if name in shown}
    return [sample.transcript, fields, priors.speaker_of(sample, speaker)]


def _wrong_length(task: TaskSpec, clip: Clip) -> str:
    if task.data.seconds is None or task.data.seconds[0] <= clip.seconds <= task.data.seconds[1]:
        return ""
    return f"is {clip.seconds:g} s long; the task says {task.data.seconds[0]:g} to {task.data.seconds[1]:g} s"


def _references(row: Raw, column: str, task: TaskSpec) -> tuple[str, ...]:
    value = row.values[column]
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, str) and v.strip() for v in values):
        raise DataError(f"{row.where}: the reference ({column}) is empty or not text: {value!r}.")
    if task.choices is not None and not set(values) <= set(task.choices):
        raise DataError(f"{row.where}: {column} is {value!r}; task {task.name} allows {', '.join(task.choices)}.")
    return tuple(values)


def _sample(row: Raw, columns: Mapping[str, str], references: tuple[str, ...], task: TaskSpec) -> Sample:
    cluster = row.values[columns["cluster"]]
    if not isinstance(cluster, str) or not cluster:
        raise DataError(f"{row.where}: the cluster must be a string that is not empty, found {cluster!r}.")
    transcript = row.values.get(columns["transcript"])
    if not isinstance(transcript, str | None):
        raise DataError(f"{row.where}: the transcript ({columns['transcript']}) is {transcript!r}, not text.")
    return Sample(
        id=row.values[columns["id"]],
        references=references,
        cluster=cluster,
        transcript=transcript or None,
        fields={k: v for k, v in row.values.items() if isinstance(v, str)},
        groups={name: _group(row, name) for name in task.groups},
    )


def _group(row: Raw, name: str) -> str:
    """What a row is broken down by: a word, a number, or "not known" where the cell is empty."""
    value = row.values[name]
    if not isinstance(value, str | bool | int | float | None):
        raise DataError(f"{row.where}: the group {name!r} is {value!r}, not a word or a number.")
    return "not known" if value is None else _word(value)
