"""How long scoring takes: measuring one answer, and the interval of one full-size run (15,531 rows, 10,000 resamples).

    python benchmarks/bootstrap.py

Draw: per resample, 15,531 uniform indices (PCG64, 32 bits each) make one row of a sparse 0/1 matrix; its product with the
rows' statistics is the resample's sum. Compared and left: counting the indices (np.bincount) and multiplying densely
draws the same sums in 2.5 times the time on one core and does not use the second, as bincount holds the GIL.

Floor printed: the time of the random words alone (PCG64.random_raw) plus the time of the additions' bytes at the speed
at which one core sums an array of the statistics' size, both over the number of cores.

Measured 2026-11, two cores of an Intel Xeon (server, 2 hardware threads), Python 3.11, numpy 2.4.6, scipy 1.17.1,
sacrebleu 2.6.0:
"""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from diva_bench import stats
from diva_bench.report.tables import Cell, Column, Table
from diva_bench.scorers import builtin
from diva_bench.specs import DataSpec, Decode, TaskSpec
from diva_bench.types import LabelScore, Response, Row, Sample, Scorer

ROWS = 15_531  # the English to X test sets of CoVoST 2
LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
WORDS = ["der", "die", "das", "Hund", "Haus", "geht,", "über", "Straße.", "nicht", "am", "Morgen", "schnell", "und", "3,5"]
HAN = "街角的那家面包店早上六点开门我们星期四下午在图书馆见面"
KANA = ["角の", "パン屋は", "朝六時に", "開きます", "犬が", "走る"]
CASES: list[tuple[str, dict[str, Any], Sequence[str], str]] = [
    ("bleu", {"tokenize": "13a"}, WORDS, " "),
    ("bleu", {"tokenize": "zh"}, HAN, ""),
    ("bleu", {"tokenize": "ja-mecab"}, KANA, ""),
    ("chrf", {"word_order": 0}, WORDS, " "),
    ("chrf", {"word_order": 2}, WORDS, " "),
    ("qa", {}, WORDS, " "),
    ("wer", {}, WORDS, " "),
    ("labels", {}, LABELS, " "),
]


def task() -> TaskSpec:
    nothing: dict[str, Any] = {**dict.fromkeys(("description", "citation", "licence"), ""), "suites": (), "groups": ()}
    return TaskSpec(
        name="trial", task="trial", subset=None, edition="full", version=1, prompt="", system=None, choices=LABELS,
        synonyms={}, decode=Decode(), reference="", scorers={}, primary="bleu", fields={}, home=Path(),
        data=DataSpec(source="jsonl", path="", rows=1), **nothing,
    )  # fmt: skip


def answers(name: str, words: Sequence[str], gap: str) -> list[tuple[Sample, Response]]:
    rng = np.random.default_rng(0)
    pairs = []
    for i in range(ROWS):
        said, reference = (gap.join(rng.choice(list(words), rng.integers(6, 14))) for _ in range(2))
        if name == "labels":
            scores = {w: LabelScore(s, 2, s) for w, s in zip(words, rng.random(len(words)).tolist(), strict=True)}
            said, reference = str(rng.choice(words)), str(rng.choice(words))
            pairs.append((Sample(str(i), (reference,), str(i)), Response(str(i), said, choices=scores)))
        else:
            pairs.append((Sample(str(i), (reference,), str(i)), Response(str(i), said)))
    return pairs


def seconds(call: Callable[[], Any], repeats: int = 3) -> float:
    """The fastest of some calls."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def measure(scorer: Scorer, pairs: Sequence[tuple[Sample, Response]]) -> tuple[list[Row], float]:
    start = time.perf_counter()
    rows = [scorer.measure(sample, response) for sample, response in pairs]
    return rows, time.perf_counter() - start


def floor(width: int) -> float:
    """Seconds that random words and additions of one bootstrap take at the least, see above."""
    draws = ROWS * stats.RESAMPLES
    words = seconds(lambda: np.random.PCG64(0).random_raw(1_000_000)) / 1_000_000  # of 64 bits
    sums = np.random.default_rng(0).random((ROWS, width))
    byte = seconds(lambda: sums.sum(), 20) / sums.nbytes
    return draws * (words / 2 + width * 8 * byte) / cores()


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    rows: list[list[Cell]] = []
    for name, args, words, gap in CASES:
        made = builtin(name)
        assert made is not None
        scorer = made(task(), **args)
        measured, took = measure(scorer, answers(name, words, gap))
        keys, matrix = stats.stack(measured)
        clusters = [str(i) for i in range(ROWS)]
        sums = stats.cluster_sums(matrix, clusters)
        drawing = seconds(lambda sums=sums: stats.resample(sums), 2)  # type: ignore[misc]
        whole = seconds(lambda m=measured, s=scorer: stats.bootstrap(m, clusters, s.reduce), 1)  # type: ignore[misc]
        what = f"{name} {' '.join(str(v) for v in args.values())}".strip()
        rows.append([what, round(ROWS / took), len(keys), whole, drawing, floor(len(keys))])
    columns = [
        Column("scorer"),
        Column("measured rows/s"),
        Column("statistics"),
        Column("interval, s", digits=2),
        Column("of which drawing, s", digits=2),
        Column("floor of drawing, s", digits=2),
    ]
    notes = [
        f"{ROWS} rows and clusters, {stats.RESAMPLES} resamples; {cores()} cores, {platform.processor() or 'CPU'}, "
        f"Python {platform.python_version()}, numpy {np.__version__}",
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB, answers and rows included",
    ]
    Console().print(Table("scoring", columns, rows, notes))


if __name__ == "__main__":
    main()
