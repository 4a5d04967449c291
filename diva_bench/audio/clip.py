"""Decode encoded bytes to 16 kHz mono float32, or raise a ClipError with the reason.

containers.py finds out the format of a file and whether it is complete. libsndfile reads WAV, FLAC, Ogg, MP3 and a
dozen old formats; ffmpeg, where it is installed, reads the others (MP4, Matroska, AAC, ...). Headers are not trusted:
sizes are checked against bounds, and memory is allocated only as samples arrive.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from diva_bench.audio import containers
from diva_bench.audio.transcode import INSTALL, ffmpeg, to_wav
from diva_bench.errors import ClipError, UserError, one_line
from diva_bench.types import CANCELLED, RATES, UNPROMISED, Audio

RATE = 16_000  # Hz; all speech models in this package take this rate
VERSION = 2
"""Version of `decode`. Bump it when `decode` gives other samples for any input that it accepts.
Version 2: where the channels cancel each other, the louder channel is used."""

CHANNELS = 64  # ambisonics of the seventh order
LONGEST = 3 * 3600.0  # seconds
_VALUES = 1 << 29  # samples of all channels together: 2 GiB as float32, 93 minutes of stereo at 48 kHz
_BLOCK = 1 << 20  # samples (all channels together) per read
_LOUDEST = 2.0**31  # times full scale: some programs write 32 bit integers as floats
_AUDIBLE = 1e-4  # a clip with a lower peak amplitude is silent
_CANCELLED = 0.5  # if mean power / power of the louder channel is lower, the channels cancel each other
_LENGTH_SLACK = (
    0.1,
    0.02,
)  # seconds, and share of the length: ffmpeg may decode this much less than the header says (codec delay, rounding)


def decode(encoded: bytes) -> Audio:
    """Decode, average the channels, and resample to 16 kHz.

    Args:
        encoded: The bytes of an audio file.

    Returns:
        Mono float32 samples in [-1, 1], shape (n,), at 16 kHz.

    Raises:
        ClipError: The audio is empty, unreadable, truncated or not finite, or outside `RATES`, `CHANNELS` or `LONGEST`.
        UserError: The format needs ffmpeg, and there is no ffmpeg, or no disk space for it.
    """
    return read(encoded)[0]


def silent(sound: Audio) -> bool:
    """Whether the peak amplitude of a clip is below 1e-4 of full scale (-80 dB)."""
    return not np.any(np.abs(sound.samples) >= _AUDIBLE)


def read(encoded: bytes) -> tuple[Audio, int]:
    """The audio as `decode` returns it, and the sampling rate of the file in Hz. Raises the same errors."""
    try:
        return _read(encoded)
    except (ClipError, UserError):
        raise
    except MemoryError as err:
        raise ClipError("needs more memory than is available", passing=True) from err
    except Exception as err:  # any exception of a decoder is a fault of this clip only; other clips must go on
        raise ClipError(f"cannot be decoded ({type(err).__name__})") from err


def _read(encoded: bytes) -> tuple[Audio, int]:
    if not encoded:
        raise ClipError("the file is empty")
    container = containers.look(encoded)
    if container.fault:
        raise ClipError(container.fault)
    samples, rate, promised = _decoded(container)
    if len(samples) == 0:
        raise ClipError("has no samples")
    mono, cancelled = _mixed(samples)
    if rate != RATE:
        mono = np.asarray(soxr.resample(mono, rate, RATE, quality="HQ"), dtype=np.float32)
    if len(mono) == 0:  # a few samples can become none in resampling
        raise ClipError(f"has {len(samples)} samples at {rate} Hz: nothing is left at {RATE} Hz")
    notes = (*((CANCELLED,) if cancelled else ()), *(() if promised else (UNPROMISED,)))
    return Audio(np.ascontiguousarray(mono), RATE, notes), rate


def _mixed(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], bool]:
    """(mean of the channels, False), or (louder channel, True) where the channels cancel each other."""
    peak = max(float(samples.max()), -float(samples.min()))  # NaN if any sample is NaN
    if not peak <= _LOUDEST:
        raise ClipError(f"has samples that are not finite (NaN or infinity) or far beyond full scale: {peak:.3g}")
    channels = samples.shape[1]
    if channels == 1:
        return samples[:, 0], False
    products = (
        samples.T @ samples
    )  # (channels, channels): powers on the diagonal; the power of the mix is the sum of all
    power = products.diagonal()
    if products.sum() < _CANCELLED**2 * power.max():
        return samples[:, int(np.argmax(power))], True
    if channels == 2:  # bit-identical to the mean, and ten times faster
        return (samples[:, 0] + samples[:, 1]) / np.float32(2), False
    return samples.mean(axis=1, dtype=np.float32), False


# ---------------------------------------------------------------- decoders


def _decoded(container: containers.Container) -> tuple[NDArray[np.float32], int, bool]:
    """(samples, shape (n, channels); rate in Hz; whether the container stores the length)."""
    name, decoder = container.name, container.decoder
    if name == "MP3" and "MP3" not in soundfile.available_formats():
        decoder = containers.FFMPEG
    if decoder == containers.FFMPEG:
        return _by_ffmpeg(container)
    try:
        samples, rate = _by_libsndfile(container.encoded, exact=container.promised, container=container.name)
    except _Unreadable as err:
        if not container.name:
            raise ClipError(containers.UNKNOWN) from err
        if decoder != containers.EITHER:
            raise
        return _second_try(container, err)
    return samples, rate, container.promised


_GUESSED = ("MP3", "SD2")
"""Formats that libsndfile reports for bytes without a known header: it recognises MP3 by two bytes, and SD2 by a second
file."""


class _Unreadable(ClipError):
    """libsndfile cannot open the file; ffmpeg may be able to."""


def _by_libsndfile(source: bytes | Path, *, exact: bool, container: str = "") -> tuple[NDArray[np.float32], int]:
    """Decode with libsndfile.

    Args:
        source: Encoded bytes, or a path.
        exact: Raise if fewer samples can be decoded than the header promises.
        container: The format that containers.py found.

    Returns:
        (samples, shape (n, channels); rate in Hz).
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(opened(source))
        except OSError as err:
            raise ClipError(f"cannot be decoded ({one_line(err)})", passing=True) from err
        except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as err:
            raise _Unreadable(f"cannot be decoded: {_reason(err)}") from err
        if not container and file.format in _GUESSED:
            raise _Unreadable(containers.UNKNOWN)
        return _samples(file, exact)


