"""`diva-bench import`: coverage, identity, scores that came with the answers, and the commands that follow it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from diva_bench import imported, predictions
from diva_bench.cli.compare import compare_command
from diva_bench.cli.import_ import Options, import_command, pairs
from diva_bench.cli.results import leaderboard_command, score_command
from diva_bench.errors import PredictionError, StoreError, UserError
from diva_bench.store import RunFolder

SHARED = Path(__file__).parents[2] / "shared" / "data"
GOLD, RELEASED = SHARED / "gold", SHARED / "diva-eval"
QA = """\
name: quiz
version: 1
description: a test
prompt: Answer.
reference: answers
groups: [voice]
scorers: {qa: {}}
primary: contains
editions:
  full: {source: jsonl, path: quiz.jsonl, rows: 6}
"""
MOOD = """\
name: mood
version: 1
description: a test
prompt: "One of {choices}."
choices: [anger, joy, neutral]
reference: label
scorers: {labels: {}}
primary: accuracy
editions:
  full: {source: jsonl, path: mood.jsonl, rows: 6}
"""
GOLD_LABELS = ("anger", "joy", "neutral", "joy", "anger", "neutral")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tasks of six rows, labels and answers only: no sound is at hand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DIVA_BENCH_PATH", "")
    monkeypatch.setenv("COLUMNS", "200")
    specs = tmp_path / "specs"
    specs.mkdir()
    for name, text in (("quiz", QA), ("mood", MOOD)):
        (specs / f"{name}.yaml").write_text(text)
        rows = [
            {"id": f"{name[0]}{i}", "answers": [f"right {i}"], "label": GOLD_LABELS[i], "voice": "ab"[i % 2]}
            | {"cluster": f"c{i // 2}"}
            for i in range(6)
        ]
        (specs / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def write(name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Path(name)


def answers(right: int = 3, count: int = 6) -> list[dict[str, Any]]:
    return [{"id": f"q{i}", "text": f"It is right {i}." if i < right else "no"} for i in range(count)]


def diva_eval(name: str, rows: Sequence[tuple[object, str, object]]) -> Path:
    Path(name).write_text("".join(f'{i}[SEP_DIAL]"""{text}"""[SEP_DIAL]{score}\n' for i, text, score in rows))
    return Path(name)


def load(*files: Path, **changes: Any) -> int:
    known: dict[str, Any] = {"task": "quiz", "model_name": "other", "paths": [Path("specs")]}
    return import_command(Options(files=list(files), **known | changes))


def only(task: str = "*", run: str = "*", where: str = "results") -> RunFolder:
    (path,) = [p.parent for p in Path(where).glob(f"{task}/{run}/run.json")]
    return RunFolder(path)


def value(folder: RunFolder, metric: str) -> float:
    return float(folder.summary()["metrics"][metric]["value"])


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
    assert leaderboard_command(Path("results"), [], "csv") == 0
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
    with pytest.raises(StoreError, match="is not complete: 2 missing from the file"):
        compare_command([only().path, only().path.parent / "x"], [], 0, [], "rich", [Path("specs")])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*answers(), {"id": "z", "text": "x"}], r"extra \(not in the task\): 1: z"),
        ([*answers(), {"id": "q1", "text": "x"}], r"more than once: 1: q1; the first at bad.jsonl:2 and bad.jsonl:7"),
        ([{"id": f"z{i}", "text": "x"} for i in range(6)], "is no id of the task"),
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


# ---------------------------------------------------------------- labels and given scores


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


def test_it_is_said_whether_the_scores_that_came_are_a_metric_of_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    for right, said in (
        (3, "the scores in the file are contains, answer by answer (6 answers, at most 0.0e+00 of 1 apart)"),
        (5, "are those of no metric here: 4 of 6 answers have the same contains; their means are 83.33 and 50.00."),
    ):
        rows = [row | {"score": int(i < right)} for i, row in enumerate(answers(right=3))]
        assert load(write(f"{right}.jsonl", rows), columns="score=score") == 0
        assert said in " ".join(capsys.readouterr().err.split())


def test_other_gold_is_another_task_and_compare_says_that_it_is_the_data() -> None:
    load(write("a.jsonl", answers()))
    path = Path("specs/quiz.jsonl")
    path.write_text(path.read_text().replace("right 0", "wrong 0"))
    load(write("b.jsonl", answers(right=5)))
    runs = [p.parent for p in Path("results").glob("*/other-*/run.json")]
    with pytest.raises(UserError, match=r"were not asked the same: the data \(other clips or references, "):
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
    told = "no one label of anger, joy, neutral can be read in 4 of 6 answers: counted as wrong"
    assert told in " ".join(capsys.readouterr().err.split())
    assert load(file, task="mood", labels="mad or so=anger,glad=joy") == 0
    assert "can be read" not in capsys.readouterr().err


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
    options = predictions.Options(only="strict")
    known = [imported.model("m", [], "lm-eval", how, {}).args for how in (options, predictions.Options())]
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


@pytest.mark.parametrize(
    ("scores", "top", "expected"),
    [
        ((0, 0.5, 1, 1, 1, 1), None, 75),
        ((0, 50, 100, 100, 100, 100), None, 75),
        ((0, 0, 0, 0, 0, 1), 100, 1 / 6),
        ((0, 0, 0, 0, 0, 1.5), None, 1 / 4),
        ((0, 0, 0, 100.00000000000004, 0, 50), None, 25),
    ],
)
def test_scores_of_0_to_1_and_of_0_to_100_are_on_one_scale(
    scores: tuple[float, ...], top: int | None, expected: float
) -> None:
    load(diva_eval("outs.txt", [(f"q{i}", "x", s) for i, s in enumerate(scores)]), top=top)
    assert value(only(), "released") == pytest.approx(expected)


@pytest.mark.parametrize("score", [-0.5, 101])
def test_a_score_outside_the_scale_is_refused(score: float) -> None:
    with pytest.raises(PredictionError, match="the scores go from"):
        load(diva_eval("outs.txt", [(f"q{i}", "x", score if i == 3 else 0.5) for i in range(6)]))
    assert not Path("results").exists()


# ---------------------------------------------------------------- what follows


def test_scoring_again_gives_the_same_bytes_also_from_another_place() -> None:
    load(diva_eval("outs.txt", [(f"q{i}", f"right {i}" if i % 2 else "", i / 8) for i in range(6)]))
    folder = only().path
    before = {name: (folder / name).read_bytes() for name in ("summary.json", "scores.jsonl")}
    for name in before:
        (folder / name).unlink()
    Path("outs.txt").unlink()
    assert score_command([folder], [Path("specs")]) == 0
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_two_imported_runs_are_compared_also_by_the_scores_they_came_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, shift in (("one", 0.25), ("two", 0.0)):
        load(diva_eval(f"{name}.txt", [(f"q{i}", "x", i / 10 + shift) for i in range(6)]), model_name=name)
    runs = [only(run=f"{name}-*").path for name in ("one", "two")]
    capsys.readouterr()
    assert compare_command(runs, ["released"], 0, [], "csv", [Path("specs")]) == 0
    assert "25.0" in capsys.readouterr().out


def test_a_run_with_scores_is_compared_with_one_without_by_what_both_have(capsys: pytest.CaptureFixture[str]) -> None:
    load(diva_eval("one.txt", [(f"q{i}", f"right {i}", 0.5) for i in range(6)]), model_name="one")
    load(write("two.jsonl", answers()), model_name="two")
    for order in (("one", "two"), ("two", "one")):
        capsys.readouterr()
        runs = [only(run=f"{name}-*").path for name in order]
        assert compare_command(runs, [], 0, [], "csv", [Path("specs")]) == 0
        out = capsys.readouterr().out
        assert "contains" in out
        assert "released" not in out


# ---------------------------------------------------------------- without gold labels


def test_without_gold_the_scores_alone_are_a_run_of_a_task_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[tuple[object, str, object]] = [(-5 + i, "x", i / 10) for i in range(5)]
    assert load(diva_eval("outs.txt", rows), gold=False) == 0
    assert load(diva_eval("turned.txt", [(i, "y", s) for i, _, s in rows[::-1]]), gold=False, model_name="two") == 0
    load(write("a.jsonl", answers()))
    (task,) = Path("results").glob("quiz-scores-only-*")
    runs = sorted(task.glob("*/"))
    assert [p.name.partition("-")[0] for p in runs] == ["other", "two"]
    summary = RunFolder(runs[0]).summary()
    assert (summary["primary"], summary["clusters"], summary["baseline"]) == ("released", 5, None)
    assert list(summary["metrics"]) == ["released"]
    assert value(RunFolder(runs[0]), "released") == pytest.approx(20)
    capsys.readouterr()
    leaderboard_command(Path("results"), ["quiz-scores-only"], "md")
    page = capsys.readouterr().out
    assert "contains" not in page
    before = (runs[0] / "summary.json").read_bytes()
    assert score_command(runs, [Path("specs")]) == 0
    assert (runs[0] / "summary.json").read_bytes() == before
    assert compare_command(runs, [], 2, [], "rich", [Path("specs")]) == 0


def test_clusters_of_scores_alone_come_from_a_file_and_are_kept() -> None:
    file = diva_eval("outs.txt", [(f"x{i}", "x", i / 10) for i in range(4)])
    Path("clusters.csv").write_text("id,cluster\n" + "".join(f"x{i},talk{i // 2}\n" for i in range(6)))
    load(file, gold=False, clusters=Path("clusters.csv"))
    folder = only()
    assert folder.summary()["clusters"] == 2
    before = (folder.path / "summary.json").read_bytes()
    Path("clusters.csv").write_text("id,cluster\nx0,talk\n")
    assert score_command([folder.path], [Path("specs")]) == 0
    assert (folder.path / "summary.json").read_bytes() == before
    with pytest.raises(PredictionError, match="--clusters has no cluster for 3 ids: x1, x2, x3"):
        load(file, gold=False, clusters=Path("clusters.csv"), output=Path("more"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "x", 1), ("a", "y", 0)], "more than once: 1: a"),
        ([("a", "ERROR IN PROCESSING", "NA")], "no row of the file has a score"),
    ],
)
def test_scores_alone_are_checked(rows: list[tuple[object, str, object]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(diva_eval("outs.txt", rows), gold=False)
    assert not Path("results").exists()


def test_scores_alone_need_ids() -> None:
    with pytest.raises(PredictionError, match="--no-gold needs a file with ids"):
        load(write("vb.jsonl", [{"prompt": "q", "response": "x"}]), gold=False)


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_name": "a/b"}, "--model-name 'a/b': letters, digits"),
        ({"task": "quizz"}, "Did you mean 'quiz'"),
        ({"task": "covost2", "edition": "mini"}, "covost2 is several tasks; import into one of covost2-de"),
        ({"edition": "mini"}, "unknown edition 'mini'"),
        ({"columns": "ident=x"}, "'ident' is no role. Allowed: id, text, score"),
        ({"columns": "id"}, "expected NAME=VALUE"),
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


# ---------------------------------------------------------------- the released outputs


def released(file: str, task: str, name: str, **changes: Any) -> RunFolder:
    if not GOLD.is_dir() or not (RELEASED / file).is_file():
        pytest.skip(f"the released outputs and gold labels are not here ({SHARED})")
    load(RELEASED / file, task=task, model_name=name, **{"data_dir": GOLD, "paths": []} | changes)
    return only(run=f"{name}-*")


def test_released_meld_has_the_published_figures() -> None:
    folder = released("MELD_emotion_recognition_Results/e2e_DiVA/default_outs.txt", "paper-meld", "diva")
    assert folder.summary()["n"] == 2608
    expected = {"accuracy": 39.0, "weighted_f1": 41.3, "macro_f1": 29.4, "uar": 32.7, "released": 39.0}
    assert {metric: round(value(folder, metric), 1) for metric in expected} == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("e2e_DiVA", {"accuracy": 52.6, "binary_f1": 59.8, "macro_f1": 51.1, "mcc": 5.6, "released": 52.6}),
        ("e2e_qwen2", {"accuracy": 55.5, "binary_f1": 63.1, "macro_f1": 53.6, "mcc": 12.1, "released": 55.5}),
    ],
)
def test_released_mustard_has_the_published_figures(model: str, expected: dict[str, float]) -> None:
    folder = released(f"Mustard_sarcasm_Results/{model}/default_outs.txt", "paper-mustard", model)
    assert {metric: round(value(folder, metric), 1) for metric in expected} == expected
    assert "sorted ids" in folder.record()["imported"]["matched"]


@pytest.mark.weights
@pytest.mark.parametrize(("model", "pedants", "came"), [("e2e_qwen2", 46.22, 46.22), ("e2e_DiVA", 51.52, 55.17)])
def test_released_heysquad_by_one_version_of_pedants_and_as_released(
    model: str, pedants: float, came: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DIVA_BENCH_CACHE")
    folder = released(f"non_social_HeySquad_QA_Results/{model}/default_outs.txt", "paper-heysquad", model)
    metrics = folder.summary()["metrics"]
    assert round(metrics["released"]["value"], 2) == came
    assert metrics["released"]["clusters"] == 311
    if "pedants" not in metrics:
        pytest.skip(f"the scores as released are as published; {folder.summary()['signature']['pedants']}")
    assert round(metrics["pedants"]["value"], 2) == pedants
    said = " ".join(capsys.readouterr().err.split())
    assert ("are pedants, answer by answer" if pedants == came else "are those of no metric here") in said


@pytest.mark.parametrize(
    ("dialect", "expected"), [("usa", (54.58, 494)), ("ind_n", (51.91, 494)), ("kenya", (52.06, 481))]
)
def test_released_sdqa_keeps_its_means_without_gold_labels(dialect: str, expected: tuple[float, int]) -> None:
    file = f"Spoken_Dialect_QA_Results/e2e_DiVA/{dialect}_outs.txt"
    metric = released(file, f"paper-sdqa-{dialect}", dialect, gold=False).summary()["metrics"]["released"]
    assert (round(metric["value"], 2), metric["n"]) == expected
