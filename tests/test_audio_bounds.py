"""A header may say anything, a decoder may raise anything: what cannot be a clip is refused before memory is taken for it,
and no clip stops the others. And what is heard where channels cancel each other."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr
from sound_files import RATE, tone, written

from diva_bench import audio
from diva_bench.audio import clip, containers
from diva_bench.errors import ClipError, UserError
from diva_bench.types import CANCELLED


def wav(rate: int = RATE, channels: int = 1, body: bytes = b"\0" * 32_000) -> bytes:
    """A 16 bit WAV whose header says this of its body."""
    width = channels * 2 & 0xFFFF
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * width & 0xFFFFFFFF, width, 16)
    inner = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


def au(rate: int, channels: int) -> bytes:
    return b".snd" + struct.pack(">5I", 24, 32_000, 3, rate, channels) + b"\0" * 32_000


def flac(samples: int, rate: int = RATE) -> bytes:
    """A FLAC file whose header asks for so many samples, which it does not have."""
    encoded = bytearray(written(tone(), format="FLAC"))
    field = int.from_bytes(encoded[18:26], "big") & ~(0xFFFFF << 44 | (1 << 36) - 1)
    encoded[18:26] = (field | rate << 44 | samples).to_bytes(8, "big")
    return bytes(encoded)


def test_wav_helper_makes_a_clip():
    assert audio.decode(wav()).seconds == 1.0


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (flac((1 << 36) - 1), "is refused: its header says 68,719,476,735 samples of 1 channel at 16,000 Hz"),
        (flac(3 * 3600 * RATE + 1), "a clip has at most 3 hours"),
        (flac(1 << 29, rate=655_350), "is refused: its header says|cannot be decoded"),
        (wav(rate=1), "is refused: its header says 1 Hz; a clip has 1,000 to 768,000 Hz"),
        (wav(rate=4_000_000_000), "is refused: its header says|cannot be decoded"),
        (wav(rate=2_000_000_000), "is refused: its header says 2,000,000,000 Hz"),
        (wav(channels=65), "is refused: its header says 65 channels; a clip has at most 64"),
        (wav(channels=65_535), "cannot be decoded|its header says"),
        (wav(channels=0), "cannot be decoded"),
        (wav(rate=0), "cannot be decoded|its header says"),
        (au(1, 1), "its header says 1 Hz"),
        (au(RATE, 1000), "its header says 1,000 channels"),
        (written(tone(), format="RF64").replace(struct.pack("<Q", 32_000), struct.pack("<Q", 1 << 60)), "is cut short"),
        (written(tone(), format="CAF").replace(struct.pack(">Q", 32_004), struct.pack(">Q", 1 << 60)), "is cut short"),
    ],
)
def test_a_header_that_asks_for_what_no_clip_has_is_refused_before_memory_is_taken(encoded, reason):
    tracemalloc.start()
    try:
        with pytest.raises(ClipError, match=reason):
            audio.decode(encoded)
        assert tracemalloc.get_traced_memory()[1] < 32 * len(encoded) + (1 << 22)
    finally:
        tracemalloc.stop()


def test_memory_grows_with_the_sound_and_not_with_what_the_header_says():
    """Within all bounds, and still a lie: half an hour by a file of a second."""
    tracemalloc.start()
    try:
        with pytest.raises(ClipError):
            audio.decode(flac(1800 * RATE))
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (MemoryError(), "needs more memory than is available"),
        (RuntimeError("Error opening <_io.BytesIO object at 0x7f>: no luck"), "cannot be decoded: no luck$"),
        (soundfile.LibsndfileError(3), "cannot be decoded"),
        (struct.error("unpack requires a buffer of 4 bytes"), r"cannot be decoded \(error\)"),
        (OverflowError("too large"), r"cannot be decoded \(OverflowError\)"),
        (ZeroDivisionError(), r"cannot be decoded \(ZeroDivisionError\)"),
        (AssertionError(), r"cannot be decoded \(AssertionError\)"),
    ],
)
@pytest.mark.parametrize("where", [(soundfile, "SoundFile"), (soxr, "resample")])
def test_whatever_a_decoder_raises_is_a_fault_of_the_clip(monkeypatch, where, raised, reason):
    encoded = written(tone(rate=8000), 8000)

    def broken(*_, **__):
        raise raised

    monkeypatch.setattr(*where, broken)
    with pytest.raises(ClipError, match=reason if where[0] is soundfile else "cannot be decoded|more memory") as caught:
        audio.decode(encoded)
    assert caught.value.passing == isinstance(raised, MemoryError)
    assert "0x" not in str(caught.value)


def test_ctrl_c_while_decoding_is_no_fault_of_the_clip(monkeypatch):
    encoded = written(tone())

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(soundfile, "SoundFile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        audio.decode(encoded)


# ---------------------------------------------------------------- values that are no sound

LOUD = np.full((1600, 2), 3e38, np.float32)


@pytest.mark.parametrize(
    "samples",
    [
        LOUD,
        -LOUD,
        LOUD * [1, -1],
        LOUD[:, 0],
        np.full(1600, np.inf, np.float32),
        np.where(np.arange(1600) == 7, np.nan, 0),
    ],
    ids=["a sum beyond float32", "below", "both signs", "mono", "infinity", "one NaN"],
)
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_samples_that_are_not_finite_before_or_after_the_mix_are_refused(samples, rate):
    with pytest.raises(ClipError, match="not finite"):
        audio.decode(written(np.asarray(samples, np.float32), rate, subtype="FLOAT"))


def test_integers_written_as_floats_are_heard():
    assert audio.decode(written(tone() * 2**31, subtype="FLOAT")).notes == ()


# ---------------------------------------------------------------- channels

SOUND, OTHER = tone(), np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)


@pytest.mark.parametrize(
    ("channels", "louder"),
    [
        ([SOUND, -SOUND], 0),
        ([SOUND * 0.9, -SOUND], 1),
        ([-SOUND, SOUND * 0.7], 0),
        ([1.01 * SOUND + 0.01 * OTHER, -SOUND], 0),
        ([SOUND, -SOUND, SOUND * 0.9, -SOUND * 0.9], 0),
        ([SOUND * 0, SOUND * 0.8, -SOUND], 2),
    ],
)
def test_where_channels_cancel_each_other_the_louder_one_is_heard_and_noted(channels, louder):
    got = audio.decode(written(np.stack(channels, 1), subtype="FLOAT"))
    assert got.samples == pytest.approx(channels[louder], abs=1e-6)
    assert got.notes == (CANCELLED,)


@pytest.mark.parametrize(
    "channels",
    [
        [SOUND, SOUND],
        [SOUND * 0, SOUND],
        [SOUND * 0, SOUND, *[SOUND * 0] * 6],  # the centre of eight
        [SOUND, OTHER],
        [OTHER, OTHER[::-1]],
        [SOUND, -SOUND * 0.3],
        [SOUND * 0, SOUND * 0],
    ],
    ids=["the same", "right only", "one of eight", "two voices", "noise", "some in reverse", "silence"],
)
def test_other_channels_are_averaged_as_ever(channels):
    got = audio.decode(written(np.stack(channels, 1), subtype="FLOAT"))
    assert got.samples == pytest.approx(np.mean(channels, axis=0), abs=1e-6)
    assert got.notes == ()


def test_the_mean_of_two_channels_is_numpy_s_to_the_bit():
    stereo = np.random.default_rng(1).normal(0, 0.3, (RATE, 2)).astype(np.float32)
    assert np.array_equal(clip._mixed(stereo)[0], stereo.mean(axis=1, dtype=np.float32))


# ---------------------------------------------------------------- machines without ffmpeg, and with one that is broken


@pytest.mark.parametrize("where", ["no ffmpeg", "an ffmpeg whose libraries are missing"])
def test_without_an_ffmpeg_that_starts_foreign_containers_are_the_user_s_to_mend(tmp_path, monkeypatch, where):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    if where != "no ffmpeg":
        program = tmp_path / "ffmpeg"
        program.write_text(
            "#!/bin/sh\necho 'ffmpeg: error while loading shared libraries: libblas.so.3' >&2\nexit 127\n"
        )
        program.chmod(0o755)
    assert clip.ffmpeg() is None
    with pytest.raises(
        UserError, match=r"MP4 files need ffmpeg .* no working ffmpeg was found\. .*'diva-bench\[video\]'"
    ):
        audio.decode(b"\0\0\0\x1cftypM4A " + b"\0" * 16)
    unknown = bytearray(written(tone()))
    unknown[20:22] = struct.pack("<H", 0x028F)  # WAVE_FORMAT_ADPCM_G722: libsndfile has no such codec
    with pytest.raises(
        ClipError, match=r"cannot be decoded: .*; ffmpeg might read it.*'diva-bench\[video\]'"
    ) as caught:
        audio.decode(bytes(unknown))
    assert caught.value.passing, "with an ffmpeg it is looked at again"


def test_a_playlist_in_a_clip_s_place_opens_no_other_file(tmp_path):
    """ffmpeg would take what it names: files of this machine, or addresses."""
    (tmp_path / "secret.wav").write_bytes(written(tone()))
    for text in (
        f"#EXTM3U\n#EXTINF:1,\n{tmp_path}/secret.wav\n",
        f"ffconcat version 1.0\nfile {tmp_path}/secret.wav\n",
    ):
        with pytest.raises(ClipError):
            audio.decode(text.encode())
        with pytest.raises(ClipError):  # behind a tag, or whatever else may bring it before ffmpeg
            clip._by_ffmpeg(containers.Container(text.encode(), "MP4", containers.FFMPEG))
