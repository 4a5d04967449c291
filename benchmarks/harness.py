"""What the harness itself costs: plan, ask `echo`, append, measure, on 15,531 generated items without audio.

    python benchmarks/harness.py

`echo` answers with the id. Answers that share most of their words with the reference, as those of a good model, take
longer to measure and have a line of their own. Rates are of processor time, which other work on the machine changes
least. Start-up and the bootstrap are not in them; decoding, which a real run adds, is measured beside it on the mini
clips. What a run takes of memory: memory.py.
Floors: each item has to be written as one JSON line and read back once, and each n-gram of its reference (characters 1 to
6, words 1 to 4) has to be looked at once. The times to do only that stand in the last lines.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from diva_bench import audio, provenance
from diva_bench.adapters.echo import Echo
from diva_bench.catalog import Catalog
from diva_bench.data import Dataset
from diva_bench.runs import runner
from diva_bench.runs.runner import Job
from diva_bench.specs.spec_file import builtin_folder
from diva_bench.types import Response, Sample, Silent

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


def similar(sample: Sample) -> str:
    """The reference with two other words, and two that are missing."""
    return sample.references[0].replace("Mann", "Herr").replace("Morgen", "Tag").replace("die Zeitung ", "")


def once(items: int) -> tuple[float, float, float]:
    """(Processor seconds to plan, ask and append; to measure; to measure similar answers)."""
    work = job(items)
    with tempfile.TemporaryDirectory() as place, work.folder(Path(place)) as folder:
        adapter = Echo(work.model, {}, "cpu")
        began = time.process_time()
        runner.ask(work, adapter, folder, Silent())
        asked = time.process_time() - began
        answers = {r.id: r for r in folder.responses()}
        close = {s.id: Response(s.id, text=similar(s)) for s in work.samples}
        return asked, measuring(work, answers), measuring(work, close)


def measuring(work: Job, answers: Mapping[str, Response]) -> float:
    began = time.process_time()
    for sample in work.samples:
        for scorer in work.scorers.values():
            scorer.measure(sample, answers[sample.id])
    return time.process_time() - began


def decoding() -> tuple[int, float, float]:
    """(clips, audio seconds, wall seconds) of decoding the mini clips on one thread."""
    clips = [p.read_bytes() for p in sorted((builtin_folder() / "tasks/mini-v1/audio").glob("*/*.ogg"))]
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


def counting() -> float:
    """Seconds to look at the n-grams of all references once."""
    references = [s.references[0] for s in job(ITEMS).samples]
    began = time.process_time()
    for text in references:
        for units, orders in (("".join(text.split()), 6), (tuple(text.split()), 4)):
            for n in range(1, orders + 1):
                {units[i : i + n] for i in range(len(units) - n + 1)}
    return time.process_time() - began


def main() -> None:
    print(f"{provenance.processor()}, {ITEMS} items, task covost2-de ({', '.join(job(1).scorers)})")
    once(100)  # loads the model that identifies languages
    asked, measured, close = (min(times) for times in zip(*(once(ITEMS) for _ in range(3)), strict=True))
    print(f"plan, ask, append   {asked:6.2f} s  {ITEMS / asked:9.0f} samples/s")
    print(f"measure             {measured:6.2f} s  {ITEMS / measured:9.0f} samples/s")
    print(f"  similar answers   {close:6.2f} s  {ITEMS / close:9.0f} samples/s")
    print(f"together            {asked + measured:6.2f} s  {ITEMS / (asked + measured):9.0f} samples/s")
    clips, heard, wall = decoding()
    print(f"decode (1 thread)   {wall:6.2f} s  {clips / wall:9.0f} clips/s, {heard / wall:.0f} x real time")
    print(f"floor, JSON alone   {floor():6.2f} s")
    print(f"floor, n-grams      {counting():6.2f} s")


if __name__ == "__main__":
    main()
