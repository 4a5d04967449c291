"""Audio conditions: what is heard under each, and who gets whose clip."""

import io
import random
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from diva_bench import audio
from diva_bench.audio import perturbations
from diva_bench.errors import DataError, UserError
from diva_bench.types import Audio, Sample

ROOT = Path(__file__).parents[1]


def speech() -> Audio:
    """A clip of the mini data, with a second of silence behind it."""
    clip = audio.decode(sorted((ROOT / "tasks/mini-v1/audio/heysquad").glob("*.ogg"))[0].read_bytes())
    return Audio(np.concatenate([clip.samples, np.zeros(16_000, np.float32)]), clip.rate)


def heard(text: str, sound: Audio | None = None, ident: str = "q001", seed: int = 0) -> Audio:
    return perturbations.apply(perturbations.parse(text), sound or speech(), ident, seed)


def power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def decibel(above: float, below: float) -> float:
    return 10 * float(np.log10(above / below))


# ---------------------------------------------------------------- what it is called

NAMES = [
    ("silence", "silence", "silence"),
    ("noise", "noise", "noise"),
    (" shuffled ", "shuffled", "shuffled"),
    ("10", "snr=10", "snr10"),
    ("-5", "snr=-5", "snr-5"),
    ("-0", "snr=0", "snr0"),
    ("20dB", "snr=20", "snr20"),
    ("snr=2.5 dB", "snr=2.5", "snr2.5"),
    ("speed=0.90", "speed=0.9", "speed0.9"),
    ("codec=opus-24k", "codec=opus-24k", "opus-24k"),
    ("codec=mp3-32k", "codec=mp3-32k", "mp3-32k"),
    ("codec=mulaw-8k", "codec=mulaw-8k", "mulaw-8k"),
]


@pytest.mark.parametrize(("text", "name", "slug"), NAMES)
def test_a_condition_has_one_name_however_it_is_given(text, name, slug):
    got = perturbations.parse(text)
    assert (got.name, got.slug) == (name, slug)
    assert perturbations.of_record(got.record()) == got


MISTAKES = [
    ("", "--audio '': no such condition. Available: silence, noise, shuffled"),
    ("silent", "no such condition"),
    ("silence=3", "no such condition"),
    ("nan", "no such condition"),
    ("snr=loud", "--audio 'snr=loud': expected a number from -30 to 60 (dB, speech over noise)."),
    ("1.2.3", "expected a number from -30 to 60"),
    ("100", "expected a number from -30 to 60"),
    ("speed=3", "--audio 'speed=3': expected a number from 0.5 to 2 (times as fast)."),
    ("speed=0", "expected a number from 0.5 to 2"),
    ("speed=1", "speed=1 changes nothing"),
    ("codec=aac-16k", "--audio codec=aac-16k: libsndfile"),
    ("codec=opus-5k", "Available: opus-6k to opus-256k, mp3-16k to mp3-160k"),
    ("codec=mp3-33k", "mulaw-8k, alaw-8k, gsm-8k."),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_a_condition_that_is_none_is_told_with_those_there_are(text, said):
    with pytest.raises(UserError) as told:
        perturbations.parse(text)
    assert said in str(told.value)


def test_a_codec_that_libsndfile_lacks_is_told_with_those_it_has(monkeypatch):
    have = {k: v for k, v in soundfile.available_subtypes().items() if k not in ("OPUS", "GSM610")}
    monkeypatch.setattr(soundfile, "available_subtypes", lambda: have)
    with pytest.raises(UserError, match=r"codec=opus-16k: libsndfile [\d.]+ cannot write it") as told:
        perturbations.parse("codec=opus-16k")
    assert str(told.value).endswith("144, 160), mulaw-8k, alaw-8k.")


# ---------------------------------------------------------------- what it sounds like


def test_silence_is_digital_and_as_long():
    assert not heard("silence").samples.any()
    assert len(heard("silence").samples) == len(speech().samples)


def test_noise_has_the_clips_power_and_nothing_of_what_it_said():
    clip, noise = speech().samples, heard("noise").samples
    assert power(noise) == pytest.approx(power(clip), rel=1e-3)
    assert abs(np.corrcoef(clip, noise)[0, 1]) < 0.02
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    low, high = np.array_split(spectrum, 2)
    assert decibel(low.mean(), high.mean()) == pytest.approx(0, abs=0.5), "white: as much below 4 kHz as above"


@pytest.mark.parametrize("ratio", [20, 10, 0, -10])
def test_noise_is_added_at_the_ratio_to_where_somebody_speaks(ratio):
    clip, mixed = speech(), heard(str(ratio))
    assert np.abs(mixed.samples).max() <= 1
    # a mixture that would be too loud is scaled as a whole: the clip in it is found by least squares
    share = float(np.dot(mixed.samples, clip.samples) / np.dot(clip.samples, clip.samples))
    noise = mixed.samples - np.float32(share) * clip.samples
    active = perturbations.active_power(clip.samples, clip.rate)
    assert decibel(share**2 * active, power(noise)) == pytest.approx(ratio, abs=0.2)
    assert active > 1.2 * power(clip.samples), "the silent second does not count"


@pytest.mark.parametrize(("below", "counts"), [(35, True), (45, False)])
def test_what_is_40_db_below_the_loudest_frame_is_a_pause(below, counts):
    tone = np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000).astype(np.float32)
    quiet = tone * np.float32(10 ** (-below / 20))
    share = (1 + 10 ** (-below / 10)) / 2 if counts else 1
    active = perturbations.active_power(np.concatenate([tone, quiet]), 16_000)
    assert active == pytest.approx(share * power(tone), rel=1e-3)


