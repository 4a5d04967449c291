"""Many requests at a time to a server that answers after 50 ms: how close a run comes to (number in flight) / 50 ms.

    python benchmarks/server.py [output.txt]

Client and server have one core each. A row is a whole `runner.ask`: prompts, requests, checks, one line per answer in the
run folder; "bare" is aiohttp alone, which sends the same bodies and reads the answers. The server is raw asyncio, so that it
is not what is measured; the load of the machine before the measurement is shown, because on a busy one the shares mean little.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
import numpy as np

from diva_bench import provenance
from diva_bench.adapters.openai_chat import OpenAIChat
from diva_bench.catalog import Catalog
from diva_bench.data import Dataset
from diva_bench.runs import runner
from diva_bench.runs.runner import Job
from diva_bench.server.completions import wav
from diva_bench.specs import ModelSpec, Runtime, Server
from diva_bench.types import Audio, Sample, Silent

DELAY = 0.05  # seconds
ROUNDS = 60  # answers per place in flight: about 3 s
IN_FLIGHT = (8, 16, 32, 128)
_USAGE = {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22}
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "an answer"}, "finish_reason": "stop"}
_BODY = json.dumps({"id": "x", "object": "chat.completion", "choices": [_CHOICE], "usage": _USAGE}).encode()
_REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_BODY) + _BODY


class _Slow(asyncio.Protocol):
    """Reads requests with a content length, and answers each after the delay."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._left, self._head = transport, 0, b""

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
        else:
            head, end, rest = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            self._head = b""
            low = head.lower()
            at = low.index(b"content-length:") + 15
            self._left = int(low[at:].split(b"\r\n", 1)[0]) - len(rest)
        if self._left == 0:
            asyncio.get_running_loop().call_later(DELAY, self._transport.write, _REPLY)  # type: ignore[attr-defined]


def serve(port: Connection, core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(_Slow, "127.0.0.1", 0, backlog=1024)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


def job(url: str, in_flight: int, clip: bytes | None) -> Job:
    catalog = Catalog()
    args = {"model": "m", "input": "text" if clip is None else "audio", "check": False}
    server = Server(urls=(url,), in_flight=in_flight)
    model = ModelSpec(
        name="server", edition=None, adapter="openai_chat", description="", citation="", licence="", args=args,
        weights={}, runtime=Runtime(dtype="float32"), training=None, server=server,
    )  # fmt: skip
    task = catalog.task("covost2-de", "mini")
    count = in_flight * ROUNDS
    samples = tuple(
        Sample(
            f"s{i:05}", ("eine Antwort",), f"c{i}", seconds=5.0 if clip else 0.0,
            transcript="The old man reads yesterday's paper at the window every morning.",
            read=None if clip is None else (lambda: clip), groups={"voice": "a"},
        )
        for i in range(count)
    )  # fmt: skip
    accepts = catalog.adapter_for(model).accepts
    return Job(task, model, Dataset(samples, (), f"generated {count}"), {}, accepts, OpenAIChat.version)


def ours(url: str, in_flight: int, clip: bytes | None) -> tuple[float, float]:
    """(wall seconds, processor seconds) of a whole run."""
    work = job(url, in_flight, clip)
    adapter = OpenAIChat(work.model, {}, "cpu")
    with tempfile.TemporaryDirectory() as place, work.folder(Path(place)) as folder:
        began, busy = time.perf_counter(), time.process_time()
        outcome = runner.ask(work, adapter, folder, Silent())
        took = time.perf_counter() - began, time.process_time() - busy
        assert outcome.answered == len(work.samples), outcome
        assert not outcome.errors, outcome
    adapter.close()
    return took


async def bare(url: str, in_flight: int, body: bytes) -> tuple[float, float]:
    left = in_flight * ROUNDS

    async def one() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            async with session.post(f"{url}/chat/completions", data=body) as response:
                await response.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began, busy = time.perf_counter(), time.process_time()
        await asyncio.gather(*(one() for _ in range(in_flight)))
        return time.perf_counter() - began, time.process_time() - busy


def row(name: str, in_flight: int, took: tuple[float, float]) -> str:
    wall, busy = took
    ideal = ROUNDS * DELAY
    return (
        f"{name:<22} {in_flight:>9} {in_flight * ROUNDS / wall:>10.0f} {100 * ideal / wall:>7.1f} % "
        f"{1000 * busy / (in_flight * ROUNDS):>8.3f} ms"
    )


def main() -> None:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    here, there = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    receiving, sending = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.Process(target=serve, args=(sending, there), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{receiving.recv()}/v1"
    if here is not None:
        os.sched_setaffinity(0, {here})
    wave = 0.1 * np.random.default_rng(0).standard_normal(5 * 16_000)
    clip = wav(Audio(wave.astype(np.float32), 16_000))
    lines = [
        f"{provenance.processor()}, {DELAY * 1000:.0f} ms an answer, {ROUNDS} answers per place in flight, load of the machine "
        f"before: {os.getloadavg()[0]:.1f}",
        f"{'':<22} {'in flight':>9} {'requests/s':>10} {'of ideal':>9} {'processor':>11} a request",
    ]
    print("\n".join(lines), flush=True)
    question = b'{"model": "m", "messages": [{"role": "user", "content": "' + b"x" * 160 + b'"}]}'
    for number in IN_FLIGHT:
        kinds = [
            ("bare aiohttp", lambda n: asyncio.run(bare(url, n, question))),
            ("run, text", lambda n: ours(url, n, None)),
            ("run, clips of 5 s", lambda n: ours(url, n, clip)),
        ]
        for name, measure in kinds:
            lines.append(row(name, number, min(measure(number) for _ in range(2))))
            print(lines[-1], flush=True)
    server.terminate()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
