"""Join clips of one voice to longer ones, as more parquet to train on: short clips alone teach a connector nothing about
the fifteenth word.

    python models/diva-mini/join.py OUT.parquet --data FILE [--data FILE ...] --clips 6000

Two clips with a short pause between them, or more (`--parts` at most), up to `--words` words and `--seconds` seconds in
all; which ones is drawn by `--seed`. Rows are sorted by length, so that clips encoded together need little padding. Parts
that training holds out (training/data.py is_dev, by text) are only joined with each other, and to texts that are held
out too, so that no word order of a held-out text is trained on. FLAC, 16 kHz, mono.
"""

from __future__ import annotations

import argparse
import io
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile as sf

from diva_bench.training.data import is_dev

RATE_HZ = 16_000
PAUSE_SECONDS = (0.05, 0.4)  # beside the silence at the clips' own ends
HELD_OUT = 50  # TrainConfig.held_out
MORE = 0.35  # of the joined clips have one part more than two, as many of those have one more again, and so on
TRIES = 400

Part = tuple[bytes, str]


def joined_text(parts: Sequence[Part]) -> str:
    """Every part ends in a mark, as a sentence before another one does."""
    return " ".join(text if re.search(r"[.?!]$", text) else f"{text}." for _, text in parts)


def drawn(pool: Sequence[Part], rng: random.Random, words: int, most: int) -> list[Part] | None:
    """Parts that go together, at most `most` of them, or None after many tries."""
    for _ in range(TRIES):
        count = 2
        while count < most and rng.random() < MORE:
            count += 1
        parts = rng.sample(pool, min(len(pool), count))
        text = joined_text(parts)
        held = {is_dev(t, HELD_OUT) for _, t in parts}
        if len(text.split()) <= words and held == {is_dev(text, HELD_OUT)}:
            return parts
    return None


def joined(parts: Sequence[Part], rng: random.Random) -> tuple[bytes, float]:
    """(FLAC, seconds)."""
    sounds: list[np.ndarray] = []
    for encoded, _ in parts:
        sound, rate = sf.read(io.BytesIO(encoded), dtype="float32")
        if rate != RATE_HZ:
            raise ValueError(f"a clip has {rate} Hz; joined are clips of {RATE_HZ} Hz: resample them first.")
        sounds += [sound, np.zeros(int(rng.uniform(*PAUSE_SECONDS) * RATE_HZ), np.float32)]
    whole, out = np.concatenate(sounds[:-1]), io.BytesIO()
    sf.write(out, whole, RATE_HZ, format="FLAC", subtype="PCM_16")
    return out.getvalue(), round(len(whole) / RATE_HZ, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="a parquet file")
    parser.add_argument("--data", type=Path, action="append", required=True, help="parquet; may be repeated")
    parser.add_argument("--clips", type=int, required=True)
    parser.add_argument("--words", type=int, default=28)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=15.0, help="longer ones are left out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    voices: dict[str, list[Part]] = defaultdict(list)
    for path in args.data:
        if not path.is_file():
            parser.error(f"{path}: is not a file; give parquet files, each with its own --data.")
        names = pq.read_schema(path).names
        if missing := sorted({"audio", "text", "voice"} - set(names)):
            parser.error(f"{path}: has no column {', '.join(missing)}; it has {', '.join(names)}.")
        for row in pq.read_table(path, columns=["audio", "text", "voice"]).to_pylist():
            voice = row["voice"].split("@")[0]  # without its speed
            voices[voice].append((row["audio"]["bytes"], row["text"].strip()))
    # parts that are held out are few, and seldom joined to a text that is: a share of their own
    pools = [
        (voice, held, pool)
        for voice, parts in sorted(voices.items())
        for held in (False, True)
        if len(pool := [p for p in parts if is_dev(p[1], HELD_OUT) is held]) > 2
    ]
    rng, rows = random.Random(args.seed), []
    for voice, _, pool in rng.choices(pools, [len(pool) for _, _, pool in pools], k=args.clips):
        if parts := drawn(pool, rng, args.words, args.parts):
            try:
                sound, seconds = joined(parts, rng)
            except ValueError as err:
                parser.error(str(err))
            if seconds > args.seconds:
                continue
            text = joined_text(parts)
            rows.append({"audio": {"bytes": sound, "path": None}, "text": text, "voice": voice, "seconds": seconds})
    rows.sort(key=lambda row: float(str(row["seconds"])))
    pq.write_table(pa.Table.from_pylist(rows), args.output, row_group_size=200)
    hours = sum(float(str(row["seconds"])) for row in rows) / 3600
    print(f"{args.output.name}: {len(rows)} clips, {hours:.2f} h", flush=True)


if __name__ == "__main__":
    main()
