"""Editions: `--edition` is the data's, `--model-edition` the models'; and what tables say of synthetic and human speech."""

from __future__ import annotations

import json

import mini_task
import pytest
from command_line import call
from stored import collect

from diva_bench.catalog import Catalog
from diva_bench.data import place
from diva_bench.errors import UserError
from diva_bench.evaluation.editions import choose
from diva_bench.report.leaderboard import caption
from diva_bench.runs.records import synthetic_note
from diva_bench.runs.store import read_json


class Notes:
    """A Progress that keeps its notes."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


def own_task(folder, edition: str, speech: str | None, name: str = "toy") -> None:
    """A task of the user's own, of one edition, whose clips are here."""
    mini_task.write(folder, 4, name)
    path = folder / f"{name}.yaml"
    said = f"speech: {speech}, " if speech else ""
    path.write_text(path.read_text().replace("mini: {speech: synthetic, ", f"{edition}: {{{said}"))


def chosen(folder, *models: str, task: str = "toy", **options: str) -> tuple[str, dict[str, str], list[str]]:
    notes = Notes()
    found = choose(Catalog([folder]), models, [task], notes, **options)  # type: ignore[arg-type]
    return found.data, found.models, notes.said


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(place.ENVIRONMENT, raising=False)
    return tmp_path / "specs"


@pytest.mark.parametrize(
    ("data", "options", "models"),
    [
        ("full", {}, {"cascade": "mini", "echo": "full"}),
        ("full", {"edition": "full"}, {"cascade": "full", "echo": "full"}),
        ("full", {"edition": "full"}, {"diva-kl": "mini", "echo": "full"}),
        ("full", {"model_edition": "nano"}, {"cascade": "nano", "echo": "full"}),
        ("mini", {}, {"cascade": "mini", "echo": "mini"}),
        ("mini-v1", {}, {"cascade": "mini", "echo": "mini"}),
        ("mini-v1", {"edition": "mini-v1", "model_edition": "nano"}, {"cascade": "nano", "echo": "mini"}),
        ("mini", {"edition": "nano"}, {"cascade": "nano", "echo": "mini"}),
        ("mini", {"edition": "mini", "model_edition": "nano"}, {"cascade": "nano", "echo": "mini"}),
        ("mini", {"edition": "nano", "model_edition": "mini"}, {"cascade": "mini", "echo": "mini"}),
    ],
)
def test_the_edition_of_the_data_and_of_each_model_are_chosen_apart(folder, data, options, models):
    own_task(folder, data, "human")
    found = chosen(folder, *models, **options)
    assert (found[0], found[1]) == (data, models)


def test_a_model_without_the_edition_of_the_data_is_taken_in_another_and_that_is_said(folder):
    own_task(folder, "full", "human")
    assert chosen(folder, "diva-kl", "echo")[2] == [
        "model diva-kl: edition mini (it has no edition full; it also has nano: --model-edition)"
    ]
    assert chosen(folder, "diva-kl", model_edition="nano")[2] == []
    own_task(folder, "mini", "synthetic")
    assert "model qwen2-audio: edition full (it has no edition mini)" in chosen(folder, "qwen2-audio")[2]


def test_a_full_model_is_not_fetched_unasked(folder):
    own_task(folder, "full", "human")
    (folder / "own.yaml").write_text(
        "name: own\nextends: cascade\ndescription: a test\neditions:\n  mini: {}\n"
        "  full: {weights: {llm: big, asr: whisper-base}}\n"
    )
    (folder / "big.yaml").write_text(
        "name: big\nformat: gguf\ndescription: a test\nlicence: none\nfiles:\n"
        f"  - {{path: a.gguf, bytes: 9, sha256: {'a' * 64}, sources: [{{file: nowhere.gguf}}]}}\n"
    )
    _, models, notes = chosen(folder, "own")
    assert models == {"own": "mini"}
    assert notes == [
        "model own: edition mini (weights of its edition full are not here: diva-bench pull --model own --edition full)"
    ]
    assert chosen(folder, "own", edition="full")[1:] == ({"own": "full"}, [])
    assert chosen(folder, "own", model_edition="full")[1:] == ({"own": "full"}, [])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"edition": "mini"}, "unknown edition 'mini' in all of toy (toy lacks it)"),
        ({"edition": "nano"}, "unknown edition 'mini' in all of toy (toy lacks it)"),
        ({"model_edition": "full"}, "unknown edition 'full' in model diva-kl. Available: mini, nano."),
    ],
)
def test_an_edition_that_there_is_not_is_refused(folder, options, said):
    own_task(folder, "full", "human")
    with pytest.raises(UserError) as err:
        chosen(folder, "diva-kl", **options)
    assert said in str(err.value)


def test_tasks_without_an_edition_in_common_are_refused_with_those_they_have(folder):
    own_task(folder, "full", None, "one")
    own_task(folder, "mini", None, "two")
    with pytest.raises(UserError, match=r"no edition in common \(one: full; two: mini\)"):
        choose(Catalog([folder]), [], ["one", "two"], Notes())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("edition", "speech", "note"),
    [
        ("mini", "synthetic", "mini: synthetic speech, shows that the pipeline works, not how good a model is"),
        ("full", "synthetic", "full: synthetic speech, shows that the pipeline works, not how good a model is"),
        ("mini", "human", ""),
        ("full", "human", ""),
        ("mini", None, ""),
    ],
)
def test_tables_call_speech_synthetic_where_the_data_say_so(tmp_path, edition, speech, note):
    own_task(tmp_path, edition, speech)
    mini_task.model(tmp_path, "parrot")
    done = call(tmp_path, "run", "-m", "parrot", "-t", "toy", "--path", ".", "--prompts", "1")
    assert done.returncode == 0, done.stderr
    assert ("synthetic" in done.stdout + done.stderr) == bool(note)
    [run] = collect(tmp_path / "results")
    assert caption(run) == (f" ({note})" if note else "")
    for command in (["leaderboard"], ["diagnose", str(run_folder(tmp_path))]):
        assert (note or "synthetic") in unwrapped(call(tmp_path, *command, "--path", ".").stdout) or not note


def run_folder(folder):
    return next(iter((folder / "results").glob("*/*/summary.json"))).parent


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def test_a_summary_that_does_not_say_who_speaks_goes_by_its_edition(tmp_path):
    own_task(tmp_path, "mini", "human")
    mini_task.model(tmp_path, "parrot")
    assert call(tmp_path, "run", "-m", "parrot", "-t", "toy", "--path", ".").returncode == 0
    [run] = collect(tmp_path / "results")
    file = run_folder(tmp_path) / "summary.json"
    summary = read_json(file)
    assert (run.synthetic, summary.pop("speech")) == (False, "human")
    file.write_text(json.dumps(summary))
    [older] = collect(tmp_path / "results")
    assert older.synthetic
    assert synthetic_note("mini") in caption(older)


def test_who_speaks_is_not_part_of_the_identity(tmp_path):
    """So that runs of before are still found."""
    own_task(tmp_path / "a", "mini", None)
    own_task(tmp_path / "b", "mini", "human")
    ids = [call(tmp_path / f, "run", "-m", "majority", "-t", "toy", "--path", ".", "--dry-run").stdout for f in "ab"]
    assert ids[0] == ids[1]
    assert "folder: results/toy-" in ids[0]
