"""Speak texts to train on, as the parquet files that `diva-bench train --data` reads (columns audio, text, voice, seconds).

    pip install hibari-tts soundfile soxr pyarrow          # --engine flite or espeak-ng: Debian's package of that name
    python models/diva-mini/speak.py texts.txt OUT --engine hibari

One text a line. Ogg Opus, 16 kHz, mono; `seconds` is the length. Each text has one voice and one speed (0.87 to 1.15, pitch
with it), drawn by its hash, so that the same texts give the same clips. Files that are there are left as they are. A text
that the engine has no sound for ("...") is left out and counted. Rows of a file are sorted by length: clips that are encoded
together then need little padding.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile as sf
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]
RATE_HZ = 16_000
PER_FILE = 2_000
SPEEDS = (0.87, 1.15)
FLITE_VOICES = ("awb", "rms", "slt", "kal16")
ESPEAK_ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
ESPEAK_SPEAKERS = ("", "+m3", "+m7", "+f2", "+f3", "+f4")
ESPEAK_PITCHES = (30, 65)  # of 0 to 99
EDGE_SECONDS = 0.1  # of silence kept at each end
SILENCE = 0.01  # of the loudest sample


def hibari() -> Callable[[str, random.Random], tuple[Samples, int, str]]:
    """One American voice (Apache-2.0), some 130 times real time on one core."""
    from hibari import Hibari

    speaker = Hibari()
    return lambda text, rng: (np.asarray(speaker(text, seed=rng.randrange(2**31)), np.float32), 24_000, "hibari")


def flite() -> Callable[[str, random.Random], tuple[Samples, int, str]]:
    """Four voices of the flite command."""

    def say(text: str, rng: random.Random) -> tuple[Samples, int, str]:
        voice = rng.choice(FLITE_VOICES)
        with tempfile.NamedTemporaryFile(suffix=".wav") as out:
            subprocess.run(["flite", "-voice", voice, "-t", text, "-o", out.name], check=True)
            sound, rate = sf.read(out.name, dtype="float32")
        return sound, rate, f"flite-{voice}"

    return say


def espeak() -> Callable[[str, random.Random], tuple[Samples, int, str]]:
    """Seven accents in six voices of the espeak-ng command: formant synthesis, robotic."""

    def say(text: str, rng: random.Random) -> tuple[Samples, int, str]:
        voice = rng.choice(ESPEAK_ACCENTS) + rng.choice(ESPEAK_SPEAKERS)
        with tempfile.NamedTemporaryFile(suffix=".wav") as out:
            pitch = str(rng.randint(*ESPEAK_PITCHES))
            subprocess.run(["espeak-ng", "-v", voice, "-p", pitch, "-w", out.name, "--", text], check=True)
            sound, rate = sf.read(out.name, dtype="float32")
        return sound, rate, f"espeak-{voice}"

    return say


ENGINES = {"hibari": hibari, "flite": flite, "espeak-ng": espeak}
COMMANDS = ("flite", "espeak-ng")  # engines that are a command of that name


def trimmed(sound: Samples, rate: int) -> Samples:
    """Without the silence at the ends, but for a tenth of a second."""
    loud = np.flatnonzero(np.abs(sound) > SILENCE * np.abs(sound).max())
    edge = int(EDGE_SECONDS * rate)
    return sound[max(0, loud[0] - edge) : loud[-1] + edge]


def clip(
    text: str, say: Callable[[str, random.Random], tuple[Samples, int, str]], engine: str
) -> dict[str, object] | None:
    """One row; None where the engine gives no sound."""
    rng = random.Random(hashlib.sha256(f"{engine} {text}".encode()).hexdigest())
    speed = rng.uniform(*SPEEDS)
    sound, rate, voice = say(text, rng)
    if not np.any(sound):
        return None
    sound = soxr.resample(trimmed(sound, rate), rate * speed, RATE_HZ)
    sound *= 0.9 / max(0.9, float(np.abs(sound).max()))
    stored = io.BytesIO()
    sf.write(stored, sound, RATE_HZ, format="OGG", subtype="OPUS")
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    return {
        "audio": {"bytes": stored.getvalue(), "path": f"{engine}-{name}.ogg"},
        "text": text,
        "voice": voice,
        "seconds": round(len(sound) / RATE_HZ, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--engine", choices=sorted(ENGINES), default="hibari")
    args = parser.parse_args()
    if not args.texts.is_file():
        parser.error(f"{args.texts}: is not a file; give a file with one text a line.")
    if args.engine in COMMANDS and not shutil.which(args.engine):
        parser.error(
            f"--engine {args.engine}: there is no command {args.engine} here: apt install {args.engine}, or take --engine "
            "hibari."
        )
    texts = list(dict.fromkeys(line.strip() for line in args.texts.read_text("utf-8").splitlines() if line.strip()))
    args.output.mkdir(parents=True, exist_ok=True)
    say = ENGINES[args.engine]()
    for start in range(0, len(texts), PER_FILE):
        path = args.output / f"train-{args.engine}-new-{start // PER_FILE:03d}.parquet"
        if path.exists():
            continue
        made = [clip(text, say, args.engine) for text in texts[start : start + PER_FILE]]
        rows = sorted((row for row in made if row), key=lambda row: float(str(row["seconds"])))
        aside = path.with_suffix(".part")
        pq.write_table(pa.Table.from_pylist(rows), aside, row_group_size=200)
        aside.rename(path)
        hours = sum(float(str(row["seconds"])) for row in rows) / 3600
        print(f"{path.name}: {len(rows)} clips, {hours:.2f} h; without sound: {len(made) - len(rows)}", flush=True)


if __name__ == "__main__":
    main()
