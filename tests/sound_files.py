"""The same second of a 440 Hz tone in every container that is read: by libsndfile in all its codings, by ffmpeg the rest."""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from diva_bench.audio import transcode

RATE = 16_000
NOT_READ = {
    ("AIFF", "DWVW_12"): "libsndfile cannot write it",
    ("AIFF", "DWVW_16"): "libsndfile cannot seek in it",
    ("AIFF", "DWVW_24"): "libsndfile cannot seek in it",
    ("MP3", "MPEG_LAYER_I"): "libsndfile cannot write it",
    ("MP3", "MPEG_LAYER_II"): "libsndfile cannot write it",
    ("VOC", "PCM_U8"): "libsndfile cannot read what it writes, and ffmpeg is another test",
    ("WAV", "MPEG_LAYER_III"): "libsndfile cannot write it",
    ("WVE", "ALAW"): "always 8,000 Hz",
}
VIDEO = ("-f", "lavfi", "-i", "testsrc=duration=1:size=64x64")
BY_FFMPEG: dict[str, tuple[str, ...]] = {
    "aac.m4a": ("-c:a", "aac"),
    "front.m4a": ("-c:a", "aac", "-movflags", "+faststart"),
    "parts.m4a": ("-c:a", "aac", "-movflags", "frag_keyframe+empty_moov", "-frag_duration", "200000"),
    "alac.m4a": ("-c:a", "alac"),
    "phone.3gp": ("-c:a", "aac"),
    "opus.webm": ("-c:a", "libopus"),
    "live.webm": ("-c:a", "libopus", "-live", "1"),
    "flac.mka": ("-c:a", "flac"),
    "pcm.mka": ("-c:a", "pcm_s16le"),
    "wmav2.wma": ("-c:a", "wmav2"),
    "pcm.avi": ("-c:a", "pcm_s16le"),
    "adts.aac": ("-c:a", "aac"),
    "latm.latm": ("-c:a", "aac", "-f", "latm"),
    "dolby.ac3": ("-c:a", "ac3"),
    "true.tta": ("-c:a", "tta"),
    "pack.wv": ("-c:a", "wavpack"),
    "stream.ts": ("-c:a", "aac"),
    "plain.mp3": ("-c:a", "libmp3lame"),
    "noxing.mp3": ("-c:a", "libmp3lame", "-write_xing", "0"),
    "layer2.mp2": ("-c:a", "mp2"),
    "flac.ogg": ("-c:a", "flac"),
    "g722.wav": ("-c:a", "g722"),
    "mp3.wav": ("-c:a", "libmp3lame"),
    "blocks.voc": ("-c:a", "pcm_s16le"),
    "ima.aifc": ("-c:a", "adpcm_ima_qt", "-f", "aiff"),
}
UNPROMISED = {"adts.aac", "latm.latm", "dolby.ac3", "stream.ts", "noxing.mp3", "layer2.mp2", "live.webm"}
"""Those of BY_FFMPEG in which nothing says how long they are."""


def tone(seconds: float = 1.0, rate: int = RATE) -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def written(samples: NDArray[np.float32], rate: int = RATE, **how: str) -> bytes:
    """A file made by libsndfile; a 16 bit WAV where `how` does not say another format."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **({"format": "WAV"} | how))
    return file.getvalue()


def by_libsndfile() -> Iterator[tuple[str, str]]:
    """(format, coding) of all that libsndfile writes and reads again, but headerless ones, and those of samplers."""
    for form in sorted(set(soundfile.available_formats()) - {"RAW", "SD2", "SDS", "XI"}):
        for coding in soundfile.available_subtypes(form):
            if (form, coding) not in NOT_READ:
                yield form, coding


@cache
def by_ffmpeg() -> dict[str, bytes]:
    """All of BY_FFMPEG, made by one call."""
    program = transcode.ffmpeg()
    if program is None:
        pytest.skip("no ffmpeg that starts: neither on the PATH nor by imageio-ffmpeg (the extra `video`)")
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "tone.wav")
        source.write_bytes(written(tone()))
        command = [program, "-nostdin", "-v", "error", "-i", str(source)]
        for name, how in BY_FFMPEG.items():
            command += [*how, "-y", str(Path(place, name))]
        subprocess.run(command, check=True)
        return {name: Path(place, name).read_bytes() for name in BY_FFMPEG}
