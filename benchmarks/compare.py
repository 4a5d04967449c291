"""How long comparing two full-size runs takes: 10,000 paired resamples of corpus BLEU, and `compare` as a command.

    python benchmarks/compare.py            on all cores
    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/compare.py     on one

Two systems of 15,531 sentences each (the English to X test sets of CoVoST 2), in clusters of a made-up speaker each (5,000),
or every sentence its own. "by index" is how resampling added before: one drawn row after another (see `resampling.resample`); the
sums are the same to the bit, which is checked. `compare` is the whole command in a process of its own, start-up, two files
of scores, BLEU and chrF2, cluster and iid bootstrap, approximate randomisation of clusters and of sentences, sacreBLEU's test
and the table of samples included; memory is its peak.

Floor of a bootstrap: its random 32-bit numbers alone.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bootstrap import ROWS, WORDS, task
from scipy.sparse import csr_array

from diva_bench.scorers.translation import Bleu
from diva_bench.stats import differences, resampling
from diva_bench.types import Floats, Response, Sample

SPEAKERS = 5_000
TASK = """\
name: trial
version: 1
description: made up, of the size of a test set of CoVoST 2
prompt: Translate.
reference: de
scorers: {{bleu: {{tokenize: 13a}}, chrf: {{}}}}
primary: bleu
editions:
  full: {{source: jsonl, path: trial.jsonl, rows: {rows}}}
"""


def sentences(seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(6, 14))) for _ in range(ROWS)]


def answers(seed: int, references: list[str], right: float) -> list[str]:
    """Each word of the reference, kept with probability `right`, else another."""
    rng = np.random.default_rng(seed)
    return [" ".join(w if rng.random() < right else str(rng.choice(WORDS)) for w in r.split()) for r in references]


def took(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def by_index(sums: Floats) -> Floats:
    """`resampling.resample` on one core, as it added before."""
    drawn, ones = np.empty((resampling.RESAMPLES, sums.shape[1])), np.ones(64 * len(sums))
    starts = np.arange(0, 64 * len(sums) + 1, len(sums), dtype=np.int32)
    for block in range(-(-resampling.RESAMPLES // 64)):
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(resampling.SEED, spawn_key=(block,))))
        picked = rng.integers(0, len(sums), 64 * len(sums), dtype=np.int32)
        into = drawn[block * 64 : (block + 1) * 64]
        into[:] = (csr_array((ones, picked, starts), shape=(64, len(sums))) @ sums)[: len(into)]
    return drawn


def resampling_times(systems: list[list[dict[str, float]]]) -> None:
    sums = np.hstack([resampling.stack(rows)[1] for rows in systems])
    before, after = took(lambda: by_index(sums)), took(lambda: resampling.resample(sums))
    assert (by_index(sums) == resampling.resample(sums)).all()
    words = np.random.PCG64(0)
    draws = took(lambda: [words.random_raw(ROWS * 32) for _ in range(resampling.RESAMPLES // 64)])
    names = [f"{i:05}" for i in range(ROWS)]
    reduce = Bleu(task()).reduce
    whole = took(lambda: differences.paired(*systems, names, reduce))
    swaps = took(lambda: differences.randomisation(*systems, names, reduce))
    for what, (wall, cpu) in {
        "adding up, by index (before)": before,
        "adding up, now": after,
        "floor: random numbers alone": draws,
        "paired BLEU, rows to interval and p": whole,
        "approximate randomisation of BLEU": swaps,
    }.items():
        print(f"{what:<38}{wall:>8.2f} s wall{cpu:>8.2f} s CPU")
    print(f"{'by index / now, CPU':<38}{before[1] / after[1]:>8.2f} x")


# Runs a command and prints what it took; a process of its own, for a child's peak memory begins with its parent's.
_MEASURE = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
sys.exit(code)
"""


def command(*words: str, cwd: Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory (MB) of a diva-bench command."""
    asked = [sys.executable, "-c", _MEASURE, sys.executable, "-m", "diva_bench", *words]
    wall, cpu, peak = json.loads(subprocess.run(asked, cwd=cwd, check=True, capture_output=True).stdout)
    return wall, cpu, peak


def compared(folder: Path, references: list[str], said: list[list[str]], clusters: int) -> tuple[float, float, float]:
    """`compare` of two runs that were imported just before."""
    rows = [{"id": f"s{i:05}", "de": r, "cluster": f"c{i % clusters:05}"} for i, r in enumerate(references)]
    (folder / "trial.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "trial.yaml").write_text(TASK.format(rows=ROWS))
    for name, texts in zip("ab", said, strict=True):
        lines = [json.dumps({"id": row["id"], "text": text}) + "\n" for row, text in zip(rows, texts, strict=True)]
        (folder / f"{name}.out.jsonl").write_text("".join(lines))
        words = ("--task", "trial", "--model-name", name, "--path", ".", "--output", f"runs{clusters}")
        command("import", f"{name}.out.jsonl", *words, cwd=folder)
    runs = [str(path.parent) for path in sorted(folder.glob(f"runs{clusters}/*/*/summary.json"))]
    return command("compare", *runs, "--path", ".", cwd=folder)


def main() -> None:
    cores = len(os.sched_getaffinity(0))
    print(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}; benchmarks/compare.py")
    print(f"{ROWS} rows, {resampling.RESAMPLES} resamples; {cores} cores, {platform.machine()}, numpy {np.__version__}")
    print(f"Python {platform.python_version()}, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}\n")
    references = sentences(0)
    said = [answers(1, references, 0.7), answers(2, references, 0.68)]
    scorer = Bleu(task())
    systems = [
        [scorer.measure(Sample("a", (r,), "a"), Response("a", text)) for r, text in zip(references, texts, strict=True)]
        for texts in said
    ]
    resampling_times(systems)
    with tempfile.TemporaryDirectory() as place:
        for clusters in (ROWS, SPEAKERS):
            wall, cpu, peak = compared(Path(place), references, said, clusters)
            print(f"{f'compare, {clusters} clusters':<38}{wall:>8.2f} s wall{cpu:>8.2f} s CPU{peak:>8.0f} MB")


if __name__ == "__main__":
    main()
