"""Clips: what decodes, and what is refused with which reason."""

import io

import numpy as np
import pytest
import soundfile

from diva_bench import audio
from diva_bench.errors import ClipError


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
        (b"these are not sounds", "cannot be decoded"),
        (encoded(np.zeros(0, np.float32)), "has no samples"),
        (encoded(NAN, subtype="FLOAT"), "not finite"),
        (encoded(tone(1.0))[:-4000], "is cut short: the WAV header promises"),
        (encoded(tone(4.0), **OPUS)[:-500], "is cut short: the last Ogg page is incomplete"),
        (encoded(tone(4.0), **OPUS)[:40], "is cut short"),
        (encoded(tone(1.0), format="FLAC")[:-3000], "cannot be decoded"),
        (encoded(tone(1.0))[:30], "is cut short"),
    ],
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
