"""The language of the clips: a setting of a task, or a column of its rows, that recognisers are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from command_line import call
from mini_task import write
from tiny_models import MULTILINGUAL, make_whisper, store

from diva_bench.catalog import Catalog
from diva_bench.decoding.whisper import Whisper
from diva_bench.specs import prompt
from diva_bench.types import Sample

FULL = ("covost2-to-en-all", "fleurs-all", "fleurs-to-en-all", "sdqa-languages-all")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights seldom end a transcript."""
    monkeypatch.setattr("diva_bench.decoding.whisper._MAX_NEW", 12)


def place(tmp_path: Path, language: str, rows: int = 3) -> Path:
    """A toy task whose clips have a language, and a multilingual recogniser."""
    specs = write(tmp_path / "specs", rows)
    task = yaml.safe_load((specs / "toy.yaml").read_text())
    task["fields"] = {**task.get("fields", {}), "speech_language": language}
    (specs / "toy.yaml").write_text(yaml.safe_dump(task))
    store(make_whisper(tmp_path / "whisper", MULTILINGUAL), specs, "toy-whisper")
    model = {"name": "toy-asr", "adapter": "asr", "description": "d", "weights": {"asr": "toy-whisper"}}
    (specs / "toy-asr.yaml").write_text(yaml.safe_dump({**model, "runtime": {"dtype": "float32"}}))
    return specs


def run(tmp_path: Path) -> tuple[int, list[str], list[str], str]:
    """(exit code, statuses, texts, what was printed) of the newest run."""
    got = call(tmp_path, "run", "-m", "toy-asr", "-t", "toy", "--path", "specs")
    files = sorted(tmp_path.glob("results/*/toy-asr-*/responses.jsonl"), key=lambda file: file.stat().st_mtime_ns)
    rows = [json.loads(line) for line in files[-1].read_text().splitlines()] if files else []
    rows.sort(key=lambda row: str(row["id"]))
    return got.returncode, [row["status"] for row in rows], [row["text"] for row in rows], got.stdout + got.stderr


def test_a_recogniser_is_told_the_language_of_the_task_which_is_part_of_the_question(tmp_path: Path) -> None:
    place(tmp_path, "fr")
    code, statuses, french, told = run(tmp_path)
    assert (code, set(statuses)) == (0, {"ok"}), told
    place(tmp_path, "en")
    _, _, english, _ = run(tmp_path)
    assert len(list(tmp_path.glob("results/*/toy-asr-*"))) == 2, "a run of its own, beside the French one"
    assert french != english
    assert len(french) == len(english) == 3


def test_each_row_may_have_its_own_language_in_a_column(tmp_path: Path) -> None:
    specs = place(tmp_path, "{tongue}")
    rows = [json.loads(line) for line in (specs / "toy.jsonl").read_text().splitlines()]
    for row, code in zip(rows, ("fr", "en", "sw"), strict=True):
        row["tongue"] = code
    (specs / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, statuses, texts, told = run(tmp_path)
    assert statuses == ["ok", "ok", "unsupported"], told
    whisper = Whisper.load(tmp_path / "whisper")
    assert texts[0] != texts[1]
    assert whisper.knows("fr")
    assert not whisper.knows("sw")
    [stored] = tmp_path.glob("results/*/rows.jsonl")
    assert [json.loads(line).get("fields", {}).get("tongue") for line in stored.read_text().splitlines()[1:]] == [
        "fr",
        "en",
        "sw",
    ]
    again = call(tmp_path, "score", *map(str, tmp_path.glob("results/*/toy-asr-*")), "--path", "specs")
    assert again.returncode == 0, again.stderr
    del rows[0]["tongue"]
    (specs / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lacking = call(tmp_path, "run", "-m", "toy-asr", "-t", "toy", "--path", "specs")
    assert lacking.returncode == 2
    assert "task toy: fields.speech_language asks for {tongue}, which sample" in lacking.stderr


@pytest.mark.parametrize("wrong", ["French", "", "fr_FR", "f", "{tongue", "fr or en"])
def test_what_is_no_code_and_no_column_is_refused(tmp_path: Path, wrong: str) -> None:
    place(tmp_path, wrong)
    got = call(tmp_path, "run", "-m", "toy-asr", "-t", "toy", "--path", "specs")
    assert got.returncode == 2
    assert f"fields.speech_language is {wrong!r}; it must be the code of a language, such as fr or zh-CN" in " ".join(
        got.stderr.split()
    )


@pytest.mark.parametrize("name", FULL)
def test_every_subset_of_a_task_in_other_languages_names_the_language_of_its_clips(name: str) -> None:
    catalog = Catalog()
    codes = {leaf: catalog.task(leaf, "full").fields.get("speech_language") for leaf in catalog.subsets(name, "full")}
    assert not [leaf for leaf, code in codes.items() if code is None]
    leaf, code = next(iter(codes.items()))
    task = catalog.task(leaf, "full")
    made = prompt.build(task, Sample("a", ("x",), "a"), frozenset())
    assert made.speech_language == code
    assert task.identity()["fields"]["speech_language"] == code


def test_other_tasks_are_english_and_their_questions_name_no_language() -> None:
    made = prompt.build(Catalog().task("heysquad", "mini"), Sample("a", ("x",), "a"), frozenset())
    assert (made.speech_language, dict(made.fields)) == ("en", {})


def test_hear_takes_the_language_of_the_clips(tmp_path: Path) -> None:
    specs = place(tmp_path, "en", rows=1)
    [clip] = sorted(specs.rglob("*.wav"))[:1]
    words = ("hear", str(clip), "-m", "toy-asr", "--model-edition", "full", "--path", "specs", "--format", "json")
    heard = {code: call(tmp_path, *words, "--language", code).stdout for code in ("en", "fr", "sw")}
    assert heard["en"] != heard["fr"]
    assert "the recogniser does not know the language of the clip, 'sw'" in heard["sw"]
    wrong = call(tmp_path, *words, "--language", "french")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "diva-bench: --language is 'french'; it must be the code of a language, such as fr or zh-CN.\n",
    )
