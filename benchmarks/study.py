"""A study with 50 raters at once: how soon a vote is acknowledged, and whether all acknowledged votes are stored.

    python benchmarks/study.py [output.txt]

The server is `diva-bench study serve` with the stored answers of two runs (210 items of the task transcribe); the raters are one
other process on the same machine. Each rater votes and asks for the next page every 2 s, as the page does, for two minutes.
A third process opens the database afterwards and counts the votes.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import numpy as np
import yaml

from diva_bench import provenance
from diva_bench.study.store import Store

RATERS, EVERY, SECONDS = 50, 2.0, 120.0
COMMAND = [sys.executable, "-m", "diva_bench"]
_ADDRESS = re.compile(r"(http://\S+) shows the study")


def prepare(folder: Path) -> None:
    """Two runs without a model, and a study of their answers."""
    (folder / "specs").mkdir()
    for name, reply in (("alpha", "transcript"), ("beta", "An answer.")):
        spec = {"name": name, "adapter": "echo", "description": "d", "args": {"reply": reply}}
        (folder / "specs" / f"{name}.yaml").write_text(
            yaml.safe_dump(spec | {"runtime": {"dtype": "float32"}}), "utf-8"
        )
    words = ["run", "-m", "alpha,beta", "-t", "transcribe", "--edition", "mini", "--path", "specs"]
    subprocess.run([*COMMAND, *words], cwd=folder, check=True, capture_output=True)
    runs = {name: str(next((folder / "results").rglob(f"{name}-*"))) for name in ("alpha", "beta")}
    study = {"name": "s", "title": "t", "consent": "c", "systems": runs, "votes": 150}
    (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")


async def rater(session: aiohttp.ClientSession, wait: float, votes: list[float], pages: list[float]) -> int:
    """One rater; appends seconds per vote and per page. Returns how many votes were acknowledged."""

    async def post(name: str, times: list[float] | None = None, **body: object) -> dict[str, object]:
        began = time.perf_counter()
        async with session.post(f"/api/{name}", json=body) as answer:
            value: dict[str, object] = await answer.json()
        answer.raise_for_status()
        if times is not None:
            times.append(time.perf_counter() - began)
        return value

    await asyncio.sleep(wait)
    await post("enter", agree=True)
    page, end = await post("next"), time.perf_counter() + SECONDS
    acknowledged = 0
    while (began := time.perf_counter()) < end:
        await post("vote", votes, id=page["id"], choice=0)
        acknowledged += 1
        page = await post("next", pages)
        await asyncio.sleep(max(0.0, began + EVERY - time.perf_counter()))
    return acknowledged


async def raters(url: str) -> tuple[int, list[float], list[float]]:
    votes: list[float] = []
    pages: list[float] = []
    draws = random.Random(0)
    sessions = [aiohttp.ClientSession(url, cookie_jar=aiohttp.CookieJar(unsafe=True)) for _ in range(RATERS)]
    try:
        work = [rater(session, draws.uniform(0, EVERY), votes, pages) for session in sessions]
        return sum(await asyncio.gather(*work)), votes, pages
    finally:
        for session in sessions:
            await session.close()


def row(name: str, times: list[float]) -> str:
    low, high, rare, most = 1000 * np.quantile(times, [0.5, 0.95, 0.99, 1.0])
    return f"{name:<28} {len(times):>6,} {low:>8.1f} {high:>8.1f} {rare:>8.1f} {most:>8.1f}"


def main() -> None:
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        log = folder / "server.log"
        with log.open("wb") as out:
            server = subprocess.Popen([*COMMAND, "study", "serve", "study.yaml", "--port", "0"], cwd=folder, stdout=out)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            while not (found := _ADDRESS.search(log.read_text("utf-8"))):
                assert server.poll() is None, "the server ended"
                time.sleep(0.1)
            acknowledged, votes, pages = asyncio.run(raters(found[1]))
        finally:
            server.kill()
            server.wait()
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        with Store(folder / "s.sqlite") as store:
            stored = [vote.id for vote in store.votes()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = [
        f"{provenance.processor()}, {cores} cores for server and raters together, load of the machine before: {load:.1f}",
        f"{RATERS} raters, each votes and asks for the next page every {EVERY:g} s, for {SECONDS:g} s",
        f"votes: {acknowledged:,} acknowledged, {len(stored):,} stored, {len(set(stored)):,} different; the server was killed "
        "at the end",
        f"processor time of the server, with its start: {busy:.1f} s, {1000 * busy / (2 * acknowledged):.1f} ms a request",
        f"{'milliseconds':<28} {'n':>6} {'median':>8} {'p95':>8} {'p99':>8} {'largest':>8}",
        row("vote acknowledged", votes),
        row("next page", pages),
    ]
    print("\n".join(lines))
    assert acknowledged == len(stored) == len(set(stored))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
