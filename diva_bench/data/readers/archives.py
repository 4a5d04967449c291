"""Read members of zip and tar files, which are not trusted.

All members are checked before any is read. An archive is refused if a name leads out of it, a member is a link or a
device, a name occurs twice, or a size is too large for a clip. A member is never read beyond its declared size. Zip and
plain tar are read in place; a compressed tar allows no random access, so it is unpacked once, into the cache.
"""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from diva_bench.disk import CHUNK, Stamp, read_plain, size, stamp
from diva_bench.errors import DataError
from diva_bench.specs import digest

MEMBER_LIMIT = 1 << 30
"""Bytes of the largest member; the longest wrongly cut clip of MELD is about 50 MB."""
TOTAL_LIMIT = 1 << 38
"""Bytes of all members together."""
RATIO_LIMIT = 200
"""Largest ratio of unpacked to packed size, for members above RATIO_FROM; video and audio hardly shrink."""
RATIO_FROM = 1 << 24
_TOO_MUCH = "The archive is not what the owners ship, or it is damaged: get it again."


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive.

    Attributes:
        name: With forward slashes.
        size: Unpacked bytes.
        stamp: Of the archive, and of the file into which it was unpacked.
    """

    name: str
    size: int
    stamp: Stamp
    read: Callable[[], bytes]
    """Raises OSError if the member is damaged, or its length is not the declared one."""


def members(path: Path, cache: Path) -> dict[str, Member]:
    """Name -> member of every file in the archive, in its order.

    Args:
        cache: Folder into which a compressed tar is unpacked.

    Raises:
        DataError: The archive cannot be read, or is refused.
    """
    if path.name.endswith(".zip"):
        return _in_zip(path)
    if path.name.endswith((".tar.gz", ".tgz")):
        return _in_folder(unpacked(path, cache), stamp(path))
    return _in_tar(path)


# ---------------------------------------------------------------- zip


def _in_zip(path: Path) -> dict[str, Member]:
    try:
        held = stamp(path)
        archive = zipfile.ZipFile(path)  # stays open: several threads read its members
    except (OSError, zipfile.BadZipFile, ValueError) as err:
        raise DataError(f"{path}: cannot be read as a zip file ({err}).") from err
    checks = _Checks(path)
    for info in archive.infolist():
        if info.is_dir() or info.filename.startswith("__MACOSX/"):
            continue
        mode = info.external_attr >> 16
        kind = "a link" if stat.S_ISLNK(mode) else "no ordinary file" if mode and not _ordinary(mode) else ""
        if info.flag_bits & 1:
            kind = "encrypted"
        checks.add(info.filename, info.file_size, info.compress_size, kind)
    return {
        name: Member(name, length, held, partial(_read_zip, path, archive, name, length))
        for name, length in checks.sizes.items()
    }


def _ordinary(mode: int) -> bool:
    return stat.S_IFMT(mode) in (0, stat.S_IFREG)  # many tools write no file type


def _read_zip(path: Path, archive: zipfile.ZipFile, name: str, length: int) -> bytes:
    try:
        with archive.open(name) as stream:
            content = stream.read(length + 1)  # never read more than one byte beyond the declared length
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as err:
        raise OSError(errno.EIO, f"damaged in the archive: {err}", f"{path}: {name}") from err
    if len(content) != length:
        raise OSError(errno.EIO, f"not the {length} bytes that the archive declares", f"{path}: {name}")
    return content


# ---------------------------------------------------------------- tar


def _in_tar(path: Path) -> dict[str, Member]:
    places: dict[str, int] = {}
    checks, held = _Checks(path), stamp(path)
    with _open_tar(path, "r:") as archive:
        for info in _listed(path, archive):
            checks.add(info.name, info.size, info.size, _kind(info))
            places[info.name] = info.offset_data
    return {
        n: Member(n, length, held, partial(_read_at, path, n, places[n], length)) for n, length in checks.sizes.items()
    }


def _open_tar(path: Path, mode: str) -> tarfile.TarFile:
    try:
        return tarfile.open(path, mode)  # type: ignore[call-overload, no-any-return]
    except (OSError, tarfile.TarError, EOFError, zlib.error) as err:
        raise DataError(f"{path}: cannot be read as a tar file ({err}).") from err


def _listed(path: Path, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Every member that is not a folder."""
    try:
        for info in archive:
            if not info.isdir():
                yield info
    except (OSError, tarfile.TarError, EOFError, zlib.error) as err:
        raise DataError(f"{path}: cannot be read as a tar file ({err}).") from err


