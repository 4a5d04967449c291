"""Mistakes in calls of the Python interface: each is a UserError that says what is allowed, in the words of Python."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

import mini_task
import numpy as np
import pytest

import diva_bench as db
from diva_bench import api

FUNCTIONS = [db.run, db.load_runs, db.score, db.compare, db.leaderboard, db.import_predictions]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in (("DIVA_BENCH_CACHE", str(tmp_path / "cache")), ("DIVA_BENCH_PATH", "specs")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    mini_task.write(tmp_path / "specs")
    return tmp_path


def message(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(db.UserError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_unknown_argument_is_told_with_the_nearest_and_all_others(function: Any) -> None:
    name = next(name for name in inspect.signature(function).parameters if name.startswith("path"))
    wrong = {name[:-1] + "z" if name != "path" else "pth": "x"}
    text = message(function, **wrong)
    assert text.startswith(f"{function.__name__}: ")
    assert f"Did you mean {name!r}?" in text or "missing a required argument" in text
    assert text.endswith(f"Its arguments: {', '.join(inspect.signature(function).parameters)}.")


MISSING = [(db.run, "models"), (db.score, "runs"), (db.import_predictions, "files")]


@pytest.mark.parametrize(("function", "name"), MISSING)
def test_a_missing_argument_is_told(function: Any, name: str) -> None:
    assert f"missing a required argument: '{name}'" in message(function)


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (db.run, {"allow_partial": "yes"}, "allow_partial: 'yes' (str) is not allowed. Allowed: True or False"),
    (db.run, {"batch_seconds": float("inf")}, "batch_seconds is inf (float). Allowed: seconds, from 0.1"),
    (db.run, {"batch_seconds": float("nan")}, "batch_seconds is nan (float)"),
    (db.run, {"seed": 2**70}, "seed is 1180591620717411303424 (int). Allowed: a whole number, from 0 to 4294967295"),
    (db.run, {"limit": True}, "limit is True (bool)"),
    (db.run, {"device": 0}, "device is 0 (int). Allowed: cpu, cuda"),
    (db.run, {"output": ""}, "output: '' (str) is not allowed. Allowed: a path"),
    (db.run, {"output": b"results"}, "output: b'results' (bytes) is not allowed. Allowed: a path"),
    (db.run, {"data_dir": ""}, "data_dir: '' (str) is not allowed. Allowed: a path"),
    (db.run, {"data_dir": 3}, "data_dir: 3 (int) is not allowed. Allowed: a path"),
    (db.run, {"data_dir": "nowhere"}, "nowhere: no such folder"),
    (db.run, {"paths": 3}, "paths: 3 (int) is not allowed"),
    (db.run, {"audio": ["silence", 3]}, "audio: 3 (int) is not allowed"),
    (db.run, {"audio": "loud"}, "audio 'loud': no such condition"),
    (db.run, {"prompts": 4}, "prompts=4: task toy has"),
    (db.run, {"model_edition": "big"}, "model_edition is 'big'. Allowed: None, 'full', 'mini', 'nano'"),
    (db.run, {"system": 3}, 'system is 3 (int). Allowed: text; "" for no system message'),
    (db.leaderboard, {"in_memory": "yes"}, "in_memory: 'yes' (str) is not allowed. Allowed: True or False"),
    (db.leaderboard, {"overview": 1}, "overview: 1 (int) is not allowed. Allowed: True or False"),
    (db.leaderboard, {"ranks": None}, "ranks: None (NoneType) is not allowed"),
    (db.leaderboard, {"tasks": ["toy", 3]}, "tasks: 3 (int) is not allowed"),
    (db.leaderboard, {"tasks": ["zz"]}, "unknown task 'zz' in these runs. Available: toy"),
    (db.leaderboard, {"tasks": ["toy", "tyo"]}, "unknown task 'tyo' in these runs. Did you mean 'toy'?"),
    (db.score, {"scorers": 3}, "scorers: 3 (int) is not allowed. Allowed: the name of a scorer, a list of names, or a map"),
    (db.score, {"scorers": {"wer": 3}}, "scorers: {'wer': 3} (dict) is not allowed"),
    (db.score, {"scorers": {3: {}}}, "scorers: {3: {}} (dict) is not allowed"),
    (db.score, {"scorers": [3]}, "scorers: [3] (list) is not allowed"),
    (db.score, {"scorers": "wier"}, "unknown scorer 'wier'"),
    (db.score, {"tasks": "toy"}, "tasks: 'toy' (str) is not allowed. Allowed: a Task, or a list of them"),
    (db.score, {"data_dir": 3}, "data_dir: 3 (int) is not allowed"),
    (db.compare, {"metrics": 3}, "metrics: 3 (int) is not allowed. Allowed: the name of a metric"),
    (db.compare, {"metrics": "bleu"}, "unknown metric 'bleu'"),
    (db.compare, {"references": "voice"}, "references: 'voice' (str) is not allowed. Allowed: a mapping of text, group -> value"),
    (db.compare, {"references": {"voice": 3}}, "references: {'voice': 3} (dict) is not allowed"),
    (db.compare, {"references": {"nope": "x"}}, "unknown group 'nope'"),
    (db.import_predictions, {"format": "xml"}, "format: 'xml' (str) is not allowed. Allowed: 'auto', 'jsonl'"),
    (db.import_predictions, {"format": 3}, "format: 3 (int) is not allowed"),
    (db.import_predictions, {"columns": ["id"]}, "columns: ['id'] (list) is not allowed. Allowed: a mapping of text, role"),
    (db.import_predictions, {"columns": {"row": "x"}}, "columns: 'row' is not a role. Allowed: id, text, score"),
    (db.import_predictions, {"labels": {"a": 3}}, "labels: {'a': 3} (dict) is not allowed. Allowed: a mapping of text"),
    (db.import_predictions, {"only": 3}, "only: 3 (int) is not allowed. Allowed: text, or None"),
    (db.import_predictions, {"top": 10}, "top: 10 (int) is not allowed. Allowed: None, 1, 100"),
    (db.import_predictions, {"top": True}, "top: True (bool) is not allowed"),
    (db.import_predictions, {"errors": "worng"}, "errors: 'worng' (str) is not allowed. Did you mean 'wrong'? Allowed: None,"),
    (db.import_predictions, {"edition": "auto"}, "edition: 'auto' (str) is not allowed"),
    (db.import_predictions, {"gold": "no"}, "gold: 'no' (str) is not allowed. Allowed: True or False"),
    (db.import_predictions, {"data_dir": "nowhere"}, "nowhere: no such folder (data_dir and DIVA_BENCH_DATA name"),
    (db.import_predictions, {"clusters": "c.csv"}, "clusters goes with gold=False"),
    (db.import_predictions, {"output": 3}, "output: 3 (int) is not allowed"),
    (db.import_predictions, {"model_name": "a b"}, "model_name 'a b': a name has at most 64 letters, digits"),
]  # fmt: skip


def test_every_argument_that_is_wrong_is_told_in_words(place: Path) -> None:
    runs = db.run(["echo", "majority"], "toy", prompt="Say {what}.")
    (place / "answers.jsonl").write_text('{"id": "q000", "text": "yes"}\n')
    required: dict[Any, tuple[Any, ...]] = {
        db.run: ("echo", "toy"),
        db.leaderboard: ("results",),
        db.score: (runs[0],),
        db.compare: tuple(runs),
        db.import_predictions: ("answers.jsonl", "toy"),
    }
    problems: list[str] = []
    for function, wrong, expected in WRONG:
        more = {"edition": "mini", "model_name": "theirs"} if function is db.import_predictions else {}
        try:
            function(*required[function], **{**more, **wrong})
            text = "no error"
        except db.UserError as err:
            text = str(err)
        if expected not in text or "--" in text:
            problems.append(f"{function.__name__}({wrong}): {text}, not {expected}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("function", [db.leaderboard, db.score])
def test_an_empty_list_of_runs_is_told(function: Any) -> None:
    assert message(function, []) == "runs: the list is empty. Allowed: a Run, a folder, or a list of them."


def test_numbers_of_numpy_are_numbers(place: Path) -> None:
    (run,) = db.run("echo", "toy", limit=np.int64(2), seed=np.uint8(1))  # type: ignore[arg-type]
    assert (run.summary.limit, run.summary.seed) == (2, 1)


def test_an_empty_path_is_not_the_current_folder(place: Path) -> None:
    assert message(db.load_runs, "") == "path: '' (str) is not allowed. Allowed: a path."
    assert message(db.import_predictions, [""], "toy", "theirs").startswith("files: '' (str) is not allowed")


def test_a_run_opens_from_a_path_alone(place: Path) -> None:
    assert message(db.Run.open, 5) == "Run.open: 5 (int) is not allowed. Allowed: the path of a run folder."
    assert "nowhere: no such folder" in message(db.Run.open, "nowhere")


def test_a_resolved_model_that_is_wrong_is_told() -> None:
    assert "db.ModelSpec: " in message(db.ModelSpec, name=3)
    assert "db.ModelSpec: " in message(db.ModelSpec)


# ---------------------------------------------------------------- failed answers


class Fails:
    """A model that fails on some samples."""

    name, version, accepts = "fails", "1", frozenset({"audio"})

    def __init__(self, *ids: str) -> None:
        self.ids = ids

    def generate(self, requests: Any) -> list[db.Response]:
        if any(request.id in self.ids or not self.ids for request in requests):
            raise RuntimeError(f"no answer to {requests[0].id}")
        return [db.Response(request.id, text="yes") for request in requests]


@pytest.mark.parametrize(("ids", "count"), [((), 10), (("q001", "q002"), 2), (("q003",), 1)])
def test_failed_answers_are_told_in_a_warning_and_in_every_view(
    ids: tuple[str, ...], count: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    [run] = db.run(Fails(*ids), "toy")
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    text = record.getMessage()
    assert (
        f"{run.path}: {count} of 10 answers failed and are not scored. {count} of them: RuntimeError: no answer to"
        in text
    )
    assert text.endswith("The same call runs them again.")
    assert f"errors={count}" in repr(run)
    assert f"errors={count}" in repr(db.load_runs())
    monkeypatch.setenv("COLUMNS", "60")
    assert "errors" in str(db.Runs([run])).split("not shown at this width")[0]
    assert set(db.Runs([run]).to_pandas()["errors"]) == {count}
    frame = run.to_pandas()
    assert (frame["status"] == "error").sum() == count
    assert frame["detail"].str.contains("no answer to", na=False).sum() == count


def test_answers_without_a_failure_give_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    db.run("echo", "toy")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_clips_that_cannot_be_used_are_told_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    wave = (np.zeros(4000, np.float32), 16_000)
    rows = [{"audio": wave, "text": "a", "answer": "x"}, {"audio": b"no sound", "text": "b", "answer": "y"}]
    task = db.Task.from_rows(rows, prompt="Say it.", reference="answer", scorers="qa")
    caplog.clear()
    db.run(Fails("none"), task)
    [text] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "1 clips cannot be used and are left out for every model, the first: 1: row 1: no audio format" in text


# ---------------------------------------------------------------- options of the command line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("give --data-dir DIR (or set X=DIR)", "give data_dir=DIR (or set X=DIR)"),
        ("--edition full prints what was expected", "edition='full' prints what was expected"),
        ("choose another --output.", "choose another output."),
        ("--audio codec=mp3: not a codec", "audio codec=mp3: not a codec"),
        ("--prompts 4: task toy has 1", "prompts=4: task toy has 1"),
        (
            "--no-gold needs no data; --clusters goes with --no-gold",
            "gold=False needs no data; clusters goes with gold=False",
        ),
        ("get all of it, or give --allow-partial: such", "get all of it, or give allow_partial=True: such"),
        ("--labels TEXT=CHOICE,...", "labels=TEXT=CHOICE,..."),
        ("with --path. Done", "with paths. Done"),
        (
            "fetch it: diva-bench pull --edition full --task x (hub)",
            "fetch it: diva-bench pull --edition full --task x (hub)",
        ),
        ("`diva-bench score --path P` again; --dtype float32", "`diva-bench score --path P` again; dtype='float32'"),
        ("`pip install --pre x`", "`pip install --pre x`"),
        ("a -- b", "a -- b"),
    ],
)
def test_messages_name_arguments_in_place_of_options(text: str, expected: str) -> None:
    assert api.in_python(text) == expected


def test_notes_in_the_log_name_arguments(caplog: pytest.LogCaptureFixture, place: Path) -> None:
    caplog.set_level(logging.INFO, "diva_bench")
    (place / "empty").mkdir()
    db.run("echo", "heysquad", limit=1, data_dir="empty")
    assert "edition='full' prints what was expected" in caplog.text
