"""Serve a report on this machine, and write it again while runs go on.

Only what the report itself has is served: an address is looked up among its files, and no path is made of it, so that
no `..`, no link and no encoding leads anywhere else. Clips are encoded when they are asked for. Only requests to this
machine by its own name are answered, since a foreign site can make a browser ask under another name (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from diva_bench import disk
from diva_bench.errors import StoreError, UserError
from diva_bench.report.html.clips import Clip
from diva_bench.report.html.output import Folder, encoded
from diva_bench.report.html.pages import HEADERS
from diva_bench.report.html.site import Report, Settings
from diva_bench.runs.records import folders_in
from diva_bench.runs.run import Run, Runs
from diva_bench.types import Silent

HOST = "127.0.0.1"
_EVERY = 2.0  # seconds between two looks at the run folders
_KEPT = 200  # encoded clips that stay in memory
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_TYPES |= {".opus": "audio/ogg", ".png": "image/png", ".json": "application/json"}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Served(Folder):
    """A report in a temporary folder: its files, and clips that are encoded on request."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._clips: dict[str, Clip] = {}
        self._ready: dict[str, tuple[bytes, bytes]] = {}
        self._lock = threading.Lock()

    def clip(self, clip: Clip, room: float) -> int | None:
        """Remember the clip; it needs no room."""
        self._clips[clip.name] = clip
        return 0

    def content(self, name: str) -> bytes | None:
        """A file of the report by its name; None if the report has no such file."""
        place = Path(name)
        if place.parent == Path("clips"):
            return self._sound(place)
        path = self.folder / name
        if path not in self.written:
            return None
        try:
            return disk.read_plain(path)
        except OSError:
            return None

    def _sound(self, place: Path) -> bytes | None:
        clip = self._clips.get(place.stem)
        if clip is None or place.suffix not in (".opus", ".png"):
            return None
        with self._lock:
            if clip.name not in self._ready:
                parts = encoded(clip)
                if parts is None:
                    return None
                while len(self._ready) >= _KEPT:
                    self._ready.pop(next(iter(self._ready)))
                self._ready[clip.name] = parts
            return self._ready[clip.name][place.suffix == ".png"]


class Viewer:
    """A report that is written again when a file of its runs has changed.

    Attributes:
        version: Increases with every writing.
        text: The state of the runs for readers, such as "2 runs are in progress".
    """

    def __init__(self, load: Callable[[], Runs], results: Path, folder: Path, settings: Settings) -> None:
        self.output = Served(folder)
        self.version, self.text = 0, ""
        self._load, self._results = load, results
        self._report = Report(settings, Silent())
        self._stamps: object = None
        self._stop = threading.Event()

    def refresh(self) -> bool:
        """Write the report if something has changed; whether it was written.

        Raises:
            UserError: There are no runs.
        """
        stamps = _stamps(self._results)
        if stamps == self._stamps:
            return False
        runs = self._load()
        self._report.write(runs, self.output)
        self._stamps = stamps
        self.version += 1
        self.text = progress(runs)
        return True

    def watch(self) -> None:
        """Refresh until `stop`. While a run is being written, its files may not fit together for a moment: such a look is
        repeated."""
        while not self._stop.wait(_EVERY):
            try:
                self.refresh()
            except (UserError, OSError) as err:
                self.text = f"cannot be read at the moment: {err}"

    def stop(self) -> None:
        self._stop.set()


def progress(runs: Sequence[Run]) -> str:
    """The runs that are not scored yet, with the number of their answers; "" if there are none."""
    going = [run for run in runs if not (run.path / "summary.json").exists()]
    counts = [
        f"{run.summary.label} at {run.summary.title}: {len(run.folder.statuses()):,} answers" for run in going[:3]
    ]
    more = f"; {len(going) - 3} more" if len(going) > 3 else ""
    return f"in progress: {'; '.join(counts)}{more}" if going else ""


def _stamps(results: Path) -> object:
    """Changes if a file of a run may have changed, or a run was added."""
    found = []
    for folder in folders_in(results):
        for path in (*folder.glob("*.json*"), *folder.parent.glob("*.json*")):
            with contextlib.suppress(OSError):
                found.append((str(path), disk.stamp(path)))
    return sorted(found)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD with files of the report."""

    viewer: Viewer
    protocol_version = "HTTP/1.1"
    server_version = "diva-bench"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """No log: addresses come from outside, and a terminal is no place for them."""

    def _answer(self, *, body: bool) -> None:
        port = cast(ThreadingHTTPServer, self.server).server_port
        if self.headers.get("Host", "").lower() not in {f"{name}:{port}" for name in (HOST, "localhost")}:
            self.send_error(HTTPStatus.FORBIDDEN, "only for this machine")
            return
        name = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
        if name == "live.json":
            state = {"version": self.viewer.version, "text": self.viewer.text}
            content: bytes | None = json.dumps(state).encode()
        else:
            content = self.viewer.output.content(name) if name.isprintable() else None
        if content is None:
            self.send_error(HTTPStatus.NOT_FOUND, "the report has no such page")
            return
        self._send(Path(name).suffix, content, body)

    def _send(self, suffix: str, content: bytes, body: bool) -> None:
        part = self._part(len(content))
        if part is None:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        whole = part == range(len(content))
        self.send_response(HTTPStatus.OK if whole else HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Type", _TYPES.get(suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Accept-Ranges", "bytes")
        if not whole:
            self.send_header("Content-Range", f"bytes {part.start}-{part.stop - 1}/{len(content)}")
        self.send_header("Cache-Control", "no-store")
        for header, value in HEADERS.items():
            self.send_header(header, value)
        self.end_headers()
        if body:
            with contextlib.suppress(ConnectionError):  # a browser that seeks in a clip hangs up
                self.wfile.write(content[part.start : part.stop])

    def _part(self, size: int) -> range | None:
        """The bytes that are asked for: all without a range, or with one that is not understood; None if it has none."""
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        if found is None or found.groups() == ("", ""):
            return range(size)
        first, last = found.groups()
        if len(first) > 15 or len(last) > 15:
            return None
        if not first:
            part = range(max(0, size - int(last)), size)
        else:
            part = range(int(first), min(size, int(last) + 1) if last else size)
        return part if part else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is no error of the server."""


@contextlib.contextmanager
def serving(load: Callable[[], Runs], results: Path, settings: Settings, port: int) -> Iterator[_Server]:
    """A server of the report that is ready for `serve_forever`.

    Args:
        load: Reads the runs.
        results: The folder that is watched.
        settings: What goes into the report.
        port: 0: any free one.

    Raises:
        StoreError: The port is in use.
        UserError: There are no runs.
    """
    with tempfile.TemporaryDirectory(prefix="diva-bench-view-") as place:
        viewer = Viewer(load, results, Path(place), settings)
        viewer.refresh()
        handler = type("Handler", (_Handler,), {"viewer": viewer})
        try:
            server = _Server((HOST, port), handler)
        except (OSError, OverflowError) as err:
            reason = getattr(err, "strerror", None) or err
            raise StoreError(f"port {port} of {HOST} cannot be used ({reason}). Give another one with --port.") from err
        watcher = threading.Thread(target=viewer.watch, daemon=True)
        watcher.start()
        try:
            yield server
        finally:
            server.server_close()
            viewer.stop()
            watcher.join()
