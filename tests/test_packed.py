"""Long tasks are kept in temporary files: the same values come back, the same files are written, and memory stays small."""

import datetime
import gc
import json
import math
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from diva_bench import data, packed
from diva_bench.adapters.echo import Echo
from diva_bench.catalog import Catalog
from diva_bench.data import packing
from diva_bench.data.readers import ClipSource, Raw
from diva_bench.errors import UserError
from diva_bench.runs import runner, scoring
from diva_bench.runs.runner import Job
from diva_bench.stats import resampling, table
from diva_bench.types import Sample, Silent

TASK = """\
name: many
version: 1
description: a test
prompt: Answer {hint} in one sentence.
reference: answers
groups: [voice]
scorers: {qa: {}, adherence: {form: sentence}}
primary: contains
editions:
  mini: {source: jsonl, path: many.jsonl, rows: %d}
"""


def job_of(folder: Path, count: int) -> Job:
    """A task of `count` questions without sound; every third answer of `echo`, the id, is right."""
    (folder / "many.yaml").write_text(TASK % count)
    with (folder / "many.jsonl").open("w", encoding="utf-8") as file:
        for i in range(count):
            row = {"id": f"q{i * 7919 % count:05}", "text": f"Which river is number {i}?", "hint": f"\ud83c\udf0a {i}"}
            answers = [row["id"] if i % 3 else f"river {i % 97}", "the river"]
            file.write(json.dumps(row | {"answers": answers, "voice": "abc"[i % 3], "cluster": f"c{i // 2}"}) + "\n")
    catalog = Catalog([folder])
    task, model = catalog.task("many", "mini"), catalog.model("echo", "mini")
    dataset = data.load(task, folder / "cache", Silent(), need_audio=False)
    return Job(task, model, dataset, catalog.scorers(task), Echo.accepts - {"audio"}, Echo.version)


def run(place: Path, count: int, part: int = 0) -> dict[str, bytes]:
    """Name -> content of every file that a run writes, except its timing. `part`: the number of samples that were answered
    before the run was stopped."""
    place.mkdir()
    job = job_of(place, count)
    results = place / "results"
    job.reserve(results)
    job = job.settled(results)
    adapter = Echo(job.model, {}, "cpu")
    if part:
        first = replace(job, dataset=replace(job.dataset, samples=job.dataset.samples[:part]))
        with job.folder(results) as folder:
            runner.ask(first, adapter, folder, Silent())
    job = job.settled(results)  # with the rows that are stored now
    with job.folder(results) as folder:
        runner.ask(job, adapter, folder, Silent())
        scoring.score(job, folder, Silent())
    kept = [path for path in results.rglob("*.json*") if path.name != "timing.jsonl"]
    return {str(path.relative_to(results)): path.read_bytes() for path in kept}


def test_a_packed_task_writes_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(tmp_path / "plain", 150)
    monkeypatch.setattr(packed, "KEPT", 0)
    assert run(tmp_path / "packed", 150) == plain
    assert sorted(Path(name).name for name in plain) == [
        "events.jsonl", "responses.jsonl", "rows.jsonl", "run.json", "scores.jsonl", "summary.json", "task.json",
    ]  # fmt: skip


def test_a_packed_run_that_was_stopped_ends_with_the_same_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(tmp_path / "plain", 150)
    monkeypatch.setattr(packed, "KEPT", 0)
    resumed = run(tmp_path / "packed", 150, part=50)
    for name in plain:
        if Path(name).name in ("scores.jsonl", "summary.json", "rows.jsonl"):
            assert resumed[name] == plain[name], name
        if Path(name).name == "responses.jsonl":
            assert sorted(set(resumed[name].splitlines())) == sorted(plain[name].splitlines())


def test_the_memory_of_a_run_grows_by_less_than_a_kilobyte_for_each_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "KEPT", 100)
    # buffers of fixed size, which would be most of what so small tasks take
    monkeypatch.setattr(resampling, "_PICKED", 1 << 12)
    monkeypatch.setattr(table, "_BLOCK", 64)
    tracemalloc.start()
    run(tmp_path / "warm", 900)  # fills the caches of texts, which are bounded
    peaks = []
    for count in (300, 900):
        gc.collect()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        run(tmp_path / str(count), count)
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 600 < 1_000, peaks


# ---------------------------------------------------------------- sequences


@pytest.mark.parametrize("kept", [0, 3, 10])
def test_items_come_back_in_their_order_wherever_they_are(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "KEPT", kept)
    words = ["one", "zwei", "三", "", "four"]
    got = packed.packed(words, lambda place, word: f"{place}{word}".encode(), lambda place, b: b.decode()[1:])
    assert isinstance(got, tuple) == (kept == 10)
    assert (len(got), list(got), list(got), got[-1]) == (5, words, words, "four")
    assert list(got[1:3]) == words[1:3]
    assert list(got[1:][::2]) == words[1::2]
    with pytest.raises(IndexError):
        got[5]
    assert list(packed.chosen(got, [4, 0])) == ["four", "one"]
    assert list(packed.mapped(got, str.upper)) == ["ONE", "ZWEI", "三", "", "FOUR"]
    assert list(packed.in_order(got, lambda word: word)) == sorted(words)


def test_no_place_for_temporary_files_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "KEPT", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"nowhere: a temporary file for the rows .*No such file.* TMPDIR"):
        packed.packed(["a", "b"], lambda place, item: b"", lambda place, content: "")


def test_a_full_disk_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is not there")
    monkeypatch.setattr(packed, "KEPT", 0)
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda: full)
        with pytest.raises(UserError, match=r"cannot be written \(No space left on device\).*TMPDIR"):
            packed.packed(["a"], lambda place, item: b"a", lambda place, content: "")


def test_rows_with_values_that_json_cannot_keep_come_back_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "KEPT", 0)
    clip = ClipSource("a.wav", bytes)
    rows = [
        Raw(
            "f:1", {"id": "a", "half": "\ud800", "n": 1, "x": 0.1, "yes": True, "no": None, "many": ["a"]}, clip, "bad"
        ),
        Raw("f:2", {"when": datetime.date(2026, 11, 30), "pair": (1, 2)}),
        Raw("f:3", {"pair": (1, 2), "whole": {1: "a"}}),
    ]
    got = packing.raws(rows)
    assert list(got) == rows
    assert math.isnan(packing.raws([Raw("f:1", {"x": math.nan})])[0].values["x"])


def test_samples_keep_how_their_clip_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "KEPT", 0)
    samples = [
        Sample("a", ("x", "y"), "c", read=lambda: b"sound", seconds=1.25, transcript="hi", fields={"k": "v"}),
        Sample("b", ("\ud800",), "c", groups={"voice": "1"}),
    ]
    packing_ = packing.samples()
    for sample in samples:
        packing_.append(sample)
    got = packing_.done()
    assert list(got) == samples
    assert got[0].read is not None
    assert got[0].read() == b"sound"
