"""Shared by readers of corpora: the clips of a folder or archive by the stem of their names, as video or as extracted
audio."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from diva_bench.data.readers import ClipSource, file_clip
from diva_bench.data.readers.archives import members
from diva_bench.disk import listed
from diva_bench.errors import DataError
from diva_bench.weights import assets

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".mp4", ".mkv", ".webm", ".avi")
"""Suffixes of clips; of several files for one clip the first suffix in this order is used: audio before video."""


@dataclass
class Clips:
    """The clips of a corpus.

    Attributes:
        found: Stem -> clip.
        stray: Names of files that the corpus ships but no row uses.
    """

    by_stem: dict[str, ClipSource] = field(default_factory=dict)
    stray: list[str] = field(default_factory=list)

    def of(self, stem: str, expected: str) -> ClipSource | None:
        """The clip of one row; None if there are no clips at all. The clip may not exist; `expected` is then its name."""
        return (self.by_stem.get(stem) or absent(expected)) if self.by_stem else None


def one(folder: Path, patterns: tuple[str, ...], what: str) -> Path:
    """The only file below `folder` that matches; the first pattern with a match decides. Raises DataError otherwise."""
    for pattern in patterns:
        matches = [p for p in listed(folder, pattern) if p.is_file()]
        if len(matches) > 1:
            raise DataError(f"{folder}: two files could be {what}: {matches[0]} and {matches[1]}. Remove one.")
        if matches:
            return matches[0]
    raise DataError(f"{folder}: has no {what}: nothing there matches {' or '.join(patterns)}.")


def absent(name: str) -> ClipSource:
    """A clip that should exist and does not: a fault of its row."""

    def read() -> bytes:
        raise FileNotFoundError(2, "No such file or directory", name)

    return ClipSource(name, read)


def find(folder: Path, accept: Callable[[PurePosixPath], bool | None], archives: tuple[str, ...] = ()) -> Clips:
    """Every clip below `folder` for which `accept` returns true.

    Args:
        folder: The corpus.
        accept: Path below `folder` -> True, False, or None for a stray file.
        archives: Glob patterns of archives below `folder`, which are searched if no folder has clips.

    Raises:
        DataError: A clip exists twice in the same form, or an archive is refused.
    """
    clips = _chosen(folder, _in_folders(folder), accept)
    if clips.by_stem:
        return clips
    packed = sorted({path for pattern in archives for path in listed(folder, pattern) if path.is_file()})
    return _chosen(folder, (clip for path in packed for clip in _in_archive(folder, path)), accept)


def _in_folders(folder: Path) -> Iterator[tuple[PurePosixPath, ClipSource]]:
    for root, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or not name.lower().endswith(SUFFIXES):  # macOS writes files ._name
                continue
            below = Path(root, name).relative_to(folder).as_posix()
            yield PurePosixPath(below), file_clip(folder, below)


def _in_archive(folder: Path, path: Path) -> Iterator[tuple[PurePosixPath, ClipSource]]:
    for name, member in members(path, assets.cache_folder()).items():
        inner = PurePosixPath(path.relative_to(folder).as_posix(), name)
        if not inner.name.startswith(".") and name.lower().endswith(SUFFIXES):
            yield inner, ClipSource(str(inner), member.read, member.stamp)


def _chosen(
    folder: Path,
    files: Iterator[tuple[PurePosixPath, ClipSource]],
    accept: Callable[[PurePosixPath], bool | None],
) -> Clips:
    clips = Clips()
    for path, clip in files:
        verdict = accept(path)
        if verdict is None:
            clips.stray.append(str(path))
        elif verdict:
            other = clips.by_stem.setdefault(path.stem, clip)
            if other is not clip and _rank(other.name) == _rank(clip.name):
                raise DataError(f"{folder}: clip {path.stem} is there twice: {other.name} and {clip.name}. Remove one.")
            if _rank(clip.name) < _rank(other.name):
                clips.by_stem[path.stem] = clip
    return clips


def _rank(name: str) -> int:
    return SUFFIXES.index(PurePosixPath(name).suffix.lower())
