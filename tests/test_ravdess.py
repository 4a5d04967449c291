"""RAVDESS as its owners ship it: what a file name says, what is not read, and what is wrong; and its task."""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import corpora
import numpy as np
import pytest
import soundfile
from command_line import here
from scoring import said

from diva_bench import data
from diva_bench.catalog import Catalog
from diva_bench.data import readers
from diva_bench.data.readers import Raw
from diva_bench.data.readers.ravdess import EMOTIONS, STATEMENTS
from diva_bench.errors import DataError
from diva_bench.scorers.labels import Labels
from diva_bench.specs import TaskSpec
from diva_bench.stats import totals
from diva_bench.types import Silent

ROOT = Path(__file__).parents[1]
ZIP = "Audio_Speech_Actors_01-24.zip"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))


def names(actors: int) -> Iterator[str]:
    """The names of the files of the first actors, as the owners describe them."""
    codes = product(range(1, 9), (1, 2), (1, 2), (1, 2), range(1, actors + 1))
    for emotion, intensity, statement, repetition, actor in codes:
        if (emotion, intensity) != (1, 2):
            code = f"03-01-{emotion:02}-{intensity:02}-{statement:02}-{repetition:02}-{actor:02}"
            yield f"Actor_{actor:02}/{code}.wav"


def twin(folder: Path, actors: int = 2, packed: bool = False) -> Path:
    """The corpus with its first actors: 60 clips each, 48 kHz."""
    place = corpora.put(folder / "sound.wav", b"")
    wave = 0.3 * np.sin(2 * np.pi * 200 * np.arange(14_400) / 48_000)
    soundfile.write(place, wave.astype(np.float32), 48_000, subtype="PCM_16")
    sound = place.read_bytes()
    place.unlink()
    corpora.put_files(folder, dict.fromkeys(names(actors), sound), ZIP if packed else "")
    return folder


def rows(folder: Path) -> list[Raw]:
    return list(readers.reader("ravdess")(folder, corpora.task("ravdess")))


def full(**changes: Any) -> TaskSpec:
    task = Catalog().task("ravdess", "full")
    return task.model_copy(update={"data": task.data.model_copy(update=changes)})


def load(folder: Path, cache: Path, **changes: Any) -> data.Dataset:
    return data.load(full(**changes), cache, Silent(), data_dir=folder, allow_partial=True)


# ---------------------------------------------------------------- the reader


def test_the_name_of_a_file_says_all(tmp_path: Path) -> None:
    found = {row.values["id"]: row for row in rows(twin(tmp_path, actors=12))}
    row = found["03-01-06-01-02-01-12"]
    assert dict(row.values) == {
        "id": "03-01-06-01-02-01-12",
        "text": "Dogs are sitting by the door.",
        "label": "fearful",
        "speaker": "actor-12",
        "gender": "female",
        "intensity": "normal",
        "statement": "02",
        "repetition": "1",
    }
    assert row.where == f"{tmp_path}/Actor_12/03-01-06-01-02-01-12.wav"
    assert row.clip is not None
    assert row.clip.read().startswith(b"RIFF")
    assert found["03-01-07-02-01-02-11"].values["label"] == "disgusted"
    assert found["03-01-07-02-01-02-11"].values["gender"] == "male"


def test_all_actors_say_every_sentence_equally_often_in_every_emotion_so_words_and_voices_tell_nothing(
    tmp_path: Path,
) -> None:
    found = rows(twin(tmp_path, actors=24))
    assert len(found) == 1440
    labels = Counter(row.values["label"] for row in found)
    assert labels == dict(Catalog().task("ravdess", "full").data.labels)
    for column in ("text", "speaker", "gender", "repetition"):
        parts = Counter((row.values[column], row.values["label"]) for row in found)
        values = {value for value, _ in parts}
        assert all(parts[value, label] * len(values) == labels[label] for value in values for label in labels)


def test_the_zip_of_the_owners_and_its_folder_give_the_same_rows(tmp_path: Path) -> None:
    unpacked, packed = rows(twin(tmp_path / "unpacked")), rows(twin(tmp_path / "packed", packed=True))
    assert [row.values for row in packed] == [row.values for row in unpacked]
    assert [row.clip.read() for row in packed if row.clip] == [row.clip.read() for row in unpacked if row.clip]
    assert packed[0].where == f"{tmp_path}/packed/{ZIP}/Actor_01/03-01-01-01-01-01-01.wav"


def test_songs_videos_and_files_of_a_mac_are_not_read(tmp_path: Path) -> None:
    before = rows(twin(tmp_path))
    sound = (tmp_path / "Actor_01" / "03-01-01-01-01-01-01.wav").read_bytes()
    for name in ("03-02-01-01-01-01-01.wav", "01-01-01-01-01-01-01.mp4", "03-01-01-01-01-01-02.mp4", "._03-01-01.wav"):
        corpora.put(tmp_path / "Actor_01" / name, sound)
    assert [row.values["id"] for row in rows(tmp_path)] == [row.values["id"] for row in before]


