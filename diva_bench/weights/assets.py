"""Weights in the cache folder: every file is verified by its sha256, converted once, and never visible before it is
complete. Weights of the format transformers are another matter: see folders.py.

    <cache>/raw/<asset>-<hash>/      downloads, removed when the asset is ready
    <cache>/ready/<asset>-<hash>/    the folder for adapters, with `.verified.json`: size, time and sha256 of every file
    <cache>/locks/<asset>.lock       held by the process that downloads it; the system frees it if that process dies

The hash covers the names and hashes of the files and, if they are converted, CONVERSION. A folder under `ready/` gets
its name when it is completely written, verified and flushed. Downloads are removed after the conversion (Qwen: 1.1 GB
beside 3.1 GB); a new CONVERSION downloads them again. Files that ship beside their YAML are used in place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from diva_bench.disk import NO_SPACE, read_json, sha256, size, stamp, sync, write_json
from diva_bench.errors import AssetError
from diva_bench.specs import AssetSpec, digest
from diva_bench.types import Progress, Silent
from diva_bench.weights import folders
from diva_bench.weights.folders import MARGIN, State

CONVERSION = 1
"""Bump it when `convert` writes something else for the same input."""
GROWTH = {"ctranslate2-whisper": 1.1, "gguf": 2.9, "pedants": 1.6}
"""Bytes that the conversion writes per byte downloaded, rounded up (measured: 1.02, 2.78 and, of the npz, 1.56); other
formats stay as they are."""
MANIFEST = ".verified.json"
TRANSFORMERS = "transformers"
"""Format of weights that are used where they are, see `folders`."""


def cache_folder() -> Path:
    """DIVA_BENCH_CACHE, or the user's cache folder. It may not exist."""
    selection = os.environ.get("DIVA_BENCH_CACHE")
    return Path(selection).expanduser().absolute() if selection else user_cache_path("diva-bench", appauthor=False)


def known(asset: AssetSpec) -> AssetSpec:
    """The asset with the files that this machine has of it, where its YAML does not name them; else as it is."""
    return folders.known(asset, cache_folder()) if asset.format == TRANSFORMERS else asset


def locate(asset: AssetSpec, home: Path) -> Path | None:
    """The folder for adapters, or None. Nothing is downloaded, and only files that changed since their verification are
    hashed."""
    return state(asset, home).folder


def state(asset: AssetSpec, home: Path, *, rehash: bool = False, progress: Progress | None = None) -> State:
    """The state of an asset; with `rehash` every byte is read again."""
    if asset.format == TRANSFORMERS:
        with (progress or Silent()).bar(
            f"check {asset.name}", known(asset).bytes or None if rehash else None, "bytes"
        ) as bar:
            return folders.state(asset, cache_folder(), rehash, bar.advance)
    places = _Places.of(asset)
    total = (occupied(places.ready) or asset.bytes) if rehash else None
    with (progress or Silent()).bar(f"check {asset.name}", total, "bytes") as bar:
        folder, problem = None, None
        if places.ready.is_dir():
            problem = _problem(places.ready, places.ready / MANIFEST, rehash, bar.advance)
            folder = None if problem else places.ready
        if folder is None and (beside := _beside(asset, home)):
            problem = _problem_beside(asset, beside, places.beside, rehash, bar.advance)
            folder = None if problem else beside
    if folder:
        disk = occupied(folder) if folder == places.ready else asset.bytes  # the folder of its YAML has other files too
        return State(asset.name, "ready", folder, 0, disk, 0)
    present = {f.path for f in asset.files if _length(places.raw / f.path) == f.bytes}
    download = sum(f.bytes for f in asset.files if f.path not in present)
    needed = download + int(GROWTH.get(asset.format, 0) * asset.bytes) + MARGIN
    disk = occupied(places.ready) + occupied(places.raw)
    status: Literal["damaged", "missing"] = "damaged" if problem else "missing"
    return State(asset.name, status, None, download, disk, needed, problem or "")


def occupied(folder: Path) -> int:
    """Bytes of all files in a folder; 0 if there is no such folder."""
    return sum(_length(p) for p in folder.rglob("*"))


