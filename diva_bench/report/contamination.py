"""Find evaluation clips or sentences in training data. Five kinds of matches, from the strictest:

    file        the encoded bytes are equal (sha256)
    samples     the decoded 16 kHz samples are equal in 16 bits: another container, or another lossless codec
    sound       the same recording with another codec, louder, or trimmed: see fingerprint.py
    text        the same words after the `basic` normaliser
    near text   at most a tenth of the characters differ (Levenshtein distance over the longer length)

A pair counts once among the first three and once among the last two. The training data is read once, as a stream.
Memory holds the evaluation side (fingerprints, 15 bytes per frame of 12 ms; texts and their trigrams), and the first
few matches of every sample.
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
"""Least similarity of near texts. At 0.9 a sentence of nine words may have one short word more; two questions with one
pattern ("Who wrote Hamlet?", "Who wrote Macbeth?") are less similar."""
SHORT = 4  # words; shorter texts are often equal by chance
MOST_PAIRS = 3  # matches of one sample and kind that are named; all are counted
_BLOCK = 64  # clips that are given to the threads at once; this limits memory
_GRAM = 3  # characters
LISTED = 20
"""Samples that the terminal shows; the other formats have all."""
_WIDE = 60  # characters of a text in a list


@dataclass(frozen=True, slots=True)
class Match:
    """A training row that contains a sample. `closeness`: 1 for equal ones, the share of equal bits for sound, the
    similarity of the texts for near text."""

    kind: str
    source: str
    row: str
    text: str
    closeness: float


@dataclass(slots=True)
class Item:
    """One sample of one task with its matches.

    Attributes:
        counts: Training rows by kind.
        pairs: The first matches.
    """

    task: str
    id: str
    text: str
    counts: Counter[str] = field(default_factory=Counter)
    pairs: list[Match] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        """The kinds of its matches, the strictest first."""
        return [kind for kind in KINDS if self.counts[kind]]


@dataclass(slots=True)
class Report:
    """The result of a search.

    Attributes:
        rows: Training rows read.
        silent: Training rows whose audio could not be decoded; compared only by text.
        leaking: Training rows that match a sample.
        unheard: Samples without a clip.
        unworded: Samples without a text.
    """

    items: list[Item]
    unheard: int = 0
    unworded: int = 0
    rows: int = 0
    silent: int = 0
    leaking: int = 0

    @property
    def matched(self) -> list[Item]:
        """The samples with a match."""
        return [item for item in self.items if item.counts]


class ContaminationSearch:
    """Searches the samples of tasks in training rows.

    Args:
        tasks: Name -> samples.
        sound: False compares only texts and decodes nothing.

    Raises:
        DataError: There is nothing to compare.
    """

    def __init__(self, tasks: Mapping[str, Sequence[Sample]], progress: Progress, *, sound: bool = True) -> None:
        samples = [(name, sample) for name, selection in tasks.items() for sample in selection]
        self.report = Report([Item(name, s.id, s.transcript or "") for name, s in samples])
        self._sound = sound
        self._files: dict[str, list[int]] = defaultdict(list)
        self._samples: dict[str, list[int]] = defaultdict(list)
        self._texts: dict[str, list[int]] = defaultdict(list)
        clips: dict[
            str, int
        ] = {}  # sha256 of samples -> number of its fingerprint; a clip of several tasks has one fingerprint
        self._owners: list[list[int]] = []
        prints: list[fingerprint.Print] = []
        looked = _in_blocks(_look_at, (s for _, s in samples)) if sound else (None for _ in samples)
        shown = progress.track(looked, "fingerprints of the samples", total=len(samples))
        for number, (clip_print, (_, sample)) in enumerate(zip(shown, samples, strict=True)):
            self.report.unheard += clip_print is None
            self.report.unworded += not BASIC(sample.transcript or "")
            if sample.transcript and (text := BASIC(sample.transcript)):
                self._texts[text].append(number)
            if clip_print is None:
                continue
            self._files[clip_print.file].append(number)
            self._samples[clip_print.samples].append(number)
            if clip_print.samples not in clips:
                clips[clip_print.samples] = len(prints)
                prints.append(clip_print.print)
                self._owners.append([])
            self._owners[clips[clip_print.samples]].append(number)
        if not self._files and not self._texts:
            raise DataError(
                f"{', '.join(tasks)}: no sample has "
                + ("a clip or a transcript" if sound else "a transcript, and only texts were to be compared")
                + ": nothing can be compared."
            )
        self._index = fingerprint.Index(prints)
        self._near = Near(list(self._texts))

    def scan(self, rows: Iterable[Example], source: str, progress: Progress, on_match: Callable[[str], None]) -> None:
        """Compare every row of a training source with the samples. `on_match` is called with a line (row, source, kind,
        task, sample, separated by tabs) for every match."""
        looked = _in_blocks(_look, ((row, self._sound) for row in rows))
        for row, clip_print in progress.track(looked, f"reading {source}"):
            self.report.rows += 1
            self.report.silent += self._sound and clip_print is None
            pairs = {**self._by_sound(row, clip_print, source), **self._by_text(row, source)}
            self.report.leaking += bool(pairs)
            for (number, _), pair in pairs.items():
                item = self.report.items[number]
                item.counts[pair.kind] += 1
                if sum(other.kind == pair.kind for other in item.pairs) < MOST_PAIRS:
                    item.pairs.append(pair)
                on_match("\t".join(map(visible, (row.id, source, pair.kind, item.task, item.id))))

    def _by_sound(self, row: Example, clip_print: ClipPrint | None, source: str) -> dict[tuple[int, str], Match]:
        if clip_print is None:
            return {}
        pairs: dict[tuple[int, str], Match] = {}
        for hit in self._index.find(clip_print.print):
            for number in self._owners[hit.clip]:
                pairs[number, "heard"] = Match("sound", source, row.id, row.text, round(1 - hit.errors, 4))
        for kind, numbers in (
            ("samples", self._samples.get(clip_print.samples, ())),
            ("file", self._files.get(clip_print.file, ())),
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
class ClipPrint:
    """A clip: sha256 of its file and of its samples, and its fingerprint."""

    file: str
    samples: str
    print: fingerprint.Print


def _look(job: tuple[Example, bool]) -> tuple[Example, ClipPrint | None]:
    """A training row with the hashes and the fingerprint of its clip; the audio is dropped."""
    row, sound = job
    clip_print = _clip_print(row.audio) if sound else None
    return Example(row.id, b"", row.text, row.voice), clip_print


def _look_at(sample: Sample) -> ClipPrint | None:
    try:
        return _clip_print(sample.read()) if sample.read else None
    except (OSError, ClipError) as err:
        raise DataError(f"sample {sample.id}: its clip cannot be read ({err}). Fetch the data again.") from err


def _clip_print(encoded: bytes) -> ClipPrint | None:
    """Hashes and fingerprint of a clip; None if it cannot be decoded."""
    try:
        sound = audio.decode(encoded)
    except ClipError:
        return None
    return ClipPrint(hashlib.sha256(encoded).hexdigest(), _samples(sound), fingerprint.fingerprint(sound))


def _samples(sound: Audio) -> str:
    rounded = np.round(np.clip(sound.samples, -1, 1) * 32767).astype("<i2")
    return hashlib.sha256(rounded.tobytes()).hexdigest()


def _in_blocks(look: Callable[[A], B], rows: Iterable[A]) -> Iterator[B]:
    """`look` of every row, in order, in threads, because decoding and transforms release the GIL."""
    left = iter(rows)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        while block := list(islice(left, _BLOCK)):
            yield from pool.map(look, block)


# ---------------------------------------------------------------- texts


class Near:
    """Distinct texts, in which texts similar to a query are searched, the query included.

    Two strings at distance d share at least one of any 3 d + 1 trigrams of either, so only texts with one of the 3 d +
    1 rarest trigrams are compared (prefix filter: Chaudhuri, Ganti and Kaushik 2006).
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._all = texts
        self._exact = set(texts)
        self._postings: dict[str, list[int]] = defaultdict(list)
        for number, text in enumerate(texts):
            for gram in sorted(_grams(text)):
                self._postings[gram].append(number)
        self._cached = lru_cache(maxsize=4096)(self._search)  # training texts repeat in several voices

    def __call__(self, text: str) -> tuple[tuple[str, float], ...]:
        """(text, similarity) of all texts with at least SIMILAR."""
        return self._cached(text)

    def _search(self, text: str) -> tuple[tuple[str, float], ...]:
        distance = int(len(text) * (1 - SIMILAR) / SIMILAR + 1e-9)  # the other text may be the longer one
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


