"""Bundles: stored runs in one file for others, and the safe way back to a folder of runs.

A bundle is a zip archive. Its first member, bundle.json, lists every other one with size and sha256; the others are the
files of a folder of runs, and on request `clips/<sha256>`, the clips that the models heard. The same runs give the same
bytes (with one version of zlib): members are sorted, and dates, owners and rights are fixed.

A bundle comes from others, so that nothing in it is believed: names are those of a run's files, there is no link, folder
or encryption, and all sizes are checked by the directory of the archive before anything is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diva_bench import disk, printable
from diva_bench.errors import StoreError
from diva_bench.runs import rows
from diva_bench.runs.store import RunFolder
from diva_bench.scorers import reply_cache
from diva_bench.specs.problems import words
from diva_bench.weights import assets

FORMAT = 1
"""Number of the format of bundles."""
MANIFEST = "bundle.json"
CLIPS = "clips"
"""Folder of the clips in a bundle, and beside the task folders after it was unpacked."""
MOST_BYTES = 64 << 30
"""Bytes of all members of a bundle, unpacked."""
MOST_MEMBERS = 500_000
MOST_DIRECTORY = 128 << 20
"""Bytes of the directory of an archive, which is read as a whole."""
MOST_MANIFEST = 128 << 20
FREE_BYTES = 64 << 20
"""Bytes that any archive may unpack to, however small it is."""
RATIO = 200
"""Times its own size that a larger archive may unpack to: JSON lines of alike answers shrink to a fiftieth."""

_ID = r"[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,199}"
_SHARED = r"task\.json|rows\.jsonl"
_LINES = r"(?:responses|timing|events)(?:\.\d{1,6}-of-\d{1,6})?\.jsonl"
_OF_RUN = rf"run\.json|summary\.json|scores\.jsonl|{_LINES}|(?:{'|'.join(reply_cache.KINDS)})-[0-9a-f]{{8}}\.jsonl"
_NAME = re.compile(rf"{_ID}/(?:{_SHARED})|{_ID}/{_ID}/(?:{_OF_RUN})|{CLIPS}/[0-9a-f]{{64}}")
_RUN_FILE = re.compile(_OF_RUN)
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first date that a zip archive can have


class _Member(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Manifest(BaseModel):
    """bundle.json."""

    model_config = ConfigDict(strict=True, extra="ignore")

    diva_bench_bundle: int
    runs: list[str]
    files: dict[str, _Member]


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle that was written: its size in bytes, numbers of runs and clips."""

    bytes: int
    runs: int
    clips: int


# ---------------------------------------------------------------- pack


def pack(folders: Sequence[Path], target: Path, clips: Mapping[str, Callable[[], bytes]] | None = None) -> Packed:
    """Write runs into one file, which replaces an earlier one only as a whole.

    Args:
        folders: Run folders.
        target: The file.
        clips: sha256 -> reads the encoded clip.

    Raises:
        UnreadableRun: The records of a run are damaged.
        StoreError: Two folders are one run, a file changed in the meantime, or the target cannot be written.
    """
    files: dict[str, Path] = {}
    for folder in folders:
        for name, path in _files_of(RunFolder(folder)).items():
            if name in files and files[name].resolve() != path.resolve() and not _alike(files[name], path):
                raise StoreError(
                    f"{files[name]} and {path} are both {name} in the bundle, and differ. Leave one run out."
                )
            files.setdefault(name, path)
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    contents: dict[str, Callable[[], bytes]] = {f"{CLIPS}/{sha256}": read for sha256, read in (clips or {}).items()}
    try:
        listed = {name: {"bytes": path.stat().st_size, "sha256": disk.sha256(path)} for name, path in files.items()}
        try:
            with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, strict_timestamps=True) as archive:
                listed |= {name: _clip_entry(name, read()) for name, read in contents.items()}
                _add(archive, MANIFEST, [_manifest(files, listed)])
                for name in sorted(listed):
                    _add(archive, name, _checked(name, _parts(files.get(name), contents.get(name)), listed[name]))
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
        return Packed(target.stat().st_size, len(folders), len(contents))
    except OSError as err:
        if err.filename not in (None, str(aside)):
            raise StoreError(f"{err.filename}: cannot be read ({err.strerror or err}).") from err
        raise StoreError(
            f"{target}: cannot be written ({disk.reason(err)}). Choose a file in a folder that you may write to."
        ) from err


def _files_of(folder: RunFolder) -> dict[str, Path]:
    """Name in the bundle -> path, for the files of a run and of its task."""
    folder.check()
    task, run = folder.place.parent.name, folder.place.name
    found = {f"{task}/task.json": folder.above / "task.json"}
    if stored := rows.path_of(folder.above, folder.task_record()["hash"]):
        found[f"{task}/{rows.NAME}"] = stored
    own = {path.name: path for path in folder.path.iterdir() if path.is_file() and _RUN_FILE.fullmatch(path.name)}
    found |= {f"{task}/{run}/{name}": path for name, path in own.items()}
    for name in found:
        if not _NAME.fullmatch(name):
            raise StoreError(f"{folder.path}: {name!r} cannot be a name in a bundle.")
    return found


