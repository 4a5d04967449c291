"""What the harness itself costs: plan, ask `echo`, append, measure, on 15,531 generated items without audio.

    python benchmarks/harness.py

Rates are of processor time, which other work on the machine changes least. Start-up and the bootstrap are not in them;
decoding, which a real run adds, is measured beside it on the mini clips.
Floor: each item has to be written as one JSON line and read back once; the time to do only that stands in the last line.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path

from diva_bench import audio, provenance
from diva_bench.adapters.echo import Echo
from diva_bench.catalog import Catalog
from diva_bench.data import Dataset
from diva_bench.runs import runner
from diva_bench.runs.runner import Job
from diva_bench.specs.spec_file import builtin_folder
from diva_bench.types import Sample, Silent

ITEMS = 15_531  # CoVoST 2 en->X, one split


def job(items: int) -> Job:
    catalog = Catalog()
    task, model = catalog.task("covost2-de", "mini"), catalog.model("echo", "mini")
    text = "Der alte Mann liest jeden Morgen am Fenster die Zeitung von gestern."
    samples = tuple(
        Sample(f"s{i:05}", (f"{text} {i}",), f"c{i % 5000}", seconds=2 + i % 7, groups={"voice": "abcd"[i % 4]})
        for i in range(items)
    )
    data = Dataset(samples, (), f"generated {items}")
    return Job(task, model, data, catalog.scorers(task), Echo.accepts, Echo.version)


def once(items: int) -> tuple[float, float]:
    """(Processor seconds to plan, ask and append, and to measure)."""
    work = job(items)
    with tempfile.TemporaryDirectory() as place, work.folder(Path(place)) as folder:
        adapter = Echo(work.model, {}, "cpu")
        began = time.process_time()
        runner.ask(work, adapter, folder, Silent())
        asked = time.process_time() - began
        answers = {r.id: r for r in folder.responses()}
        began = time.process_time()
        for sample in work.samples:
            for scorer in work.scorers.values():
                scorer.measure(sample, answers[sample.id])
        return asked, time.process_time() - began


def memory(items: int) -> float:
    once(items)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def decoding() -> tuple[int, float, float]:
    """(clips, audio seconds, wall seconds) of decoding the mini clips on one thread."""
    clips = [p.read_bytes() for p in sorted((builtin_folder() / "tasks/mini/audio").glob("*/*.ogg"))]
    began = time.perf_counter()
    heard = sum(audio.decode(c).seconds for c in clips)
    return len(clips), heard, time.perf_counter() - began


def floor() -> float:
    """Seconds to write and read the same number of JSON lines and nothing else."""
    row = {"id": "s00000", "status": "ok", "text": "s00000"}
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        with (Path(place) / "x.jsonl").open("w") as file:
            for _ in range(ITEMS):
                file.write(json.dumps(row) + "\n")
        for line in (Path(place) / "x.jsonl").open():
            json.loads(line)
        return time.perf_counter() - began


def main() -> None:
    print(f"{provenance.processor()}, {ITEMS} items, task covost2-de ({', '.join(job(1).scorers)})")
    small = memory(1000)
    asked, measured = min((once(ITEMS) for _ in range(3)), key=sum)
    print(f"plan, ask, append   {asked:6.2f} s  {ITEMS / asked:9.0f} samples/s")
    print(f"measure             {measured:6.2f} s  {ITEMS / measured:9.0f} samples/s")
    print(f"together            {asked + measured:6.2f} s  {ITEMS / (asked + measured):9.0f} samples/s")
    clips, heard, wall = decoding()
    print(f"decode (1 thread)   {wall:6.2f} s  {clips / wall:9.0f} clips/s, {heard / wall:.0f} x real time")
    large = memory(ITEMS)
    print(f"peak memory         {small:.0f} MB at 1,000 items, {large:.0f} MB at {ITEMS}")
    print(f"floor, JSON alone   {floor():6.2f} s")


if __name__ == "__main__":
    main()