# ---------------------------------------------------------------- tables and JSON


def counts_table(report: Report, sources: Sequence[str]) -> Table:
    """One row per task: number of matching samples by kind."""
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
        f"{report.rows:,} training rows read, {report.leaking:,} of them match a sample",
        "a sample counts in every column in which one of its training rows matches; within one row, file, samples and "
        "sound exclude each other, and so do text and near text",
        f"sound: at most {fingerprint.ERRORS:.0%} of the bits of the fingerprints differ; near text: at least {SIMILAR:.0%} "
        "of the characters are the same",
    ]
    short = sum(len(words(item.text)) < SHORT for item in report.matched if item.kinds == ["text"])
    notes += [f"{short} samples match only by a text of fewer than {SHORT} words"] if short else []
    notes += [f"{report.silent:,} training clips cannot be decoded: compared by their text"] if report.silent else []
    notes += [f"{report.unheard:,} samples were not compared by sound"] if report.unheard else []
    notes += [f"{report.unworded:,} samples have no transcript: not compared by text"] if report.unworded else []
    return notes


def matches_table(report: Report, limit: int | None = LISTED) -> Table:
    """One row per match, the closest kind first. `limit`: largest number of samples."""
    items = sorted(report.matched, key=lambda item: KINDS.index(item.kinds[0]))
    rows: list[list[Cell]] = []
    for item in items[:limit]:
        for pair in sorted(item.pairs, key=lambda pair: (KINDS.index(pair.kind), -pair.closeness)):
            texts = [cut_to(text, _WIDE) for text in (item.text, pair.text)]
            rows.append([item.task, item.id, pair.kind, pair.closeness, pair.row, *texts])
    columns = [Column("task"), Column("sample"), Column("kind"), Column("closeness", digits=2), Column("training row")]
    columns += [Column("text of the sample", optional=True), Column("text of the training row", optional=True)]
    more = sum(sum(item.counts.values()) for item in report.matched) - sum(len(item.pairs) for item in items[:limit])
    notes = (
        [f"{more:,} more pairs: see --output, which has every sample, and --drop-list, which has every row"]
        if more
        else []
    )
    return Table("pairs", columns, rows, notes)


def as_record(report: Report, sources: Sequence[str], seconds: float) -> dict[str, Any]:
    """Everything as JSON: counts by task and kind, and every matching sample with its first matches."""
    tasks: dict[str, Any] = {}
    for task in dict.fromkeys(item.task for item in report.items):
        items = [item for item in report.items if item.task == task]
        kinds = Counter(kind for item in items for kind in item.kinds)
        items_by_id = {item.id: _item_record(item) for item in items if item.counts}
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


def _item_record(item: Item) -> dict[str, Any]:
    return {
        "says": item.text,
        "rows": {k: item.counts[k] for k in item.kinds},
        "pairs": [asdict(p) for p in item.pairs],
    }
