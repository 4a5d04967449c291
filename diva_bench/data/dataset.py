"""Load a data set: TaskSpec -> Dataset with samples, unusable clips, and fingerprint.

A reader yields the rows. Here they are filtered, checked against the counts in the task, and joined with the index of
their clips. A clip that cannot be decoded is left out for every model, also for models without audio, and is part of
the fingerprint. Samples hold no audio: `read` loads it, and raises ClipError if it is no longer the clip of the
fingerprint.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from diva_bench.data import hub, packing
from diva_bench.data.packing import Covered
from diva_bench.data.place import need
from diva_bench.data.readers import ClipSource, Raw, reader
from diva_bench.errors import DataError
from diva_bench.packed import chosen, in_order
from diva_bench.provenance import without_folders
from diva_bench.specs import FIELD, TaskSpec, digest_of_rows, templates
from diva_bench.specs.rows import NUMBER
from diva_bench.stats import priors
from diva_bench.types import CANCELLED, UNPROMISED, Progress, Sample

if TYPE_CHECKING:
    from diva_bench.data.clips import Clip

_NAMED = 10  # values of a column that a message lists
_HALF = re.compile("[\ud800-\udfff]")
_COLUMNS = {"id": "id", "audio": "audio", "transcript": "text", "cluster": "cluster"}


@dataclass(frozen=True, slots=True)
class Fault:
    """A sample on which no model is run, with the reason."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """The data of a task.

    Attributes:
        samples: In the order of the file.
        fingerprint: sha256 over everything that a question uses, in the order of ids: audio bytes, references,
            transcript, the columns
            that the prompt shows, and the speaker.
        former: The fingerprint by the rules of older versions: the first four entries of each row
            (runs/old_identity.py).
        faults: Rows that cannot be used.
        excluded: Rows that the task excludes. No model is run on these or on `faults`.
        partial: How the counts differ from those in the task; "" if they do not.
        notes: Further remarks for readers of scores (rows that are left out, warnings).
        revision: Commit of the data set on the hub; "" for local data.
    """

    samples: Sequence[Sample]
    faults: tuple[Fault, ...]
    fingerprint: str
    excluded: tuple[Fault, ...] = ()
    partial: str = ""
    notes: tuple[str, ...] = ()
    revision: str = ""
    former: str = ""
    questions: bool = True
    """False if only the ids of the samples are known, so that no prompt can be rendered."""
    covered: Sequence[Covered] = field(default=(), repr=False)
    """The part of every row that the fingerprint covers, in the order of the file: id, sha256 of the clip, references, the
    fault or the decoding notes; for usable rows also transcript, the columns that the prompt shows, and speaker."""

    def prior(self) -> dict[str, float]:
        """Share of each first reference, for baselines."""
        counts = Counter(s.references[0] for s in self.samples)
        return {reference: n / len(self.samples) for reference, n in sorted(counts.items())}

    def limited(self, limit: int | None, seed: int) -> Sequence[Sample]:
        """`limit` samples, chosen by a hash of seed and id, in the order of the file. The first rows of a file are often
        of one kind."""
        if limit is None or limit >= len(self.samples):
            return self.samples
        ranks = ((hashlib.sha256(f"{seed}:{s.id}".encode()).digest(), i) for i, s in enumerate(self.samples))
        return chosen(self.samples, sorted(i for _, i in heapq.nsmallest(limit, ranks)))


def load(
    task: TaskSpec,
    cache: Path,
    progress: Progress,
    *,
    data_dir: Path | None = None,
    allow_partial: bool = False,
    need_audio: bool = True,
) -> Dataset:
    """Read, check and index the data of a task.

    Args:
        task: The task.
        cache: Cache folder.
        progress: Reports progress.
        data_dir: The user's folder of corpora; None: DIVA_BENCH_DATA.
        allow_partial: Accept other counts of rows or labels than the task gives; the data set is then marked as
            partial.
        need_audio: False: rows without a clip become samples without audio, to score existing answers.

    Raises:
        DataError: The data is missing, a file or column is malformed or missing, an id is used twice, a reference is
            empty, a label is
            not allowed by the task, a sampling rate is wrong, or counts are wrong.
    """
    from diva_bench.data.clips import index, reread  # the libraries that decode

    root = need(task, data_dir)
    every = packing.raws(reader(task.data.source)(root, task))
    rows, notes = _select_rows(task, every)
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

    def excluded(row: Raw) -> str:
        return task.data.exclude.get(row.values[columns["id"]], "")

    usable = {r.clip.name: r.clip for r in rows if r.clip and not r.fault and not excluded(r)}
    if need_audio and not usable:
        _refuse_silence(task, root, rows)
    clips = index(root, list(usable.values()), cache, progress)
    _check_rates(task, root, clips)

    def later(clip: ClipSource) -> Callable[[], bytes]:
        return functools.partial(reread, root, clip, clips[clip.name].sha256, cache)

    samples, covered = packing.samples(), packing.covered()
    faults: list[Fault] = []
    left_out: list[Fault] = []
    first_fault = ""
    for row in rows:
        why_excluded = excluded(row)
        sample, why, identity = _build(task, row, columns, clips, why_excluded, need_audio, later)
        covered.append(identity)
        if sample:
            samples.append(sample)
        if why:
            first_fault = first_fault or without_folders(why)
            (left_out if why_excluded else faults).append(Fault(row.values[columns["id"]], without_folders(why)))
    usable_samples, identities = samples.done(), covered.done()
    if not usable_samples:
        raise DataError(f"{root}: none of the {len(rows)} clips can be used; the first: {first_fault}.")
    return Dataset(
        usable_samples,
        tuple(faults),
        fingerprint_of(identities),
        excluded=tuple(left_out),
        partial=partial,
        notes=tuple(
            map(without_folders, (*notes, *_clip_notes(clips, {name: clip.shown for name, clip in usable.items()})))
        ),
        revision=hub.revision(root) if task.data.hub else "",
        former=digest_of_rows(identity[:4] for identity in identities),
        covered=identities,
    )


def fingerprint_of(covered: Sequence[Covered]) -> str:
    """The fingerprint of a data set from `Dataset.covered`."""
    return digest_of_rows(in_order(covered, lambda row: str(row[0])))


def check(task: TaskSpec) -> list[Sample]:
    """The samples of all rows, without checking their clips. Raises DataError for the first row that `load` would refuse."""
    rows, _ = _select_rows(task, packing.raws(reader(task.data.source)(need(task), task)))
    columns, _ = _columns(task, rows)
    _check_rows(task, rows, columns, need_audio=False)
    return [_sample(row, columns, _references(row, columns["reference"], task), task) for row in rows]


def unheard(task: TaskSpec, data_dir: Path | None = None) -> str:
    """Why the task's data on this machine has no usable audio: only labels are here, or it cannot be read; "" if a row has
    a clip. No clip is checked, and rows are not counted."""
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


def _select_rows(task: TaskSpec, rows: Sequence[Raw]) -> tuple[Sequence[Raw], list[str]]:
    """(the rows that `where` selects, a note about the others)."""
    allowed = {column: value if isinstance(value, tuple) else (value,) for column, value in task.data.where.items()}
    if not allowed:
        return rows, []
    for row in rows:
        if lacks := [column for column in allowed if column not in row.values]:
            raise DataError(f"{row.where}: column {lacks[0]!r} of `where` is missing; {_has(row)}.")
    fit = [i for i, row in enumerate(rows) if all(_fits(row.values[c], values) for c, values in allowed.items())]
    selection = chosen(rows, fit)
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
    """Whether a cell equals one of the values of `where`: as text, or as a number if the value has a decimal point."""
    return any(_number(value) == one if isinstance(one, float) else _word(value) == _word(one) for one in values)


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, str | float | int) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None


def _word(value: object) -> str:
    """A cell as YAML writes it: true, false and null."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _or(values: Sequence[object]) -> str:
    return " or ".join(f"{value:,}" if isinstance(value, int) else str(value) for value in values)


