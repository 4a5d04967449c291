"""Samples that stand in training data: copies of clips in other clothes, copies of sentences, and what is neither."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import mini_task
import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from diva_bench import audio
from diva_bench.audio import fingerprint
from diva_bench.cli.contamination import contamination_command
from diva_bench.errors import DataError, UserError
from diva_bench.report.contamination import ContaminationSearch, Near, as_record, counts_table, matches_table
from diva_bench.text import BASIC
from diva_bench.training.sources import Example
from diva_bench.types import Audio, Sample, Silent

ROOT = Path(__file__).parents[1]
CLIPS = sorted((ROOT / "tasks" / "mini-v1" / "audio" / "covost2").glob("*.ogg"))[:12]
SPEECH = ROOT.parent / "shared" / "data" / "speech" / "dev-human.parquet"

Floats = NDArray[np.float32]


def encode(samples: Floats, form: str = "WAV", coding: str = "PCM_16", rate: int = 16_000) -> bytes:
    moved = samples if rate == 16_000 else np.asarray(soxr.resample(samples, 16_000, rate), np.float32)
    file = io.BytesIO()
    soundfile.write(file, np.clip(moved, -1, 1), rate, format=form, subtype=coding)
    return file.getvalue()


def heard() -> list[Audio]:
    return [audio.decode(path.read_bytes()) for path in CLIPS]


def noisy(samples: Floats) -> bytes:
    level = np.sqrt((samples**2).mean()) / 10  # 20 dB
    return encode(samples + np.random.default_rng(3).normal(0, level, len(samples)).astype(np.float32))


CLOTHES: dict[str, Callable[[Floats], bytes]] = {
    "mp3": lambda x: encode(x, "MP3", "MPEG_LAYER_III"),
    "opus": lambda x: encode(x, "OGG", "OPUS"),
    "vorbis": lambda x: encode(x, "OGG", "VORBIS"),
    "8 kHz mu-law": lambda x: encode(x, coding="ULAW", rate=8_000),
    "44.1 kHz": lambda x: encode(x, rate=44_100),
    "a tenth as loud": lambda x: encode(x / 10),
    "clipped": lambda x: encode(x * 3),
    "trimmed": lambda x: encode(x[3_001:-2_503]),
    "silence around": lambda x: encode(np.pad(x, (8_111, 5_000)), "MP3", "MPEG_LAYER_III"),
    "noise at 20 dB": noisy,
}


# ---------------------------------------------------------------- fingerprints


@pytest.mark.parametrize("clothes", list(CLOTHES))
def test_a_clip_is_found_in_other_clothes_and_no_other_clip_is(clothes: str) -> None:
    clips = heard()
    index = fingerprint.Index([fingerprint.fingerprint(clip) for clip in clips])
    for number, clip in list(enumerate(clips))[::4]:
        changed = audio.decode(CLOTHES[clothes](clip.samples))
        hits = index.find(fingerprint.fingerprint(changed))
        assert [hit.clip for hit in hits] == [number], clothes
        assert hits[0].errors < 0.2


def test_a_trim_gives_the_offset_at_which_the_rest_stands() -> None:
    clip = heard()[0]
    index = fingerprint.Index([fingerprint.fingerprint(clip)])
    cut = Audio(clip.samples[int(0.48 * 16_000) :], 16_000)  # 40 frames of 12 ms
    (hit,) = index.find(fingerprint.fingerprint(cut))
    assert hit.offset == 40
    (hit,) = fingerprint.Index([fingerprint.fingerprint(cut)]).find(fingerprint.fingerprint(clip))
    assert hit.offset == -40


def test_bits_are_signs_of_energy_differences_as_the_paper_has_them() -> None:
    clip = heard()[0]
    found = fingerprint.fingerprint(clip)
    samples = soxr.resample(clip.samples, 16_000, fingerprint.RATE, quality="LQ")
    edges = np.round(np.geomspace(300, 2_000, 34) * 1_920 / 5_000).astype(int)
    for frame in (0, 40, 99):
        energy = []
        for start in (frame * 60, frame * 60 + 60):
            piece = samples[start : start + 1_875] * np.hanning(1_875)
            power = np.abs(np.fft.rfft(piece, 1_920)) ** 2
            energy.append([power[a:b].sum() for a, b in pairwise(edges)])
        before, now = np.array(energy)
        signs = (now[:-1] - now[1:]) - (before[:-1] - before[1:]) > 0
        bits = sum(1 << i for i, sign in enumerate(signs) if sign)
        assert (int(found.bits[frame]) ^ bits).bit_count() <= 1  # float32 against float64


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.38, 0.9])
def test_a_clip_too_short_has_nothing_to_be_found_by(seconds: float) -> None:
    clip = heard()[0]
    short = Audio(clip.samples[8_000 : 8_000 + int(seconds * 16_000)], 16_000)
    index = fingerprint.Index([fingerprint.fingerprint(clip)])
    assert index.find(fingerprint.fingerprint(short)) == []


def test_silence_and_hum_are_not_found_in_one_another() -> None:
    time = np.arange(3 * 16_000) / 16_000
    noise = np.random.default_rng(1).normal(0, 0.1, (2, len(time))).astype(np.float32)
    sounds = [np.zeros(len(time), np.float32), np.sin(2 * np.pi * 440 * time).astype(np.float32), *noise]
    prints = [fingerprint.fingerprint(Audio(sound, 16_000)) for sound in sounds]
    index = fingerprint.Index(prints)
    assert not prints[0].loud.any()
    assert [[hit.clip for hit in index.find(p)] for p in prints] == [[], [1], [2], [3]]


def test_an_empty_index_finds_nothing() -> None:
    assert fingerprint.Index([]).find(fingerprint.fingerprint(heard()[0])) == []


# ---------------------------------------------------------------- texts


def test_near_texts_are_those_that_comparing_all_with_all_finds() -> None:
    rng = np.random.default_rng(11)
    words = np.array(
        ["the", "a", "cat", "dog", "house", "sees", "likes", "big", "in", "on", "of", "river", "yesterday"]
    )
    texts = list(dict.fromkeys(" ".join(rng.choice(words, rng.integers(1, 12))) for _ in range(120)))
    near = Near(texts)
    from rapidfuzz.distance import Levenshtein

    letters = np.array(list("abcdefghij "))
    for text in texts:
        for edits in range(4):
            changed = list(text)
            for _ in range(edits):
                changed[rng.integers(len(changed))] = str(rng.choice(letters))
            asked = "".join(changed)
            wanted = {t for t in texts if Levenshtein.normalized_similarity(asked, t) >= 0.9}
            assert {t for t, _ in near(asked)} == wanted


@pytest.mark.parametrize(
    ("training", "kind"),
    [
        ("Which river flows through the city of Cairo?", "text"),
        ("which river flows through the city of CAIRO", "text"),
        ("Which river flows through the city of Kairo?", "near text"),
        ("Which river flows through city of Cairo?", "near text"),
        ("Which river flows through the city of Berlin?", ""),
        ("", ""),
    ],
)
def test_the_same_and_nearly_the_same_words_are_found(training: str, kind: str) -> None:
    sample = Sample("q1", ("Nile",), "c", transcript="Which river flows through the city of Cairo?")
    search = ContaminationSearch({"qa": [sample]}, Silent(), sound=False)
    search.scan([Example("r1", b"", training, "")], "train", Silent(), lambda line: None)
    assert search.report.items[0].kinds == ([kind] if kind else [])


def test_questions_of_one_pattern_are_not_near() -> None:
    texts = [BASIC(f"Who wrote {what}?") for what in ("Hamlet", "Macbeth", "Faust", "Emma")]
    assert all([t for t, _ in Near(texts)(text)] == [text] for text in texts)


# ---------------------------------------------------------------- all of it


def samples() -> list[Sample]:
    rows = [
        json.loads(line) for line in (ROOT / "tasks/mini-v1/covost2.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return [
        Sample(r["id"], (r["de"],), r["cluster"], read=p.read_bytes, transcript=r["text"])
        for r, p in zip(rows, CLIPS, strict=False)
    ]


def test_every_kind_is_found_once_and_the_strictest_is_named() -> None:
    clips, chosen = heard(), samples()
    rows = [
        Example("copy", CLIPS[0].read_bytes(), "other words entirely", ""),
        Example("flac", encode(clips[1].samples, "FLAC"), "", ""),
        Example("mp3", CLOTHES["mp3"](clips[2].samples), chosen[2].transcript or "", ""),
        Example("said", b"", chosen[3].transcript or "", ""),
        Example("nearly", b"broken", (chosen[4].transcript or "").replace("e", "a", 1), ""),
        Example("none", CLOTHES["mp3"](clips[5].samples[::-1].copy()), "nothing of the kind", ""),
    ]
    search, lines = ContaminationSearch({"a": chosen, "b": chosen[:1]}, Silent()), []
    search.scan(iter(rows), "train", Silent(), lines.append)
    kinds = {(item.task, item.id): item.kinds for item in search.report.matched}
    names = [sample.id for sample in chosen]
    assert kinds == {
        ("a", names[0]): ["file"],
        ("b", names[0]): ["file"],
        ("a", names[1]): ["samples"],
        ("a", names[2]): ["sound", "text"],
        ("a", names[3]): ["text"],
        ("a", names[4]): ["near text"],
    }
    assert sorted(lines)[0] == "\t".join(("copy", "train", "file", "a", names[0]))
    assert len(lines) == 7
    assert (search.report.rows, search.report.leaking, search.report.silent) == (6, 5, 2)


def test_tables_and_json_say_the_same() -> None:
    chosen = samples()
    search = ContaminationSearch({"a": chosen}, Silent())
    rows = [Example(f"r{i}", b"", chosen[0].transcript or "", "") for i in range(5)]
    search.scan(rows, "train", Silent(), lambda line: None)
    table = counts_table(search.report, ["train"])
    assert table.rows == [["a", 12, 0, 0, 0, 1, 0, 1, pytest.approx(100 / 12)]]
    assert any("5 training rows read, 5 of them match a sample" in note for note in table.notes)
    pairs = matches_table(search.report)
    assert len(pairs.rows) == 3
    assert any(note.startswith("2 more pairs") for note in pairs.notes)
    whole = as_record(search.report, ["train"], 1.0)
    assert whole["tasks"]["a"]["by_kind"] == {"file": 0, "samples": 0, "sound": 0, "text": 1, "near text": 0}
    assert whole["tasks"]["a"]["ids"][chosen[0].id]["rows"] == {"text": 5}


def test_samples_without_clip_and_words_are_counted_and_nothing_at_all_is_an_error() -> None:
    bare = Sample("x", ("y",), "c")
    search = ContaminationSearch({"a": [bare, samples()[0]]}, Silent())
    assert (search.report.unheard, search.report.unworded) == (1, 1)
    assert any("1 samples have no transcript" in note for note in counts_table(search.report, ["t"]).notes)
    with pytest.raises(DataError, match=r"a: no sample has a clip or a transcript: nothing can be compared"):
        ContaminationSearch({"a": [bare]}, Silent())
    with pytest.raises(DataError, match="no sample has a transcript, and only texts were to be compared"):
        ContaminationSearch({"a": [bare]}, Silent(), sound=False)


def test_what_was_found_by_few_words_alone_is_counted_and_texts_alone_leave_no_clip_unread() -> None:
    said = ("Thank you all.", "Thank you all again.")  # three words, and four
    search = ContaminationSearch(
        {"a": [Sample(text, ("y",), "c", transcript=text) for text in said]}, Silent(), sound=False
    )
    search.scan([Example(text, b"", text, "") for text in said], "train", Silent(), lambda line: None)
    assert (search.report.rows, search.report.leaking, search.report.silent) == (2, 2, 0)
    notes = counts_table(search.report, ["train"]).notes
    assert "1 samples match only by a text of fewer than 4 words" in notes
    assert not any("cannot be decoded" in note for note in notes)


# ---------------------------------------------------------------- the command


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return mini_task.write(tmp_path / "toy", count=4)


def manifest(folder: Path, rows: list[tuple[str, str]]) -> str:
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps({"audio": a, "text": t}) + "\n" for a, t in rows), encoding="utf-8")
    return str(file)


def test_the_exit_code_says_whether_there_is_a_leak(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    clean = manifest(tmp_path, [("none.wav", "nobody says this in the toy task")])
    drop, whole = tmp_path / "drop.tsv", tmp_path / "all.json"
    places: dict[str, Any] = {"drop_list": drop, "output": whole, "paths": [toy]}
    assert contamination_command([clean], ["toy"], edition="mini", **places) == 0
    assert drop.read_text() == "row\tsource\tkind\ttask\tsample\n"
    leaky = manifest(tmp_path, [("toy/audio/q002.wav", "something else"), ("none.wav", "Question 3!")])
    assert contamination_command([leaky], ["toy"], edition="mini", **places) == 1
    kinds = {(line.split("\t")[0], line.split("\t")[2]) for line in drop.read_text().splitlines()[1:]}
    assert ("train.jsonl:1", "file") in kinds
    assert ("train.jsonl:2", "text") in kinds
    assert json.loads(whole.read_text())["training_rows"] == 2
    said = capsys.readouterr().out
    assert "samples found in" in said
    assert "pairs" in said


@pytest.mark.parametrize("form", ["md", "csv", "latex", "json"])
def test_every_format_can_be_read(
    form: str, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    train = manifest(tmp_path, [("none.wav", "question 1")])
    assert contamination_command([train], ["toy"], edition="mini", text_only=True, format=form, paths=[toy]) == 1
    out = capsys.readouterr().out
    if form == "json":
        assert json.loads(out)["tasks"]["toy"]["found"] >= 1
    elif form == "csv":
        assert (
            out.splitlines()[0] == "task,sample,kind,closeness,training row,text of the sample,text of the training row"
        )
    else:
        assert "q001" in out


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(toy: Path, tmp_path: Path) -> None:
    train = manifest(tmp_path, [("none.wav", "question 1")])
    for more in ({"output": tmp_path / "no" / "x.json"}, {"drop_list": tmp_path / "no" / "x.tsv"}):
        with pytest.raises(UserError, match=r"no/x\.\w+: there is no folder .*no\. Make it, or choose another file\."):
            contamination_command([train], ["toy"], edition="mini", text_only=True, paths=[toy], **more)
    (tmp_path / "all.json").write_text("of yesterday")
    with pytest.raises(DataError, match="is no file or folder"):
        contamination_command(["none"], ["toy"], edition="mini", output=tmp_path / "all.json", paths=[toy])
    assert (tmp_path / "all.json").read_text() == "of yesterday"


def test_wrong_sources_and_a_forgotten_one_are_told(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--train is missing.*\n.*parquet"):
        contamination_command([], ["toy"], edition="mini", paths=[toy])
    with pytest.raises(DataError, match="is no file or folder"):
        contamination_command([str(tmp_path / "none")], ["toy"], edition="mini", text_only=True, paths=[toy])


def test_the_program_ends_with_2_on_bad_input_and_1_on_a_leak(toy: Path, tmp_path: Path) -> None:
    train = manifest(tmp_path, [("none.wav", "question 1")])

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "diva_bench", "leaks", "-t", "toy", "--path", str(toy), "--text-only", *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("--train", train).returncode == 1
    wrong = run("--train", str(tmp_path / "none"))
    assert wrong.returncode == 2
    assert "must be one of" in wrong.stderr


@pytest.mark.skipif(not SPEECH.exists(), reason=f"{SPEECH} is not there: 240 clips of people")
def test_no_clip_of_the_mini_translation_is_in_speech_of_people() -> None:
    from diva_bench.training import sources

    search = ContaminationSearch({"covost2": samples()}, Silent())
    rows = (row for _, row in zip(range(100), sources.read(str(SPEECH)), strict=False))
    search.scan(rows, str(SPEECH), Silent(), lambda line: None)
    assert search.report.rows == 100
    assert search.report.matched == []
