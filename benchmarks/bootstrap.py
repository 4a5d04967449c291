"""How long scoring takes: measuring one answer, and the interval of one full-size run (15,531 rows, 10,000 resamples).

    python benchmarks/bootstrap.py

Drawing: per resample, 15,531 uniform indices (PCG64, 32 bits each) are one row of a sparse matrix. N-gram counts, which
are whole numbers, are added by a matrix product with how often each row was drawn; confusion counts, mostly zeros, by a
sparse product; anything else one drawn row after another (`resampling._adder`). All give the same bits. np.bincount counts as
fast as the sparse matrix but holds the GIL. How much this gained stands in benchmarks/compare.txt.

Floor: the random words alone (PCG64.random_raw), and the bytes of the additions at the speed at which one core sums an
array of that size.

Measured 2026-11, two CPU cores, x86-64, Python 3.11, numpy 2.4.6, scipy 1.17.1, sacrebleu 2.6.0, while other work kept the
machine busy. So wall times are left out.

    scorer         rows/s per CPU s  statistics  drawing, CPU s  floor, CPU s  memory, MB
    bleu 13a                 14,760          10            0.67          0.31          31
    bleu zh                  13,716          10            0.66          0.28           3
    bleu ja-mecab            14,511          10            0.70          0.34           8
    chrf2                    11,127          18            0.72          0.51           2
    chrf++                    9,366          24            0.74          0.64           5
    qa                       69,765           2            0.74          0.23           0
    wer                      34,925           2            0.61          0.18           0
    labels (7)               47,902         196            1.56          0.22           0
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

from diva_bench.catalog import class_of
from diva_bench.scorers import BUILTIN
from diva_bench.specs import DataSpec, Decode, TaskSpec
from diva_bench.stats import resampling
from diva_bench.tables import Cell, Column, Table
from diva_bench.types import LabelScore, Response, Row, Sample

ROWS = 15_531  # the English to X test sets of CoVoST 2
LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
WORDS = ["der", "die", "Hund", "Haus", "geht,", "über", "Straße.", "nicht", "am", "Morgen", "schnell", "und", "3,5"]
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
    """Wall seconds of the fastest of some calls."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def floor(width: float) -> float:
    """CPU seconds that the random words and the additions of one bootstrap take at the least, see above."""
    words = seconds(lambda: np.random.PCG64(0).random_raw(1_000_000)) / 1_000_000  # of 64 bits
    sums = np.random.default_rng(0).random((ROWS, 10))
    byte = seconds(sums.sum, 50) / sums.nbytes
    return ROWS * resampling.RESAMPLES * (words / 2 + width * 8 * byte)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(name: str, args: dict[str, Any], words: Sequence[str], gap: str) -> list[Cell]:
    """One line of the table: CPU time, which the other work of a machine moves less, and wall time."""
    made = class_of("scorer", name, BUILTIN)
    scorer, pairs = made(task(), **args), answers(name, words, gap)
    start = time.process_time()
    rows: list[Row] = [scorer.measure(sample, response) for sample, response in pairs]
    measuring = time.process_time() - start
    keys, matrix = resampling.stack(rows)
    clusters = [str(i) for i in range(ROWS)]
    sums = resampling.cluster_sums(matrix, clusters)
    start, before = time.process_time(), peak()
    wall = seconds(lambda: resampling.resample(sums), 1)
    drawing, grown = time.process_time() - start, peak() - before
    whole = seconds(lambda: resampling.bootstrap(rows, clusters, scorer.reduce), 1)
    what = f"{name} {' '.join(str(v) for v in args.values())}".strip()
    least = floor(np.count_nonzero(sums) / ROWS)
    return [what, round(ROWS / measuring), len(keys), drawing, least, wall, whole, round(grown)]


def main() -> None:
    columns = [
        Column("scorer"),
        Column("rows/s measured"),
        Column("statistics"),
        Column("drawing, CPU s", digits=2),
        Column("floor, CPU s", digits=2),
        Column("drawing, s", digits=2),
        Column("interval, s", digits=2),
        Column("memory, MB"),
    ]
    notes = [
        f"{ROWS} rows and clusters, {resampling.RESAMPLES} resamples; {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}, numpy {np.__version__}; load {os.getloadavg()[0]:.1f}",
        "rows/s: per CPU second, one process; memory: what the first drawing adds to the peak",
    ]
    Console(width=100).print(Table("scoring", columns, [timed(*case) for case in CASES], notes))


if __name__ == "__main__":
    main()
