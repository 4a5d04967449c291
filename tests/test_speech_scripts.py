"""models/diva-mini/{join,speak,texts}.py: what they make is what `diva-bench train` reads; held-out texts are kept apart."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from training_tools import wav

from diva_bench.training import sources
from diva_bench.training.data import is_dev

JOIN = Path(__file__).parents[1] / "models" / "diva-mini" / "join.py"
VOICES = ("a@0.90", "a@1.10", "b@1.00")


def speech(file: Path, clips: int = 600) -> Path:
    """One second of noise per clip; texts of one to nine words; three speeds of two voices."""
    sound = wav(1.0)
    rows = [
        {
            "audio": {"bytes": sound, "path": None}, "text": " ".join([f"n{k}"] * (1 + k % 9)),
            "voice": VOICES[k % 3], "seconds": 1.0,
        }
        for k in range(clips)
    ]  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file


def join(output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(JOIN), str(output), *options], check=False, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("join")
    given = speech(folder / "speech.parquet")
    done = join(folder / "joined.parquet", "--data", str(given), "--clips", "300", "--words", "14")
    assert done.returncode == 0, done.stderr
    return folder / "joined.parquet"


def test_joined_clips_are_as_long_as_their_parts_and_pauses_and_no_longer_than_asked(made: Path) -> None:
    rows = pyarrow.parquet.read_table(made).to_pylist()
    assert len(rows) > 250
    for row in rows:
        parts = row["text"].removesuffix(".").split(". ")
        assert 2 <= len(parts) <= 4
        assert len(row["text"].split()) <= 14
        sound, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]))
        assert rate == 16_000
        pauses = len(parts) - 1
        assert len(parts) + 0.05 * pauses <= len(sound) / rate <= len(parts) + 0.4 * pauses + 1e-3
        assert row["seconds"] == pytest.approx(len(sound) / rate, abs=1e-3)
        numbers = {int(part.split()[0][1:]) % 3 for part in parts}
        assert numbers <= {0, 1} or numbers == {2}, "one voice, at whatever speeds"


def test_held_out_texts_are_joined_with_each_other_only_and_held_out_again(made: Path) -> None:
    texts = pyarrow.parquet.read_table(made)["text"].to_pylist()
    for text in texts:
        held = {is_dev(part, 50) for part in text.removesuffix(".").split(". ")}
        assert held == {is_dev(text, 50)}, text


def test_a_training_reads_what_was_joined(made: Path) -> None:
    examples = list(sources.read(str(made)))
    assert len(examples) > 250
    assert {sources.usable(example, max_seconds=15.0)[0] for example in examples} == {""}


def test_speech_without_voices_or_of_another_rate_is_refused_in_words(tmp_path: Path) -> None:
    rows = [{"audio": {"bytes": wav(1.0), "path": None}, "text": f"text {k}"} for k in range(8)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "voiceless.parquet")
    found = join(tmp_path / "out.parquet", "--data", str(tmp_path / "voiceless.parquet"), "--clips", "3")
    assert found.returncode == 2
    assert "voiceless.parquet: has no column voice; it has audio, text." in found.stderr
    file = io.BytesIO()
    soundfile.write(file, [0.1] * 8000, 8000, format="WAV")
    rows = [{"audio": {"bytes": file.getvalue(), "path": None}, "text": f"text {k}", "voice": "a"} for k in range(8)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "slow.parquet")
    found = join(tmp_path / "out.parquet", "--data", str(tmp_path / "slow.parquet"), "--clips", "3")
    assert found.returncode == 2
    assert "a clip has 8000 Hz" in found.stderr
    found = join(tmp_path / "out.parquet", "--data", str(tmp_path), "--clips", "3")
    assert found.returncode == 2
    assert "is not a file; give parquet files" in found.stderr
    assert not (tmp_path / "out.parquet").exists()


# ---------------------------------------------------------------- speak.py

FLITE = """#!{python}
import sys
import numpy, soundfile
text, out = sys.argv[sys.argv.index("-t") + 1], sys.argv[sys.argv.index("-o") + 1]
noise = numpy.random.default_rng(len(text)).uniform(-0.5, 0.5, 8000 * len(text.split()))
soundfile.write(out, noise if text.strip(".") else numpy.zeros(800), 16000)
"""


def speak(folder: Path, texts: Path, engine: str, *options: str) -> subprocess.CompletedProcess[str]:
    """With `folder` as the only place that commands are looked for in."""
    command = [sys.executable, str(JOIN.with_name("speak.py")), str(texts), str(folder / "out"), "--engine", engine]
    command += options
    return subprocess.run(command, check=False, capture_output=True, text=True, env={"PATH": str(folder)})


def test_a_text_that_an_engine_has_no_sound_for_is_left_out_and_counted(tmp_path: Path) -> None:
    """The engine is a command that is called as flite is."""
    (tmp_path / "flite").write_text(FLITE.format(python=sys.executable))
    (tmp_path / "flite").chmod(0o755)
    (tmp_path / "texts.txt").write_text("one two three\n...\n\nfour five\none two three\n")
    done = speak(tmp_path, tmp_path / "texts.txt", "flite")
    assert done.returncode == 0, done.stderr
    assert "2 clips, 0.00 h; without sound: 1" in done.stdout
    (file,) = (tmp_path / "out").iterdir()
    assert [(e.text, sources.usable(e, max_seconds=15.0)[0]) for e in sources.read(str(file))] == [
        ("four five", ""), ("one two three", ""),  # the shorter one first
    ]  # fmt: skip


def test_a_missing_engine_or_file_of_texts_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("one\n")
    for texts, said in (("texts.txt", "there is no command flite here"), ("none.txt", "none.txt: is not a file")):
        found = speak(tmp_path, tmp_path / texts, "flite")
        assert found.returncode == 2
        assert said in found.stderr
    assert not (tmp_path / "out").exists()


def test_voices_of_an_engine_are_looked_for_before_anything_is_spoken(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("one\n")
    for name in ("af_heart", "bf_lily"):
        (tmp_path / f"{name}.bin").write_bytes(b"")
    cases = [
        ((), "--engine kokoro needs --kokoro-voices FOLDER"),
        (("--kokoro-voices", str(tmp_path), "--voices", "af_hart"), "--voices: af_hart is not in"),
    ]
    for options, said in cases:
        found = speak(tmp_path, tmp_path / "texts.txt", "kokoro", *options)
        assert found.returncode == 2
        assert said in found.stderr
    assert "there are af_heart, bf_lily." in found.stderr


# ---------------------------------------------------------------- texts.py

WORDNET = """  1 This software and database is being provided to you "as is".
00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which is; "the whole entity"; "a `quoted' one, or two"
00001930 03 n 01 thing 0 001 @ 00001740 n 0000 | no example here; "one"; "in 1984 it was so"; "the whole entity!"
00002000 03 n 01 leak 0 001 @ 00001740 n 0000 | "Who wrote this play?"; "what do you think of {it}"
"""


def test_texts_are_the_speakable_examples_of_wordnet_once_and_without_those_of_tasks(tmp_path: Path) -> None:
    for part in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"data.{part}").write_text(WORDNET if part == "noun" else "")
    (tmp_path / "questions.json").write_text('[{"qText": "who is she"}, {"qText": "who was he?"}]')
    (tmp_path / "seen.jsonl").write_text('{"id": "a", "transcript": "who wrote THIS play"}\n')
    command = [sys.executable, str(JOIN.with_name("texts.py")), str(tmp_path / "out.txt"), "--wordnet", str(tmp_path)]
    command += ["--questions", str(tmp_path / "questions.json"), "--without", str(tmp_path / "seen.jsonl")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert sorted((tmp_path / "out.txt").read_text().splitlines()) == [
        "A 'quoted' one, or two.", "The whole entity.", "Who is she?", "Who was he?",
    ]  # fmt: skip
    assert "4 texts of 9; 3 cannot be spoken as written, 1 stand in tasks" in done.stdout


def test_no_source_of_texts_is_told_in_words(tmp_path: Path) -> None:
    script = str(JOIN.with_name("texts.py"))
    for options, said in (((), "no source is named"), (("--wordnet", str(tmp_path)), "has no data.noun; apt install")):
        done = subprocess.run([sys.executable, script, "out", *options], check=False, capture_output=True, text=True)
        assert done.returncode == 2
        assert said in done.stderr
