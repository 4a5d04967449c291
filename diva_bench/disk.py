"""Files that must be right: hash them, flush them, replace them in one step; and byte counts in words."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
"""Bytes read at a time."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk or quota."""
Stamp = tuple[int, ...]
"""What shows, without reading, that a file may have other content: see `stamp`. Of several files, theirs joined."""


def stamp(path: Path) -> Stamp:
    """Size in bytes, time of the last change of content and of the file's record in nanoseconds, inode.

    Size and time of content are not enough: archives with fixed times, `cp -p` and `touch -r` give other content the same
    two. The time of the record is the system's own and cannot be set. No order may be taken from any of them. Raises
    OSError where there is no such file.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def size(count: float) -> str:
    """A number of bytes for people: 1.1 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def sha256(path: Path, each: Callable[[int], None] = lambda _: None) -> str:
    """Hash of a file; `each` is called with the length of every block read."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(CHUNK):
            state.update(block)
            each(len(block))
    return state.hexdigest()


CLIP_LIMIT = 1 << 30
"""Bytes of the largest clip that is read: three hours of 16 kHz stereo have 0.7 GB."""
_NO_FILES = {
    stat.S_IFIFO: "a named pipe, not a file",
    stat.S_IFSOCK: "a socket, not a file",
    stat.S_IFCHR: "a device, not a file",
    stat.S_IFBLK: "a device, not a file",
}


def read_plain(path: Path, most: int = CLIP_LIMIT) -> bytes:
    """The content of an ordinary file, which may be a link to one.

    Raises OSError where it is something else, which might block or never end, and where it has more than `most` bytes.
    """
    status = path.stat()
    if kind := _NO_FILES.get(stat.S_IFMT(status.st_mode)):
        raise OSError(errno.EINVAL, kind, str(path))
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"{size(status.st_size)}; a clip has at most {size(most)}", str(path))
    # not blocking: between the look and the opening it may have become a pipe
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        return stream.read(most)


def listed(folder: Path, pattern: str) -> list[Path]:
    """What matches in a folder, sorted, without what is hidden: beside any file macOS may keep a `._NAME` that is no data."""
    return sorted(
        p for p in folder.glob(pattern) if not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk, so that no rename can come before what it names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: object) -> None:
    """Replace a small file in one step."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Replace a file in one step by these lines, flushed to the disk."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as stream:
            stream.writelines(lines)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """What a small file holds, None where there is no such file or it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
