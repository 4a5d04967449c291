"""Scores that other sources report: the file is checked, every score has its source, and runs stand beside them only with
the same protocol."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import call
from stored import collect
from test_leaderboard import run

import diva_bench as db
from diva_bench.catalog import Catalog
from diva_bench.errors import SpecError, UnknownName
from diva_bench.report import published as cited
from diva_bench.scorers import METRICS
from diva_bench.specs import ModelSpec
from diva_bench.specs.published import published
from diva_bench.specs.schema import digest
from diva_bench.tables import Score, Table

KNOWN = published()
META = {"title": "A paper", "date": "2025-06"}
SET = {
    "source": "a",
    "data": "meld",
    "split": "test",
    "prompt": None,
    "metric": "accuracy",
    "n": 5,
    "scores": {"X": 1.0},
}


def written(place: Path, **changes: Any) -> Path:
    """A small file of published scores; `changes`: keys of its only set, or `sources`, `trainings`, `sets`."""
    whole = {"sources": {"a": META}, "trainings": [], "sets": [SET]}
    for key, value in changes.items():
        if key in whole:
            whole[key] = value
        else:
            whole["sets"] = [{**SET, key: value}]
    file = place / "published.yaml"
    file.write_text(json.dumps(whole))  # JSON is YAML
    return file


# ---------------------------------------------------------------- the file


def test_every_score_is_a_number_with_a_source() -> None:
    table = cited.every_score(KNOWN, KNOWN.sets)
    assert len(table.rows) > 600
    assert all(row[8] for row in table.rows)
    assert [row[2] for row in table.rows if row[3] is None] == ["Qwen 2 Audio"]  # the paper's file for Tamil is missing


@pytest.mark.parametrize(
    ("name", "metric", "system", "value"),
    [  # from the notes that the file was made from
        ("meld", "weighted_f1", "DiVA", [41.33, 41.32]),
        ("iemocap", "weighted_f1", "Qwen 2 Audio", [33.88]),
        ("heysquad", "pedants", "DiVA", [55.17, 51.52, 46.02]),
        ("urfunny", "accuracy", "Qwen Audio", [54.54]),
        ("covost2-ja", "mean_sentence_bleu", "DiVA", [4.42]),
        ("covost2-tr", "BLEU, its aggregation is not published", "DiVA", [11.75]),
        ("sdqa-zaf", "pedants", "SALMONN", [45.57]),
        ("VoiceBench", "overall", "Whisper large-v3 + Llama 3.1 8B", [77.48]),
    ],
)
def test_the_figures_of_the_sources_are_in_it(name: str, metric: str, system: str, value: list[float]) -> None:
    found = [
        one.scores[system] for one in KNOWN.sets if (one.name, one.metric) == (name, metric) and system in one.scores
    ]
    assert found == value


def test_what_is_called_the_same_is_the_same_as_far_as_the_task_says() -> None:
    catalog = Catalog()
    for one in (one for one in KNOWN.sets if one.same_as):
        task = catalog.task(one.same_as or "", "full")
        assert task.data.rows - len(task.data.exclude) == one.n, one
        assert one.metric in {m.name for m in METRICS if m.scorer in task.scorers}, one


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"source": "b"}, "sets: number 1: unknown source 'b'."),
    ({"n": 0}, "sets.0.n: must be 1 or more"),
    ({"n": "5"}, "sets.0.n: must be a whole number"),
    ({"scores": {}}, "sets.0.scores: must have 1 entries or more"),
    ({"scores": {"X": "1"}}, "sets.0.scores.X: must be a number"),
    ({"spilt": "test"}, "unknown key 'sets.0.spilt'. Did you mean 'split'?"),
    ({"sources": {"a": {"title": "A paper", "date": "last May"}}}, "sources.a.date: must be a date"),
    ({"sources": {"a": {"title": "A paper"}}}, "key 'sources.a.date' is missing"),
    ({"sets": [SET, SET]}, "sets: number 2 has the source, data, split, prompt and metric of an earlier one"),
    ({"sets": [{**SET, "id": "x"}, {**SET, "id": "x", "n": 6, "note": "again"}]}, "sets: the id 'x' is given twice"),
    ({"trainings": [{"system": "X", "source": "a", "scores": ["y"]}]}, "trainings: number 1: unknown set 'y'."),
    ({"trainings": [{"system": "X", "source": "a", "estimate": "mine"}]}, "trainings.0.estimate: must be 'paper'"),
    ({"trainings": [{"system": "X", "source": "c"}]}, "trainings: number 1: unknown source 'c'."),
    ({"trainings": [{"system": "X", "source": "a", "hours": 0}]}, "trainings.0.hours: must be more than 0"),
    (
        {"sets": [{**SET, "id": "x"}], "trainings": [{"system": "Y", "source": "a", "scores": ["x"]}]},
        "trainings: number 1: set 'x' has no score of 'Y'",
    ),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    file = written(tmp_path, **changes)
    with pytest.raises(SpecError) as caught:
        published(file)
    assert str(caught.value).startswith(f"{file}:1: ")
    assert message in str(caught.value)


def test_a_small_file_is_read(tmp_path: Path) -> None:
    assert published(written(tmp_path, n=None)).sets[0].n is None


# ---------------------------------------------------------------- beside runs


def paper_run(results: Path, edition: str = "full", task: str = "paper-meld", **changes: Any) -> Path:
    speech = {"model_edition": edition, "speech": "human" if edition == "full" else "synthetic"}
    return run(results, "diva", 40.0, f"{task}-4be1f0", edition, primary="weighted_f1", **speech, **changes)


def column(table: Table, metric: str, key: str) -> dict[Any, Any]:
    place = [(c.group, c.name) for c in table.columns].index((metric, key))
    return {row[0]: row[place] for row in table.rows}


def test_a_run_stands_beside_scores_with_its_protocol(tmp_path: Path) -> None:
    paper_run(tmp_path)
    (table,) = cited.block(collect(tmp_path))
    assert table.title == "reported elsewhere: meld"
    assert column(table, "weighted_f1", "[a]")["diva (here)"] == Score(40.0, 37.0, 43.0)
    assert column(table, "weighted_f1", "[a]")["DiVA"] == Score(41.33)
    assert column(table, "accuracy, exact match of the word", "[d]")["diva (here)"] is None
    (glance,) = cited.at_a_glance(collect(tmp_path))
    assert [row[:2] for row in glance.rows] == [["paper-meld", "weighted_f1"]] * 2


@pytest.mark.parametrize(
    "changes",
    [
        {"edition": "mini"},
        {"task": "meld"},  # other data, prompt and metric
        {"limit": 4},
        {"audio": "silence"},
        {"overrides": {"prompt": "Which emotion?"}},
        {"complete": False, "reason": "3 failed"},
    ],
)
def test_a_run_with_another_protocol_stands_beside_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    paper_run(tmp_path, **changes)
    summaries = collect(tmp_path)
    assert cited.block(summaries) == []
    assert cited.at_a_glance(summaries) == []
    table = cited.tables(KNOWN, cited.chosen(KNOWN, ["meld"]), summaries)[0]
    assert not [row[0] for row in table.rows if str(row[0]).endswith(cited.HERE)]


def test_a_name_without_a_score_is_a_mistake() -> None:
    with pytest.raises(
        UnknownName, match=r"unknown task 'melt' in the scores that other sources report. Did you mean 'meld'"
    ):
        cited.chosen(KNOWN, ["melt"])


@pytest.mark.parametrize("name", ["covost2-de", "paper-covost2-de"])
def test_a_subset_is_chosen_by_its_name_or_by_the_paper_task(name: str) -> None:
    assert {one.subset for one in cited.chosen(KNOWN, [name])} == {"de"}


# ---------------------------------------------------------------- the command


def test_the_command_needs_no_runs_and_has_every_format(tmp_path: Path) -> None:
    words = ("leaderboard", "--published", "--task", "meld")
    shown = call(tmp_path, *words, COLUMNS="80")
    assert shown.returncode == 0, shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= 80
    numbers = sorted(
        f"{v:.2f}" for one in KNOWN.sets if one.data == "meld" for v in one.scores.values() if v is not None
    )
    rows = list(csv.DictReader(io.StringIO(call(tmp_path, *words, "--format", "csv").stdout)))
    assert sorted(f"{float(row['score']):.2f}" for row in rows) == numbers
    (table,) = json.loads(call(tmp_path, *words, "--format", "json").stdout)
    values = [cell["value"] for row in table["rows"] for cell in row.values() if isinstance(cell, dict)]
    assert sorted(f"{v:.2f}" for v in values) == numbers
    for format in ("md", "latex"):
        assert "41.33" in call(tmp_path, *words, "--format", format).stdout
    call(tmp_path, *words, "--output", "cited.csv")
    assert len((tmp_path / "cited.csv").read_text().splitlines()) == len(numbers) + 1
    assert call(tmp_path, "leaderboard", "nowhere", "--published").returncode == 2


def test_without_a_task_the_screen_says_what_there_is_and_files_have_everything(tmp_path: Path) -> None:
    shown = call(tmp_path, "leaderboard", "--published", COLUMNS="80").stdout.splitlines()
    assert len(shown) < 40
    counted = {}
    for one in KNOWN.sets:
        assert any(line.startswith(one.data[:10]) for line in shown), one.data
        counted[one.data] = counted.get(one.data, 0) + len(one.scores)
    (row,) = (line for line in shown if line.startswith("heysquad"))
    assert f" {counted['heysquad']} " in row
    assert "7,200" in " ".join(" ".join(shown).split()), "a comma inside a number does not end the name of a metric"
    assert "--published --task TASK" in " ".join(shown)
    whole = call(tmp_path, "leaderboard", "--published", "--format", "md").stdout
    assert whole.count("### reported elsewhere") == len({one.name for one in KNOWN.sets})


def as_paper_run(results: Path) -> None:
    """A published mini run of MELD with the records of a run of the paper's task, so that commands read it."""
    run_folder = next((Path(__file__).parents[1] / "results" / "mini-v1").glob("meld-*/majority-*"))
    task, record, summary = (
        json.loads(path.read_text())
        for path in (run_folder.parent / "task.json", run_folder / "run.json", run_folder / "summary.json")
    )
    task |= {"name": "paper-meld", "task": "paper-meld", "edition": "full"}
    task["hash"] = digest({k: v for k, v in task.items() if k not in ("id", "hash", "name", "schema")})
    task["id"] = f"paper-meld-{task['hash'][:6]}"
    record["task"] |= {"name": "paper-meld", "edition": "full"}
    model = ModelSpec.model_validate(record["model"]).identity()
    record["hash"] = digest({"task": task["hash"], "model": model, "adapter_version": record["adapter_version"]})
    record |= {"task_id": task["id"], "id": f"majority-{record['hash'][:6]}"}
    same = {"task_id": task["id"], "run_id": record["id"], "task": "paper-meld", "edition": "full", "speech": "human"}
    folder = results / task["id"] / record["id"]
    folder.mkdir(parents=True)
    shutil.copy(run_folder / "responses.jsonl", folder)
    for path, content in ((folder.parent / "task.json", task), (folder / "run.json", record)):
        path.write_text(json.dumps(content))
    (folder / "summary.json").write_text(json.dumps(summary | same))


def test_the_leaderboard_prints_the_block_below_runs_with_the_protocol(tmp_path: Path) -> None:
    as_paper_run(tmp_path / "results")
    glance = call(tmp_path, "leaderboard", COLUMNS="160")
    assert "reported elsewhere" in glance.stdout, glance.stdout + glance.stderr
    assert "41.3" in glance.stdout
    for format in ("md", "latex", "json"):
        assert "reported elsewhere: meld" in call(tmp_path, "leaderboard", "--format", format).stdout
    every = call(tmp_path, "leaderboard", "--format", "csv", "--all-tables").stdout
    assert "41.33" in every
    assert db.leaderboard(tmp_path / "results")[-1].title == "reported elsewhere: meld"
    assert "(here)" in call(tmp_path, "leaderboard", "--published", "--task", "meld").stdout
    done = call(tmp_path, "report", "--html", "out")
    assert "41.33" in (tmp_path / "out" / "published.html").read_text(), done.stderr
    assert "41.3" in (tmp_path / "out" / "index.html").read_text()