@contextlib.contextmanager
def opened(source: bytes | Path) -> Iterator[soundfile.SoundFile]:
    """A libsndfile file object for encoded bytes or a path.

    Where macOS left a resource fork (._NAME or .AppleDouble/NAME; for bytes, whose name is empty, in the working
    folder), libsndfile takes every MP3 for SD2. Then the file is opened under another name.
    """
    folder, name = (source.parent, source.name) if isinstance(source, Path) else (Path(), "")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        place = source if isinstance(source, Path) else io.BytesIO(source)
        if any((folder / fork).exists() for fork in (f"._{name}", f".AppleDouble/{name}")):
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="diva-bench-")), "clip")
            if isinstance(source, Path):
                place.symlink_to(source.absolute())
            else:
                place.write_bytes(source)
        yield stack.enter_context(soundfile.SoundFile(place))


class _Silence:
    """Discards output on C's `stderr` while any thread decodes: libmpg123 prints warnings about frames there, and
    libsndfile has no setting against it. Output of Python does not go through C's `stderr` and is not affected."""

    lock = threading.Lock()
    inside = 0
    before: int | None = None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    stream = _c_stderr()
    if stream is None:
        yield
        return
    variable, nowhere = stream
    with _Silence.lock:
        if not _Silence.inside:
            _Silence.before, variable.value = variable.value, nowhere
        _Silence.inside += 1
    try:
        yield
    finally:
        with _Silence.lock:
            _Silence.inside -= 1
            if not _Silence.inside:
                variable.value = _Silence.before


