"""models/diva-mini/join.py: what it makes is what `diva-bench train` reads, and keeps held-out texts apart."""

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
        assert 2 <= len(parts) <= 3
        assert len(row["text"].split()) <= 14
        sound, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]))
        assert rate == 16_000
        assert len(parts) + 0.05 <= len(sound) / rate <= len(parts) + 0.8
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
