"""From encoded bytes to 16 kHz mono float32, or a ClipError that says why not.

WAV, FLAC, Ogg and MP3 are read by libsndfile. What it does not know, by the first bytes (MP4, MOV, Matroska, AVI, AAC,
...), goes through ffmpeg, where there is one. A clip that was cut short is refused: libsndfile reads the first half of
a torn file without a word, and half a question scored as a whole one is a wrong number.
"""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from diva_bench.errors import ClipError, UserError
from diva_bench.types import Audio

RATE = 16_000  # Hz: what every speech model here takes

_OGG_END_OF_STREAM = 0x04  # header_type bit of the last page, RFC 3533 section 6
_RIFF_UNKNOWN = (0, 0xFFFFFFFF)  # size field of a WAV that was written as a stream


_XING_WITHIN = 4096  # bytes: how far behind an ID3 tag the first frame of an MP3 is looked for
_XING_SLACK = 0.02  # share of its bytes that an MP3 may lack: some encoders count a frame that they do not write
_FFMPEG_SECONDS = 300.0  # how long one clip may take
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_CONTAINERS = {  # first bytes -> name, of what libsndfile cannot read
    b"\x1aE\xdf\xa3": "Matroska or WebM",
    b"\x00\x00\x01\xba": "MPEG",
    b"0&\xb2u": "ASF (WMA)",
    b"#!AMR": "AMR",
    b"FLV": "FLV",
    b"\xff\xf1": "AAC",
    b"\xff\xf9": "AAC",
}


def decode(encoded: bytes) -> Audio:
    """Decode, average the channels, resample to 16 kHz.

    Raises ClipError on empty, unreadable, truncated or non-finite sound; UserError where it takes ffmpeg and there is none.
    """
    return read(encoded)[0]


def read(encoded: bytes) -> tuple[Audio, int]:
    """The sound as `decode` gives it, and the rate that the file has it at, Hz."""
    if not encoded:
        raise ClipError("the file is empty")
    reason = _torn(encoded)
    if reason:
        raise ClipError(reason)
    container = _foreign(encoded)
    samples, rate = _by_ffmpeg(encoded, container) if container else _by_libsndfile(io.BytesIO(encoded))
    if len(samples) == 0:
        raise ClipError("has no samples")
    if not np.isfinite(samples).all():
        raise ClipError("has samples that are not finite (NaN or infinity)")
    mono = samples.mean(axis=1, dtype=np.float32)
    if rate != RATE:
        mono = np.asarray(soxr.resample(mono, rate, RATE, quality="HQ"), dtype=np.float32)
    if len(mono) == 0:  # a handful of samples can vanish in resampling
        raise ClipError(f"has {len(samples)} samples at {rate} Hz: nothing is left at {RATE} Hz")
    return Audio(np.ascontiguousarray(mono), RATE), rate


def _by_libsndfile(source: io.BytesIO | Path) -> tuple[NDArray[np.float32], int]:
    """(samples, shape (n, channels); rate in Hz)."""
    try:
        samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as err:
        # libsndfile prefixes its message with the Python repr of the stream, which has an address in it
        raise ClipError(f"cannot be decoded: {str(err).rsplit(': ', 1)[-1]}") from err
    return samples, int(rate)


# ---------------------------------------------------------------- ffmpeg


def ffmpeg() -> str | None:
    """The program on PATH, else the one that the PyPI package imageio-ffmpeg brings, else None."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # RuntimeError: the package is here, a program for this machine is not
        return None


def _foreign(encoded: bytes) -> str:
    """What container this is, where libsndfile cannot read it; "" where it is its own to try."""
    if encoded[4:8] in _MP4_BOXES:
        return "MP4"
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"AVI ":
        return "AVI"
    if encoded[:3] == b"ID3" and "MP3" not in soundfile.available_formats():
        return "MP3"
    return next((name for start, name in _CONTAINERS.items() if encoded.startswith(start)), "")


def _by_ffmpeg(encoded: bytes, container: str) -> tuple[NDArray[np.float32], int]:
    """The first sound track, at its own rate and with its own channels. Files, not pipes: MP4 may have its index at the end."""
    program = ffmpeg()
    if program is None:
        raise UserError(
            f"{container} files need ffmpeg to be decoded, and there is none here. Install it "
            "(pip install 'diva-bench[video]' brings one), or put an ffmpeg on the PATH."
        )
    with tempfile.TemporaryDirectory(prefix="diva-bench-") as folder:
        source, target = Path(folder) / "clip", Path(folder) / "sound.wav"
        source.write_bytes(encoded)
        command = [program, "-nostdin", "-v", "error", "-xerror", "-i", str(source), "-map", "0:a:0"]
        try:
            done = subprocess.run(
                [*command, "-c:a", "pcm_f32le", "-y", str(target)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_FFMPEG_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as err:
            raise ClipError(f"cannot be decoded: ffmpeg took more than {_FFMPEG_SECONDS:g} s") from err
        if "matches no streams" in done.stderr:
            raise ClipError(f"has no sound track ({container})")
        if done.returncode or "partial file" in done.stderr:
            raise ClipError(f"cannot be decoded ({container}): {_first_line(done.stderr, folder)}")
        return _by_libsndfile(target)


def _first_line(said: str, folder: str) -> str:
    """ffmpeg's first complaint, without the name of our temporary file and the addresses of its objects."""
    lines = [line.replace(f"{folder}/", "") for line in said.splitlines() if line.strip()]
    return lines[0].rpartition("] ")[2] if lines else "ffmpeg did not say why"


# ---------------------------------------------------------------- whole or cut short


def _torn(encoded: bytes) -> str:
    """Why a file is not whole, or "" where it is, as far as its container can tell."""
    if encoded[:4] == b"RIFF" and len(encoded) >= 8:
        size = struct.unpack("<I", encoded[4:8])[0]
        if size not in _RIFF_UNKNOWN and size + 8 > len(encoded) + 1:  # a missing pad byte is common and harmless
            return f"is cut short: the WAV header promises {size + 8} bytes, the file has {len(encoded)}"
    if encoded[:4] == b"OggS":
        return _torn_ogg(encoded)
    return _torn_mp3(encoded)


def _torn_mp3(encoded: bytes) -> str:
    """By the byte count in the Xing or Info header that most encoders write into the first frame."""
    head = encoded[:_XING_WITHIN]
    at = max(head.find(b"Xing"), head.find(b"Info"))
    if at < 0 or not (encoded[:3] == b"ID3" or encoded[:1] == b"\xff") or len(head) < at + 16:
        return ""
    flags = struct.unpack(">I", head[at + 4 : at + 8])[0]
    start = at + 8 + 4 * (flags & 1)  # the number of frames comes first, where it is given
    size = struct.unpack(">I", head[start : start + 4])[0] if flags & 2 else 0
    if size * (1 - _XING_SLACK) > len(encoded):
        return f"is cut short: the MP3 header promises {size} bytes, the file has {len(encoded)}"
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
