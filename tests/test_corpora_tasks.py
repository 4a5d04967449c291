"""IEMOCAP, MELD, MUStARD and UR-FUNNY as tasks: counts, clusters and groups, what is left out and why, damaged clips."""

from __future__ import annotations

import pickle
import subprocess
from pathlib import Path
from typing import Any

import corpora
import numpy as np
import pytest

from diva_bench import audio, data
from diva_bench.audio.transcode import ffmpeg
from diva_bench.catalog import Catalog
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec
from diva_bench.types import Silent

GOLD = Path(__file__).parents[2] / "shared" / "data" / "gold"
CATALOG = Catalog()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))


def full(name: str, **changes: Any) -> TaskSpec:
    """The full edition of a shipped task, with changes to what its data must be."""
    task = CATALOG.task(name, "full")
    return task.model_copy(update={"data": task.data.model_copy(update=changes)})


def load(task: TaskSpec, folder: Path, cache: Path, **how: Any) -> data.Dataset:
    return data.load(task, cache, Silent(), data_dir=folder, **how)


@pytest.mark.parametrize(
    ("name", "source", "asked", "asserted"),
    [
        ("iemocap", "iemocap", 5, "5 rows, but task iemocap says there are 5,531"),
        ("iemocap-session1", "iemocap", 3, "3 rows, but task iemocap-session1 says there are 1,085"),
        ("paper-iemocap", "iemocap", 2, "2 rows, but task paper-iemocap says there are 1,241"),
        ("meld", "meld", 4, "4 rows, but task meld says there are 2,610"),
        ("paper-meld", "meld", 4, "4 rows, but task paper-meld says there are 2,610"),
        ("mustard", "mustard", 4, "4 rows in all, but task mustard says 690"),
        ("paper-mustard", "mustard", 4, "4 rows, but task paper-mustard says there are 690"),
        ("paper-urfunny", "urfunny", 5, "5 rows, but task paper-urfunny says there are 7,614"),
    ],
)
def test_a_wrong_count_names_both_numbers_and_a_part_is_marked_as_one(
    name: str, source: str, asked: int, asserted: str, tmp_path: Path
) -> None:
    folder = corpora.MAKERS[source](tmp_path / "corpus")
    with pytest.raises(DataError, match=asserted):
        load(full(name), folder, tmp_path)
    part = load(full(name, total=()), folder, tmp_path, allow_partial=True)
    assert len(part.samples) + len(part.excluded) == asked
    assert part.partial
    assert not part.faults


@pytest.mark.parametrize(("name", "count"), [("urfunny", 6), ("urfunny-dev", 1)])
def test_a_count_from_memory_only_warns(name: str, count: int, tmp_path: Path) -> None:
    found = load(full(name), corpora.urfunny(tmp_path / "corpus"), tmp_path)
    assert len(found.samples) == count
    assert found.partial == ""
    assert "(that number is from memory)" in found.notes[0]


@pytest.mark.parametrize(
    ("name", "source", "cluster", "groups"),
    [
        (
            "iemocap",
            "iemocap",
            "Ses01F_impro01",
            {"session": "1", "gender": "female", "speaker": "Ses01F", "setting": "improvised"},
        ),
        ("meld", "meld", "dia0", {"speaker": "Mark"}),
        ("mustard", "mustard", "BBT:SHELDON", {"show": "BBT", "speaker": "SHELDON"}),
        ("urfunny", "urfunny", "200", {}),
    ],
)  # fmt: skip
def test_samples_have_the_cluster_the_groups_and_the_words(
    name: str, source: str, cluster: str, groups: dict[str, str], tmp_path: Path
) -> None:
    found = load(full(name, total=()), corpora.MAKERS[source](tmp_path / "corpus"), tmp_path, allow_partial=True)
    first = found.samples[0]
    assert (first.cluster, dict(first.groups)) == (cluster, groups)
    assert first.transcript
    assert first.seconds == pytest.approx(0.2 if name == "iemocap" else 0.4 if name == "urfunny" else 0.3, abs=0.001)
    assert first.read is not None
    assert first.read().startswith(b"RIFF")


def test_what_is_left_out_of_a_corpus_is_counted_with_the_reason(tmp_path: Path) -> None:
    emotions = load(full("iemocap"), corpora.iemocap(tmp_path / "iemocap"), tmp_path, allow_partial=True)
    assert emotions.notes == (
        "2 of 7 rows are left out: only rows where emotion is ang or exc or hap or neu or sad are used",
    )
    friends = load(full("meld"), corpora.meld(tmp_path / "meld"), tmp_path, allow_partial=True)
    assert friends.notes == ("1 of 5 rows are left out: only rows where in_table is true are used",)
    assert [(fault.id, fault.reason) for fault in friends.excluded] == [
        ("dia38_utt4", "wrongly cut, 305 s (declare-lab/MELD issue 20)")
    ]


