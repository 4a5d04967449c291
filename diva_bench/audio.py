"""From encoded bytes to 16 kHz mono float32, or a ClipError that says why not.

A clip that was cut short is refused: libsndfile reads the first half of a torn file without a word, and half a
question scored as a whole one is a wrong number.
"""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile
import soxr

from diva_bench.errors import ClipError
from diva_bench.types import Audio

RATE = 16_000  # Hz: what every speech model here takes

_OGG_END_OF_STREAM = 0x04  # header_type bit of the last page, RFC 3533 section 6
_RIFF_UNKNOWN = (0, 0xFFFFFFFF)  # size field of a WAV that was written as a stream


def decode(encoded: bytes) -> Audio:
    """Decode, average the channels, resample to 16 kHz.

    Raises ClipError on empty, unreadable, truncated or non-finite sound.
    """
    if not encoded:
        raise ClipError("the file is empty")
    reason = _torn(encoded)
    if reason:
        raise ClipError(reason)
    try:
        samples, rate = soundfile.read(io.BytesIO(encoded), dtype="float32", always_2d=True)  # (n, channels)
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as err:
        # libsndfile prefixes its message with the Python repr of the stream, which has an address in it
        raise ClipError(f"cannot be decoded: {str(err).rsplit(': ', 1)[-1]}") from err
    if len(samples) == 0:
        raise ClipError("has no samples")
    if not np.isfinite(samples).all():
        raise ClipError("has samples that are not finite (NaN or infinity)")
    mono = samples.mean(axis=1, dtype=np.float32)
    if rate != RATE:
        mono = np.asarray(soxr.resample(mono, rate, RATE, quality="HQ"), dtype=np.float32)
    if len(mono) == 0:  # a handful of samples can vanish in resampling
        raise ClipError(f"has {len(samples)} samples at {rate} Hz: nothing is left at {RATE} Hz")
    return Audio(np.ascontiguousarray(mono), RATE)


def _torn(encoded: bytes) -> str:
    """Why a file is not whole, or "" where it is, as far as its container can tell."""
    if encoded[:4] == b"RIFF" and len(encoded) >= 8:
        size = struct.unpack("<I", encoded[4:8])[0]
        if size not in _RIFF_UNKNOWN and size + 8 > len(encoded) + 1:  # a missing pad byte is common and harmless
            return f"is cut short: the WAV header promises {size + 8} bytes, the file has {len(encoded)}"
    if encoded[:4] == b"OggS":
        return _torn_ogg(encoded)
    return ""


def _torn_ogg(encoded: bytes) -> str:
    """Walk to the last Ogg page: it must be whole and carry the end-of-stream flag."""
    start = encoded.rfind(b"OggS")
    while start > 0 and not _page_fits(encoded, start):
        if _page_plausible(encoded, start):
            return "is cut short: the last Ogg page is incomplete"
        start = encoded.rfind(b"OggS", 0, start)  # the four letters inside a packet, not a page
    if start + 6 > len(encoded) or not encoded[start + 5] & _OGG_END_OF_STREAM:
        return "is cut short: the Ogg stream has no last page"
    return ""


def _page_plausible(encoded: bytes, start: int) -> bool:
    return start + 5 >= len(encoded) or (encoded[start + 4] == 0 and encoded[start + 5] < 8)


def _page_fits(encoded: bytes, start: int) -> bool:
    """Whether a whole page, header, lacing table and packets, lies at `start`."""
    if start + 27 > len(encoded) or not _page_plausible(encoded, start):
        return False
    segments = encoded[start + 26]
    table = encoded[start + 27 : start + 27 + segments]
    return len(table) == segments and start + 27 + segments + sum(table) <= len(encoded)
