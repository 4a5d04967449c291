"""`diva-bench verify`: what it checks, what it calls a difference, and what it cannot check."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mini_task
import pytest
from command_line import call
from stored import run_of, two_runs

from diva_bench.catalog import Catalog
from diva_bench.evaluation.verification import Finding, verify

CODE = """\
import evaluate
import datasets
from pathlib import Path
Path({mark!r}).touch()


class Same(evaluate.Metric):
    def _info(self):
        features = datasets.Features({{"predictions": datasets.Value("string"), "references": datasets.Value("string")}})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references):
        return {{"same": sum(p == r for p, r in zip(predictions, references)) / len(references)}}
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_runs(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "copy")
    return tmp_path / "copy"


def as_json(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def as_lines(path: Path, number: int, change: Callable[[Any], None]) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines[number])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def outcomes(findings: list[Finding]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in findings:
        found.setdefault(one.outcome, set()).add(one.what.partition(":")[0])
    return found


def test_untouched_runs_agree_in_every_check_and_nothing_is_written_to_them(folder: Path) -> None:
    before = {path: path.read_bytes() for path in (folder / "results").rglob("*") if path.is_file()}
    got = call(folder, "verify", "results", "--path", "specs")
    assert (got.returncode, "2 runs: nothing differs" in got.stdout) == (0, True), got.stdout + got.stderr
    assert "not checked\n\n" not in got.stdout  # no table of what could not be checked
    assert {path: path.read_bytes() for path in (folder / "results").rglob("*") if path.is_file()} == before


def test_without_the_data_everything_but_the_clips_is_checked(folder: Path) -> None:
    shutil.rmtree(folder / "specs")
    got = call(folder, "verify", str(run_of(folder)))
    assert got.returncode == 0, got.stdout + got.stderr
    found = outcomes(verify(Catalog(), run_of(folder)))
    assert found["not checked"] == {"clips"}
    assert found["agrees"] >= {"rows.jsonl", "answers", "scores.jsonl", "summary.json", "scorers"}


DIFFERENCES: dict[str, tuple[Callable[[Path], object], str, list[str]]] = {
    "the hash of a task": (
        lambda run: as_json(run.parent / "task.json", lambda r: r.update(prompt="Say that.")),
        "task.json and run.json",
        ["task.json above it was edited", "stored ", "computed "],
    ),
    "the model of a run": (
        lambda run: as_json(run / "run.json", lambda r: r["model"]["args"].update(reply="x")),
        "task.json and run.json",
        ["run.json was edited", "stored ", "computed "],
    ),
    "a reference": (
        lambda run: as_lines(run.parent / "rows.jsonl", 2, lambda r: r.update(references=["x"])),
        "rows.jsonl",
        ["rows were edited", "stored ", "computed "],
    ),
    "an answer": (
        lambda run: as_lines(run / "responses.jsonl", 1, lambda r: r.update(text="q001 and more")),
        "answers",
        ["sha256 in summary.json"],
    ),
    "what a recogniser heard": (
        lambda run: as_lines(run / "responses.jsonl", 1, lambda r: r.update(heard="something else")),
        "answers",
        ["sha256 in summary.json"],
    ),
    "a metric": (
        lambda run: as_json(run / "summary.json", lambda r: r["metrics"]["contains"].update(value=99.5)),
        "summary.json",
        ["contains: value", "99.5", "50"],
    ),
    "an interval": (
        lambda run: as_json(run / "summary.json", lambda r: r["metrics"]["contains"].update(low=49.5)),
        "summary.json",
        ["contains: low", "49.5"],
    ),
    "a group": (
        lambda run: as_json(run / "summary.json", lambda r: r["groups"]["voice"]["a"].update(contains=12.5)),
        "summary.json",
        ["voice a: contains", "12.5", "0"],
    ),
    "the best baseline": (
        lambda run: as_json(run / "summary.json", lambda r: r.update(baseline=1.25)),
        "summary.json",
        ["baseline", "1.25"],
    ),
    "the number of failures": (
        lambda run: as_json(run / "summary.json", lambda r: r.update(errors=3)),
        "summary.json",
        ["errors", "3", "0"],
    ),
    "the model in a summary": (
        lambda run: as_json(run / "summary.json", lambda r: r.update(model="another")),
        "summary.json",
        ["model", "another", "echo"],
    ),
    "a statistic": (
        lambda run: as_lines(run / "scores.jsonl", 1, lambda r: r["qa"].update({next(iter(r["qa"])): 7.0})),
        "scores.jsonl",
        ["q000: qa", "7.0"],
    ),
    "a missing line of scores": (
        lambda run: (
            (run / "scores.jsonl").write_text("\n".join((run / "scores.jsonl").read_text().split("\n")[:-2]) + "\n")
            and None
        ),
        "scores.jsonl",
        ["q005", "none", "scored"],
    ),
    "summary.json that is missing beside scores": (
        lambda run: (run / "summary.json").unlink(),
        "summary.json",
        ["summary.json is missing, and scores.jsonl shows that the run was scored"],
    ),
    "rows of free data that are missing": (
        lambda run: (run.parent / "rows.jsonl").unlink(),
        "rows.jsonl",
        ["rows.jsonl is missing"],
    ),
    "a run of schema 1 with the content of a later one": (
        lambda run: as_json(run / "run.json", lambda r: r.update(schema=1)),
        "task.json and run.json",
        ["run.json: schema"],
    ),
    "events that are no lines": (
        lambda run: (run / "events.jsonl").write_bytes(bytes(range(128, 256))),
        "timing and events",
        ["the last line of events.jsonl is not complete"],
    ),
    "timing that is cut": (
        lambda run: (run / "timing.jsonl").write_bytes((run / "timing.jsonl").read_bytes()[:-9]),
        "timing and events",
        ["the last line of timing.jsonl is not complete"],
    ),
    "timing that is empty": (
        lambda run: (run / "timing.jsonl").write_bytes(b""),
        "timing and events",
        ["timing.jsonl is empty"],
    ),
    "a damaged line of timing": (
        lambda run: (run / "timing.jsonl").write_text('{"rows": -1}\n'),
        "timing and events",
        ["timing.jsonl:1"],
    ),
}


@pytest.mark.parametrize("case", DIFFERENCES)
def test_an_edit_is_a_difference_with_both_values_and_the_exit_code_is_1(folder: Path, case: str) -> None:
    edit, check, words = DIFFERENCES[case]
    run = run_of(folder)
    edit(run)
    got = call(folder, "verify", str(run), "--path", "specs", "--format", "json")
    tables = {table["title"]: table for table in json.loads(got.stdout)} if got.stdout.startswith("[") else {}
    said = (
        got.stdout if not tables else json.dumps([tables.get("errors"), tables.get("differences")], ensure_ascii=False)
    )
    assert got.returncode == 1, got.stdout + got.stderr
    for word in [check, *words]:
        assert word in said, said


def test_other_audio_on_this_machine_is_a_difference(folder: Path) -> None:
    mini_task.clip(folder / "specs" / "audio" / "q002.wav", 0.7, pitch=350.0)
    got = call(folder, "verify", str(run_of(folder)), "--path", "specs", COLUMNS="300")
    assert (got.returncode, "other sound: q002" in got.stdout) == (1, True), got.stdout


def test_scores_of_another_version_of_a_scorer_are_not_compared_and_the_table_says_so(folder: Path) -> None:
    run = run_of(folder)
    as_json(run / "summary.json", lambda r: r["signature"].update(qa="qa|an older one"))
    as_lines(run / "scores.jsonl", 0, lambda r: r["signature"].update(qa="qa|an older one"))
    as_json(run / "summary.json", lambda r: r["metrics"]["contains"].update(value=99.5))
    got = call(folder, "verify", str(run), "--path", "specs", COLUMNS="300")
    assert got.returncode == 0, got.stdout
    assert "qa was measured by qa|an older one, and is qa|" in got.stdout
    assert re.search(r"scorers: signatures +- +- +- +1 +qa", got.stdout)
    assert "`diva-bench score` measures them again" in got.stdout


@pytest.mark.parametrize(
    ("edit", "detail"),
    [
        (lambda path: path.unlink(), "responses.jsonl is missing"),
        (
            lambda path: path.write_text("".join(path.read_text().splitlines(keepends=True)[:4])),
            "responses.jsonl has 4 of 6 answers",
        ),
    ],
)
def test_answers_that_are_missing_are_one_difference(folder: Path, edit: Callable[[Path], object], detail: str) -> None:
    run = run_of(folder)
    edit(run / "responses.jsonl")
    found = verify(Catalog([folder / "specs"]), run)
    assert [one.detail for one in found if one.outcome == "differs"] == [detail]


def test_what_cannot_be_checked_of_records_and_answers_is_named(folder: Path) -> None:
    """A newer schema, and lines of answers that another line replaces."""
    run = run_of(folder)
    as_json(run / "run.json", lambda r: r.update(schema=99))
    lines = (run / "responses.jsonl").read_text().splitlines(keepends=True)
    (run / "responses.jsonl").write_text("".join([lines[0], *lines]))
    found = verify(Catalog([folder / "specs"]), run)
    assert [one for one in found if one.outcome == "differs"] == []
    parts = [part for one in found for part in one.parts]
    assert parts == ["what is new in run.json (schema 99)", "1 line that a later line replaces"]
    assert "this one knows up to 3" in "".join(one.detail for one in found)


def test_a_run_without_scores_is_checked_as_far_as_it_goes(folder: Path) -> None:
    run = run_of(folder)
    (run / "summary.json").unlink()
    (run / "scores.jsonl").unlink()
    got = call(folder, "verify", str(run), "--path", "specs")
    assert got.returncode == 0, got.stdout
    assert "the run is not scored" in got.stdout


def test_a_missing_run_json_has_one_message_in_all_commands(folder: Path) -> None:
    run = run_of(folder)
    (run / "run.json").unlink()
    message = "run.json is missing. Restore it from a copy, or move the folder away."
    place = str(run.relative_to(folder))
    for words in (("verify", place), ("score", place), ("bundle", place, "-o", "x.zip"), ("leaderboard", "results")):
        got = call(folder, *words, COLUMNS="300")
        assert (got.returncode > 0, (got.stdout + got.stderr).count(f"{place}: {message}")) == (True, 1), words
    got = call(folder, "verify", place, "--format", "json")
    assert [table["title"] for table in json.loads(got.stdout)] == ["verification", "errors"]


def test_a_folder_without_runs_and_a_missing_one_are_told(folder: Path) -> None:
    (folder / "empty").mkdir()
    for place, words in (("empty", "empty: has no runs. Give run folders"), ("none", "none: no such folder")):
        got = call(folder, "verify", place)
        assert (got.returncode, words in got.stderr) == (2, True), got.stderr


def test_a_scorer_that_was_added_is_checked_if_it_is_named(folder: Path) -> None:
    run = run_of(folder)
    assert call(folder, "score", str(run), "--scorer", "wer", "--path", "specs").returncode == 0
    plain = call(folder, "verify", str(run), "--path", "specs", COLUMNS="300")
    assert "wer is no scorer of the task; one that `score --scorer` added is checked with --scorer" in plain.stdout
    named = call(folder, "verify", str(run), "--path", "specs", "--scorer", "wer", COLUMNS="300")
    assert (plain.returncode, named.returncode) == (0, 0), plain.stdout + named.stdout
    assert "is no scorer" not in named.stdout


def test_a_mistake_in_scorer_is_no_fault_of_the_runs(folder: Path) -> None:
    run = run_of(folder)
    words = ("verify", str(run), "--path", "specs", "--format", "json", "--scorer")
    own = call(folder, *words, "qa")
    checked, skipped = json.loads(own.stdout)
    outcome = next(row for row in checked["rows"] if row["check"].startswith("scorers"))
    assert (own.returncode, outcome["in part"], outcome["parts not checked"]) == (0, 1, "qa"), own.stdout
    assert "--scorer qa: task toy has scorer qa of its own" in skipped["rows"][0]["why not"]
    unknown = call(folder, *words, "contains")
    assert (unknown.returncode, "unknown scorer 'contains'" in unknown.stderr) == (2, True), unknown.stderr


def test_a_judge_is_not_asked_and_its_stored_replies_are_used(folder: Path) -> None:
    run, judge = run_of(folder), "llm_judge: {model: other, prompt: 'Is {answer} good?'}"
    assert call(folder, "score", str(run), "--scorer", judge, "--path", "specs").returncode in (0, 1)
    replies = next(run.glob("judge-*.jsonl"))
    words = ("verify", str(run), "--path", "specs", "--scorer", judge)
    got = call(folder, *words, COLUMNS="300")
    assert (got.returncode, "llm_judge cannot" in got.stdout) == (0, False), got.stdout
    lines = replies.read_text().splitlines()
    replies.write_text(lines[0] + "\n")
    got = call(folder, *words, COLUMNS="300")
    assert "llm_judge cannot be measured here" in got.stdout
    assert replies.read_text() == lines[0] + "\n"
    replies.rename(run / "judge-00000000.jsonl")
    got = call(folder, *words, COLUMNS="300")
    assert (got.returncode, "judge-00000000.jsonl" in got.stdout) == (1, True), got.stdout


def test_code_that_a_strangers_run_names_is_not_executed(folder: Path) -> None:
    """Neither by verify nor by commands that read the task from the run."""
    mark, run = folder / "was-executed", run_of(folder)
    (folder / "same.py").write_text(CODE.format(mark=str(mark)))
    settings = {"metric": "same", "path": str(folder / "same.py")}
    as_json(run / "run.json", lambda r: r["task"].update(scorers={**r["task"]["scorers"], "hf_evaluate": settings}))
    shutil.rmtree(folder / "specs")
    for words in (
        ("verify", str(run)),
        ("score", str(run)),
        ("report", "results", "--html", "out"),
        ("leaderboard", "results", "--ranks"),
    ):
        got = call(folder, *words, COLUMNS="300")
        assert not mark.exists(), words
        if words[0] in ("verify", "score"):
            assert "name code to execute, and a run may be a stranger's" in got.stdout + got.stderr


def test_metrics_that_were_not_computed_again_are_named_and_their_check_does_not_agree_whole(folder: Path) -> None:
    run = run_of(folder)
    assert call(folder, "score", str(run), "--scorer", "wer", "--path", "specs").returncode == 0
    as_json(run / "summary.json", lambda r: r["metrics"]["wer"].update(value=99.0))
    got = call(folder, "verify", str(run), "--path", "specs", "--format", "json")
    table = json.loads(got.stdout)[0]
    row = next(row for row in table["rows"] if row["check"].startswith("summary.json"))
    assert (got.returncode, row["agrees"], row["in part"]) == (0, None, 1), got.stdout
    assert row["parts not checked"].startswith("wer")
    assert "1 run: nothing that was checked differs; not checked: wer" in table["notes"][0]
    named = call(folder, "verify", str(run), "--path", "specs", "--scorer", "wer", COLUMNS="300")
    assert (named.returncode, "wer: value" in named.stdout) == (1, True), named.stdout


def test_a_metric_that_an_edit_gives_to_another_scorer_is_computed_again_all_the_same(folder: Path) -> None:
    run = run_of(folder)
    as_json(run / "summary.json", lambda r: r["metrics"]["contains"].update(value=99.0, scorer="unknown"))
    got = call(folder, "verify", str(run), "--path", "specs", COLUMNS="300")
    assert (got.returncode, "contains: value" in got.stdout) == (1, True), got.stdout