def test_clips_that_are_missing_damaged_or_too_short_are_faults_and_another_rate_is_an_error(tmp_path: Path) -> None:
    folder = corpora.iemocap(tmp_path / "corpus")
    wav = folder / "Session1" / "sentences" / "wav" / "Ses01F_impro01"
    (wav / "Ses01F_impro01_F000.wav").unlink()
    (wav / "Ses01F_impro01_F001.wav").write_bytes(corpora.tone(0.05))
    (folder / "Session5/sentences/wav/Ses05F_impro03/Ses05F_impro03_F000.wav").write_bytes(corpora.tone()[:-99])
    found = load(full("iemocap"), folder, tmp_path, allow_partial=True)
    assert len(found.samples) == 2
    reasons = {fault.id: fault.reason for fault in found.faults}
    assert "cannot be read (No such file or directory)" in reasons["Ses01F_impro01_F000"]
    assert "is 0.05 s long; the task says 0.1 to 60 s" in reasons["Ses01F_impro01_F001"]
    assert "is cut short" in reasons["Ses05F_impro03_F000"]
    with pytest.raises(DataError, match=r"4 of 4 clips are not sampled at 8,000 Hz|are not sampled at 8,000 Hz"):
        load(full("iemocap", rate=(8000,)), folder, tmp_path, allow_partial=True)


def test_the_sound_of_the_owners_videos_is_heard(tmp_path: Path) -> None:
    program = ffmpeg()
    if program is None:
        pytest.skip("there is no ffmpeg here (pip install imageio-ffmpeg)")
    folder = corpora.meld(tmp_path / "corpus")
    for wav in list((folder / "output_repeated_splits_test").glob("dia*.wav")):
        to = ["-ar", "44100", "-c:a", "aac", str(wav.with_suffix(".mp4"))]
        subprocess.run([program, "-v", "error", "-i", str(wav), *to], check=True)
        wav.unlink()
    found = load(full("meld"), folder, tmp_path, allow_partial=True)
    assert len(found.samples) == 3
    assert found.samples[0].read is not None
    heard = audio.decode(found.samples[0].read())
    assert heard.rate == audio.RATE
    assert heard.seconds == pytest.approx(0.3, abs=0.1)  # AAC comes in frames of 23 ms, with padding
    assert np.abs(heard.samples).max() == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize("source", ["meld", "urfunny"])
def test_an_id_that_is_given_twice_is_an_error_that_names_both_places(source: str, tmp_path: Path) -> None:
    folder = corpora.MAKERS[source](tmp_path / "corpus")
    if source == "meld":
        table = folder / "test_sent_emo.csv"
        table.write_text(table.read_text() + table.read_text().splitlines(keepends=True)[1])
    else:
        (folder / "data_folds.pkl").write_bytes(pickle.dumps({"test": [200, 201, 200]}))
    with pytest.raises(DataError, match=r"id '(dia0_utt0|200)' is already used in .*; ids must be unique"):
        load(full(source), folder, tmp_path, allow_partial=True)


def test_a_label_that_a_task_does_not_offer_is_an_error(tmp_path: Path) -> None:
    task = full("iemocap", where={})
    with pytest.raises(DataError, match=r"Ses01F_impro01.txt:9: the reference \(label\) is empty"):
        load(task, corpora.iemocap(tmp_path / "corpus"), tmp_path, allow_partial=True)
    narrow = full("meld").model_copy(update={"choices": ("anger", "joy")})
    with pytest.raises(DataError, match=r"test_sent_emo.csv:2: label is 'surprise'; task meld allows anger, joy"):
        load(narrow, corpora.meld(tmp_path / "meld"), tmp_path, allow_partial=True)


def test_every_task_of_a_licensed_corpus_says_where_to_ask_and_why_its_metric_ranks() -> None:
    for name in ("iemocap", "meld", "mustard", "urfunny"):
        for task in (full(name), full(f"paper-{name}")):
            assert task.data.access is not None
            assert task.data.access.url.startswith("https://")
            assert task.data.path in ("IEMOCAP_full_release", "MELD.Raw", "MUStARD", "UR-FUNNY")
            assert len(task.why) > 30


@pytest.mark.parametrize(
    ("name", "file", "count", "clusters"),
    [
        ("paper-meld", "meld-test_sent_emo.csv", 2608, 280),
        ("meld", "meld-test_sent_emo.csv", 2608, 280),
        ("paper-mustard", "mustard-sarcasm_data.json", 690, 23),
        ("mustard-speaker-independent", "mustard-sarcasm_data.json", 356, 8),
    ],
)
def test_the_real_labels_make_a_task_without_sound(
    name: str, file: str, count: int, clusters: int, tmp_path: Path
) -> None:
    if not (GOLD / file).is_file():
        pytest.skip(f"{file} is not beside this checkout (../shared/data/gold)")
    found = load(full(name), GOLD, tmp_path, need_audio=False)
    assert len(found.samples) == count
    assert len({sample.cluster for sample in found.samples}) == clusters
    assert len(found.excluded) == (2 if "meld" in name else 0)
    with pytest.raises(DataError, match=r"the labels of task .* are here .* the audio is not"):
        load(full(name), GOLD, tmp_path)
