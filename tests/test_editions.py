"""Editions: `--edition` is the data's, `--model-edition` the models'; and what tables say of synthetic and human speech."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mini_task
import pytest
from command_line import call
from stored import collect

import diva_bench as db
from diva_bench.catalog import Catalog
from diva_bench.data import place
from diva_bench.errors import SpecError, UnknownName, UserError
from diva_bench.evaluation.editions import choose
from diva_bench.report.leaderboard import caption
from diva_bench.runs.records import synthetic_note
from diva_bench.runs.store import read_json
from diva_bench.specs import TaskFile
from diva_bench.specs.yamlfile import read_yaml

ROOT = Path(__file__).parents[1]


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


# ---------------------------------------------------------------- the first version of the mini data


def test_runs_of_the_first_mini_data_are_named_mini_v1_and_keep_their_records() -> None:
    published = ROOT / "results" / "mini-v1"
    for file in sorted(published.glob("*/*/summary.json")):
        assert json.loads(file.read_text(encoding="utf-8"))["edition"] == "mini"
    runs = db.load_runs(published)
    assert {run.summary.edition for run in runs} == {"mini-v1"}
    assert {run.summary.label for run in runs} == {"oracle", "cascade", "diva", "majority", "prior"}
    assert {run.folder.record()["task"]["edition"] for run in runs} == {"mini-v1"}


def test_a_run_of_mini_v1_has_the_id_that_it_had_when_the_data_was_called_mini(tmp_path: Path) -> None:
    (run,) = db.run("majority", "heysquad", edition="mini-v1", output=tmp_path)
    (old,) = (ROOT / "results" / "mini-v1").glob("heysquad-*/majority-*")
    assert run.path.relative_to(tmp_path) == old.relative_to(ROOT / "results" / "mini-v1")
    (new,) = db.run("majority", "heysquad", edition="mini", output=tmp_path)
    assert new.summary.n == 204
    assert new.path.parent != run.path.parent
    with pytest.raises(UserError, match="are not comparable: edition 'mini' and 'mini-v1'; the data"):
        db.compare([new, run])


def test_trio_has_a_table_and_a_family_for_each_edition(tmp_path: Path) -> None:
    for edition in ("mini", "mini-v1"):
        for task in (ROOT / "results" / edition).glob("heysquad-*"):
            shutil.copytree(task, tmp_path / "results" / task.name)
    shown = call(tmp_path, "trio", "results", "--format", "md").stdout
    assert shown.count("Holm over the 3 differences of whole tasks") == 2
    assert shown.count("oracle, cascade, end to end (mini: synthetic") == 1
    assert shown.count("oracle, cascade, end to end (mini-v1: synthetic") == 1


def test_models_have_no_edition_mini_v1() -> None:
    catalog = Catalog()
    with pytest.raises(UnknownName, match=r"unknown edition 'mini-v1' in model oracle\. Did you mean 'mini'\?"):
        catalog.model("oracle", "mini-v1")
    task = catalog.task("heysquad", "mini-v1")
    judged = task.model_copy(update={"scorers": {"llm_judge": {"model": "oracle", "edition": "mini-v1"}}})
    with pytest.raises(UnknownName, match="unknown edition 'mini-v1' in model oracle"):
        catalog.scorers(judged)


@pytest.mark.parametrize(
    ("default", "said"),
    [
        ("[de, de]", "editions.mini.default names de twice"),
        ("[xx]", "editions.mini.default names xx; the subsets are de, zh-CN, ja"),
        ("[tr]", "editions.mini.default names tr; the subsets are de, zh-CN, ja"),  # which full alone has
    ],
)
def test_the_default_of_an_edition_names_subsets_that_it_has_once_each(tmp_path: Path, default: str, said: str) -> None:
    text = (ROOT / "tasks" / "covost2.yaml").read_text(encoding="utf-8")
    assert text.count("default: [de]}") == 1
    (tmp_path / "covost2.yaml").write_text(text.replace("default: [de]}", f"default: {default}}}"), encoding="utf-8")
    with pytest.raises(SpecError, match=said):
        read_yaml(tmp_path / "covost2.yaml", TaskFile)


def test_a_task_of_the_user_may_have_an_edition_mini_v1_too(folder: Path, tmp_path: Path) -> None:
    own_task(folder, "mini-v1", "synthetic")
    done = call(tmp_path, "run", "-m", "majority", "-t", "toy", "--path", str(folder))
    assert done.returncode == 0, done.stderr
    (run,) = db.load_runs(tmp_path / "results")
    assert (run.summary.edition, run.folder.record()["task"]["edition"]) == ("mini-v1", "mini-v1")
    assert call(tmp_path, "score", "--path", str(folder), str(run.path)).returncode == 0
