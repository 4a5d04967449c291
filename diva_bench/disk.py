"""Hash files, flush them and replace them atomically; byte counts as text."""

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
"""Bytes per read."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk or quota."""
Stamp = tuple[int, ...]
"""Shows without reading whether a file may have changed, see `stamp`. For several files, their stamps joined."""


def stamp(path: Path) -> Stamp:
    """Size in bytes, times in ns of the last change of the content and of the inode, and inode number.

    Size and time of the content are not enough: archives with fixed times, `cp -p` and `touch -r` give different
    content the same two values. The system sets the time of the inode. Stamps can be compared only for equality, not
    ordered.

    Raises:
        OSError: There is no such file.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def reason(err: OSError) -> str:
    """Why something could not be written. "No such file" would be a riddle: nothing can be made there, as in /proc."""
    return "nothing can be made there" if err.errno == errno.ENOENT else err.strerror or str(err)


def size(count: float) -> str:
    """A number of bytes as text: "1.1 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def sha256(path: Path, each: Callable[[int], None] = lambda _: None) -> str:
    """sha256 of a file; `each` is called with the length of every block."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(CHUNK):
            state.update(block)
            each(len(block))
    return state.hexdigest()


CLIP_LIMIT = 1 << 30
"""Bytes of the largest clip that is read; three hours of 16 kHz stereo are 0.7 GB."""
_NO_FILES = {
    stat.S_IFIFO: "a named pipe, not a file",
    stat.S_IFSOCK: "a socket, not a file",
    stat.S_IFCHR: "a device, not a file",
    stat.S_IFBLK: "a device, not a file",
}


def read_plain(path: Path, most: int = CLIP_LIMIT) -> bytes:
    """The content of a regular file, or of a link to one.

    Raises:
        OSError: It is not a regular file (reading could block or never end), or it has more than `most` bytes.
    """
    status = path.stat()
    if kind := _NO_FILES.get(stat.S_IFMT(status.st_mode)):
        raise OSError(errno.EINVAL, kind, str(path))
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"{size(status.st_size)}; a clip has at most {size(most)}", str(path))
    # non-blocking: the file may have been replaced by a pipe since the check
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        return stream.read(most)


def listed(folder: Path, pattern: str) -> list[Path]:
    """Paths in a folder that match a pattern, sorted, without hidden files: macOS writes a `._NAME` beside files, which is
    no data."""
    return sorted(
        p for p in folder.glob(pattern) if not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )


def sync(path: Path) -> None:
    """Flush a file or folder to the disk, so that its content is stored before a later rename."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: object) -> None:
    """Replace a small JSON file atomically."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Replace a file atomically by these lines, flushed to the disk."""
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
    """The JSON value of a small file; None if there is no such file or it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
