"""Tables of what `diva-bench leaks` found, and the same as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from diva_bench.audio import fingerprint
from diva_bench.leaks import KINDS, SHORT, SIMILAR, Item, Report
from diva_bench.report.tables import Cell, Column, Table, cut_to
from diva_bench.text import words

LISTED = 20
"""Samples that the terminal shows; the other formats have all."""
_WIDE = 60  # columns of a text in a list


def counts_table(report: Report, sources: Sequence[str]) -> Table:
    """One row per task: samples found, by kind; whole counts, for all samples were looked at."""
    tasks = dict.fromkeys(item.task for item in report.items)
    rows = [_counts(task, [item for item in report.items if item.task == task]) for task in tasks]
    if len(tasks) > 1:
        rows.append(_counts("all", report.items))
    columns = [Column("task"), Column("samples"), *(Column(kind) for kind in KINDS), Column("any"), Column("any, %")]
    return Table(f"samples found in {', '.join(sources)}", columns, rows, _notes(report))


def _counts(task: str, items: Sequence[Item]) -> list[Cell]:
    found = sum(bool(item.counts) for item in items)
    return [
        task,
        len(items),
        *(sum(bool(i.counts[kind]) for i in items) for kind in KINDS),
        found,
        100 * found / len(items),
    ]


def _notes(report: Report) -> list[str]:
    notes = [
        f"{report.rows:,} training rows read, {report.leaking:,} of them hold a sample",
        "a sample stands in every column that one of its training rows fits; file, samples and sound exclude each other "
        "within one row, and so do text and near text",
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
    found = sorted(report.found, key=lambda item: KINDS.index(item.kinds[0]))
    rows: list[list[Cell]] = []
    for item in found[:limit]:
        for pair in sorted(item.pairs, key=lambda pair: (KINDS.index(pair.kind), -pair.closeness)):
            texts = [cut_to(text, _WIDE) for text in (item.said, pair.said)]
            rows.append([item.task, item.id, pair.kind, pair.closeness, pair.row, *texts])
    columns = [Column("task"), Column("sample"), Column("kind"), Column("closeness", digits=2), Column("training row")]
    columns += [Column("the sample says", optional=True), Column("the training row says", optional=True)]
    more = sum(sum(item.counts.values()) for item in report.found) - sum(len(item.pairs) for item in found[:limit])
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
        found = {item.id: _found(item) for item in items if item.counts}
        tasks[task] = {
            "samples": len(items),
            "found": len(found),
            "by_kind": {k: kinds[k] for k in KINDS},
            "ids": found,
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
