"""How sure acoustic fingerprints are: copies that are found, strangers that are not, and clips per second.

    python benchmarks/contamination.py                        the mini tasks' clips against changed copies of themselves
    python benchmarks/contamination.py FOLDER.parquet ...     also against training speech that holds none of them

Share of differing bits of a copy, and how many of 337 clips are found (at most 0.25 may differ, at least 1 s and half of
the shorter clip must be common). Measured 2026-11, two cores of an Intel Xeon that other work shared, Python 3.11, numpy
2.4.6, libsndfile 1.2.2:

    change                               found  others found  differing bits, median   most
    mp3                                    337             0                   0.024  0.059
    Opus                                   337             0                   0.036  0.062
    Vorbis                                 337             0                   0.036  0.059
    8 kHz mu-law                           337             0                   0.010  0.029
    20 dB softer                           337             0                   0.001  0.003
    9.5 dB louder, clipped                 337             0                   0.041  0.169
    0.1 s off both ends                    337             0                   0.026  0.032
    0.3 and 0.2 s off                      335             0                   0.001  0.003
    0.5 and 0.3 s of silence added, mp3    337             0                   0.033  0.063
    0.2 s off, 6 dB softer, mp3            337             0                   0.037  0.063
    noise at 20 dB                         337             0                   0.057  0.126
    noise at 10 dB                         335             0                   0.139  0.412
    2 % faster                              65             0                   0.241  0.387

Of 15,788 clips of training speech that hold none of them (5.3 million pairs) the nearest differs in 0.328 of its bits.
Reading, decoding, fingerprint and search: 215 clips/s of one core; the fingerprint alone 3.2 ms for 3.6 s of sound.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from rich.console import Console

from diva_bench import audio
from diva_bench.audio import fingerprint
from diva_bench.errors import ClipError
from diva_bench.tables import Cell, Column, Table
from diva_bench.training import sources
from diva_bench.types import Audio

Floats = NDArray[np.float32]
CLIPS = Path(__file__).parents[1] / "tasks" / "mini-v1" / "audio"
_NEAREST = 5  # strangers that come nearest, shown


def coded(samples: Floats, form: str = "WAV", coding: str = "PCM_16", rate: int = audio.RATE) -> Audio:
    """Through a codec, or another rate, and back."""
    moved = samples if rate == audio.RATE else np.asarray(soxr.resample(samples, audio.RATE, rate), np.float32)
    file = io.BytesIO()
    soundfile.write(file, np.clip(moved, -1, 1), rate, format=form, subtype=coding)
    return audio.decode(file.getvalue())


def noisy(samples: Floats, decibels: float) -> Audio:
    level = np.sqrt((samples**2).mean()) * 10 ** (-decibels / 20)
    return coded(samples + np.random.default_rng(3).normal(0, level, len(samples)).astype(np.float32))


def faster(samples: Floats, factor: float) -> Audio:
    return Audio(np.asarray(soxr.resample(samples, audio.RATE * factor, audio.RATE), np.float32), audio.RATE)


CHANGES: dict[str, Callable[[Floats], Audio]] = {
    "mp3": lambda x: coded(x, "MP3", "MPEG_LAYER_III"),
    "Opus": lambda x: coded(x, "OGG", "OPUS"),
    "Vorbis": lambda x: coded(x, "OGG", "VORBIS"),
    "8 kHz mu-law": lambda x: coded(x, coding="ULAW", rate=8_000),
    "20 dB softer": lambda x: coded(x / 10),
    "9.5 dB louder, clipped": lambda x: coded(x * 3),
    "0.1 s off both ends": lambda x: coded(x[1_603:-1_600]),
    "0.3 and 0.2 s off": lambda x: coded(x[4_803:-3_200]),
    "0.5 and 0.3 s of silence added, mp3": lambda x: coded(np.pad(x, (8_111, 5_000)), "MP3", "MPEG_LAYER_III"),
    "0.2 s off, 6 dB softer, mp3": lambda x: coded(x[3_201:-2_400] / 2, "MP3", "MPEG_LAYER_III"),
    "noise at 20 dB": lambda x: noisy(x, 20),
    "noise at 10 dB": lambda x: noisy(x, 10),
    "2 % faster": lambda x: faster(x, 1.02),
}


def main() -> None:
    paths = sorted(CLIPS.glob("*/*.ogg"))
    clips = [audio.decode(path.read_bytes()) for path in paths]
    began = time.process_time()
    index = fingerprint.Index([fingerprint.fingerprint(clip) for clip in clips])
    spent = time.process_time() - began
    rows: list[list[Cell]] = []
    for name, change in CHANGES.items():
        hits = [index.find(fingerprint.fingerprint(change(c.samples)), errors=0.45) for c in clips]
        own = [next((h.errors for h in found if h.clip == i), None) for i, found in enumerate(hits)]
        seen = [e for e in own if e is not None]
        found = sum(e <= fingerprint.ERRORS for e in seen)
        others = sum(h.clip != i and h.errors <= fingerprint.ERRORS for i, hit in enumerate(hits) for h in hit)
        rows.append([name, found, others, float(np.median(seen)), max(seen)])
    columns = [Column("change"), Column(f"found of {len(clips)}"), Column("others found")]
    columns += [Column("differing bits, median", digits=3), Column("most", digits=3)]
    notes = [
        f"{1000 * spent / len(clips):.1f} ms of CPU for a fingerprint, clips of {np.mean([c.seconds for c in clips]):.1f} s"
    ]
    console = Console(width=110, highlight=False)
    console.print(Table("", columns, rows, notes).to_rich(110))
    for source in sys.argv[1:]:
        strangers(source, index, paths, console)


def strangers(source: str, index: fingerprint.Index, paths: list[Path], console: Console) -> None:
    """The nearest clips of training speech that holds none of the mini clips: what the threshold has to keep out."""
    near: list[tuple[float, str, str]] = []
    count, began = 0, time.process_time()
    for row in sources.read(source):
        try:
            found = index.find(fingerprint.fingerprint(audio.decode(row.audio)), errors=0.5)
        except ClipError:
            continue
        count += 1
        near = sorted([*near, *((hit.errors, row.id, paths[hit.clip].stem) for hit in found)])[:_NEAREST]
    spent = time.process_time() - began
    table: list[list[Cell]] = [list(row) for row in near]
    columns = [Column("differing bits", digits=3), Column("training row"), Column("clip")]
    console.print()
    console.print(
        Table(f"{count:,} strangers", columns, table, [f"{count / spent:.0f} clips/s of one core"]).to_rich(110)
    )


if __name__ == "__main__":
    main()
