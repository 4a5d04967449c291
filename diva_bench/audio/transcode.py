"""Convert audio that libsndfile cannot read to WAV, with ffmpeg in a process of its own.

ffmpeg may only open the audio formats listed here, because a playlist in place of a clip could make it open any file or
address.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from diva_bench.errors import ClipError, UserError

SECONDS = 300.0
"""Time limit of ffmpeg for one clip."""
INSTALL = "pip install 'diva-bench[video]'"
"""The command that installs an ffmpeg."""

_DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,loas,matroska,mov,mp3,mpc,mpc8,"
    "mpeg,mpegts,nistsphere,ogg,rm,tak,tta,voc,w64,wav,wv"
)
_ALLOCATE = 1 << 30  # bytes: the largest single allocation of ffmpeg
_LOG_BYTES = 1 << 18  # bytes of ffmpeg's messages that are read
_TORN = ("File ended prematurely", "Packet corrupt", "corrupt input packet", "partial file", "Truncating packet")
_LENGTH = re.compile(r"^\[info\]   Duration: (\d+):(\d\d):(\d\d\.\d+)", re.MULTILINE)
_TRACK = re.compile(r"^\[info\]   Stream #0:\d", re.MULTILINE)
_COMPLAINT = re.compile(r"^(?:\[[^]]*\] )*\[(?:error|fatal)\] *(.*)", re.MULTILINE)


def ffmpeg() -> str | None:
    """The program on PATH, else the one that the PyPI package imageio-ffmpeg brings: the first that starts, else None."""
    if (program := shutil.which("ffmpeg")) and _starts(program):
        return program
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]

        program = str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # RuntimeError: the package has no program for this machine
        return None
    return program if _starts(program) else None


@lru_cache
def _starts(path: str) -> bool:
    """Whether a program starts at all. One with missing libraries would report a fault in every clip."""
    try:
        return subprocess.run([path, "-version"], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def to_wav(program: str, encoded: bytes, name: str, target: Path, *, seconds: float, size: int) -> float | None:
    """Write the first audio track to a WAV file: float32, with its own rate and channels.

    Args:
        program: Path of ffmpeg.
        encoded: Bytes of the clip.
        name: Name of the container, for messages.
        target: The WAV file.
        seconds: Stop after this much audio.
        size: Stop after this many bytes.

    Returns:
        The length in seconds by the file's header; 0 if the file has other tracks, which may be longer; None if it has
            no length.

    Raises:
        ClipError: The clip cannot be decoded, or not completely.
        UserError: There is no disk space.
    """
    source, log = target.with_name("clip"), target.with_name("said")
    command = [program, "-nostdin", "-hide_banner", "-nostats", "-v", "level+info", "-xerror"]
    command += ["-max_alloc", str(_ALLOCATE), "-protocol_whitelist", "file", "-format_whitelist", _DEMUXERS]
    command += ["-i", str(source), "-map", "0:a:0", "-t", f"{seconds:g}", "-fs", str(size), "-c:a", "pcm_f32le"]
    try:
        source.write_bytes(encoded)  # a file, not a pipe: MP4 may have its index at the end
        with log.open("wb") as output:
            done = subprocess.run([*command, "-y", str(target)], stderr=output, timeout=SECONDS, check=False)
        with log.open("rb") as stream:
            complaints = stream.read(_LOG_BYTES).decode("utf-8", "replace").replace(f"{target.parent}/", "")
    except subprocess.TimeoutExpired as err:
        raise ClipError(f"cannot be decoded ({name}): ffmpeg took more than {SECONDS:g} s", passing=True) from err
    except OSError as err:
        raise UserError(
            f"{target.parent}: {err.strerror or err}. ffmpeg needs room for a clip there: make some, or set TMPDIR."
        ) from err
    _refuse(complaints, done.returncode, name)
    length = _LENGTH.search(complaints)
    if length is None:
        return None
    hours, minutes, rest = length.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(rest) if len(_TRACK.findall(complaints)) == 1 else 0.0


def _refuse(complaints: str, code: int, name: str) -> None:
    """Raise ClipError with ffmpeg's first error message, without memory addresses."""
    if "matches no streams" in complaints:
        raise ClipError(f"has no sound track ({name})")
    if code < 0:
        raise ClipError(f"cannot be decoded ({name}): ffmpeg was stopped by signal {-code}", passing=True)
    complaint = _COMPLAINT.search(complaints)
    if code:
        raise ClipError(f"cannot be decoded ({name}): {complaint[1] if complaint else 'ffmpeg did not say why'}")
    if torn := next((words for words in _TORN if words in complaints), ""):
        raise ClipError(f"is cut short ({name}): ffmpeg says {torn!r}")