def _alike(first: Path, second: Path) -> bool:
    return disk.sha256(first) == disk.sha256(second)


def _clip_entry(name: str, content: bytes) -> dict[str, object]:
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != name.rpartition("/")[2]:
        raise StoreError(f"{name}: the clip on this machine is another one (sha256 {sha256}).")
    return {"bytes": len(content), "sha256": sha256}


def _manifest(files: Iterable[str], listed: Mapping[str, Mapping[str, object]]) -> bytes:
    runs = sorted(name.removesuffix("/run.json") for name in files if name.endswith("/run.json"))
    value = {"diva_bench_bundle": FORMAT, "runs": runs, "files": dict(sorted(listed.items()))}
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


def _parts(path: Path | None, read: Callable[[], bytes] | None) -> Iterator[bytes]:
    if path is None:
        yield read() if read else b""
        return
    with path.open("rb") as file:
        while part := file.read(disk.CHUNK):
            yield part


def _checked(name: str, parts: Iterable[bytes], listed: Mapping[str, object]) -> Iterator[bytes]:
    """The parts. Raises StoreError at the end if they are not what the manifest says."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
        yield part
    if state.hexdigest() != listed["sha256"]:
        raise StoreError(f"{name} changed while it was packed. Wait until the run is finished, and pack it again.")


def _add(archive: zipfile.ZipFile, name: str, parts: Iterable[bytes]) -> None:
    member = zipfile.ZipInfo(name, _EARLIEST)
    member.create_system, member.external_attr = 3, (stat.S_IFREG | 0o644) << 16  # 3: Unix, on every system
    member.compress_type = zipfile.ZIP_STORED if name.startswith(f"{CLIPS}/") else zipfile.ZIP_DEFLATED
    with archive.open(member, "w", force_zip64=True) as out:
        for part in parts:
            out.write(part)


# ---------------------------------------------------------------- unpack


def opened(path: Path) -> Path:
    """The folder of the runs in a bundle, in the cache folder of this machine, where it is unpacked; a path that is no file
    stays as it is. An earlier copy there is used only if its files still have the hashes in bundle.json. Texts that are
    shown name the bundle in place of the folder.

    Raises:
        StoreError: The file is no bundle, or cannot be trusted.
    """
    if not path.is_file():
        return path
    try:
        name = disk.sha256(path)[:32]
        folder = assets.cache_folder() / "bundles" / name
        printable.rename(str(folder), str(path))
        if folder.is_dir():
            if _is_intact(path, folder):
                return folder
            spoilt = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder.parent))
            folder.replace(spoilt)
            shutil.rmtree(spoilt, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder.parent))
        try:
            unpack(path, aside)
            if not folder.is_dir():
                aside.replace(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as err:
        raise StoreError(f"{path}: cannot be unpacked ({err.strerror or err}).") from err
    return folder


def _is_intact(path: Path, folder: Path) -> bool:
    """Whether the files of an unpacked bundle are those that its bundle.json lists."""
    with _checked_archive(path, MOST_BYTES) as (_, _, manifest):
        listed = manifest.files
    there = {
        file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_symlink() or file.is_file()
    }
    return there.keys() == listed.keys() and all(
        not file.is_symlink() and file.stat().st_size == listed[name].bytes and disk.sha256(file) == listed[name].sha256
        for name, file in there.items()
    )


def clips_beside(run: Path) -> dict[str, Path]:
    """sha256 -> path of the clips that came with a run in a bundle. Names are believed: `unpack` checked them."""
    folder = run.parent.parent / CLIPS
    return {path.name: path for path in folder.glob("*") if re.fullmatch("[0-9a-f]{64}", path.name)}


def unpack(path: Path, folder: Path) -> None:
    """Unpack a bundle into an empty folder, after all its names and sizes were checked.

    Raises:
        StoreError: The file is no bundle, or cannot be trusted.
        OSError: The folder cannot be written.
    """
    with _checked_archive(path, shutil.disk_usage(folder).free) as (archive, members, manifest):
        for member in members:
            if member.filename != MANIFEST:
                _extract(path, archive, member, manifest.files[member.filename], folder / member.filename)


@contextlib.contextmanager
def _checked_archive(path: Path, free: int) -> Iterator[tuple[zipfile.ZipFile, Sequence[zipfile.ZipInfo], _Manifest]]:
    """A bundle whose names, sizes and manifest were checked. `free`: bytes that it may need unpacked."""
    with path.open("rb") as file:
        _check_directory(path, file)
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                _check_members(path, members, path.stat().st_size, free)
                yield archive, members, _read_manifest(path, archive, {member.filename: member for member in members})
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as err:
            raise _refused(path, f"the archive is damaged ({err})") from err


def _refused(path: Path, why: str) -> StoreError:
    return StoreError(
        f"Cannot unpack {path}: {why}. Nothing of it was used. Give a folder of runs, or a file that `diva-bench bundle` wrote."
    )


_END, _END64, _TAIL = b"PK\x05\x06", b"PK\x06\x06", 65_557


def _check_directory(path: Path, file: IO[bytes]) -> None:
    """Check how large the directory of the archive says that it is, because it is read into memory as a whole."""
    total = file.seek(0, os.SEEK_END)
    file.seek(max(0, total - _TAIL))
    tail = file.read(_TAIL)
    file.seek(0)
    end = tail.rfind(_END)
    if end < 0 or len(tail) < end + 22:
        raise _refused(path, "it is not a zip archive")
    members, size = struct.unpack("<HI", tail[end + 10 : end + 16])
    if (end64 := tail.rfind(_END64, 0, end)) >= 0 and len(tail) >= end64 + 56:
        members, size = struct.unpack("<QQ", tail[end64 + 32 : end64 + 48])
    if members > MOST_MEMBERS or size > min(MOST_DIRECTORY, total):
        raise _refused(path, f"its directory has {members:,} members in {disk.size(size)}")


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo], total: int, free: int) -> None:
    """Check all members by the directory of the archive; nothing is unpacked yet."""
    seen: set[str] = set()
    for member in members:
        name = member.filename
        kind = stat.S_IFMT(member.external_attr >> 16)
        if name != MANIFEST and not _NAME.fullmatch(name):
            raise _refused(path, f"it contains the unsafe name {name!r}")
        if name in seen or name.casefold() in seen:
            raise _refused(path, f"it contains {name!r} twice")
        if kind not in (0, stat.S_IFREG) or member.is_dir():
            raise _refused(path, f"{name!r} is a link, or not a plain file")
        if member.flag_bits & 1:
            raise _refused(path, f"{name!r} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refused(path, f"{name!r} is packed by a method that bundles do not use")
        if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            raise _refused(path, f"{name!r} has two sizes")
        seen |= {name, name.casefold()}
    if MANIFEST not in seen:
        raise _refused(path, f"it does not contain {MANIFEST}")
    unpacked, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
    if packed > total:
        raise _refused(path, "its members overlap")
    if unpacked > min(MOST_BYTES, max(FREE_BYTES, RATIO * total)):
        raise _refused(path, f"{disk.size(total)} would unpack to {disk.size(unpacked)}")
    if unpacked > free:
        raise StoreError(f"{path}: needs {disk.size(unpacked)}, and {disk.size(free)} are free in the cache folder.")


def _read_manifest(path: Path, archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> _Manifest:
    if members[MANIFEST].file_size > MOST_MANIFEST:
        raise _refused(path, f"{MANIFEST} has {disk.size(members[MANIFEST].file_size)}")
    try:
        with archive.open(members[MANIFEST]) as stream:
            manifest = _Manifest.model_validate_json(stream.read(MOST_MANIFEST))
    except ValidationError as err:
        raise _refused(path, f"{MANIFEST}: {words(err)}") from err
    if manifest.diva_bench_bundle != FORMAT:
        raise StoreError(
            f"{path}: has format {manifest.diva_bench_bundle}; this version of diva-bench reads format {FORMAT}. Update it."
        )
    names = members.keys() - {MANIFEST}
    if differ := sorted(names ^ manifest.files.keys()):
        name = differ[0]
        if name in manifest.files:
            raise _refused(path, f"{MANIFEST} lists {name!r}, but the archive does not contain it")
        raise _refused(path, f"the archive contains {name!r}, but {MANIFEST} does not list it")
    for name in sorted(names):
        if manifest.files[name].bytes != members[name].file_size:
            raise _refused(
                path, f"{name!r} has {members[name].file_size:,} bytes; {MANIFEST} says {manifest.files[name].bytes:,}"
            )
        if name.startswith(f"{CLIPS}/") and not name.endswith(manifest.files[name].sha256):
            raise _refused(path, f"{name!r} has another sha256 in {MANIFEST}")
    if sorted(manifest.runs) != sorted(name.removesuffix("/run.json") for name in names if name.endswith("/run.json")):
        raise _refused(path, f"the runs in {MANIFEST} are not those of the archive")
    return manifest


def _extract(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, listed: _Member, target: Path) -> None:
    """Write one member; never more than the size that was checked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    state, left = hashlib.sha256(), listed.bytes
    with archive.open(member) as stream, target.open("xb") as out:
        while part := stream.read(min(disk.CHUNK, left + 1)):
            left -= len(part)
            if left < 0:
                raise _refused(path, f"{member.filename!r} is longer than its directory says")
            state.update(part)
            out.write(part)
    if left or state.hexdigest() != listed.sha256:
        raise _refused(
            path, f"{member.filename!r} differs from {MANIFEST} (sha256 {state.hexdigest()}, listed {listed.sha256})"
        )
