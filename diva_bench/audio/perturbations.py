"""Audio conditions (perturbations) for any task: does a model use the audio, and how robust is it?

    silence        digital zeros of the clip's length
    noise          white noise of the clip's length and mean power: no speech is left
    shuffled       every sample gets another sample's clip
    10 or snr=10   white noise is added, 10 dB below the clip's active level
    speed=0.9      played at 0.9 times its rate, which also changes the pitch (as sox `speed`)
    codec=opus-16k encoded and decoded with the codec

The audio of a sample depends only on the condition, the run's seed and the sample's id; batch, limit, shard and order have no
influence. The condition is part of the task's identity (`runner.Job.task_record`). Noise comes from numpy, codecs from the
libsndfile version that run.json names.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from diva_bench.errors import ClipError, DataError, UserError
from diva_bench.packed import mapped
from diva_bench.specs import digest
from diva_bench.text import words
from diva_bench.types import Audio, Sample

VERSION = 1
"""Part of the identity: bump when a condition would sound different."""
SNR = (-30.0, 60.0)
"""Allowed dB. At lower ratios only noise is audible; at higher ones 16-bit audio has no noise."""
SPEED = (0.5, 2.0)
"""Allowed factors of speed."""
FORMS: Final = "silence, noise, shuffled, a signal-to-noise ratio in dB (10, snr=10), speed=0.9, codec=opus-16k"

Kind = Literal["silence", "noise", "shuffled", "snr", "speed", "codec"]
Wave = NDArray[np.float32]

_FRAME = 0.02  # s
_ACTIVE = 40.0  # dB below the loudest frame; quieter frames are silent, as in STOI (Taal et al. 2011)
_TRIES = 256  # other samples that are tried for a clip with the same words


@dataclass(frozen=True, slots=True)
class Control:
    """One audio condition.

    Attributes:
        kind: What is changed.
        value: dB for "snr", factor for "speed", else 0.
        codec: Name of the codec, else "".
    """

    kind: Kind
    value: float = 0.0
    codec: str = ""

    @property
    def name(self) -> str:
        """The text that --audio takes."""
        if self.kind in ("snr", "speed"):
            return f"{self.kind}={self.value:g}"
        return f"codec={self.codec}" if self.kind == "codec" else self.kind

    @property
    def slug(self) -> str:
        """The condition in folder names: snr10, speed0.9, opus-16k."""
        return self.codec or self.name.replace("=", "")

    @property
    def wordless(self) -> bool:
        """Whether no word of the question is audible, so that a model which uses the audio must fall to chance."""
        return self.kind in ("silence", "noise", "shuffled")

    def record(self) -> dict[str, Any]:
        """The condition as it is stored in the task's identity."""
        return {"condition": self.name, "version": VERSION}


def parse(text: str) -> Control:
    """Parse a value of --audio.

    Raises:
        UserError: There is no such condition, or its number is out of range; the message names what is allowed.
    """
    name = text.strip()
    kind, equals, value = name.partition("=")
    if not equals and re.fullmatch(r"[-+]?[\d.]+( ?dB)?", name, re.IGNORECASE):
        kind, equals, value = "snr", "=", name
    if not equals and kind in ("silence", "noise", "shuffled"):
        return Control(kind)  # type: ignore[arg-type]  # mypy does not narrow str to Literal by `in`
    if equals and kind == "snr":
        return Control("snr", _number(name, re.sub(r"(?i) ?db$", "", value), SNR, "dB, speech over noise"))
    if equals and kind == "speed":
        speed = _number(name, value, SPEED, "times as fast")
        if speed == 1:
            raise UserError("--audio speed=1 changes nothing: leave it out, or give another speed.")
        return Control("speed", speed)
    if equals and kind == "codec":
        return Control("codec", codec=_codec(value).name)
    raise UserError(f"--audio {name!r}: no such condition. Available: {FORMS}.")


def of_record(record: Mapping[str, Any] | None) -> Control | None:
    """The condition of a stored task.json; None if it has none."""
    return parse(str(record["condition"])) if record else None


