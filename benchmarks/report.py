"""Time and memory of `diva-bench report` for many runs of 15,531 samples, and how fast its pages are in Chromium.

    python benchmarks/report.py [RUNS]

One `echo` run is asked and scored; the other runs have the same answers under models of other names, since what counts is
how much there is to read and to write. The report is written twice, each time by a process of its own: `first`, where
the digests of the answers are not known yet, and `again`. `memory`: the largest process, and all together at most. In
Chromium, of a report of five runs from disk: first paint of the page of samples, until all answers are there, and the
slowest of three searches.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from memory import write

from diva_bench import data, provenance
from diva_bench.adapters.echo import Echo
from diva_bench.catalog import Catalog
from diva_bench.runs import runner, scoring
from diva_bench.runs.runner import Job
from diva_bench.types import Silent

SAMPLES = 15_531


def make(folder: Path, count: int) -> None:
    """`count` runs of one task in `folder/results`."""
    write(folder, SAMPLES)
    catalog = Catalog([folder])
    task, model = catalog.task("many", "mini"), catalog.model("echo", "mini")
    dataset = data.load(task, folder / "cache", Silent(), need_audio=False)
    first: Path | None = None
    for number in range(count):
        named = model.model_copy(update={"name": f"echo{number:03}", "args": {"reply": f"the river {number}"}})
        work = Job(task, named, dataset, catalog.scorers(task), Echo.accepts - {"audio"}, Echo.version)
        with work.folder(folder / "results") as run:
            if first is None:
                work = work.settled(folder / "results")
                runner.ask(work, Echo(named, {}, "cpu"), run, Silent())
                scoring.score(work, run, Silent())
                first = run.path
                continue
            for name in ("responses.jsonl", "scores.jsonl", "timing.jsonl"):
                shutil.copy(first / name, run.path / name)
            summary = json.loads((first / "summary.json").read_text())
            summary |= {"model": named.name, "run_id": run.path.name}
            (run.path / "summary.json").write_text(json.dumps(summary))


def memory_of(root: int) -> list[int]:
    """Resident memory of a process and its descendants, in bytes, by /proc."""
    parents: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)], sizes[int(path.parent.name)] = (
            int(fields[1]),
            int(fields[21]) * os.sysconf("SC_PAGESIZE"),
        )
    family = [root]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    return [sizes.get(pid, 0) for pid in family]


def report(folder: Path, results: Path, site: str) -> tuple[float, float, float]:
    """Seconds, MB of the largest process, MB of all together at most."""
    words = [sys.executable, "-m", "diva_bench", "report", str(results), "--html", str(folder / site)]
    words += ["--path", str(folder)]  # so that the report has texts, references and scores of samples
    known = {**os.environ, "DIVA_BENCH_CACHE": str(folder / "cache")}
    began, largest, together = time.monotonic(), 0, 0
    with subprocess.Popen(words, env=known, stderr=subprocess.DEVNULL) as running:
        done = threading.Event()

        def watch() -> None:
            nonlocal largest, together
            while not done.wait(0.2):
                sizes = memory_of(running.pid)
                largest, together = max(largest, *sizes), max(together, sum(sizes))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = running.wait()
        done.set()
        watcher.join()
    if code:
        raise SystemExit(f"report ended with {code}")
    return time.monotonic() - began, largest / 1e6, together / 1e6


def browse(site: Path) -> dict[str, float]:
    """Milliseconds of the page of samples in Chromium."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        began = time.monotonic()
        page.goto(next((site / "samples").iterdir()).as_uri())
        page.wait_for_selector("p.status[data-done='1']", timeout=120_000)
        found = {"all answers": 1000 * (time.monotonic() - began)}
        paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        found["first paint"] = float(page.evaluate(paint))
        for words in ("river 42", "number 0001234", "no such words"):
            page.get_by_label("Search", exact=True).fill(words)
            page.wait_for_timeout(2000)
            taken = float(page.locator("p.status").get_attribute("data-ms") or 0)
            found["search"] = max(found.get("search", 0.0), taken)
        browser.close()
    return found


def main() -> None:
    count = int(sys.argv[1]) if sys.argv[1:] else 100
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, count)
        print(f"{provenance.processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}")
        print(f"{count} runs of {SAMPLES:,} samples")
        for name in ("first", "again"):
            seconds, largest, together = report(folder, folder / "results", "site")
            print(f"{name}: {seconds:.0f} s; memory {largest:.0f} MB the largest process, {together:.0f} MB together")
        size = sum(path.stat().st_size for path in (folder / "site").rglob("*") if path.is_file())
        print(f"size of the report: {size / 1e6:.0f} MB", flush=True)
        few = folder / "few"
        for path in sorted((folder / "results").glob("*/*/run.json"))[:5]:
            shutil.copytree(path.parent, few / path.parent.parent.name / path.parent.name)
        for path in (folder / "results").glob("*/*.json*"):
            shutil.copy(path, few / path.parent.name / path.name)
        seconds, largest, _ = report(folder, few, "small")
        print(f"5 runs, with intervals by group and paired differences: {seconds:.0f} s; memory {largest:.0f} MB")
        print(
            "Chromium, 5 runs: "
            + "; ".join(f"{name} {value:.0f} ms" for name, value in browse(folder / "small").items())
        )


if __name__ == "__main__":
    main()
