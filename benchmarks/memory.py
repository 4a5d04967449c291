"""Memory that a run takes for each sample: read the task's data, store its rows, ask `echo`, append, score; up to 1,000,000.

    python benchmarks/memory.py [SAMPLES ...]

The task is a jsonl of questions without sound (what a clip takes is bounded by the batches in flight), 60 characters each,
two to a cluster, with a group of four values; scorers qa and adherence. Every size runs in a process of its own, for the
peak of a process never falls. Its peak is read behind each stage; the first line is what the imports take. The last lines
are the growth from one size to the next for each sample, and the processor seconds of the largest size.

Floor: what is known of a sample while a run goes on has to be found again: where its row, what the fingerprint covers of
it and its answer are (3 x 8 bytes), its id (60 bytes as a string, in a table for another 50), the number of its cluster
(4 bytes), and its statistics (a byte for most of them; 8 for each of a cluster while intervals are computed).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from diva_bench import data, provenance
from diva_bench.adapters.echo import Echo
from diva_bench.catalog import Catalog
from diva_bench.runs import runner, scoring
from diva_bench.runs.runner import Job
from diva_bench.types import Silent

SIZES = (15_531, 100_000, 1_000_000)
TASK = """\
name: many
version: 1
description: a benchmark
prompt: Answer in one sentence.
reference: answers
groups: [voice]
scorers: {{qa: {{}}, adherence: {{form: sentence}}}}
primary: contains
editions:
  mini: {{source: jsonl, path: many.jsonl, rows: {rows}}}
"""


def peak() -> float:
    """Largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write(folder: Path, samples: int) -> None:
    (folder / "many.yaml").write_text(TASK.format(rows=samples))
    with (folder / "many.jsonl").open("w", encoding="utf-8") as file:
        for i in range(samples):
            text = f"Which river flows through the town that has number {i:07}?"
            row = {"id": f"q{i:07}", "text": text, "answers": [f"the river {i % 977}", f"river {i % 977}"]}
            file.write(json.dumps(row | {"voice": "abcd"[i % 4], "cluster": f"c{i // 2}"}) + "\n")


def once(samples: int) -> dict[str, tuple[float, float]]:
    """Stage -> peak behind it, in MiB, and processor seconds so far."""
    stages = {"imports": (peak(), time.process_time())}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, samples)
        catalog = Catalog([folder])
        task, model = catalog.task("many", "mini"), catalog.model("echo", "mini")
        dataset = data.load(task, folder / "cache", Silent(), need_audio=False)
        stages["read"] = peak(), time.process_time()
        accepts = Echo.accepts - {"audio"}
        work = Job(task, model, dataset, catalog.scorers(task), accepts, Echo.version)
        work.reserve(folder / "results")
        work = work.settled(folder / "results")
        stages["store rows"] = peak(), time.process_time()
        with work.folder(folder / "results") as run:
            runner.ask(work, Echo(model, {}, "cpu"), run, Silent())
            stages["ask"] = peak(), time.process_time()
            scoring.score(work, run, Silent())
            stages["score"] = peak(), time.process_time()
    return stages


def main() -> None:
    if sys.argv[1:2] == ["--once"]:
        print(json.dumps(once(int(sys.argv[2]))))
        return
    sizes = [int(word) for word in sys.argv[1:]] or list(SIZES)
    found = {}
    for size in sizes:
        done = subprocess.run(
            [sys.executable, __file__, "--once", str(size)], capture_output=True, text=True, check=True
        )
        found[size] = json.loads(done.stdout)
    print(f"{provenance.processor()}, Python {sys.version.split()[0]}; benchmarks/memory.py; peak so far, MiB")
    print(f"{'samples':<10}" + "".join(f"{size:>12,}" for size in sizes))
    for stage in found[sizes[0]]:
        print(f"{stage:<10}" + "".join(f"{found[size][stage][0]:>12.0f}" for size in sizes))
    for first, last in pairwise(sizes):
        grown = (found[last]["score"][0] - found[first]["score"][0]) * 2**20 / (last - first)
        print(f"for each sample, from {first:,} to {last:,}: {grown:.0f} bytes")
    ends = found[sizes[-1]]
    spent = ", ".join(f"{name} {ends[name][1] - ends[before][1]:.0f}" for before, name in pairwise(ends))
    print(f"processor seconds at {sizes[-1]:,}: {spent}")


if __name__ == "__main__":
    main()
