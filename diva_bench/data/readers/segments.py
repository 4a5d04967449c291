"""A part of a recording as a clip: a time span or one channel, which is cut out when the clip is read."""

from __future__ import annotations

import errno
import math
import stat
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from diva_bench.audio import opened
from diva_bench.audio.containers import look
from diva_bench.data.readers import ClipSource, locate
from diva_bench.data.readers.forms import Sound
from diva_bench.disk import read_plain
from diva_bench.errors import DataError, one_line

_BEYOND = 0.5  # seconds that a part may end behind its recording, whose end it then takes: as Kaldi's extract-segments
_SAME = 0.1  # seconds by which a stated length may miss the recording's own
_LARGEST = 1 << 30  # bytes of float32 that one part may take
_FLOAT = 3  # format code of WAV


def seconds_of(value: Any, where: str) -> float | None:
    """A time in seconds; None if it is empty. Raises DataError if it is not a time."""
    if value is None:
        return None
    try:
        seconds = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise DataError(f"{where}: {value!r} is not a time in seconds.")
    return seconds


def part_of(
    folder: Path, name: str, start: float, seconds: float | None, channel: int | None = None, *, or_whole: bool = False
) -> Sound:
    """A part of the file `folder/name`.

    Args:
        start: Seconds.
        seconds: Length; None: up to the end.
        channel: Only this channel, counted from 0.
        or_whole: A file that libsndfile cannot read is used as a whole; otherwise it is an error.
    """
    stretch = f"from {start:g} s" + ("" if seconds is None else f" for {seconds:g} s")
    label = f"{name} {stretch}" + ("" if channel is None else f", channel {channel}")

    def clip() -> ClipSource:
        path, file_stamp = locate(folder, name)
        return ClipSource(label, partial(_cut, path, start, seconds, channel, or_whole), file_stamp)

    return Sound(label, clip)


def _cut(path: Path, start: float, seconds: float | None, channel: int | None, or_whole: bool) -> bytes:
    """The bytes of the file if the part is all of it, else a float32 WAV. The same file always gives the same bytes."""
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device may have no end
        raise OSError(errno.EINVAL, "is no file", str(path))
    try:
        with opened(path) as file:
            if not start and _is_whole(file, seconds, channel):
                return read_plain(path)
            if seconds is None and (fault := look(read_plain(path)).fault):  # what is left of a torn file is no clip
                raise OSError(0, fault, str(path))
            return _wav(_samples(file, start, seconds, channel), file.samplerate)
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError, ArithmeticError, MemoryError) as err:
        if or_whole:  # ffmpeg may read it
            return read_plain(path)
        raise OSError(
            0, f"no part can be cut out of it ({one_line(err)}); convert it to WAV or FLAC", str(path)
        ) from err


def _is_whole(file: Any, seconds: float | None, channel: int | None) -> bool:
    alone = channel is None or file.channels == 1
    return alone and (seconds is None or abs(file.frames / file.samplerate - seconds) <= _SAME)


def _samples(file: Any, start: float, seconds: float | None, channel: int | None) -> NDArray[np.float32]:
    """The part, shape (n, channels)."""
    rate, length = file.samplerate, file.frames / file.samplerate
    end = length if seconds is None else start + seconds
    if start >= length or end > length + _BEYOND:
        raise OSError(0, f"the part from {start:g} to {end:g} s lies beyond its end ({length:g} s)")
    if channel is not None and channel >= file.channels:
        raise OSError(0, f"there is no channel {channel}; it has {file.channels}, counted from 0")
    first, last = round(start * rate), min(round(end * rate), file.frames)
    if (last - first) * file.channels * 4 > _LARGEST:
        raise OSError(0, f"the part from {start:g} to {end:g} s is too long to be a clip")
    file.seek(first)
    samples: NDArray[np.float32] = file.read(last - first, dtype="float32", always_2d=True)
    if len(samples) < last - first:
        raise OSError(0, f"it is cut short: {len(samples)} of {last - first} samples are there")
    return samples if channel is None else samples[:, channel : channel + 1]


def _wav(samples: NDArray[np.float32], rate: int) -> bytes:
    """A float32 WAV. libsndfile writes the time into such files, so that the same clip would have different bytes."""
    data = np.ascontiguousarray(samples, dtype="<f4").tobytes()
    channels = samples.shape[1]
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, _FLOAT, channels, rate, rate * channels * 4, channels * 4, 32)
    body = head + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WAVE") + body