# ---------------------------------------------------------------- checks


def _columns(task: TaskSpec, rows: Sequence[Raw]) -> tuple[dict[str, str], list[str]]:
    """(role -> column, notes about defaults that were assumed)."""
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
    seen: set[str] = set()
    for row in rows:
        missing = sorted(needed - row.values.keys())
        if missing:
            role = next((role for role in roles if columns[role] == missing[0]), "")
            hint = f" Name the column with it: `columns: {{{role}: NAME}}`." if role else ""
            raise DataError(f"{row.where}: column {missing[0]!r} is missing; {_has(row)}.{hint}")
        ident = row.values[columns["id"]]
        if not isinstance(ident, str) or not ident:
            raise DataError(f"{row.where}: the id must be a string that is not empty, found {ident!r}.")
        if ident in seen:
            before = next(other.where for other in rows if other.values[columns["id"]] == ident)
            raise DataError(f"{row.where}: id {ident!r} is already used in {_short(before)}; ids must be unique.")
        seen.add(ident)
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
    """How the number of rows before `where` differs from the published number."""
    if not task.data.total or len(rows) in task.data.total:
        return []
    return [f"{len(rows):,} rows in all, but task {task.name} says {_or(task.data.total)}"]


def _counts(task: TaskSpec, rows: Sequence[Raw], columns: Mapping[str, str]) -> list[str]:
    """How the counts differ from those in the task."""
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
    """Raise if no row has a clip: there are only labels, or every clip is faulty."""
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


def _clip_notes(clips: Mapping[str, Clip], shown: Mapping[str, str]) -> list[str]:
    """Notes on how clips were decoded, for readers of scores. `shown`: clip name -> name in messages."""
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
    """(sample, or None; why it cannot be used; what the fingerprint covers of the row, see `Dataset.covered`).

    `later`: clip -> a function that reads it.
    """
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
        return sample, "", [ident, "", list(references), "", *_question_inputs(task, sample)]
    clip = clips[row.clip.name]
    fault = clip.fault or _wrong_length(task, clip)
    if fault:
        # only that it cannot be used: the messages of ffmpeg and libsndfile change with their versions
        return None, f"{row.clip.shown}: {fault}", [ident, clip.sha256, list(references), "cannot be used"]
    sample = replace(_sample(row, columns, references, task), read=later(row.clip), seconds=clip.seconds)
    # before audio.VERSION 2 these bytes were decoded to silence, so older answers are for other audio
    note = CANCELLED if CANCELLED in clip.notes else ""
    return sample, "", [ident, clip.sha256, list(references), note, *_question_inputs(task, sample)]


def _question_inputs(task: TaskSpec, sample: Sample) -> list[object]:
    return prompt_inputs(templates(task.prompt, task.system, task.fields), task.speaker, sample)


def prompt_inputs(texts: str, speaker: str | None, sample: Sample) -> list[object]:
    """Everything that a question uses of a sample except its audio: the transcript, the columns in `templates` (a paraphrase
    shows the same ones), and the speaker (`speaker`: the column)."""
    shown = set(FIELD.findall(texts))
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
    """The value of a row for a breakdown: a word, a number, or "not known" for an empty cell."""
    value = row.values[name]
    if not isinstance(value, str | bool | int | float | None):
        raise DataError(f"{row.where}: the group {name!r} is {value!r}, not a word or a number.")
    return "not known" if value is None else _word(value)
