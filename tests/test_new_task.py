"""`diva-bench new task`: what it writes passes `validate` and can be run at once; what it guessed is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import data_forms
import pytest
import yaml
from command_line import call

from diva_bench.catalog import Catalog
from diva_bench.data.draft import name_of


def listing(folder: Path, **columns: list[Any]) -> Path:
    """Five clips with these columns beside `audio`."""
    data_forms.clips(folder / "wav")
    rows = [{"audio": f"wav/{i}.wav", **{name: values[i] for name, values in columns.items()}} for i in range(5)]
    return data_forms.lines(folder / "mine.jsonl", rows)


def written(folder: Path, *words: str) -> dict[str, Any]:
    done = call(folder, "new", "task", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    [file] = folder.glob("*.yaml")
    return yaml.safe_load(file.read_text())


@pytest.mark.parametrize("form", data_forms.ALL)
def test_of_every_form_a_task_is_written_that_is_valid_and_can_be_run_at_once(tmp_path, form):
    source, make = data_forms.ALL[form]
    data = make(tmp_path / "speech")
    made = call(tmp_path, "new", "task", str(data), "--name", "mine", "--speech", "human")
    assert made.returncode == 0, made.stdout + made.stderr
    assert "mine.yaml: a valid task: mine" in made.stdout
    assert "mine, edition full: 5 samples in 5 clusters, 0:0" in made.stdout
    spec = Catalog([tmp_path]).task("mine", "full")
    assert (spec.data.source, spec.data.rows, spec.data.speech) == (source, 5, "human")
    assert not Path(spec.data.path or "").is_absolute()
    assert (spec.primary, spec.speaker) == ("wer", "client_id" if source == "common_voice" else "speaker")
    done = call(tmp_path, "run", "-m", "echo", "-t", "mine.yaml")
    assert done.returncode == 0, done.stderr
    assert "mine" in done.stdout
    assert "synthetic" not in done.stdout


@pytest.mark.parametrize(
    ("columns", "reference", "primary", "choices"),
    [
        ({"text": data_forms.WORDS}, "text", "wer", None),
        ({"sentence": ["你好吗", "我很好", "谢谢你", "再见了", "晚上好"]}, "sentence", "cer", None),
        ({"text": data_forms.WORDS, "answers": [["a", "b"], ["c"], ["d"], ["e"], ["f"]]}, "answers", "contains", None),
        ({"text": data_forms.WORDS, "answer": list("vwxyz")}, "answer", "contains", None),
        ({"text": data_forms.WORDS, "translation": list("vwxyz")}, "translation", "chrf2", None),
        (
            {"text": data_forms.WORDS, "emotion": ["sad", "happy"] * 2 + ["sad"]},
            "emotion",
            "accuracy",
            ["happy", "sad"],
        ),
        ({"emotion": ["yes", "no", "yes", "no", "off"]}, "emotion", "accuracy", ["no", "off", "yes"]),
        ({"text": data_forms.WORDS, "emotion": ["sad", "", "sad", "sad", "glad"]}, "text", "wer", None),
    ],
)
def test_what_is_asked_for_is_told_by_the_columns(tmp_path, columns, reference, primary, choices):
    made = written(tmp_path, str(listing(tmp_path, **columns)))
    assert (made["reference"], made["primary"], made.get("choices")) == (reference, primary, choices)
    assert made["name"] == "mine"
    assert made["editions"]["full"]["path"] == "mine.jsonl"


def test_another_column_can_be_asked_for(tmp_path):
    data = listing(tmp_path, text=data_forms.WORDS, mood=["good", "bad", "bad", "good", "good"], size=[1, 2, 3, 4, 5])
    made = written(tmp_path, str(data), "--reference", "mood")
    assert (made["choices"], made["prompt"]) == (
        ["bad", "good"],
        "What is the mood? Answer with one of these and nothing else: {choices}.",
    )
    refused = call(tmp_path, "new", "task", str(data), "--name", "b", "--reference", "size")
    assert refused.returncode == 2
    assert "mine.jsonl:1: --reference size: is empty there or not text; every row needs an answer." in refused.stderr


@pytest.mark.parametrize(
    ("columns", "ident"),
    [
        ({"id": list("abcde")}, "id"),
        ({"id": [1, 2, 3, 4, 5]}, "audio"),  # a number is no id
        ({"id": list("aabcd")}, "audio"),
        ({"utt_id": list("abcde")}, "utt_id"),
        ({}, "audio"),
    ],
)
def test_the_id_is_a_column_whose_texts_are_all_different(tmp_path, columns, ident):
    made = written(tmp_path, str(listing(tmp_path, text=data_forms.WORDS, **columns)))
    assert made["editions"]["full"].get("columns", {}).get("id", "id") == ident


def test_two_questions_about_one_clip_are_told_apart_by_their_number(tmp_path):
    data_forms.clips(tmp_path / "wav")
    rows = [{"audio": "wav/0.wav", "text": "x", "answer": answer} for answer in ("one", "two")]
    made = written(tmp_path, str(data_forms.lines(tmp_path / "two.jsonl", rows)))
    assert made["editions"]["full"]["columns"] == {"id": "row"}


def test_a_speaker_and_a_dialogue_are_found_and_a_cluster_is_not_made_up(tmp_path):
    data = listing(tmp_path, text=data_forms.WORDS, speaker=data_forms.SPEAKERS, dialogue=list("aabbc"))
    made = written(tmp_path, str(data))
    assert (made["speaker"], made["groups"]) == ("speaker", ["speaker"])
    assert made["editions"]["full"]["columns"]["cluster"] == "dialogue"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "'nothing' is no file or folder. It must be one of:"),
        (["wav/0.wav"], "has the suffix '.wav', not .csv"),
        (["bare.jsonl"], "no column can be what a model should answer"),
        (["empty.jsonl"], "empty.jsonl: is empty"),
        (
            ["mine.jsonl", "--reference", "txt"],
            "unknown column 'txt' in mine.jsonl (--reference). Did you mean 'text'?",
        ),
        (["mine.jsonl", "-o", "there.yaml"], "there.yaml: already exists"),
        (["mine.jsonl", "-o", "no/where.yaml"], "--output no/where.yaml: there is no folder no. Make it"),
    ],
)
def test_what_cannot_be_made_a_task_is_refused_and_nothing_is_written(tmp_path, words, said):
    listing(tmp_path, text=data_forms.WORDS)
    data_forms.lines(tmp_path / "bare.jsonl", [{"audio": "wav/0.wav", "size": 1}])
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "there.yaml").write_text("mine")
    done = call(tmp_path, "new", "task", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert [file.name for file in tmp_path.glob("*.yaml")] == ["there.yaml"]
    assert (tmp_path / "there.yaml").read_text() == "mine"


def test_a_task_that_is_not_valid_is_written_and_what_is_wrong_is_said(tmp_path):
    data = listing(tmp_path, text=data_forms.WORDS)
    (tmp_path / "wav" / "3.wav").unlink()
    done = call(tmp_path, "new", "task", str(data))
    assert done.returncode == 1
    assert "1 of 5 samples cannot be used: wav/3.wav" in done.stderr
    assert "Correct mine.yaml, then: diva-bench validate mine.yaml" in done.stdout


def test_names_of_columns_and_files_change_no_terminal_and_no_yaml(tmp_path):
    data_forms.clips(tmp_path / "wav")
    rows = [{"audio": f"wav/{i}.wav", "text": w, "\x1b[31mred": "x"} for i, w in enumerate(data_forms.WORDS)]
    data = data_forms.lines(tmp_path / "a\nname: evil.jsonl", rows)
    done = call(tmp_path, "new", "task", str(data), "--name", "safe")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert yaml.safe_load((tmp_path / "safe.yaml").read_text())["name"] == "safe"


def test_a_name_that_ships_is_not_taken(tmp_path):
    data = listing(tmp_path / "meld", text=data_forms.WORDS)
    assert written(tmp_path, str(data.rename(data.parent / "metadata.jsonl")))["name"] == "my-meld"


@pytest.mark.parametrize(
    ("path", "name"),
    [("My Clips!", "my-clips"), ("corpus/metadata", "corpus"), ("x/test", "x"), ("data/train", "own"), ("ünï", "n")],
)
def test_a_task_is_named_after_its_data(tmp_path, path, name):
    folder = tmp_path / "data" / path
    folder.mkdir(parents=True)
    assert name_of(folder) == name


def test_of_several_splits_test_is_taken_or_the_one_that_is_named(tmp_path):
    for split in ("train", "test"):
        folder = tmp_path / "both" / split
        data_forms.clips(folder)
        data_forms.lines(folder / "metadata.jsonl", [{"file_name": "0.wav", "text": split}])
    assert written(tmp_path, "both")["editions"]["full"]["split"] == "test"
    assert call(tmp_path, "new", "task", "both", "--split", "train", "--name", "b").returncode == 0
    assert "split: train" in (tmp_path / "b.yaml").read_text()
    refused = call(tmp_path, "new", "task", "both", "--split", "dev", "--name", "c")
    assert (refused.returncode, "has no split 'dev'; available: test, train" in refused.stderr) == (2, True)
