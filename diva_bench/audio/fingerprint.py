"""Acoustic fingerprints: they find the same recording after another codec, another loudness, or a cut at either end.

Source: Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002. A frame has 32 bits. Each bit is
the sign of the change, from one frame to the next, of the energy difference of two neighbouring bands (their equation
1). There are 33 bands at equal steps of log frequency between 300 and 2,000 Hz, and frames of 0.375 s every 12 ms
(theirs: 0.37 s, 11.6 ms). Two clips are the same recording if few bits differ at an offset at which one frame of both
is equal in all 32 bits.

Not found: another speed or pitch, another voice with the same words, loud noise. Clips under 1 s have no fingerprint.

Shapes: T frames, N clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from diva_bench.types import Audio

RATE = 5_000  # Hz
HOP = 60  # samples at RATE: 12 ms
FRAME = 1_875  # samples at RATE: 0.375 s
_FFT = 1_920
_BANDS = 33
_LOW, _HIGH = 300.0, 2_000.0  # Hz
_QUIET = 1e-4  # a frame is a pause below this share of the energy of the loudest frame; its bits are noise

LEAST = 84
"""Frames that two clips must have in common: 1 s. With fewer, random matches come too close to the threshold."""
COMMON = 0.5
"""Share of the shorter clip that both must have in common."""
ERRORS = 0.25
"""Largest share of differing bits in two matching stretches. Random stretches have 0.5; Haitsma and Kalker use 0.35 for 3
s of music. Copies through codecs differ in up to 0.06, clipped or noisy ones in up to 0.17; the nearest of 5.3 million
pairs of different clips in 0.33 (benchmarks/contamination.py)."""
_CANDIDATES = 16  # offsets compared per clip, those with the most equal frames first

Bits = NDArray[np.uint32]  # (T,)
Mask = NDArray[np.bool_]  # (T,)

_EDGES = np.round(np.geomspace(_LOW, _HIGH, _BANDS + 1) * _FFT / RATE).astype(np.intp)
_WINDOW = np.hanning(FRAME).astype(np.float32)
_WEIGHTS = (1 << np.arange(32, dtype=np.uint64)).astype(np.uint64)


@dataclass(frozen=True, slots=True)
class Print:
    """A fingerprint: 32 bits per frame, and whether each frame has sound; shapes (T,)."""

    bits: Bits
    loud: Mask


@dataclass(frozen=True, slots=True)
class Hit:
    """A clip of an index that is the same recording as the query.

    Attributes:
        clip: Number of the clip in the index.
        errors: Share of bits that differ.
        frames: Number of common frames.
        offset: The frame of the clip at which the query begins; negative if the query begins earlier.
    """

    clip: int
    errors: float
    frames: int
    offset: int


def fingerprint(sound: Audio) -> Print:
    """The fingerprint of a clip at any rate; it is empty for clips shorter than two frames."""
    samples = sound.samples if sound.rate == RATE else soxr.resample(sound.samples, sound.rate, RATE, quality="LQ")
    if len(samples) < FRAME + HOP:
        return Print(np.zeros(0, np.uint32), np.zeros(0, np.bool_))
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(samples, np.float32), FRAME)[::HOP]
    power = np.abs(scipy.fft.rfft(frames * _WINDOW, _FFT, axis=1)) ** 2  # (T + 1, bins)
    energy = np.add.reduceat(power[:, : _EDGES[-1]], _EDGES[:-1], axis=1)  # (T + 1, 33)
    slope = energy[:, :-1] - energy[:, 1:]
    signs = (slope[1:] - slope[:-1]) > 0  # (T, 32)
    total = energy[1:].sum(axis=1)
    return Print((signs @ _WEIGHTS).astype(np.uint32), total > _QUIET * max(float(total.max()), 1e-12))


class Index:
    """Fingerprints of N clips, in which copies of a query are searched.

    Memory: 15 bytes per frame: 10 for the index and 5 for the fingerprints. 15,000 clips of 6 s take 110 MB.
    """

    def __init__(self, prints: Sequence[Print]) -> None:
        self._prints = prints
        clips = np.repeat(np.arange(len(prints), dtype=np.int32), [int(p.loud.sum()) for p in prints])
        frames = [np.flatnonzero(p.loud).astype(np.int32) for p in prints]
        bits = [p.bits[p.loud] for p in prints]
        every = np.concatenate(bits) if bits else np.zeros(0, np.uint32)
        order = np.argsort(every, kind="stable")
        self._bits = every[order]
        self._clips = clips[order]
        self._frames = (np.concatenate(frames) if frames else np.zeros(0, np.int32))[order]

    def find(self, query: Print, errors: float = ERRORS) -> list[Hit]:
        """The clips that share enough of their sound with the query, each at its best offset, best first."""
        best: dict[int, Hit] = {}
        for clip, offset in self._candidates(query):
            hit = self._compare(query, clip, offset)
            if hit and hit.errors <= errors and (clip not in best or hit.errors < best[clip].errors):
                best[clip] = hit
        return sorted(best.values(), key=lambda hit: (hit.errors, hit.clip))

    def _candidates(self, query: Print) -> list[tuple[int, int]]:
        """(clip, offset) at which at least one frame is equal, those with the most equal frames first."""
        where = np.flatnonzero(query.loud)
        values = query.bits[where]
        first, last = np.searchsorted(self._bits, values, "left"), np.searchsorted(self._bits, values, "right")
        counts = last - first
        if not counts.sum():
            return []
        starts = np.repeat(first - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
        rows = starts + np.arange(counts.sum())
        offsets = self._frames[rows].astype(np.int64) - np.repeat(where, counts)
        keys = (self._clips[rows].astype(np.int64) << 32) + (offsets + (1 << 31))
        unique, votes = np.unique(keys, return_counts=True)
        selection = unique[np.argsort(-votes, kind="stable")[:_CANDIDATES]]
        return [(int(key >> 32), int(key & 0xFFFFFFFF) - (1 << 31)) for key in selection]

    def _compare(self, query: Print, clip: int, offset: int) -> Hit | None:
        """Compare the bits where both clips have sound; None if too little is common."""
        other = self._prints[clip]
        start, end = max(0, -offset), min(len(query.bits), len(other.bits) - offset)
        if end - start < LEAST:
            return None
        both = query.loud[start:end] & other.loud[start + offset : end + offset]
        frames = int(both.sum())
        if frames < max(LEAST, COMMON * min(int(query.loud.sum()), int(other.loud.sum()))):
            return None
        differing = np.bitwise_count(query.bits[start:end] ^ other.bits[start + offset : end + offset])[both]
        return Hit(clip, round(float(differing.sum()) / (32 * frames), 4), frames, offset)
