"""The index of the clips of a data set: every clip is hashed, decoded and measured once, and the result is cached.

So a clip that cannot be decoded is known before a model is run. Clips are read one at a time, and their bytes are not
kept.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from diva_bench import audio
from diva_bench.data.readers import ClipSource
from diva_bench.disk import Stamp
from diva_bench.errors import ClipError, UserError
from diva_bench.specs import digest
from diva_bench.types import Progress

_VERSION = 5  # bump when `_look` returns something else for the same bytes, or the format of the file changes
_BLOCK = 256  # clips that are given to the threads at once; this limits memory
_SAVE = 16 * _BLOCK  # clips after which the index is saved, so that a killed process does not lose its work


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip of the index.

    Attributes:
        stamp: Stamp of its file when it was checked.
        sha256: Of its bytes.
        seconds: Length by the header.
        rate: Sampling rate of the file in Hz.
        fault: Why the clip cannot be used, else "".
        notes: Those of `audio.read`.
        passing: The fault may be temporary, so it is not cached.
    """

    stamp: Stamp
    sha256: str
    seconds: float
    rate: int
    fault: str
    notes: tuple[str, ...] = ()
    passing: bool = False


def index(root: Path, clips: Sequence[ClipSource], cache: Path, progress: Progress) -> dict[str, Clip]:
    """Clip name -> entry, from the cache if the stamp is unchanged; other clips are checked now.

    All tasks with the same `root` share the index.

    Raises:
        UserError: Decoding needs a program that is not installed.
    """
    store = _store(root, cache)
    index_entries = _read(store)
    stale = [c for c in clips if c.name not in index_entries or index_entries[c.name].stamp != c.stamp]
    if stale:
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            looked = _in_blocks(pool, _look, stale)
            label = f"checking {root.stem} clips"
            for number, (name, clip) in enumerate(progress.track(looked, label, total=len(stale)), start=1):
                index_entries[name] = clip
                if number % _SAVE == 0:
                    _write(store, index_entries)
        _write(store, index_entries)
    return {clip.name: index_entries[clip.name] for clip in clips}


def reread(root: Path, source: ClipSource, sha256: str, cache: Path) -> bytes:
    """The bytes of a clip, if they are still those of the index. If not, the index is deleted, so that the next command
    checks the clips again.

    Raises:
        ClipError: The bytes have changed.
    """
    encoded = source.read()
    if hashlib.sha256(encoded).hexdigest() != sha256:
        _store(root, cache).unlink(missing_ok=True)
        raise ClipError(f"{source.shown}: is not the clip that was checked (other sha256). Run the same command again.")
    return encoded


def _store(root: Path, cache: Path) -> Path:
    return cache / "index" / f"{root.stem}-{digest([str(root.resolve()), _VERSION, audio.VERSION])[:16]}.json"


def _in_blocks(
    pool: ThreadPoolExecutor, look: Callable[[ClipSource], tuple[str, Clip]], clips: Sequence[ClipSource]
) -> Iterator[tuple[str, Clip]]:
    for start in range(0, len(clips), _BLOCK):
        yield from pool.map(look, clips[start : start + _BLOCK])


def _look(clip: ClipSource) -> tuple[str, Clip]:
    try:
        encoded = clip.read()
    except (OSError, ValueError) as err:  # ValueError: a name with a NUL in it
        return clip.name, Clip(clip.stamp, "", 0.0, 0, f"cannot be read ({getattr(err, 'strerror', None) or err})")
    sha256 = hashlib.sha256(encoded).hexdigest()
    try:
        sound, rate = audio.read(encoded)
    except UserError as err:
        raise UserError(f"{clip.shown}: {err}") from err
    except ClipError as err:
        return clip.name, Clip(clip.stamp, sha256, 0.0, 0, str(err), passing=err.passing)
    return clip.name, Clip(clip.stamp, sha256, round(sound.seconds, 4), rate, "", sound.notes)


def _read(store: Path) -> dict[str, Clip]:
    """The stored index. An unreadable index is built again."""
    try:
        stored = json.loads(store.read_text(encoding="utf-8"))
        for entry in stored.values():
            entry[0], entry[5] = tuple(entry[0]), tuple(entry[5])  # stamp and notes
        return {name: Clip(*entry) for name, entry in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError, IndexError):
        return {}


def _write(store: Path, clips: Mapping[str, Clip]) -> None:
    """Replace the stored index atomically. If that fails, only time is lost."""
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        aside = store.with_suffix(f".{os.getpid()}.tmp")
        entries = {name: list(asdict(clip).values()) for name, clip in clips.items() if not clip.passing}
        aside.write_text(json.dumps(entries), "utf-8")
        aside.replace(store)
    except OSError:
        return