def test_songs_in_a_folder_do_not_hide_the_speech_in_the_zip(tmp_path: Path) -> None:
    twin(tmp_path, packed=True)
    corpora.put(tmp_path / "Actor_01" / "03-02-01-01-01-01-01.wav", corpora.tone())
    assert len(rows(tmp_path)) == 120


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("03-01-09-01-01-01-01", "emotion 09 is not a code of RAVDESS (01 to 08)."),
        ("03-01-00-01-01-01-01", "emotion 00 is not a code of RAVDESS (01 to 08)."),
        ("03-01-02-03-01-01-01", "intensity 03 is not a code of RAVDESS (01 to 02)."),
        ("03-01-02-01-03-01-01", "statement 03 is not a code of RAVDESS (01 to 02)."),
        ("03-01-02-01-01-03-01", "repetition 03 is not a code of RAVDESS (01 to 02)."),
        ("03-01-02-01-01-01-25", "actor 25 is not a code of RAVDESS (01 to 24)."),
        ("03-01-01-02-01-01-01", "neutral with strong intensity; RAVDESS has none."),
    ],
)
def test_a_code_that_the_owners_do_not_have_is_named_with_its_file(code: str, said: str, tmp_path: Path) -> None:
    file = corpora.put(twin(tmp_path) / "Actor_01" / f"{code}.wav", corpora.tone())
    with pytest.raises(DataError) as caught:
        rows(tmp_path)
    assert str(caught.value) == f"{file}: {said}"


def test_a_folder_of_something_else_says_what_is_expected(tmp_path: Path) -> None:
    corpora.put(tmp_path / "readme.txt", "nothing here")
    with pytest.raises(
        DataError, match=r"has no speech of RAVDESS: neither Audio_Speech.*zip nor files such as Actor_01"
    ):
        rows(tmp_path)


def test_a_copy_with_every_clip_twice_is_refused(tmp_path: Path) -> None:
    """As one that goes round on the web: the folders of the actors, and the same again in audio_speech_actors_01-24."""
    twin(tmp_path)
    twin(tmp_path / "audio_speech_actors_01-24")
    with pytest.raises(DataError, match=r"clip 03-01-01-01-01-01-01 is there twice: Actor_01.* and .*Remove one"):
        rows(tmp_path)


def test_a_zip_with_a_name_that_leads_out_of_it_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / ZIP, "w") as archive:
        archive.writestr("../03-01-01-01-01-01-01.wav", corpora.tone())
    with pytest.raises(DataError, match="its name leads out of the archive"):
        rows(tmp_path)


# ---------------------------------------------------------------- the task


@pytest.mark.parametrize(("place", "packed"), [("", False), ("RAVDESS", False), ("RAVDESS", True)])
def test_the_task_finds_the_corpus_and_has_its_clusters_and_groups(place: str, packed: bool, tmp_path: Path) -> None:
    twin(tmp_path / "data" / place, packed=packed)
    found = load(tmp_path / "data", tmp_path, labels={})
    assert len(found.samples) == 120
    assert {sample.cluster for sample in found.samples} == {"actor-01", "actor-02"}
    assert Counter(sample.groups["intensity"] for sample in found.samples) == {"normal": 64, "strong": 56}
    assert Counter(sample.groups["gender"] for sample in found.samples) == {"male": 60, "female": 60}
    assert {sample.transcript for sample in found.samples} == set(STATEMENTS.values())
    assert not found.faults


def test_a_corpus_that_is_not_whole_or_not_of_its_rate_is_an_error(tmp_path: Path) -> None:
    twin(tmp_path / "data")
    with pytest.raises(DataError, match="120 rows, but task ravdess says there are 1,440"):
        data.load(full(), tmp_path, Silent(), data_dir=tmp_path / "data")
    with pytest.raises(DataError, match=r"are not sampled at 16,000 Hz"):
        load(tmp_path / "data", tmp_path, labels={}, rate=(16_000,))


def test_the_task_offers_the_emotions_of_the_corpus_and_says_where_to_get_it_and_for_what_use(tmp_path: Path) -> None:
    task = full()
    assert set(task.choices or ()) == set(EMOTIONS.values())
    with pytest.raises(
        DataError, match=r"(?s)zenodo.org/record/1188976.*CC BY-NC-SA 4.0: not for commercial.*DIR/RAVDESS"
    ):
        data.load(task, tmp_path, Silent(), data_dir=tmp_path)


@pytest.mark.parametrize("knows", ["nothing", "words", "speaker", "words and speaker"])
def test_an_answer_that_depends_on_words_and_speaker_alone_is_at_chance_whatever_it_is(
    knows: str, tmp_path: Path
) -> None:
    task = full()
    found, scorer = load(twin(tmp_path / "data"), tmp_path, labels={}), Labels(task)
    labels = list(task.choices or ())
    for shift in range(len(labels)):
        measured = []
        for sample in found.samples:
            words = int("Dogs" in (sample.transcript or "")) * ("words" in knows)
            speaker = int(sample.cluster[-1]) * ("speaker" in knows)
            answer = labels[(shift + 3 * words + 2 * speaker) % len(labels)]
            measured.append(scorer.measure(sample, said(answer)))
        assert scorer.reduce(totals(measured))["uar"] == pytest.approx(12.5)


def test_the_command_scores_it_by_uar_and_a_constant_answer_is_at_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = here(tmp_path, monkeypatch)
    twin(tmp_path / "data" / "RAVDESS")
    spec = tmp_path / "specs" / "small.yaml"
    text = (ROOT / "tasks" / "ravdess.yaml").read_text(encoding="utf-8").replace("name: ravdess", "name: small")
    labels = "{angry: 16, calm: 16, disgusted: 16, fearful: 16, happy: 16, neutral: 8, sad: 16, surprised: 16}"
    text = re.sub(r"labels: {angry.*}", f"labels: {labels}", text.replace("rows: 1440", "rows: 120"))
    corpora.put(spec, text)
    done = run("run", "-m", "majority", "-t", "small", "--path", "specs", "--edition", "full", "--data-dir", "data")
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("results/small-*/majority-*/summary.json")
    summary = json.loads(file.read_text())
    assert (summary["primary"], summary["metrics"]["uar"]["value"], summary["at_chance"]) == ("uar", 12.5, True)
    assert (summary["clusters"], sorted(summary["groups"])) == (2, ["gender", "intensity"])
