"""Do evaluation clips or sentences stand in the training data? Five ways to be found out, from the strictest down:

    file        the encoded bytes are the same (sha256)
    samples     the decoded 16 kHz samples are the same, to 16 bits: another container, or another lossless codec
    sound       the same recording through another codec, louder, trimmed: see fingerprint.py
    text        the same words after the `basic` normaliser
    near text   words that differ in at most a tenth of their characters (Levenshtein distance over the longer length)

A pair counts once among the first three and once among the last two. The training data is read once, as a stream;
what is held is the evaluation side (fingerprints, 15 bytes a frame of 12 ms; texts and their trigrams), and of every
sample found its first few partners.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from rapidfuzz.distance import Levenshtein

from diva_bench import audio
from diva_bench.audio import fingerprint
from diva_bench.errors import ClipError, DataError
from diva_bench.printable import visible
from diva_bench.tables import Cell, Column, Table, cut_to
from diva_bench.text import BASIC, words
from diva_bench.training.sources import Example
from diva_bench.types import Audio, Progress, Sample

A = TypeVar("A")
B = TypeVar("B")

KINDS = ("file", "samples", "sound", "text", "near text")
SIMILAR = 0.9
"""Least similarity of near texts. At 0.9 a sentence of nine words may have one short word more; two questions of one
pattern ("Who wrote Hamlet?", "Who wrote Macbeth?") are further apart."""
SHORT = 4  # words: of what is shorter, many people say the same
KEPT = 3  # partners of one sample and kind that are named; all are counted
_BLOCK = 64  # clips handed to the threads at once: bounds memory
_GRAM = 3  # characters
LISTED = 20
"""Samples that the terminal shows; the other formats have all."""
_WIDE = 60  # columns of a text in a list


@dataclass(frozen=True, slots=True)
class Match:
    """A training row that a sample was found in. `closeness`: 1 for the same, share of equal bits for sound, similarity of
    the texts for near text."""

    kind: str
    source: str
    row: str
    said: str
    closeness: float


@dataclass(slots=True)
class Item:
    """One sample of one task, and where it was found: `counts`, training rows by kind; `pairs`, the first of them."""

    task: str
    id: str
    said: str
    counts: Counter[str] = field(default_factory=Counter)
    pairs: list[Match] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        """In which ways it was found, the strictest first."""
        return [kind for kind in KINDS if self.counts[kind]]


@dataclass(slots=True)
class Report:
    """What was compared and found. `rows`: training rows read; `silent`: those whose sound could not be read, compared by
    text alone; `leaking`: those in which a sample was found; `unheard`, `unworded`: samples without a clip, without a text."""

    items: list[Item]
    unheard: int = 0
    unworded: int = 0
    rows: int = 0
    silent: int = 0
    leaking: int = 0

    @property
    def found(self) -> list[Item]:
        """The samples that any training row holds."""
        return [item for item in self.items if item.counts]


class ContaminationSearch:
    """The samples of some tasks, to be held against training rows.

    `tasks`: name -> samples. `sound`: false compares texts alone and decodes nothing. Raises DataError where there is
    nothing to compare by.
    """

    def __init__(self, tasks: Mapping[str, Sequence[Sample]], progress: Progress, *, sound: bool = True) -> None:
        samples = [(name, sample) for name, selection in tasks.items() for sample in selection]
        self.report = Report([Item(name, s.id, s.transcript or "") for name, s in samples])
        self._sound = sound
        self._files: dict[str, list[int]] = defaultdict(list)
        self._samples: dict[str, list[int]] = defaultdict(list)
        self._texts: dict[str, list[int]] = defaultdict(list)
        clips: dict[str, int] = {}  # sha256 of samples -> number of its fingerprint: a clip of several tasks has one
        self._owners: list[list[int]] = []
        prints: list[fingerprint.Print] = []
        looked = _in_blocks(_look_at, (s for _, s in samples)) if sound else (None for _ in samples)
        shown = progress.track(looked, "fingerprints of the samples", total=len(samples))
        for number, (seen, (_, sample)) in enumerate(zip(shown, samples, strict=True)):
            self.report.unheard += seen is None
            self.report.unworded += not BASIC(sample.transcript or "")
            if sample.transcript and (text := BASIC(sample.transcript)):
                self._texts[text].append(number)
            if seen is None:
                continue
            self._files[seen.file].append(number)
            self._samples[seen.samples].append(number)
            if seen.samples not in clips:
                clips[seen.samples] = len(prints)
                prints.append(seen.print)
                self._owners.append([])
            self._owners[clips[seen.samples]].append(number)
        if not self._files and not self._texts:
            raise DataError(
                f"{', '.join(tasks)}: no sample has "
                + ("a clip or a transcript" if sound else "a transcript, and texts alone were to be compared")
                + ": nothing can be compared."
            )
        self._index = fingerprint.Index(prints)
        self._near = Near(list(self._texts))

    def scan(self, rows: Iterable[Example], source: str, progress: Progress, on_match: Callable[[str], None]) -> None:
        """Hold every row of a training source against the samples. `leak` is called with a line (row, source, kind, task,
        sample, with tabs between them) for every pair found."""
        looked = _in_blocks(_look, ((row, self._sound) for row in rows))
        for row, seen in progress.track(looked, f"reading {source}"):
            self.report.rows += 1
            self.report.silent += self._sound and seen is None
            pairs = {**self._by_sound(row, seen, source), **self._by_text(row, source)}
            self.report.leaking += bool(pairs)
            for (number, _), pair in pairs.items():
                item = self.report.items[number]
                item.counts[pair.kind] += 1
                if sum(other.kind == pair.kind for other in item.pairs) < KEPT:
                    item.pairs.append(pair)
                on_match("\t".join(map(visible, (row.id, source, pair.kind, item.task, item.id))))

    def _by_sound(self, row: Example, seen: Seen | None, source: str) -> dict[tuple[int, str], Match]:
        if seen is None:
            return {}
        pairs: dict[tuple[int, str], Match] = {}
        for hit in self._index.find(seen.print):
            for number in self._owners[hit.clip]:
                pairs[number, "heard"] = Match("sound", source, row.id, row.text, round(1 - hit.errors, 4))
        for kind, numbers in (
            ("samples", self._samples.get(seen.samples, ())),
            ("file", self._files.get(seen.file, ())),
        ):
            pairs |= {(number, "heard"): Match(kind, source, row.id, row.text, 1.0) for number in numbers}
        return pairs

    def _by_text(self, row: Example, source: str) -> dict[tuple[int, str], Match]:
        normal_text = BASIC(row.text)
        pairs: dict[tuple[int, str], Match] = {}
        for text, similarity in self._near(normal_text):
            kind = "text" if text == normal_text else "near text"
            pairs |= {(n, "said"): Match(kind, source, row.id, row.text, similarity) for n in self._texts[text]}
        return pairs


# ---------------------------------------------------------------- sound


@dataclass(frozen=True, slots=True)
class Seen:
    """A clip: sha256 of its file and of its samples, and its fingerprint."""

    file: str
    samples: str
    print: fingerprint.Print


def _look(job: tuple[Example, bool]) -> tuple[Example, Seen | None]:
    """A training row, its clip looked at and let go of."""
    row, sound = job
    seen = _seen(row.audio) if sound else None
    return Example(row.id, b"", row.text, row.voice), seen


def _look_at(sample: Sample) -> Seen | None:
    try:
        return _seen(sample.read()) if sample.read else None
    except (OSError, ClipError) as err:
        raise DataError(f"sample {sample.id}: its clip cannot be read ({err}). Fetch the data again.") from err


def _seen(encoded: bytes) -> Seen | None:
    """None for what cannot be decoded."""
    try:
        sound = audio.decode(encoded)
    except ClipError:
        return None
    return Seen(hashlib.sha256(encoded).hexdigest(), _samples(sound), fingerprint.fingerprint(sound))


def _samples(sound: Audio) -> str:
    rounded = np.round(np.clip(sound.samples, -1, 1) * 32767).astype("<i2")
    return hashlib.sha256(rounded.tobytes()).hexdigest()


def _in_blocks(look: Callable[[A], B], rows: Iterable[A]) -> Iterator[B]:
    """`look` of every row, in order, by threads: decoding and transforms let go of the interpreter."""
    left = iter(rows)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        while block := list(islice(left, _BLOCK)):
            yield from pool.map(look, block)


# ---------------------------------------------------------------- texts


class Near:
    """Distinct texts, to be asked for those near to another one, itself included.

    Two strings at distance d share at least one of any 3 d + 1 trigrams of either, so only texts that have one of the
    3 d + 1 rarest are compared (prefix filter: Chaudhuri, Ganti and Kaushik 2006).
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._all = texts
        self._exact = set(texts)
        self._postings: dict[str, list[int]] = defaultdict(list)
        for number, text in enumerate(texts):
            for gram in sorted(_grams(text)):
                self._postings[gram].append(number)
        self._cached = lru_cache(maxsize=4096)(self._search)  # training texts are spoken by several voices

    def __call__(self, text: str) -> tuple[tuple[str, float], ...]:
        """(text, similarity) of all that are at least SIMILAR."""
        return self._cached(text)

    def _search(self, text: str) -> tuple[tuple[str, float], ...]:
        distance = int(len(text) * (1 - SIMILAR) / SIMILAR + 1e-9)  # the longer one may be the other
        if distance == 0:
            return ((text, 1.0),) if text in self._exact else ()
        places = [text[i : i + _GRAM] for i in range(len(text) - _GRAM + 1)]
        rarest = sorted(places, key=lambda gram: (len(self._postings.get(gram, ())), gram))[: _GRAM * distance + 1]
        candidates = {number for gram in set(rarest) for number in self._postings.get(gram, ())}
        near = []
        for number in sorted(candidates):
            other = self._all[number]
            if abs(len(other) - len(text)) > distance:
                continue
            similarity = Levenshtein.normalized_similarity(text, other, score_cutoff=SIMILAR)
            if similarity >= SIMILAR:
                near.append((other, round(similarity, 4)))
        return tuple(near)


