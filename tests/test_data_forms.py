"""Speech of one's own in every form: the same clips, words and speakers for a task and for training, by one reader."""

from __future__ import annotations

import data_forms
import datasets
import numpy as np
import pytest

from diva_bench import audio, data
from diva_bench.catalog import Catalog
from diva_bench.data.detect import detect
from diva_bench.data.readers import OWN, READERS
from diva_bench.data.readers.forms import FORMS
from diva_bench.errors import DataError
from diva_bench.training import sources
from diva_bench.types import Silent

TASK = """\
name: own
version: 1
description: a test
prompt: Write down what is said.
scorers: {{wer: {{}}}}
primary: wer
reference: {text}
editions:
  full: {{source: {source}, path: "{path}", columns: {{id: {id}, transcript: {text}, audio: {audio}}}{split}}}
"""
TEXT = {"audiofolder_csv": "transcription", "common_voice": "sentence"}


def dataset(
    tmp_path, source: str, path, audio: str, text: str = "text", id: str = "row", split: str = ""
) -> data.Dataset:
    home = tmp_path / "specs"
    home.mkdir(exist_ok=True)
    (home / "own.yaml").write_text(TASK.format(source=source, path=path, audio=audio, text=text, id=id, split=split))
    task = Catalog([home]).task("own", "full")
    return data.load(task, tmp_path / "cache", Silent())


def heard(encoded: bytes) -> np.ndarray:
    return audio.decode(encoded).samples


@pytest.mark.parametrize("form", data_forms.ALL)
def test_every_form_gives_a_task_and_a_training_the_same_clips_and_words(tmp_path, form):
    source, make = data_forms.ALL[form]
    path = make(tmp_path / "corpus")
    found = detect(path)
    assert found.source == source
    wanted = [data_forms.tone(i).astype(np.float32) / 32768 for i in range(5)]
    split = ", split: train" if found.splits else ""
    loaded = dataset(tmp_path, source, found.path, found.audio, TEXT.get(make.__name__, "text"), split=split)
    assert sorted(s.transcript for s in loaded.samples) == sorted(data_forms.WORDS)
    by_words = {sample.transcript: sample for sample in loaded.samples}
    examples = list(sources.read(str(path)))
    assert [e.text for e in examples] == data_forms.WORDS
    assert [e.voice for e in examples] == data_forms.SPEAKERS
    assert len({e.id for e in examples}) == 5
    for words, sound, example in zip(data_forms.WORDS, wanted, examples, strict=True):
        sample = by_words[words]
        assert sample.seconds == pytest.approx(0.3)
        assert np.array_equal(heard(sample.read()), sound)
        assert np.array_equal(heard(example.audio), sound)


@pytest.mark.parametrize("form", ["Kaldi, segments", "NeMo, offsets", "Lhotse, cuts"])
def test_a_part_of_a_recording_has_the_same_bytes_at_every_reading(tmp_path, form, monkeypatch):
    """So that its sha256 is of the sound, and not of the hour."""
    import time

    path = data_forms.ALL[form][1](tmp_path)
    first = [example.audio for example in sources.read(str(path))]
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert [example.audio for example in sources.read(str(path))] == first
    assert len(set(first)) == 5


def test_the_table_of_forms_is_the_one_that_tasks_may_name():
    assert tuple(FORMS) == OWN
    assert set(OWN) <= set(READERS)


def test_labels_that_are_stored_as_numbers_get_their_names(tmp_path):
    loaded = dataset(tmp_path, "arrow", data_forms.arrow(tmp_path), "audio")
    assert [s.fields["speaker"] for s in sorted(loaded.samples, key=lambda s: s.id)] == data_forms.SPEAKERS


def test_splits_are_chosen_by_name_and_train_by_a_training(tmp_path):
    saved = datasets.load_from_disk(str(data_forms.arrow(tmp_path)))
    whole = datasets.DatasetDict({"train": saved.select([0, 1]), "test": saved.select([2, 3, 4])})
    whole.save_to_disk(tmp_path / "both")
    assert detect(tmp_path / "both").splits == ["train", "test"]
    assert [e.text for e in sources.read(str(tmp_path / "both"))] == data_forms.WORDS[:2]
    assert len(dataset(tmp_path, "arrow", tmp_path / "both", "audio", split=", split: test").samples) == 3
    for split, said in (
        ("", "has the splits train, test; name one"),
        (", split: dev", "has no split 'dev'; available: train"),
    ):
        with pytest.raises(DataError, match=said):
            dataset(tmp_path, "arrow", tmp_path / "both", "audio", split=split)


def test_a_folder_a_label_is_an_audiofolder_without_a_table(tmp_path):
    for label in ("cat", "dog"):
        data_forms.clips(tmp_path / "in" / label)
    assert detect(tmp_path / "in").source == "audiofolder"
    loaded = dataset(tmp_path, "audiofolder", tmp_path / "in", "file_name", text="label", id="row")
    assert sorted(s.references[0] for s in loaded.samples) == ["cat"] * 5 + ["dog"] * 5
    assert len({heard(s.read()).tobytes() for s in loaded.samples}) == 5


def test_what_was_hashed_of_a_training_are_the_lists_of_its_clips(tmp_path):
    kaldi = data_forms.kaldi(tmp_path / "k")
    assert sorted(sources.fingerprint(str(kaldi))) == ["text", "utt2spk", "wav.scp"]
    assert list(sources.fingerprint(str(data_forms.audiofolder_jsonl(tmp_path / "a")))) == ["metadata.jsonl"]
    assert list(sources.fingerprint(str(data_forms.lhotse_folder(tmp_path / "l")))) == [
        "x_recordings_test.jsonl.gz",
        "x_supervisions_test.jsonl.gz",
    ]
