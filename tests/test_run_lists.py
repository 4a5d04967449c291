"""Runs as a list, as data frames and as one table: what is in them, what they are called, and what cannot be read."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import mini_task
import pytest
from command_line import call

import diva_bench as db
from diva_bench.errors import UserError
from diva_bench.runs import Run, Runs


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models at two tasks."""
    folder = tmp_path_factory.mktemp("answered")
    specs = mini_task.write(folder / "specs", count=6)
    mini_task.write(folder / "specs", count=4, name="other")
    mini_task.model(specs, "hears", reply="audio")
    got = call(folder, "run", "--path", "specs", "-m", "echo", "-m", "hears", "-t", "toy", "-t", "other")
    assert got.returncode == 0, got.stderr
    return folder


@pytest.fixture
def place(answered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(answered, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "here"


def spoil(place: Path) -> Path:
    file = sorted(place.glob("results/toy-*/echo-*/summary.json"))[0]
    file.write_text("{")
    return file


# ---------------------------------------------------------------- runs that cannot be read


def test_a_leaderboard_in_python_has_the_table_of_runs_that_cannot_be_read(place: Path) -> None:
    file = spoil(place)
    tables = db.leaderboard("results")
    assert tables[-1].title == "runs that cannot be read and are left out of all tables"
    assert [row[0].startswith(f"{file.relative_to(place)}: is not valid JSON") for row in tables[-1].rows] == [True]
    assert "50.0" in str(tables), "the others are ranked"
    runs = db.load_runs("results")
    assert (len(runs), len(runs.unreadable)) == (3, 1)
    assert db.leaderboard(runs)[-1].title == tables[-1].title
    assert db.leaderboard([runs[0], *runs[1:]])[-1].title != tables[-1].title


def bad_line(place: Path) -> tuple[Path, Path, str]:
    """A run with a line of answers that is no JSON, another of its task, and what is said of the first."""
    bad, ok = sorted(path.parent for path in Path("results").glob("toy-*/*/run.json"))
    lines = (bad / "responses.jsonl").read_text().splitlines(keepends=True)
    (bad / "responses.jsonl").write_text("".join(["{\n", *lines[1:]]))
    return bad, ok, f"{bad}/responses.jsonl:1: is not valid JSON"


def no_record(place: Path) -> tuple[Path, Path, str]:
    """As `bad_line`, with a run that has lost its run.json."""
    bad, ok = sorted(path.parent for path in Path("results").glob("toy-*/*/run.json"))
    (bad / "run.json").unlink()
    return bad, ok, f"{bad}: run.json is missing. Restore it from a copy"


@pytest.mark.parametrize("damage", [bad_line, no_record])
def test_a_run_given_by_name_that_cannot_be_read_is_an_error_in_python(place: Path, damage: Any) -> None:
    bad, ok, said = damage(place)
    for call_ in (
        lambda: db.load_runs(bad),
        lambda: db.score(bad),
        lambda: db.compare(bad, ok),
        lambda: db.compare(str(ok), str(bad)),
        lambda: db.leaderboard([ok, bad]),
        lambda: db.compare(bad.parent),
    ):
        with pytest.raises(UserError) as told:
            call_()
        assert said in str(told.value)


@pytest.mark.parametrize("damage", [bad_line, no_record])
def test_runs_of_a_folder_show_those_that_cannot_be_read(
    place: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    _, _, said = damage(place)
    runs = db.load_runs("results")
    assert (len(runs), len(runs.unreadable)) == (3, 1)
    assert runs.unreadable[0].startswith(said)
    (record,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert said in record.getMessage()
    assert f"unreadable=['{said}" in repr(runs)
    assert said in runs._repr_html_()
    assert "cannot be read, left out:" in str(runs)
    again = db.score(runs, paths="specs")
    assert (len(again), again.unreadable) == (3, runs.unreadable)
    assert repr(Runs(runs)) == repr(list(runs))


def test_a_board_of_runs_that_were_loaded_before_their_answers_changed_says_so(place: Path) -> None:
    runs = db.load_runs("results")
    file = runs[0].path / "responses.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    assert "scored answers are lost: restore responses.jsonl from a copy" in "".join(
        table.to_csv() for table in db.leaderboard(runs)
    )


@pytest.mark.parametrize(("key", "said"), [("cluster", "were edited: restore"), ("references", "were edited: restore")])
def test_a_leaderboard_says_that_the_rows_of_a_task_were_edited(place: Path, key: str, said: str) -> None:
    (file,) = place.glob("results/toy-*/rows.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[2][key] = ["x"] if key == "references" else "x"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    got = call(place, "leaderboard", "results")
    assert got.returncode == 1
    shown = " ".join(got.stdout.split())
    assert "not ranked: the rows of its task were edited: restore results/toy-" in shown
    assert db.load_runs("results").to_pandas().query("task == 'other'")["complete"].all()
    first, second = (run for run in db.load_runs("results") if run.task == "toy")
    assert said in first.why_not_comparable(second)


def test_a_run_that_was_scored_by_other_rows_says_so(place: Path) -> None:
    specs = place / "specs"
    table = mini_task.rows(6)
    table[3]["cluster"] = "another"
    mini_task.write(specs, table=table)
    (file,) = place.glob("results/toy-*/rows.jsonl")
    first, second = sorted(path.parent for path in place.glob("results/toy-*/*/run.json"))
    file.unlink()
    assert call(place, "score", str(first), "--path", "specs").returncode == 0
    board = call(place, "leaderboard", "results", "-t", "toy", "--format", "csv").stdout
    assert "the rows of its task changed since it was scored: run `diva-bench score" in board
    why = Run.open(first).why_not_comparable(Run.open(second))
    assert why == f"{second}: the rows of its task changed since it was scored. Run `diva-bench score {second}`."
    assert call(place, "compare", str(first), str(second)).returncode == 2
    assert call(place, "score", str(second), "--path", "specs").returncode == 0
    assert Run.open(first).why_not_comparable(Run.open(second)) == ""


def test_why_runs_cannot_be_compared_is_told_in_words(place: Path) -> None:
    runs = {(run.task, run.model): run for run in db.load_runs("results")}
    toy, other, hears = runs["toy", "echo"], runs["other", "echo"], runs["toy", "hears"]
    assert toy.why_not_comparable(hears) == ""
    assert "are not comparable: name 'toy' and 'other'" in toy.why_not_comparable(other)
    (hears.path / "scores.jsonl").unlink()
    assert "scores.jsonl is missing, which comparisons need" in toy.why_not_comparable(hears)
    (hears.path / "summary.json").unlink()
    assert "is not scored" in toy.why_not_comparable(Run.open(hears.path))


# ---------------------------------------------------------------- lists and frames


def test_remarks_are_shown_at_every_width_and_date_and_settings_go_first(place: Path) -> None:
    (file,) = place.glob("results/toy-*/rows.jsonl")
    file.write_text(file.read_text().replace("q001", "q0001", 1))
    for columns in ("80", "120", "160"):
        shown = " ".join(call(place, "list", "runs", "results", COLUMNS=columns).stdout.split())
        assert "remarks" in shown.partition("not shown at this width")[0], columns
        assert "ranked:" in shown, columns
    table = db.load_runs("results").table()
    optional = [column.name for column in table.columns if column.optional]
    assert optional == ["edition", "limit", "date", "settings", "errors", "seed", "samples/s"]
    plain = Runs().table()
    assert {c.name for c in plain.columns if c.optional} > {"remarks", "errors"}, "nothing to say in them"


def test_a_part_of_the_runs_is_runs(place: Path) -> None:
    runs = db.load_runs("results")
    assert type(runs[0:2]) is Runs
    assert runs[0:2].to_pandas()["path"].nunique() == 2
    assert type(runs[:1] + runs[1:]) is Runs
    assert list(runs[:1] + runs[1:]) == list(runs)
    assert isinstance(runs[-1], Run)


def test_no_runs_are_a_frame_with_columns_and_no_row(place: Path) -> None:
    (place / "empty").mkdir()
    frame = db.load_runs("empty").to_pandas()
    assert len(frame) == 0
    assert list(frame.columns) == list(db.load_runs("results").to_pandas().columns)
    assert list(db.load_runs("empty").table().rows) == []


class Rather:
    """Answers in a sentence, and once with none of the labels."""

    name, version, accepts = "rather", "1", frozenset({"audio"})

    def generate(self, requests: Any) -> list[db.Response]:
        words = {"0": "I would say yes.", "1": "No.", "2": "Perhaps."}
        return [db.Response(request.id, text=words[request.id]) for request in requests]


def test_a_frame_of_samples_has_the_label_that_was_read_and_no_group_replaces_a_column(place: Path) -> None:
    mini_task.clip(place / "a.wav", 0.3)
    rows = [{"audio": "a.wav", "gold": "yes", "answer": f"g{i}", "accuracy": "low", "where": "x"} for i in range(3)]
    task = db.Task.from_rows(
        rows,
        name="labels",
        prompt="Yes or no?",
        reference="gold",
        choices=["yes", "no"],
        scorers="labels",
        groups=["answer", "accuracy", "where"],
    )
    [run] = db.run(Rather(), task, output="labels")
    for frame in (run.to_pandas(), db.load_runs("labels")[0].to_pandas()):
        assert list(frame["label"])[:2] == ["yes", "no"]
        assert frame["label"].isna()[2]
        assert list(frame["answer"]) == ["I would say yes.", "No.", "Perhaps."]
        assert list(frame["group.answer"]) == ["g0", "g1", "g2"]
        assert list(frame["group.accuracy"]) == ["low"] * 3
        assert list(frame["where"]) == ["x"] * 3
        assert frame["accuracy"].dtype == float
    assert db.load_runs("results")[0].to_pandas()["label"].isna().all()


def test_an_edited_model_in_memory_that_is_not_asked_again_is_warned_of(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mini_task.clip(place / "a.wav", 0.3)
    rows = [{"audio": "a.wav", "gold": "yes"}] * 3
    task = db.Task.from_rows(rows, name="mine", prompt="Yes?", reference="gold", scorers="qa")
    db.run(Rather(), task, output="mine")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    db.run(Rather(), task, output="mine")
    [said] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "model rather was not run: a model of this name and version ('1') has given all 3 answers before" in said
    assert "give it another `version`, or delete that folder." in said
    caplog.clear()
    db.run("echo", task, output="mine")
    db.run("echo", task, output="mine")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


# ---------------------------------------------------------------- the command line


def test_a_board_as_a_csv_file_is_what_it_prints_as_csv_one_table_with_one_header(place: Path) -> None:
    printed = call(place, "leaderboard", "results", "--format", "csv").stdout
    assert call(place, "leaderboard", "results", "-o", "t.csv").returncode == 0
    assert (place / "t.csv").read_text() == printed
    header, *rows = csv.reader(printed.splitlines())
    assert {len(row) for row in rows} == {len(header)}
    assert header not in rows
    run, other = sorted(place.glob("results/toy-*/*/"))
    for command in (["compare", str(run), str(other)], ["diagnose", str(run)]):
        printed = call(place, *command, "--format", "csv").stdout
        assert call(place, *command, "-o", "t.csv").returncode == 0
        assert (place / "t.csv").read_text() == printed
    call(place, "leaderboard", "results", "-o", "t.csv", "--format", "csv", "--all-tables")
    assert (place / "t.csv").read_text().count("#,model") == 3  # two tasks, and the mean over them


def test_all_runs_of_a_folder_are_scored_and_one_that_cannot_be_is_listed(place: Path) -> None:
    for path in place.glob("results/*/*/summary.json"):
        path.unlink()
    got = call(place, "score", "results", "--path", "specs")
    assert got.returncode == 0
    assert len([*place.glob("results/*/*/summary.json")]) == 4
    assert (
        call(place, "score", "results/", str(next(place.glob("results/toy-*/echo-*"))), "--path", "specs").returncode
        == 0
    )
    (record,) = place.glob("results/other-*/echo-*/run.json")
    record.write_text("{")
    got = call(place, "score", ".", "--path", "specs")
    assert got.returncode == 1
    assert "runs that cannot be read and are left out of all tables" in got.stdout
    assert "hears" in got.stdout


def test_a_folder_without_runs_is_said_to_have_none_and_what_to_give(place: Path) -> None:
    (place / "r").mkdir()
    for words in (["list", "runs", "r"], ["list", "runs", "-o", "r"]):
        got = call(place, *words)
        assert got.returncode == 1
        assert "r: no runs. Give the folder that `diva-bench run --output` wrote to." in got.stderr
    got = call(place, "list", "runs", "r", "--format", "csv")
    assert got.stdout.startswith("task,model,metric,")
    assert call(place, "list", "runs", "results", "--format", "csv").stdout.count("\n") > 4
    got = call(place, "list", "tasks", "r")
    assert got.returncode == 2
    assert "list tasks takes no folder" in got.stderr