def _grams(text: str) -> set[str]:
    return {text[i : i + _GRAM] for i in range(len(text) - _GRAM + 1)}


# ---------------------------------------------------------------- tables, and the same as JSON


def counts_table(report: Report, sources: Sequence[str]) -> Table:
    """One row per task: samples found, by kind; whole counts, for all samples were looked at."""
    tasks = dict.fromkeys(item.task for item in report.items)
    rows = [_counts(task, [item for item in report.items if item.task == task]) for task in tasks]
    if len(tasks) > 1:
        rows.append(_counts("all", report.items))
    columns = [Column("task"), Column("samples"), *(Column(kind) for kind in KINDS), Column("any"), Column("any, %")]
    return Table(f"samples found in {', '.join(sources)}", columns, rows, _notes(report))


def _counts(task: str, items: Sequence[Item]) -> list[Cell]:
    leaked = sum(bool(item.counts) for item in items)
    return [
        task,
        len(items),
        *(sum(bool(i.counts[kind]) for i in items) for kind in KINDS),
        leaked,
        100 * leaked / len(items),
    ]


def _notes(report: Report) -> list[str]:
    notes = [
        f"{report.rows:,} training rows read, {report.leaking:,} of them hold a sample",
        "a sample counts in every column in which one of its training rows matches; within one row, file, samples and "
        "sound exclude each other, and so do text and near text",
        f"sound: at most {fingerprint.ERRORS:.0%} of the bits of the fingerprints differ; near text: at least {SIMILAR:.0%} "
        "of the characters are the same",
    ]
    short = sum(len(words(item.said)) < SHORT for item in report.found if item.kinds == ["text"])
    notes += [f"{short} samples were found by a text of fewer than {SHORT} words alone"] if short else []
    notes += [f"{report.silent:,} training clips cannot be decoded: compared by their text"] if report.silent else []
    notes += [f"{report.unheard:,} samples were not compared by sound"] if report.unheard else []
    notes += [f"{report.unworded:,} samples have no transcript: not compared by text"] if report.unworded else []
    return notes


