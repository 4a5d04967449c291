"""`diva-bench import`: whole and partial files, ids and rows, labels, what is part of the identity, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from answer_files import GOLD_LABELS, answers, diva_eval, load, only, two_tasks, value, write

from diva_bench import predictions
from diva_bench.cli.compare import compare_command
from diva_bench.cli.results import leaderboard_command, score_command
from diva_bench.errors import PredictionError, StoreError, UserError
from diva_bench.evaluation.importing import pairs
from diva_bench.predictions import imported
from diva_bench.runs.store import RunFolder


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return two_tasks(tmp_path, monkeypatch)


# ---------------------------------------------------------------- a whole file


def test_a_whole_file_is_a_run_that_is_scored_and_ranked(capsys: pytest.CaptureFixture[str]) -> None:
    assert load(write("a.jsonl", answers())) == 0
    assert load(write("b.jsonl", answers(right=5)), model_name="better") == 0
    folder = only("quiz-*", "other-*")
    summary = folder.summary()
    assert (summary["complete"], summary["n"], summary["clusters"]) == (True, 6, 3)
    assert value(folder, "contains") == 50
    assert summary["groups"]["voice"]["a"]["n"] == 3
    capsys.readouterr()
    assert leaderboard_command(Path("results"), [], "csv", every=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[1] for line in lines if line.startswith(("1,", "2,"))] == ["better", "other"]
    assert "imported" in lines[1]


def test_the_record_says_what_was_read_and_no_absolute_path(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("a.jsonl", answers())
    monkeypatch.setattr(sys, "argv", ["diva-bench", "import", str(file.resolve()), f"--output={place}", "-t", "quiz"])
    load(file.resolve())
    record = only().record()
    (kept,) = record["imported"]["files"]
    assert (kept["name"], kept["bytes"]) == ("a.jsonl", file.stat().st_size)
    assert record["model"]["args"] == {"format": "jsonl", "sha256": [kept["sha256"]]}
    assert record["command"] == f"diva-bench import a.jsonl --output={place.name} -t quiz"
    for written in only().path.parent.rglob("*.json*"):
        assert str(place) not in written.read_text()


def test_the_same_file_again_doubles_nothing_and_another_file_is_another_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    load(write("a.jsonl", answers()))
    before = {p: p.read_bytes() for p in Path("results").rglob("*") if p.is_file()}
    load(Path("a.jsonl").rename("renamed.jsonl"))
    assert {p: p.read_bytes() for p in Path("results").rglob("*") if p.is_file()} == before
    assert "imported before" in capsys.readouterr().err
    load(write("b.jsonl", answers(right=5)))
    assert len(list(Path("results").glob("*/other-*/run.json"))) == 2


def test_an_import_that_was_killed_half_way_is_completed() -> None:
    load(write("a.jsonl", answers()))
    path = only().path / "responses.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]) + b'{"id": "q2", "te')
    assert load(Path("a.jsonl")) == 0
    assert path.read_bytes() == whole


def test_shards_are_one_set_of_answers_and_a_file_given_twice_is_refused() -> None:
    shards = [write("1.jsonl", answers()[:2]), write("2.jsonl", answers()[2:])]
    assert load(*shards) == 0
    assert len(only().record()["imported"]["files"]) == 2
    with pytest.raises(UserError, match=r"copy.jsonl is the same file as 1.jsonl"):
        load(shards[0], write("copy.jsonl", answers()[:2]))


# ---------------------------------------------------------------- coverage


def test_missing_ids_leave_the_run_incomplete_and_unranked(capsys: pytest.CaptureFixture[str]) -> None:
    assert load(write("part.jsonl", answers()[:4])) == 1
    assert "missing: 2: q4, q5: the run is not ranked" in capsys.readouterr().err
    summary = only().summary()
    assert (summary["complete"], summary["reason"], summary["scored"]) == (False, "2 missing from the file", 4)
    leaderboard_command(Path("results"), [], "md")
    assert "not ranked: 2 missing from the file" in capsys.readouterr().out
    path = only().path
    load(write("whole.jsonl", answers()), model_name="whole")
    with pytest.raises(StoreError, match="is not complete: 2 missing from the file"):
        compare_command([path, only(run="whole-*").path], [], 0, [], "rich", [Path("specs")])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*answers(), {"id": "z", "text": "x"}], r"extra \(not in the task\): 1: z"),
        ([*answers(), {"id": "q1", "text": "x"}], r"more than once: 1: q1; the first at bad.jsonl:2 and bad.jsonl:7"),
        ([{"id": f"z{i}", "text": "x"} for i in range(6)], "is not an id of the task"),
    ],
)
def test_extra_and_doubled_ids_are_refused_and_nothing_is_written(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(PredictionError, match=message):
        load(write("bad.jsonl", rows))
    assert not Path("results").exists()


def test_failures_at_the_source_are_never_answers(capsys: pytest.CaptureFixture[str]) -> None:
    file = diva_eval("outs.txt", [(f"q{i}", "right", 0.5) for i in range(5)] + [("q5", "ERROR IN PROCESSING", "NA")])
    assert load(file) == 1
    assert "failed at their source: 1: q5" in capsys.readouterr().err
    summary = only().summary()
    assert (summary["errors"], summary["scored"], summary["reason"]) == (1, 5, "1 failed")
    assert value(only(), "released") == 50


# ---------------------------------------------------------------- labels and identity


def released_labels(wrong: int | None = None) -> list[tuple[object, str, object]]:
    said = ["Ang", "Joy", "Ne", "Ang", "Ang", "J"]
    right = [int(GOLD_LABELS[i].startswith(text.lower())) for i, text in enumerate(said)]
    if wrong is not None:
        right[wrong] = 1 - right[wrong]
    return [(i, text, score) for i, (text, score) in enumerate(zip(said, right, strict=True))]


def test_first_tokens_are_labels_and_the_score_that_came_is_a_metric_of_its_own() -> None:
    assert load(diva_eval("outs.txt", released_labels()), task="mood") == 0
    folder = only()
    assert folder.record()["imported"]["matched"] == "row numbers, checked against which labels were right"
    first = next(iter(folder.responses()))
    assert (first.id, first.text, first.label, dict(first.scores)) == ("m0", "Ang", "anger", {"given": 1.0})
    for metric in ("accuracy", "accuracy_first", "released"):
        assert value(folder, metric) == pytest.approx(100 * 4 / 6)
    assert not {"unparsed", "accuracy_text"} & folder.summary()["metrics"].keys()


def test_rows_in_another_order_than_the_data_are_refused() -> None:
    with pytest.raises(PredictionError, match=r"outs.txt:3: row 2 of the data is m2, .* import a file with ids"):
        load(diva_eval("outs.txt", released_labels(wrong=2)), task="mood")


def test_rows_in_the_order_of_the_sorted_ids_are_found_to_be_so() -> None:
    path = Path("specs/mood.jsonl")
    path.write_text("".join(f"{line}\n" for line in reversed(path.read_text().splitlines())))
    assert load(diva_eval("outs.txt", released_labels()), task="mood") == 0
    assert "row numbers of the sorted ids" in only().record()["imported"]["matched"]
    assert value(only(), "accuracy") == pytest.approx(100 * 4 / 6)


def test_other_gold_is_another_task_and_compare_says_that_it_is_the_data() -> None:
    load(write("a.jsonl", answers()))
    path = Path("specs/quiz.jsonl")
    path.write_text(path.read_text().replace("right 0", "wrong 0"))
    load(write("b.jsonl", answers(right=5)))
    runs = [p.parent for p in Path("results").glob("*/other-*/run.json")]
    with pytest.raises(UserError, match=r"are not comparable: the data \(other clips or references, "):
        compare_command(runs, [], 10, [], "rich", [Path("specs")])


def test_tables_of_several_tasks_are_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    load(write("a.jsonl", answers()))
    load(write("b.jsonl", [{"id": f"m{i}", "text": "joy"} for i in range(6)]), task="mood")
    capsys.readouterr()
    assert leaderboard_command(Path("results"), [], "json") == 0
    titles = [table["title"] for table in json.loads(capsys.readouterr().out)]
    assert [title.split("-")[0] for title in titles[-2:]] == ["mood", "quiz"]


def test_answers_in_which_no_label_can_be_read_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    said = ["joy", "It is joy.", "meh", "mad or so", "not joy", "glad"]
    file = write("a.jsonl", [{"id": f"m{i}", "text": text} for i, text in enumerate(said)])
    assert load(file, task="mood") == 0
    told = "no single label of anger, joy, neutral was found in 4 of 6 answers: counted as wrong"
    assert told in " ".join(capsys.readouterr().err.split())
    assert load(file, task="mood", labels="mad or so=anger,glad=joy") == 0
    assert "no single label" not in capsys.readouterr().err


def test_metrics_of_what_the_answers_say_are_of_those_that_came_as_text() -> None:
    said = ("+", "-", "-", "hm", "anger it is", "+")  # no words: compared whole, so that they are labels and no text
    file = write("a.jsonl", [{"id": f"m{i}", "text": text} for i, text in enumerate(said)])
    assert load(file, task="mood", labels="+=anger,-=joy") == 0
    summary = only("mood-*").summary()
    assert summary["unparsed"] == 1
    assert {name: summary["metrics"][name]["n"] for name in ("accuracy", "accuracy_text", "accuracy_first")} == {
        "accuracy": 6,
        "accuracy_text": 2,
        "accuracy_first": 4,
    }
    assert summary["metrics"]["unparsed"]["value"] == 50


def test_compare_shows_the_label_that_was_decided_on_and_the_words(capsys: pytest.CaptureFixture[str]) -> None:
    for name, said in (("right", ("mad", "it is joy", "neutral")), ("wrong", ("hm", "anger", "anger"))):
        file = write(f"{name}.jsonl", [{"id": f"m{i}", "text": text} for i, text in enumerate(2 * said)])
        assert load(file, task="mood", labels="mad=anger", model_name=name) == 0
    runs = [only("mood-*", f"{name}-*").path for name in ("right", "wrong")]
    capsys.readouterr()
    assert compare_command(runs, [], 6, [], "csv", [Path("specs")], every=True) == 0
    shown = [line.split(",") for line in capsys.readouterr().out.splitlines() if line.startswith("m")]
    assert {line[0]: line[3:] for line in shown if len(line) == 5 and line[0] in ("m0", "m1", "m2")} == {
        "m0": ["anger; text: mad", "hm"],
        "m1": ["joy; text: it is joy", "anger"],
        "m2": ["neutral", "anger"],
    }


def test_labels_by_other_names_are_read_like_the_task_s_own_and_again_when_the_run_is_scored_again() -> None:
    said = [
        "**Mad**<|im_end|>",
        "<think>mad?</think>Answer: glad.",
        "not mad, glad",
        "He isn't glad, but mad",
        "Joy!",
        "No, glad",
    ]
    file = write("a.jsonl", [{"id": f"m{i}", "text": text} for i, text in enumerate(said)])
    assert load(file, task="mood", labels="mad=anger,glad=joy,no=neutral") == 0
    folder, wanted = only(), ["anger", "joy", "joy", "anger", "joy", "neutral"]
    assert [_decided(row) for row in folder.scores()[1].values()] == wanted
    signature = folder.summary()["signature"]
    folder.path.joinpath("scores.jsonl").unlink()
    assert score_command([folder.path], [Path("specs")]) == 0
    assert [_decided(row) for row in folder.scores()[1].values()] == wanted
    load(write("b.jsonl", [{"id": f"m{i}", "text": "joy"} for i in range(6)]), task="mood", model_name="plain")
    assert only("mood-*", "plain-*").summary()["signature"] == signature  # so that the two can be compared


def _decided(row: Mapping[str, Any]) -> str:
    (key,) = (key for key in row["labels"] if key.startswith("label:"))
    return str(key).split(">")[1]


def test_a_name_for_a_label_must_not_be_another_label() -> None:
    file = write("a.jsonl", [{"id": f"m{i}", "text": "joy"} for i in range(6)])
    with pytest.raises(PredictionError, match=r"--labels: 'Joy' stands for two labels: joy and anger. Every name"):
        load(file, task="mood", labels="Joy=anger")


def test_labels_by_other_names_are_part_of_the_identity() -> None:
    rows = [{"id": f"m{i}", "text": text} for i, text in enumerate(["mad", "glad", "meh", "glad", "mad", "glad"])]
    file = write("a.jsonl", rows)
    assert load(file, task="mood", labels="mad=anger,glad=joy,meh=neutral") == 0
    assert value(only(), "accuracy") == pytest.approx(100 * 5 / 6)
    load(file, task="mood")
    assert len(list(Path("results").glob("*/other-*/run.json"))) == 2


def test_how_a_file_was_read_is_part_of_the_identity() -> None:
    file = write("a.jsonl", [row | {"second": "no"} for row in answers(right=6)])
    assert (load(file), load(file, columns="text=second")) == (0, 0)
    runs = [RunFolder(path.parent) for path in Path("results").glob("*/other-*/run.json")]
    assert sorted(value(run, "contains") for run in runs) == [0, 100]
    options = predictions.ReadOptions(only="strict")
    known = [imported.model("m", [], "lm-eval", how, {}).args for how in (options, predictions.ReadOptions())]
    assert (known[0]["only"], "only" in known[1]) == ("strict", False)


def test_log_likelihoods_of_our_own_responses_are_kept() -> None:
    scores = {"anger": [-1.0, 2, -0.5], "joy": [-2.0, 1, -2.0], "neutral": [-3.0, 1, -3.0]}
    rows = [{"id": f"m{i}", "text": "", "choices": scores} for i in range(6)]
    assert load(write("a.jsonl", rows), task="mood") == 0
    assert value(only(), "accuracy") == pytest.approx(100 * 2 / 6)
    rows[3]["choices"] = {"anger": [-1.0, 1, -1.0]}
    with pytest.raises(
        PredictionError, match=r"b.jsonl:4: needs a finite log-likelihood for each of anger, joy, neutral"
    ):
        load(write("b.jsonl", rows), task="mood")


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_name": "a/b"}, "--model-name 'a/b': a name has at most 64 letters, digits"),
        ({"task": "quizz"}, "Did you mean 'quiz'"),
        ({"task": "covost2-all", "edition": "mini"}, "covost2-all is several tasks; import into one of covost2-de"),
        ({"edition": "mini"}, "unknown edition 'mini'"),
        ({"columns": "ident=x"}, "'ident' is not a role. Allowed: id, text, score"),
        ({"columns": "id"}, "expected NAME=VALUE"),
        (
            {"columns": "id=my id,text=model, output"},
            "found 'output'. A name or value with a comma .* in double quotes",
        ),
        ({"columns": 'id="my id'}, "expected NAME=VALUE"),
        ({"labels": "yes=no"}, "--labels leads to no; task quiz has none: it is no label task"),
        ({"clusters": Path("x.csv")}, "--clusters goes with --no-gold"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(write("a.jsonl", answers()), **changes)
    assert not Path("results").exists()


def test_pairs_are_read_and_a_name_twice_is_refused() -> None:
    assert pairs("a=x, b = y", "--labels") == {"a": "x", "b": "y"}
    assert pairs(None, "--labels") == {}
    assert pairs('id=my id,text="model, output"', "--columns") == {"id": "my id", "text": "model, output"}
    assert pairs('"Yes, sarcastic"=sarcastic,"No = sincere"=sincere', "--labels") == {
        "Yes, sarcastic": "sarcastic", "No = sincere": "sincere",
    }  # fmt: skip
    assert pairs('a="say ""hi"", then",b=c=d', "--labels") == {"a": 'say "hi", then', "b": "c=d"}
    with pytest.raises(UserError, match="'a' is given twice"):
        pairs("a=x,a=y", "--labels")


def test_the_command_as_a_process_says_what_is_wrong_and_how_it_ended(place: Path) -> None:
    write("part.jsonl", answers()[:1])
    Path("bad.jsonl").write_bytes(b"\x00\x01")
    environment = {**os.environ, "COLUMNS": "80"}
    for file, code, said in (("part.jsonl", 1, "5 missing"), ("bad.jsonl", 2, "is binary")):
        words = ["import", file, "-t", "quiz", "-n", "other", "--path", "specs"]
        done = subprocess.run(
            [sys.executable, "-m", "diva_bench", *words],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stderr
        assert "Traceback" not in done.stderr