def test_noise_is_the_same_at_every_ratio_and_another_for_every_sample_and_seed():
    quiet = Audio(speech().samples / 8, 16_000)
    ten, twenty = (heard(r, quiet).samples - quiet.samples for r in ("10", "20"))
    assert np.corrcoef(ten, twenty)[0, 1] == pytest.approx(1, abs=1e-4)
    assert abs(np.corrcoef(ten, heard("10", quiet, "q002").samples - quiet.samples)[0, 1]) < 0.02
    assert abs(np.corrcoef(ten, heard("10", quiet, seed=1).samples - quiet.samples)[0, 1]) < 0.02
    assert np.array_equal(heard("10").samples, heard("10").samples)


def test_a_silent_clip_gets_no_noise():
    assert not heard("10", Audio(np.zeros(1000, np.float32), 16_000)).samples.any()


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.1, 2.0])
def test_speed_moves_length_and_pitch_as_a_tape_does(speed):
    tone = Audio((0.3 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32), 16_000)
    got = heard(f"speed={speed}", tone)
    assert len(got.samples) == round(16_000 / speed)
    pitch = np.argmax(np.abs(np.fft.rfft(got.samples * np.hanning(len(got.samples))))) * 16_000 / len(got.samples)
    assert pitch == pytest.approx(440 * speed, abs=2)


CODECS = [  # name, kbit/s it may have with its container, and how near it must come to the clip, dB
    ("opus-6k", 6, 4),
    ("opus-16k", 16, 12),
    ("opus-64k", 64, 20),
    ("mp3-16k", 16, 10),
    ("mp3-32k", 32, 14),
    ("mp3-160k", 160, 20),
    ("mulaw-8k", 64, 15),
    ("alaw-8k", 64, 15),
    ("gsm-8k", 13, 8),
]


@pytest.mark.parametrize(("name", "kbits", "near"), CODECS)
def test_a_codec_is_lossy_in_step_and_of_its_bit_rate(name, kbits, near, monkeypatch):
    sizes, write = [], soundfile.write
    monkeypatch.setattr(
        soundfile, "write", lambda file, *a, **k: [write(file, *a, **k), sizes.append(len(file.getvalue()))]
    )
    clip, got = speech(), heard(f"codec={name}")
    assert len(got.samples) == len(clip.samples)
    lost = power(got.samples - clip.samples)
    assert decibel(power(clip.samples), lost) > near, "in step: one sample late would be as good as another clip"
    assert lost > 0
    assert sizes[0] * 8 / clip.seconds / 1000 == pytest.approx(kbits, rel=0.15, abs=2.5)


def test_every_bit_rate_of_mp3_is_the_one_it_says():
    random = np.random.default_rng(0)
    wave = (0.1 * random.standard_normal(16_000 * 4)).astype(np.float32)
    for kbits in perturbations._MP3:
        codec, file = perturbations._codec(f"mp3-{kbits}k"), io.BytesIO()
        how = {"compression_level": codec.level, "bitrate_mode": "CONSTANT"}
        soundfile.write(file, wave, codec.rate, format=codec.container, subtype=codec.coding, **how)
        assert len(file.getvalue()) * 8 / 4 / 1000 == pytest.approx(kbits, rel=0.04)


