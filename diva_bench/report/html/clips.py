"""Clips of a task for the report page: as Opus in an Ogg file, and a picture of their spectrogram.

A clip is named by the sha256 of its encoded bytes, so that tasks share it and a report that is written again keeps it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import soundfile
from numpy.typing import NDArray

from diva_bench import data
from diva_bench.audio.clip import RATE, decode
from diva_bench.errors import ClipError, UserError
from diva_bench.report.html.samples import Question
from diva_bench.types import Silent
from diva_bench.weights import assets

_NAME = 24  # hexadecimal digits of a clip's name
WIDE, HIGH = 200, 56
"""Pixels of a spectrogram."""
_WINDOW = 512  # samples, 32 ms
_LEVELS = 24  # colours of the picture: with more, its file is much larger and looks the same
_LOUDEST, _RANGE = 0.0, 70.0  # dB of full scale at the top, and how far the colours go down


@dataclass(frozen=True)
class Clip:
    """A clip of a sample. `name`: in the report; `read` gives its encoded bytes."""

    name: str
    read: Callable[[], bytes]


def of_question(question: Question) -> tuple[dict[str, Clip], str]:
    """(sample id -> its clip on this machine, why there is none; "" if there are).

    A clip counts only if its bytes are those that the models heard.
    """
    if question.hidden or question.task is None:
        return (
            {},
            "the data is licensed: no sound without --with-licensed" if question.hidden else "its task cannot be read",
        )
    if all(sample.read is None for sample in question.samples):
        return {}, "the task has no sound, or its rows are not stored"
    if question.clips:
        beside = {ident: question.clips[sha] for ident, sha in question.sounds.items() if sha in question.clips}
        return {ident: Clip(path.name[:_NAME], path.read_bytes) for ident, path in beside.items()}, ""
    try:
        here = data.load(question.task, assets.cache_folder(), Silent(), allow_partial=True)
    except UserError as err:
        return {}, f"no sound: {err}"
    sounds = {str(row[0]): str(row[1]) for row in here.covered}
    clips = {sample.id: sample.read for sample in here.samples if sample.read and sounds.get(sample.id)}
    heard = question.sounds or sounds
    found = {
        sample.id: Clip(sounds[sample.id][:_NAME], clips[sample.id])
        for sample in question.samples
        if sample.id in clips and heard.get(sample.id) == sounds[sample.id]
    }
    return found, "" if found else "no sound: the data on this machine has no clip of these samples"


def opus(encoded: bytes) -> bytes:
    """The clip as Opus: as it is if it is Opus already, else encoded, mono, about 4 kB a second.

    Raises:
        ClipError: It cannot be decoded.
    """
    if encoded.startswith(b"OggS") and b"OpusHead" in encoded[:64]:
        return encoded
    out = io.BytesIO()
    try:
        soundfile.write(out, decode(encoded).samples, RATE, format="OGG", subtype="OPUS", compression_level=0.9)
    except soundfile.SoundFileError as err:
        raise ClipError(f"cannot be encoded as Opus ({err})") from err
    return out.getvalue()


def picture(encoded: bytes) -> bytes:
    """A PNG of the clip's spectrogram, WIDE x HIGH pixels: 0 to 8 kHz on a mel scale upwards, the whole clip from left to
    right. Raises ClipError if it cannot be decoded."""
    samples = decode(encoded).samples
    starts = np.linspace(0, max(len(samples) - _WINDOW, 0), WIDE).astype(int)
    padded = np.pad(samples, (0, max(_WINDOW - len(samples), 0)))
    frames = padded[starts[:, None] + np.arange(_WINDOW)] * np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 / (_WINDOW / 4) ** 2  # 1 for a sine at full scale
    decibels = 10 * np.log10(power @ _mel() + 1e-12)
    level = np.clip((decibels - _LOUDEST + _RANGE) / _RANGE, 0, 1)
    return _png((np.rint(level.T[::-1] * (_LEVELS - 1))).astype(np.uint8))


@cache
def _mel() -> NDArray[np.float64]:
    """Bins of the spectrum -> bands of the picture, (WINDOW / 2 + 1, HIGH): triangles on the mel scale, of sum 1."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, HIGH + 2) / 2595) - 1)
    hertz = np.linspace(0, RATE / 2, _WINDOW // 2 + 1)[:, None]
    rising, falling = (hertz - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - hertz) / np.diff(edges)[1:]
    bands = np.maximum(0, np.minimum(rising, falling))
    nearest = np.abs(hertz - edges[1:-1]).argmin(axis=0)  # a band narrower than a bin has the nearest one
    bands[nearest, np.arange(HIGH)] += bands.sum(axis=0) == 0
    return np.asarray(bands / bands.sum(axis=0))


# Dark violet to yellow, equal steps of lightness: readable in grey and by the colour-blind.
_COLOURS = ((20, 16, 40), (62, 40, 110), (150, 60, 120), (232, 120, 80), (252, 226, 150))


@cache
def _palette() -> bytes:
    places, between = np.linspace(0, 1, len(_COLOURS)), np.linspace(0, 1, _LEVELS)
    channels = [np.interp(between, places, [colour[k] for colour in _COLOURS]) for k in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8).tobytes()


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG with the palette, from pixels (height, width)."""
    high, wide = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 3, 0, 0, 0)),
        (b"PLTE", _palette()),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