def _number(name: str, text: str, bounds: tuple[float, float], unit: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not bounds[0] <= value <= bounds[1]:
        raise UserError(f"--audio {name!r}: expected a number from {bounds[0]:g} to {bounds[1]:g} ({unit}).")
    return float(f"{value:g}") + 0.0  # the number as the name shows it, without -0


# ---------------------------------------------------------------- which clip


def apply_to_samples(control: Control, samples: Sequence[Sample], seed: int) -> Sequence[Sample]:
    """All samples of a data set, with the clip and the length (seconds) that they have under a condition.

    Raises:
        DataError: `shuffled` needs at least two samples with a clip.
    """
    if control.kind == "speed":
        return mapped(samples, lambda s: replace(s, seconds=s.seconds / control.value))
    if control.kind != "shuffled":
        return samples
    donor = _donors(samples, seed)
    return tuple(replace(s, read=d.read, seconds=d.seconds) if (d := donor.get(s.id)) else s for s in samples)


def identity(control: Control, samples: Sequence[Sample], seed: int) -> dict[str, Any]:
    """The part of a condition that belongs to the task's identity. `shuffled` depends on clusters and transcripts, which
    may change while every clip stays the same."""
    if control.kind != "shuffled":
        return control.record()
    swaps = sorted((ident, other.id) for ident, other in _donors(samples, seed).items())
    return {**control.record(), "clips": digest(swaps)}


def _donors(samples: Sequence[Sample], seed: int) -> dict[str, Sample]:
    """Sample id -> the sample whose clip it gets, for all samples that have a clip."""
    voiced = [s for s in samples if s.read is not None]
    if len(voiced) < 2:
        raise DataError(f"--audio shuffled needs at least two samples with a clip; this task has {len(voiced)}.")
    return {s.id: voiced[i] for s, i in zip(voiced, derange(voiced, seed), strict=True)}


def derange(samples: Sequence[Sample], seed: int) -> list[int]:
    """For every sample, the index of the sample whose clip it gets: a seeded permutation without a fixed point.

    No sample gets a clip of its own cluster, unless a cluster has more than half of all samples; then as few as
    possible do. Method: samples are ordered cluster by cluster, and every sample gets the clip that is as many places
    ahead as the largest cluster has samples. Then clips with the same words are swapped with those of other samples,
    chosen by a hash, until the words differ.
    """
    count = len(samples)
    clusters = [s.cluster for s in samples]
    rank = [_hash(seed, s.id) for s in samples]
    order = sorted(range(count), key=lambda i: (_hash(seed, clusters[i]), clusters[i], rank[i]))
    step = max(Counter(clusters).values())
    step = 1 if step == count else step
    donor = [0] * count
    for place, i in enumerate(order):
        donor[i] = order[(place + step) % count]
    texts = [words(s.transcript or "") for s in samples]

    def alike(i: int, clip: int) -> int:
        return 10 * (i == clip) + 2 * (clusters[i] == clusters[clip]) + bool(texts[i] and texts[i] == texts[clip])

    mixed = sorted(range(count), key=lambda i: rank[i])
    for place, i in enumerate(mixed):
        if not texts[i] or texts[i] != texts[donor[i]]:
            continue
        for j in (mixed[(place + k) % count] for k in range(1, min(_TRIES, count - 1) + 1)):
            if alike(i, donor[j]) + alike(j, donor[i]) < alike(i, donor[i]) + alike(j, donor[j]):
                donor[i], donor[j] = donor[j], donor[i]
                break
    return donor


def _hash(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}:{text}".encode("utf-8", "surrogatepass")).digest()


# ---------------------------------------------------------------- what it sounds like


def apply(control: Control, sound: Audio, ident: str, seed: int) -> Audio:
    """A decoded clip under a condition: mono float32 in [-1, 1] at its own rate. Only `speed` changes its length.

    A mixture that would leave [-1, 1] is scaled down as a whole, so that nothing is clipped and the ratio stays.

    Raises:
        ClipError: The codec refuses the clip.
    """
    wave, rate = sound.samples, sound.rate
    match control.kind:
        case "shuffled":  # the clip was exchanged before, see `apply_to_samples`
            return sound
        case "silence":
            result = np.zeros_like(wave)
        case "noise":
            result = _white(len(wave), ident, seed, _power(wave))
        case "snr":
            result = wave + _white(len(wave), ident, seed, active_power(wave, rate) / 10 ** (control.value / 10))
        case "speed":
            faster = soxr.resample(wave, rate * control.value, rate, quality="HQ")
            result = _fit(faster, max(1, round(len(wave) / control.value)))
        case "codec":
            result = _coded(_codec(control.codec), wave, rate)
    loudest = float(np.abs(result).max(initial=0.0))
    return Audio(np.ascontiguousarray(result / np.float32(max(loudest, 1.0)), dtype=np.float32), rate)


def active_power(wave: Wave, rate: int) -> float:
    """Mean power of the frames of 20 ms that are not silent (at most 40 dB below the loudest); 0 for digital silence.

    Pauses are not counted, so that a clip with long pauses does not get less noise where somebody speaks.
    """
    size = max(1, int(_FRAME * rate))
    squares = np.square(wave, dtype=np.float64)
    if len(squares) > size:
        squares = squares[: len(squares) // size * size]
    power = squares.reshape(-1, min(size, len(squares))).mean(axis=1)  # one value per frame
    return float(power[power >= power.max() / 10 ** (_ACTIVE / 10)].mean())


def _white(count: int, ident: str, seed: int, power: float) -> Wave:
    """White noise of a mean power, shape (count,). A sample gets the same noise at every ratio, so that only its level
    differs."""
    random = np.random.Generator(np.random.PCG64(int.from_bytes(_hash(seed, ident), "big")))
    draws = random.standard_normal(count)
    return np.asarray(draws * np.sqrt(power / max(_power(draws), 1e-12)), dtype=np.float32)


def _power(wave: Wave | NDArray[np.float64]) -> float:
    return float(np.mean(np.square(wave, dtype=np.float64)))


def _fit(wave: Wave, count: int) -> Wave:
    """Cut to `count` samples, or padded with zeros."""
    return np.pad(wave[:count], (0, max(0, count - len(wave))))


# ---------------------------------------------------------------- codecs


@dataclass(frozen=True, slots=True)
class Codec:
    """How libsndfile writes a codec: container, coding, sampling rate in Hz, and the level that gives the bit rate."""

    name: str
    container: str
    coding: str
    rate: int
    level: float | None = None


_TELEPHONE = {  # 8 kHz speech in WAV
    "mulaw-8k": Codec("mulaw-8k", "WAV", "ULAW", 8_000),  # G.711, 64 kbit/s
    "alaw-8k": Codec("alaw-8k", "WAV", "ALAW", 8_000),
    "gsm-8k": Codec("gsm-8k", "WAV", "GSM610", 8_000),  # full rate, 13 kbit/s
}
_OPUS = (6, 256)  # kbit/s: libsndfile's ogg_opus.c maps level 1 to 0 onto them, linearly
_MP3 = (16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # kbit/s of MPEG-2 layer III (ISO 13818-3), 16 kHz
_MP3_DELAY = (
    576 + 529
)  # samples of delay: encoder, decoder; at low bit rates there is no info frame, so no decoder removes them


def supported() -> str:
    """The codecs that the installed libsndfile can write, as text."""
    have = soundfile.available_subtypes()
    names = [f"opus-{_OPUS[0]}k to opus-{_OPUS[1]}k"] if "OPUS" in have else []
    if "MPEG_LAYER_III" in have:
        names += [f"mp3-{_MP3[0]}k to mp3-{_MP3[-1]}k ({', '.join(map(str, _MP3))})"]
    return ", ".join([*names, *(name for name, codec in _TELEPHONE.items() if codec.coding in have)])


def _codec(name: str) -> Codec:
    """A codec by its name. Raises UserError, which lists the available ones."""
    codec = _TELEPHONE.get(name)
    if match := re.fullmatch(r"(opus|mp3)-([1-9]\d*)k", name):
        kind, kbits = match[1], int(match[2])
        if kind == "opus" and _OPUS[0] <= kbits <= _OPUS[1]:
            codec = Codec(name, "OGG", "OPUS", 16_000, (_OPUS[1] - kbits) / (_OPUS[1] - _OPUS[0]))
        if kind == "mp3" and kbits in _MP3:
            # mpeg_l3_encode.c maps level 0 to 1 onto 160 to 8 kbit/s for this rate
            codec = Codec(name, "MP3", "MPEG_LAYER_III", 16_000, (160 - kbits) / (160 - 8))
    if codec is None or codec.coding not in soundfile.available_subtypes():
        raise UserError(
            f"--audio codec={name}: libsndfile {soundfile.__libsndfile_version__} cannot write it. "
            f"Available: {supported()}."
        )
    return codec


def _coded(codec: Codec, wave: Wave, rate: int) -> Wave:
    """Encode and decode a clip; the result is aligned with the original and has its length."""
    narrow = wave if rate == codec.rate else soxr.resample(wave, rate, codec.rate, quality="HQ")
    narrow = _fit(narrow, max(len(narrow), 1))
    level: dict[str, Any] = {} if codec.level is None else {"compression_level": codec.level}
    if codec.container == "MP3":
        level["bitrate_mode"] = "CONSTANT"
    file = io.BytesIO()
    try:
        soundfile.write(file, narrow, codec.rate, format=codec.container, subtype=codec.coding, **level)
        file.seek(0)
        decoded, _ = soundfile.read(file, dtype="float32")
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as err:
        raise ClipError(f"codec {codec.name}: {str(err).rsplit(': ', 1)[-1]}") from err
    if codec.container == "MP3" and len(decoded) >= len(narrow) + _MP3_DELAY:
        decoded = decoded[_MP3_DELAY:]
    wide = decoded if rate == codec.rate else soxr.resample(_fit(decoded, len(narrow)), codec.rate, rate, quality="HQ")
    return _fit(np.asarray(wide, dtype=np.float32), len(wave))