@cache
def _c_stderr() -> tuple[ctypes.c_void_p, int] | None:
    """(C's variable `stderr`, a stream that discards its output); None if the C library has no such variable."""
    try:
        library = ctypes.CDLL(None)
        library.fopen.restype = ctypes.c_void_p
        nowhere = library.fopen(os.devnull.encode(), b"w")
        name = "__stderrp" if sys.platform == "darwin" else "stderr"
        return (ctypes.c_void_p.in_dll(library, name), nowhere) if nowhere and sys.platform != "win32" else None
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def _samples(file: soundfile.SoundFile, exact: bool) -> tuple[NDArray[np.float32], int]:
    _check_bounds(file.frames, file.channels, file.samplerate)
    blocks, got = [], 0
    try:
        while got < file.frames:
            block = file.read(min(_BLOCK // file.channels, file.frames - got), dtype="float32", always_2d=True)
            if not len(block):
                break
            blocks.append(block)
            got += len(block)
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as err:
        raise ClipError(f"cannot be decoded: {_reason(err)}") from err
    if (
        exact and got < file.frames and not file.subtype.startswith("MPEG")
    ):  # for MPEG the count in the header is an estimate
        raise ClipError(f"is cut short: the header promises {file.frames:,} samples, {got:,} can be decoded")
    if not blocks:
        return np.empty((0, file.channels), np.float32), file.samplerate
    return (blocks[0] if len(blocks) == 1 else np.concatenate(blocks)), int(file.samplerate)


def _reason(err: Exception) -> str:
    """libsndfile's message without the Python repr of the stream, which contains a memory address."""
    return one_line(err).rsplit(": ", 1)[-1]


def _check_bounds(frames: int, channels: int, rate: int) -> None:
    """Check the sizes that a header gives before anything is allocated."""
    if not RATES[0] <= rate <= RATES[1]:
        raise ClipError(f"is refused: its header says {rate:,} Hz; a clip has {RATES[0]:,} to {RATES[1]:,} Hz")
    if channels > CHANNELS:
        raise ClipError(f"is refused: its header says {channels:,} channels; a clip has at most {CHANNELS}")
    if frames > LONGEST * rate or frames * channels > _VALUES:
        raise ClipError(
            f"is refused: its header says {frames:,} samples of {channels} channel{'s' * (channels > 1)} at {rate:,} Hz; a clip "
            f"has at most {LONGEST / 3600:g} hours, and {_VALUES:,} samples in all channels"
        )


def _by_ffmpeg(container: containers.Container) -> tuple[NDArray[np.float32], int, bool]:
    program = ffmpeg()
    if program is None:
        raise UserError(
            f"{container.name} files need ffmpeg to be decoded, and no working ffmpeg was found. Install it ({INSTALL} "
            f"installs one), or put an ffmpeg on the PATH."
        )
    with tempfile.TemporaryDirectory(prefix="diva-bench-") as folder:
        target = Path(folder) / "sound.wav"
        # decode slightly more than the bounds allow, so that a longer clip is detected
        length = to_wav(
            program, container.encoded, container.name, target, seconds=LONGEST + 1, size=4 * _VALUES + (1 << 20)
        )
        samples, rate = _by_libsndfile(target, exact=True)
    seconds, promised = len(samples) / rate, container.promised and length is not None
    if promised and length and seconds < length - _LENGTH_SLACK[0] - _LENGTH_SLACK[1] * length:
        raise ClipError(
            f"is cut short: the {container.name} header promises {length:.2f} s, {seconds:.2f} s can be decoded"
        )
    return samples, rate, promised


def _second_try(container: containers.Container, first: ClipError) -> tuple[NDArray[np.float32], int, bool]:
    """Decode with ffmpeg where libsndfile knows the container but not the codec: G.722 in WAV, FLAC in Ogg."""
    if ffmpeg() is None:
        hint = f"ffmpeg might read it, but no working ffmpeg was found ({INSTALL} installs one)"
        raise ClipError(f"{first}; {hint}", passing=True) from first
    try:
        return _by_ffmpeg(container)
    except ClipError as err:
        raise ClipError(f"{first}; by ffmpeg: {err}", passing=err.passing) from err
