"""Varied clips: fixed by seed, key and variant, and changed by what was drawn and no more."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from diva_bench.training import augment as module
from diva_bench.training.augment import augment, change_of
from diva_bench.types import Audio

RATE = 16_000


def voice(seconds: float = 1.0, level: float = 0.2, hertz: float = 200.0) -> Audio:
    """Something like a vowel: a tone and its overtones that come and go."""
    at = np.arange(int(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * hertz * k * at) / k for k in range(1, 6)) * (0.6 + 0.4 * np.sin(8 * at))
    return Audio((level * wave / np.abs(wave).max()).astype(np.float32), RATE)


def same(a: Audio, b: Audio) -> bool:
    return np.array_equal(a.samples, b.samples)


def test_variant_0_is_the_clip_itself():
    sound = voice()
    assert augment(sound, "a", 1, 0) is sound


def test_the_same_key_gives_the_same_samples_in_any_order():
    sound = voice()
    forwards = {v: augment(sound, "clips/a.mp3", 1, v) for v in (1, 2, 3)}
    backwards = {v: augment(sound, "clips/a.mp3", 1, v) for v in (3, 2, 1)}
    assert all(same(forwards[v], backwards[v]) for v in forwards)


def test_what_is_drawn_is_the_same_in_every_process():
    code = "from diva_bench.training.augment import change_of; print(repr(change_of('clips/a.mp3', 1, 2)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == repr(change_of("clips/a.mp3", 1, 2))


@pytest.mark.parametrize(("key", "seed", "variant"), [("b", 1, 1), ("a", 2, 1), ("a", 1, 2), ("\ud800 é", 1, 1)])
def test_another_key_seed_or_variant_gives_other_samples(key, seed, variant):
    sound = voice()
    assert not same(augment(sound, key, seed, variant), augment(sound, "a", 1, 1))


def test_numbers_that_run_together_are_told_apart():
    assert change_of("a", 1, 12) != change_of("a", 11, 2)
    assert change_of("2 a", 1, 1) != change_of("a", 1, 12)


def test_draws_fill_their_ranges_and_stay_in_them():
    drawn = [change_of(f"clip {i}", 0, 1) for i in range(400)]
    for name, (low, high) in {"speed": module.SPEED, "gain": module.GAIN, "snr": module.SNR}.items():
        values = [getattr(change, name) for change in drawn]
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high >= max(values) > high - 0.05 * (high - low)


@pytest.mark.parametrize("variant", range(1, 7))
def test_length_level_and_noise_change_by_what_was_drawn(variant):
    sound = voice(2.0, level=0.1)
    change = change_of("a", 5, variant)
    got = augment(sound, "a", 5, variant)
    assert len(got.samples) == pytest.approx(len(sound.samples) / change.speed, abs=2)
    speech = module.speed_up(sound.samples, RATE, change.speed).astype(np.float64)
    gain = np.dot(got.samples, speech) / np.dot(speech, speech)  # noise is all but orthogonal to speech
    assert 20 * np.log10(gain) == pytest.approx(change.gain, abs=0.05)
    rest = got.samples - gain * speech
    assert 10 * np.log10(np.mean((gain * speech) ** 2) / np.mean(rest**2)) == pytest.approx(change.snr, abs=0.1)


@pytest.mark.parametrize("snr", [10.0, 20.0, 30.0])
def test_noise_is_white_and_exactly_as_far_below_the_speech_as_stated(snr):
    speech = voice(2.0).samples
    noise = module.noise(speech, snr, np.random.default_rng(0)).astype(np.float64)
    assert 10 * np.log10(np.mean(speech.astype(np.float64) ** 2) / np.mean(noise**2)) == pytest.approx(snr, abs=0.001)
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = power[: len(power) // 2].mean(), power[len(power) // 2 :].mean()
    assert low / high == pytest.approx(1.0, abs=0.1)


def test_speed_moves_the_pitch_as_well():
    tone = Audio(np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32), RATE)
    faster = module.speed_up(tone.samples, RATE, 1.1)
    peak = np.abs(np.fft.rfft(faster)).argmax() * RATE / len(faster)
    assert peak == pytest.approx(1100, abs=2)


@pytest.mark.parametrize("level", [0.0, 0.001, 0.5, 0.999, 1.5])
def test_nothing_clips_and_all_is_mono_float32_at_16_khz(level):
    for variant in range(1, 9):
        got = augment(voice(0.3, level), "a", 0, variant)
        assert np.abs(got.samples).max() <= module.PEAK * (1 + 1e-6)
        assert (got.rate, got.samples.dtype, got.samples.ndim) == (RATE, np.float32, 1)
        assert got.samples.flags.c_contiguous
        assert np.isfinite(got.samples).all()


@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_clip_of_next_to_nothing_comes_through(length):
    got = augment(Audio(np.full(length, 0.5, np.float32), RATE), "a", 0, 1)
    assert len(got.samples) == pytest.approx(length, abs=1)


def test_the_clip_that_was_given_is_left_as_it_was():
    sound = voice()
    before = sound.samples.copy()
    augment(sound, "a", 0, 1)
    assert np.array_equal(sound.samples, before)


def test_a_variant_below_0_is_a_bug_of_ours():
    with pytest.raises(AssertionError, match="variant -1: variant 0 is the clip itself, others count from 1"):
        augment(voice(), "a", 0, -1)
