"""What it costs to look at the clips of a data set of CoVoST 2's size: decoding, the index beside it, memory.

    OMP_NUM_THREADS=1 python benchmarks/index.py FOLDER

Writes 15,531 clips of 2.5 to 8 s (40 different ones, 48 kHz MP3, fixed seed) into FOLDER, 1.6 GB, in the owners' form and
as parquet with row groups of 100, and loads both, twice. Every figure is of one process; wall time is of all threads.
"""

from __future__ import annotations

import io
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import soundfile

from diva_bench import audio, data
from diva_bench.catalog import Catalog
from diva_bench.types import Silent

ROWS, KINDS, RATE, SHARDS = 15_531, 40, 48_000, 8
AUDIO = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def clips() -> list[tuple[bytes, float]]:
    """(encoded, seconds)."""
    draw, made = np.random.default_rng(0), []
    for _ in range(KINDS):
        length = int(RATE * draw.uniform(2.5, 8))
        wave = 0.2 * np.sin(2 * np.pi * 150 * np.arange(length) / RATE) + 0.05 * draw.standard_normal(length)
        file = io.BytesIO()
        soundfile.write(file, wave.astype(np.float32), RATE, format="MP3", subtype="MPEG_LAYER_III")
        made.append((file.getvalue(), length / RATE))
    return made


def owners(folder: Path, made: list[tuple[bytes, float]]) -> None:
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    lines = ["path\tsentence\ttranslation\tclient_id"]
    for i in range(ROWS):
        (folder / "clips" / f"common_voice_en_{i}.mp3").write_bytes(made[i % KINDS][0])
        lines.append(f"common_voice_en_{i}.mp3\tSentence {i}.\tSatz {i}.\t{i // 3:0128x}")
    for code in ("de", "tr"):
        (folder / f"covost_v2.en_{code}.test.tsv").write_text("\n".join(lines) + "\n")


def tables(folder: Path, made: list[tuple[bytes, float]]) -> None:
    (folder / "en_de").mkdir(parents=True, exist_ok=True)
    for shard, part in enumerate(np.array_split(np.arange(ROWS), SHARDS)):
        columns = {
            "client_id": [f"{i // 3:0128x}" for i in part],
            "audio": pyarrow.array([{"bytes": made[i % KINDS][0], "path": "x.mp3"} for i in part], AUDIO),
            "sentence": [f"Sentence {i}." for i in part],
            "translation": [f"Satz {i}." for i in part],
            "id": [f"common_voice_en_{i}" for i in part],
        }
        path = folder / "en_de" / f"test-{shard:05}-of-{SHARDS:05}.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=100)


def timed(what: str, task: str, folder: Path, cache: Path) -> data.Dataset:
    wall, spent = time.perf_counter(), time.process_time()
    found = data.load(Catalog().task(task, "full"), cache, Silent(), data_dir=folder)
    wall, spent = time.perf_counter() - wall, time.process_time() - spent
    print(f"{what}: {wall:.1f} s, {spent:.1f} s of CPU, {len(found.samples):,} samples; peak memory {peak():.0f} MB")
    return found


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(folder: Path) -> None:
    made, cache = clips(), folder / "cache"
    began = time.process_time()
    seconds = sum(audio.decode(encoded).seconds for encoded, _ in made)
    rate = seconds / (time.process_time() - began)
    hours = sum(made[i % KINDS][1] for i in range(ROWS)) / 3600
    print(
        f"decoding and resampling: {rate:,.0f} x real time on one core; {hours:.1f} h take {hours * 3600 / rate:.0f} s"
    )
    owners(folder / "owners", made)
    timed("owners' form, first", "covost2-de", folder / "owners", cache)
    timed("owners' form, again", "covost2-de", folder / "owners", cache)
    timed("owners' form, another target", "covost2-tr", folder / "owners", cache)
    tables(folder / "parquet", made)
    timed("parquet, first", "covost2-de", folder / "parquet", cache)
    samples = timed("parquet, again", "covost2-de", folder / "parquet", cache).samples
    for what, order in (
        ("in order", range(1000)),
        ("in random order", np.random.default_rng(1).permutation(ROWS)[:1000]),
    ):
        began = time.perf_counter()
        for i in order:
            samples[i].read()
        print(f"1,000 clips read from parquet {what}: {time.perf_counter() - began:.2f} ms each; peak {peak():.0f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
