"""Clips: what decodes, and what is refused with which reason."""

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from diva_bench import audio
from diva_bench.audio import clip as clip_module
from diva_bench.audio.transcode import ffmpeg
from diva_bench.errors import ClipError, UserError


def encoded(samples: np.ndarray, rate: int = 16_000, **how: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **({"format": "WAV"} | how))
    return file.getvalue()


def tone(seconds: float, rate: int = 16_000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


OPUS = {"format": "OGG", "subtype": "OPUS"}


@pytest.mark.parametrize(
    ("sound", "rate", "how"),
    [
        (tone(1.0), 16_000, {}),
        (tone(1.0, 44_100), 44_100, {}),
        (tone(1.0, 8_000), 8_000, {}),
        (tone(1.0), 16_000, OPUS),
        (tone(1.0), 16_000, {"format": "FLAC"}),
        (tone(1.0, 48_000), 48_000, {"format": "OGG", "subtype": "VORBIS"}),
    ],
)
def test_every_rate_and_codec_becomes_16_khz_mono_of_the_same_length(sound, rate, how):
    got = audio.decode(encoded(sound, rate, **how))
    assert got.rate == 16_000
    assert got.samples.dtype == np.float32
    assert got.samples.ndim == 1
    assert got.seconds == pytest.approx(1.0, abs=0.01)
    # the 440 Hz tone is still a 440 Hz tone
    spectrum = np.abs(np.fft.rfft(got.samples))
    assert np.argmax(spectrum) * 16_000 / len(got.samples) == pytest.approx(440, abs=3)


def test_eight_channels_are_averaged():
    channels = np.stack([np.full(1600, 0.1 * c, np.float32) for c in range(8)], axis=1)
    got = audio.decode(encoded(channels, subtype="FLOAT"))
    assert got.samples == pytest.approx(np.full(1600, 0.35), abs=1e-6)


def test_a_hundredth_of_a_second_is_audio():
    assert audio.decode(encoded(tone(0.01))).seconds == pytest.approx(0.01)


def test_ten_minutes_are_not_cut():
    assert audio.decode(encoded(np.zeros(600 * 8000, np.float32), 8000)).seconds == pytest.approx(600)


NAN = tone(0.1)
NAN[7] = np.nan


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (b"", "the file is empty"),
        (b"these are not sounds", "no audio format is recognised in it"),
        (encoded(np.zeros(0, np.float32)), "has no samples"),
        (encoded(NAN, subtype="FLOAT"), "not finite"),
        (encoded(tone(1.0))[:-4000], "is cut short: the WAV header promises"),
        (encoded(tone(4.0), **OPUS)[:-500], "is cut short: the last Ogg page is incomplete"),
        (encoded(tone(4.0), **OPUS)[:40], "is cut short"),
        (encoded(tone(1.0), format="FLAC")[:-3000], "cannot be decoded"),
        (encoded(tone(1.0))[:30], "is cut short"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",  # an Ogg stream has a random number
)
def test_what_cannot_be_used_says_why(clip, reason):
    with pytest.raises(ClipError, match=reason):
        audio.decode(clip)


def test_an_ogg_that_ends_between_pages_is_refused():
    whole = encoded(tone(6.0), **OPUS)
    last = whole.rfind(b"OggS")
    with pytest.raises(ClipError, match="no last page"):
        audio.decode(whole[:last])


def test_the_reason_is_the_same_every_time():
    """It stands in the fingerprint: no memory addresses in it."""
    reasons = set()
    for _ in range(2):
        with pytest.raises(ClipError) as caught:
            audio.decode(b"RIFFxxxx")
        reasons.add(str(caught.value))
    assert len(reasons) == 1
    assert "0x" not in reasons.pop()


# ---------------------------------------------------------------- what takes ffmpeg

VIDEO = ("-f", "lavfi", "-i", "testsrc=duration=1:size=64x64")


def film(folder: Path, name: str, *how: str, sound: bool = True, rate: int = 44_100) -> bytes:
    """A real file made by ffmpeg: a second of a 440 Hz tone, stereo, in whatever container the name says."""
    program = ffmpeg()
    if program is None:
        pytest.skip("no ffmpeg: neither on the PATH nor by imageio-ffmpeg (the extra `video`)")
    tone = ("-f", "lavfi", "-i", f"sine=frequency=440:duration=1:sample_rate={rate}") if sound else ()
    stereo = ("-ac", "2") if sound else ()
    command = [program, "-nostdin", "-v", "error", *tone, *how, *stereo, "-shortest", "-y", str(folder / name)]
    subprocess.run(command, check=True)
    return (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "how", "rate"),
    [
        ("a.mp4", VIDEO, 44_100),
        ("a.mp4", (*VIDEO, "-movflags", "+faststart"), 44_100),
        ("a.mov", VIDEO, 48_000),
        ("a.m4a", (), 16_000),
        ("a.mkv", VIDEO, 44_100),
        ("a.avi", VIDEO, 44_100),
        ("a.aac", (), 22_050),
    ],
)
def test_the_sound_of_a_film_is_its_first_track_at_its_own_rate(tmp_path, name, how, rate):
    got, found = audio.read(film(tmp_path, name, *how, rate=rate))
    assert found == rate
    assert got.rate == 16_000
    assert got.seconds == pytest.approx(1.0, abs=0.1)  # AVI and AAC begin with the codec's own delay
    spectrum = np.abs(np.fft.rfft(got.samples))
    assert np.argmax(spectrum) / got.seconds == pytest.approx(440, abs=3)


@pytest.mark.parametrize(
    ("how", "kept", "reason"),
    [((), 0.5, "MP4 header"), (("-movflags", "+faststart"), 0.5, "MP4 header"), ((), 0.9, "MP4 header")],
)
def test_a_film_that_was_cut_short_is_refused(tmp_path, how, kept, reason):
    whole = film(tmp_path, "a.mp4", *VIDEO, *how)
    with pytest.raises(ClipError, match=reason):
        audio.decode(whole[: int(len(whole) * kept)])


def test_a_film_without_sound_says_so(tmp_path):
    with pytest.raises(ClipError, match=r"has no sound track \(MP4\)"):
        audio.decode(film(tmp_path, "a.mp4", *VIDEO, sound=False))


def test_where_there_is_no_ffmpeg_it_is_the_user_s_to_mend_and_no_fault_of_the_clip(tmp_path, monkeypatch):
    encoded = film(tmp_path, "a.mp4", *VIDEO)
    monkeypatch.setattr(clip_module, "ffmpeg", lambda: None)
    with pytest.raises(UserError, match=r"MP4 files need ffmpeg .*pip install 'diva-bench\[video\]'"):
        audio.decode(encoded)


def test_an_ffmpeg_on_the_path_comes_before_the_one_of_the_package(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ffmpeg() == str(program)


def test_an_mp3_is_read_and_one_that_was_cut_short_is_refused():
    whole = encoded(tone(2.0), format="MP3", subtype="MPEG_LAYER_III")
    assert audio.decode(whole).seconds == pytest.approx(2.0, abs=0.1)
    with pytest.raises(ClipError, match=r"is cut short: the MP3 header promises \d+ bytes, the file has \d+"):
        audio.decode(whole[: len(whole) // 2])