def ready(asset: AssetSpec, home: Path, progress: Progress, file: Path | None = None) -> Path:
    """The folder for adapters, after downloading, verifying and converting what is missing. If two processes call it at
    once, one works, and the other waits and prints a note.

    Args:
        home: The folder of the asset's YAML file, for relative `file:` sources.
        file: A file of the user: one of the files, or one that replaces them. For the format transformers, a folder.

    Raises:
        AssetError: No source has the file, the disk is full, or the cache folder cannot be written.
    """
    if not (file and asset.format == TRANSFORMERS) and (target := locate(asset, home)):
        return target
    places = _Places.of(asset)
    try:
        with _alone(asset, places, progress):
            if asset.format == TRANSFORMERS:
                again = None if file else locate(asset, home)  # another process may have made it meanwhile
                return again or folders.ready(asset, places.cache, progress, file)
            if file and not locate(asset, home):
                _put(file, asset, places)
            return locate(asset, home) or _make(asset, home, places, progress)
    except OSError as err:
        if err.errno in NO_SPACE:
            for folder in (places.raw, places.making):
                shutil.rmtree(folder, ignore_errors=True)
            message = f"{asset.name}: the disk is full; the unfinished files were removed. "
            raise AssetError(message + _space(asset, home, places)) from err
        raise AssetError(
            f"{asset.name}: cannot be made ready in the cache folder {places.cache} ({err}). "
            "If that folder cannot be written, set DIVA_BENCH_CACHE to one that can."
        ) from err


# ---------------------------------------------------------------- making


def _make(asset: AssetSpec, home: Path, places: _Places, progress: Progress) -> Path:
    """Download into `raw`, write into `making`, rename to `ready`. The lock is held."""
    from diva_bench.weights.fetch import Download, Meter

    now = state(asset, home)
    if now.status == "damaged":
        progress.note(f"{asset.name} is damaged ({now.detail}); fetching it again")
        shutil.rmtree(places.ready, ignore_errors=True)
    if shutil.disk_usage(places.cache).free < now.needed_bytes:
        raise AssetError(f"{asset.name}: too little disk space. {_space(asset, home, places)}")
    places.raw.mkdir(parents=True, exist_ok=True)
    with progress.bar(f"fetch {asset.name}", asset.bytes, "bytes") as bar:
        if not any(_length(places.raw / name) for name in asset.instead):
            Download(asset.name, places.raw, home, Meter(bar)).get_all(asset.files)

    shutil.rmtree(places.making, ignore_errors=True)  # left by a killed conversion
    places.making.mkdir(parents=True)
    try:
        _fill(asset, places, progress)
        _stamp(places.making, places.making / MANIFEST)
        for path in [p for p in places.making.rglob("*") if p.is_file()]:
            sync(path)
        sync(places.making)
        os.replace(places.making, places.ready)
        sync(places.ready.parent)
    finally:
        shutil.rmtree(places.making, ignore_errors=True)
    shutil.rmtree(places.raw, ignore_errors=True)
    return places.ready


def name_of(asset: AssetSpec, file: Path) -> str | None:
    """The file of an asset that equals `file` by its bytes, or the file that replaces all; None if there is none."""
    names = {**{sha: f.path for f in asset.files for sha in f.hashes}, **{v: k for k, v in asset.instead.items()}}
    return names.get(sha256(file))


def _put(file: Path, asset: AssetSpec, places: _Places) -> None:
    """Copy the user's file to the place of a download."""
    name = name_of(asset, file)
    if name is None:
        raise AssetError(f"{file}: its sha256 is not that of a file of {asset.name}.")
    target = places.raw / name
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.parent / f".{target.name}.given"
    shutil.copyfile(file, work)
    os.replace(work, target)


def _fill(asset: AssetSpec, places: _Places, progress: Progress) -> None:
    """Convert the verified downloads, or use them as they are."""
    if asset.format == "pedants":
        from diva_bench.weights import from_pedants

        from_pedants.convert(places.raw, places.making, asset.content)
        return
    if asset.format in GROWTH:
        from diva_bench.weights.convert import convert  # imports torch and transformers

        progress.note(f"converting {asset.name} to safetensors (once)")
        convert(asset.format, places.raw, places.making)
        return
    for file in asset.files:
        target = places.making / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(places.raw / file.path, target)