@pytest.mark.parametrize(("text", "name", "slug"), NAMES)
@pytest.mark.parametrize("count", [1, 2, 79, 161, 16_000 * 31])
def test_every_condition_takes_clips_of_every_length(text, name, slug, count):
    clip = Audio(np.resize(speech().samples, count), 16_000)
    got = heard(text, clip)
    assert len(got.samples) == (max(1, round(count / 0.9)) if name.startswith("speed") else count)
    assert got.samples.dtype == np.float32
    assert np.isfinite(got.samples).all()
    assert np.abs(got.samples).max() <= 1


# ---------------------------------------------------------------- whose clip


def samples(clusters, said=None):
    return [
        Sample(f"q{i:04}", ("a",), str(c), read=f"clip {i}".encode, seconds=float(i), transcript=said and said[i])
        for i, c in enumerate(clusters)
    ]


SETS = {
    "every sample a cluster of its own": range(500),
    "ten speakers of very unequal size": [0] * 200 + [1] * 100 + [i % 8 + 2 for i in range(120)],
    "a cluster with exactly half": [0] * 50 + list(range(1, 51)),
    "two samples": [0, 1],
}


@pytest.mark.parametrize("clusters", SETS.values(), ids=SETS.keys())
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_nobody_keeps_a_clip_or_gets_one_of_the_same_cluster(clusters, seed):
    these = samples(clusters)
    got = perturbations.derange(these, seed)
    assert sorted(got) == list(range(len(these))), "every clip is heard once"
    assert all(these[i].cluster != these[j].cluster for i, j in enumerate(got))


def test_a_cluster_with_more_than_half_keeps_as_few_as_can_be_and_no_own_clip():
    these = samples([0] * 70 + list(range(1, 31)))
    got = perturbations.derange(these, 0)
    assert sum(these[i].cluster == these[j].cluster for i, j in enumerate(got)) == 70 - 30
    assert all(i != j for i, j in enumerate(got))
    alone = samples([0] * 9)
    assert all(i != j for i, j in enumerate(perturbations.derange(alone, 0)))
    assert perturbations.derange(alone, 0) != perturbations.derange(alone, 1)


def test_clips_with_the_same_words_are_avoided_and_clusters_stay_apart():
    said = ["Yeah."] * 60 + ["yeah!", "No."] * 20 + [f"line {i}" for i in range(200)]
    these = samples([i // 3 for i in range(300)], said)
    got = perturbations.derange(these, 0)
    words = [t.lower().strip(".!") for t in said]
    assert not [i for i, j in enumerate(got) if words[i] == words[j]]
    assert all(these[i].cluster != these[j].cluster for i, j in enumerate(got))
    assert sorted(got) == list(range(300))


def test_what_cannot_be_avoided_ends_soon():
    began = time.perf_counter()
    got = perturbations.derange(samples(range(1500), ["the same"] * 1500), 0)
    assert all(i != j for i, j in enumerate(got))
    assert time.perf_counter() - began < 10


def test_who_hears_whom_does_not_depend_on_the_order_of_the_file():
    these = samples([i // 2 for i in range(100)], [f"line {i % 90}" for i in range(100)])
    mixed = random.Random(3).sample(these, 100)
    given = [
        {s.id: s.read() for s in perturbations.apply_to_samples(perturbations.Control("shuffled"), order, 5)}
        for order in (these, mixed)
    ]
    assert given[0] == given[1]
    other = perturbations.apply_to_samples(perturbations.Control("shuffled"), these, 6)
    assert sum(s.read() != given[0][s.id] for s in other) > 80, "another seed, another shuffle"


def test_lengths_are_those_of_what_is_heard():
    these = samples(range(5))
    assert [s.seconds for s in perturbations.apply_to_samples(perturbations.parse("speed=2"), these, 0)] == [
        0,
        0.5,
        1,
        1.5,
        2,
    ]
    shuffled = perturbations.apply_to_samples(perturbations.parse("shuffled"), these, 0)
    assert all(s.read() == f"clip {int(s.seconds)}".encode() for s in shuffled)
    assert [s.id for s in shuffled] == [s.id for s in these]


def test_one_clip_cannot_be_shuffled():
    with pytest.raises(DataError, match="at least two samples with a clip; this task has 1"):
        perturbations.apply_to_samples(perturbations.parse("shuffled"), samples([0]), 0)