def _kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return f"a link to {info.linkname}"
    return "" if info.isreg() and not info.issparse() else "no ordinary file"


def _read_at(path: Path, name: str, offset: int, length: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(offset)
        content = stream.read(length)
    if len(content) != length:
        raise OSError(errno.EIO, "cut short: the archive ends before it", f"{path}: {name}")
    return content


def unpacked(path: Path, cache: Path) -> Path:
    """The folder with the files of a compressed tar. It is unpacked now if this archive (by path and stamp) never was.

    Files are written under their checked names, without owner, mode or time; the folder is renamed when it is complete.
    """
    held = stamp(path)
    key = digest([str(path.resolve()), *held])[:16]
    folder = cache / "unpacked" / f"{path.name.split('.')[0]}-{key}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        _unpack(path, aside, held[0])
        try:
            os.replace(aside, folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _unpack(path: Path, folder: Path, packed: int) -> None:
    try:
        with _open_tar(path, "r:gz") as archive:
            _write_members(path, archive, folder, packed)
            rest: Any = archive.fileobj
            while rest.read(CHUNK):  # read to the end, because gzip's checksum is after the last member
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as err:
        raise DataError(f"{path}: cannot be read as a tar file ({err}). {_TOO_MUCH}") from err


def _write_members(path: Path, archive: tarfile.TarFile, folder: Path, packed: int) -> None:
    checks = _Checks(path)
    for info in _listed(path, archive):
        checks.add(info.name, info.size, 0, _kind(info))
        if checks.total > max(RATIO_FROM, RATIO_LIMIT * packed):
            raise DataError(f"{path}: {size(packed)} that unpack to more than {RATIO_LIMIT} times as much. {_TOO_MUCH}")
        if info.size > shutil.disk_usage(folder).free:
            raise DataError(f"{path}: no room to unpack it in {folder.parent}; {info.name} needs {size(info.size)}.")
        stream = archive.extractfile(info)
        target = folder / info.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            left = info.size
            while stream and left and (block := stream.read(min(CHUNK, left))):
                left -= out.write(block)
        if left:
            raise DataError(f"{path}: member {info.name} is cut short. {_TOO_MUCH}")


def _in_folder(folder: Path, archive: Stamp) -> dict[str, Member]:
    members = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name, own = path.relative_to(folder).as_posix(), stamp(path)
        members[name] = Member(name, own[0], archive + own, partial(read_plain, path))
    return members


# ---------------------------------------------------------------- checks


class _Checks:
    """The checks that every member must pass, for all kinds of archives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.sizes: dict[str, int] = {}
        self.total = 0

    def add(self, name: str, length: int, packed: int, kind: str) -> None:
        """Check a member of `length` bytes that takes `packed` bytes in the archive (0: unknown). `kind`: what is wrong
        with its type."""
        where = f"{self._path}: member {name!r}"
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or name.startswith("/") or "\\" in name or "\0" in name or ":" in parts[0]:
            raise DataError(f"{where} is refused: its name leads out of the archive. {_TOO_MUCH}")
        if kind:
            raise DataError(f"{where} is refused: it is {kind}; only plain files are read. {_TOO_MUCH}")
        if name in self.sizes:
            raise DataError(f"{where} occurs twice in the archive. {_TOO_MUCH}")
        if length > MEMBER_LIMIT:
            raise DataError(f"{where} is refused: {size(length)}; the limit is {size(MEMBER_LIMIT)}. {_TOO_MUCH}")
        if packed and length > RATIO_FROM and length > RATIO_LIMIT * packed:
            raise DataError(f"{where} is refused: {size(packed)} that unpack to {size(length)}. {_TOO_MUCH}")
        self.sizes[name] = length
        self.total += length
        if self.total > TOTAL_LIMIT:
            raise DataError(f"{self._path}: unpacks to more than {size(TOTAL_LIMIT)}. {_TOO_MUCH}")
