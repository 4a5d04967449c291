"""An OpenAI-compatible server for tests, on a real socket in a thread, that misbehaves as it is told.

It reads HTTP itself, because a server library does not send half an answer, or nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from command_line import call

Body = dict[str, Any]


@dataclass
class Reply:
    """What is sent back. `cut`: bytes after which the connection is closed; `drip`: seconds between single bytes."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    drip: float = 0.0
    wait: float = 0.0


def completion(text: str | None, prompt_tokens: int = 7, **more: Any) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 2, "total_tokens": prompt_tokens + 2}
    return Reply(
        body=json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    )


def error(status: int, message: str, code: str = "", **headers: str) -> Reply:
    body = {"error": {"message": message, "code": code, "type": "x"}}
    return Reply(status, json.dumps(body).encode(), {name.replace("_", "-"): value for name, value in headers.items()})


def transcript(text: object, **more: object) -> Reply:
    return Reply(body=json.dumps({"text": text, **more}).encode())


def read_body(kind: str, raw: bytes) -> Body:
    """A JSON object, or the fields of a form; its file as bytes."""
    if not kind.startswith("multipart/"):
        return dict(json.loads(raw or b"{}"))
    whole = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + raw, policy=email.policy.HTTP)
    fields: Body = {}
    for part in whole.iter_parts():  # type: ignore[attr-defined]
        content = part.get_payload(decode=True)
        name = part.get_param("name", header="content-disposition")
        fields[name] = content if part.get_filename() else content.decode()
    return fields


def said(body: Body) -> str:
    """The text of the last message; of a form, how long its clip is."""
    if "file" in body:
        return f"clip of {(len(body['file']) - 44) // 32} ms"
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


def clip_bytes(body: Body) -> int:
    """Length of the base64 text of the clip in a request."""
    content = body["messages"][-1]["content"]
    parts = [] if isinstance(content, str) else content
    audio = [p["input_audio"]["data"] for p in parts if p["type"] == "input_audio"]
    audio += [p["audio_url"]["url"] for p in parts if p["type"] == "audio_url"]
    return sum(len(data) for data in audio)


Answer = Callable[[Body, int], Reply]
"""(request, how often a request with this text came before) -> reply."""


class ChatServer:
    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.bodies: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.asked: Counter[str] = Counter()
        self.flying = self.highest = 0
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(asyncio.start_server(self._handle, "127.0.0.1", 0, limit=2**26))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        self._loop.run_forever()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        """Close the port and all connections."""

        async def end() -> None:
            self._server.close()
            others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = head.split("\r\n")
                headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:] if line)}
                raw = await reader.readexactly(int(headers.get("content-length", "0")))
                body = read_body(headers.get("content-type", ""), raw)
                self.paths.append(lines[0].split()[1])
                self.headers.append(headers)
                self.bodies.append(body)
                before = self.asked[said(body)]
                self.asked[said(body)] += 1
                self.flying += 1
                self.highest = max(self.highest, self.flying)
                try:
                    keep = await self._send(self.answer(body, before), writer)
                finally:
                    self.flying -= 1
                if not keep:
                    break
        writer.close()

    async def _send(self, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(reply.wait)
        named = {"Content-Length": str(len(reply.body)), "Content-Type": "application/json", **reply.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        whole = f"HTTP/1.1 {reply.status} x\r\n{head}\r\n".encode() + reply.body
        if reply.cut is not None:
            writer.write(whole[: reply.cut])
            await writer.drain()
            return False
        pieces = [bytes([b]) for b in whole] if reply.drip else [whole]
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if reply.drip:
                await asyncio.sleep(reply.drip)
        return True


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[ChatServer]:
    server = ChatServer(answer)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


# ---------------------------------------------------------------- a model behind it

FAST = {"timeout": 1.0, "tries": 2, "longest_wait": 0.05}


def model(folder: Path, *urls: str, name: str = "far", args: dict[str, object] | None = None, **server: object) -> None:
    """A text model behind a server, in the folder of the task."""
    spec = {
        "name": name,
        "adapter": "openai_chat",
        "description": "a test",
        "args": {"model": "m", "input": "text", **(args or {})},
        "runtime": {"dtype": "float32"},
        "server": {"urls": list(urls), **FAST, **server},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return call(folder, "run", "-m", "far", "-t", "toy", "--path", "specs", *words, **environment)


def lines(folder: Path, name: str = "responses") -> list[dict[str, object]]:
    [file] = folder.glob(f"results/*/far-*/{name}.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