@contextlib.contextmanager
def _alone(asset: AssetSpec, places: _Places, progress: Progress) -> Iterator[None]:
    """Hold the asset's lock; print a note if another process has it."""
    places.lock.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(places.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.note(f"another process is fetching {asset.name}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _space(asset: AssetSpec, home: Path, places: _Places) -> str:
    needed, free = state(asset, home).needed_bytes, shutil.disk_usage(places.cache).free
    return (
        f"It needs {size(needed)} of free space in {places.cache}; {size(free)} are free. "
        "Free some, or set DIVA_BENCH_CACHE to a folder on another disk."
    )


# ---------------------------------------------------------------- records of verification


@dataclass(frozen=True, slots=True)
class _Places:
    """The paths of one asset."""

    cache: Path
    raw: Path
    making: Path
    ready: Path
    beside: Path
    """The record for files that are used in place."""
    lock: Path

    @classmethod
    def of(cls, asset: AssetSpec) -> _Places:
        files = sorted((f.path, f.sha256) for f in asset.files)
        what = [asset.format, files, CONVERSION if asset.format in GROWTH else 0]
        key = f"{asset.name}-{digest([*what, asset.content] if asset.content else what)[:12]}"
        cache = cache_folder()
        done = cache / "ready"
        return cls(
            cache=cache,
            raw=cache / "raw" / key,
            making=done / f".making-{key}",
            ready=done / key,
            beside=done / f"{key}.json",
            lock=cache / "locks" / f"{asset.name}.lock",
        )


def _stamp(folder: Path, manifest: Path) -> None:
    """Write stamp and hash of every file in `folder`, at the end."""
    entries = {str(p.relative_to(folder)): [*stamp(p), sha256(p)] for p in sorted(folder.rglob("*")) if p.is_file()}
    write_json(manifest, entries)


def _problem(folder: Path, manifest: Path, rehash: bool, each: Callable[[int], None]) -> str | None:
    """What is wrong with a folder that has a record, None if nothing. A file with another stamp is hashed."""
    entries = read_json(manifest)
    if not isinstance(entries, dict) or not all(isinstance(e, list) and len(e) > 1 for e in entries.values()):
        return f"{manifest} is missing or unreadable"
    fresh = dict(entries)
    for name, (*signs_then, expected) in entries.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        signs = list(stamp(path))
        if signs[0] != signs_then[0]:
            return f"{path} has {signs[0]} bytes, expected {signs_then[0]}"
        if rehash or signs != signs_then:  # an older version stored only size and time, so the file is hashed once more
            if sha256(path, each) != expected:
                return f"{path} has changed: its sha256 is not {expected}"
            fresh[name] = [*signs, expected]
    _remember(manifest, fresh, entries)
    return None


def _beside(asset: AssetSpec, home: Path) -> Path | None:
    """The folder beside the YAML with all files under their own names, if there is one."""
    if asset.format in GROWTH:
        return None
    folders = set()
    for file in asset.files:
        files = [home / s.file for s in file.sources if s.file and (home / s.file).is_file()]
        if not files or not str(files[0]).endswith(f"/{file.path}"):
            return None
        folders.add(Path(str(files[0]).removesuffix(f"/{file.path}")).resolve())
    return folders.pop() if len(folders) == 1 else None


def _problem_beside(
    asset: AssetSpec, folder: Path, manifest: Path, rehash: bool, each: Callable[[int], None]
) -> str | None:
    """As `_problem`, for files that are used in place, whose hashes are in their YAML."""
    record = read_json(manifest)
    entries = record if isinstance(record, dict) else {}
    fresh: dict[str, list[int | str]] = {}
    for file in asset.files:
        path = folder / file.path
        signs: list[int | str] = [*stamp(path), str(path)]
        if (rehash or entries.get(file.path) != signs) and sha256(path, each) not in file.hashes:
            return f"{path} has changed: its sha256 is not {file.sha256}; install the package or check it out again"
        fresh[file.path] = signs
    _remember(manifest, fresh, entries)
    return None


def _remember(manifest: Path, fresh: dict[str, list[int | str]], entries: dict[str, list[int | str]]) -> None:
    """Save the record if it is new. If the cache cannot be written, the files are verified again next time."""
    if fresh != entries:
        with contextlib.suppress(OSError):
            manifest.parent.mkdir(parents=True, exist_ok=True)
            write_json(manifest, fresh)


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
