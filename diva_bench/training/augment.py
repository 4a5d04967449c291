"""Augmentation of clips: speed, loudness, noise.

A variant of a clip depends only on the seed, the clip's key and the number of the variant, so it is the same on every
machine and in any order of clips.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from diva_bench.types import Audio

SPEED = (0.9, 1.1)
"""Factors. The range of Ko et al., "Audio Augmentation for Speech Recognition", Interspeech 2015, in which voices still
sound natural."""
GAIN = (-6.0, 6.0)
"""dB. Half to twice the amplitude, as with a microphone at twice or half the distance."""
SNR = (10.0, 30.0)
"""dB, speech over noise by the mean power of the whole clip: a busy room to a quiet one. With more noise words are
inaudible, and the connector would learn transcripts that cannot be heard."""
PEAK = 0.99
"""Largest amplitude of an augmented clip: below 1, so that conversion to 16 bits or resampling clips nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """The change of a clip: `speed` a factor (1.1 is shorter and higher), `gain` and `snr` in dB."""

    speed: float
    gain: float
    snr: float


def augment(sound: Audio, key: str, seed: int, variant: int) -> Audio:
    """An augmented copy of a clip: mono float32 at its rate. Variant 0 is the clip itself. Other variants are `speed`
    times as fast, with noise at `snr` dB, and louder by `gain` dB or by less if they would exceed PEAK. `key` is the
    clip's id."""
    if variant == 0:
        return sound
    random = _generator(key, seed, variant)
    change = _drawn(random)
    samples = speed_up(sound.samples, sound.rate, change.speed)
    samples = samples + noise(samples, change.snr, random)
    loudest = float(np.abs(samples).max(initial=0.0))
    factor = 10 ** (change.gain / 20)
    if loudest * factor > PEAK:
        factor = PEAK / loudest
    return Audio(np.ascontiguousarray(samples * np.float32(factor)), sound.rate)


def change_of(key: str, seed: int, variant: int) -> Change:
    """The change in `augment` for a variant from 1."""
    return _drawn(_generator(key, seed, variant))


def speed_up(samples: NDArray[np.float32], rate: int, speed: float) -> NDArray[np.float32]:
    """Samples (n,) -> (about n / speed,), played at another rate as sox `speed` does, so that the pitch changes too."""
    return np.asarray(soxr.resample(samples, rate * speed, rate, quality="HQ"), dtype=np.float32)


def noise(samples: NDArray[np.float32], snr: float, random: np.random.Generator) -> NDArray[np.float32]:
    """White noise (n,), exactly `snr` dB below the mean power of `samples`; zeros for silence."""
    white = random.standard_normal(len(samples))
    level = np.sqrt(_power(samples) / max(_power(white), 1e-12) / 10 ** (snr / 10))
    return np.asarray(white * level, dtype=np.float32)


def _power(samples: NDArray[np.float32] | NDArray[np.float64]) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0


def _generator(key: str, seed: int, variant: int) -> np.random.Generator:
    """A generator for this variant. Python's own hash differs between processes, so the three values are hashed; the key
    is last, because it may contain any character."""
    assert variant > 0, f"variant {variant}: variant 0 is the clip itself, others count from 1"
    name = f"{seed} {variant} {key}".encode("utf-8", "surrogatepass")  # JSON can contain a lone surrogate
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name).digest(), "big"))


def _drawn(random: np.random.Generator) -> Change:
    return Change(speed=random.uniform(*SPEED), gain=random.uniform(*GAIN), snr=random.uniform(*SNR))