def found_table(report: Report, limit: int | None = LISTED) -> Table:
    """One row per pair of a sample and a training row, the closest kind first; `limit`: so many samples."""
    items = sorted(report.found, key=lambda item: KINDS.index(item.kinds[0]))
    rows: list[list[Cell]] = []
    for item in items[:limit]:
        for pair in sorted(item.pairs, key=lambda pair: (KINDS.index(pair.kind), -pair.closeness)):
            texts = [cut_to(text, _WIDE) for text in (item.said, pair.said)]
            rows.append([item.task, item.id, pair.kind, pair.closeness, pair.row, *texts])
    columns = [Column("task"), Column("sample"), Column("kind"), Column("closeness", digits=2), Column("training row")]
    columns += [Column("the sample says", optional=True), Column("the training row says", optional=True)]
    more = sum(sum(item.counts.values()) for item in report.found) - sum(len(item.pairs) for item in items[:limit])
    notes = (
        [f"{more:,} more pairs: see --output, which has every sample, and --drop-list, which has every row"]
        if more
        else []
    )
    return Table("pairs", columns, rows, notes)


def as_record(report: Report, sources: Sequence[str], seconds: float) -> dict[str, Any]:
    """All of it: counts by task and kind, and every sample found with its first partners."""
    tasks: dict[str, Any] = {}
    for task in dict.fromkeys(item.task for item in report.items):
        items = [item for item in report.items if item.task == task]
        kinds = Counter(kind for item in items for kind in item.kinds)
        items_by_id = {item.id: _found(item) for item in items if item.counts}
        tasks[task] = {
            "samples": len(items),
            "found": len(items_by_id),
            "by_kind": {k: kinds[k] for k in KINDS},
            "ids": items_by_id,
        }
    whole: dict[str, Any] = {
        "sources": list(sources),
        "training_rows": report.rows,
        "leaking_rows": report.leaking,
        "undecodable_rows": report.silent,
        "not_compared_by_sound": report.unheard,
        "not_compared_by_text": report.unworded,
        "settings": {"sound": fingerprint.ERRORS, "near_text": SIMILAR},
        "seconds": round(seconds, 1),
        "tasks": tasks,
    }
    return whole


def _found(item: Item) -> dict[str, Any]:
    return {
        "says": item.said,
        "rows": {k: item.counts[k] for k in item.kinds},
        "pairs": [asdict(p) for p in item.pairs],
    }
