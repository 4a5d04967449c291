"""Imported answers that failed at their source: never ranked by themselves, ranked by the rule that --errors states"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from answer_files import answers, diva_eval, load, only, two_tasks, value, write

from diva_bench.cli.compare import compare_command, gap_attribution_command
from diva_bench.cli.diagnose import diagnose_command
from diva_bench.cli.results import leaderboard_command, score_command
from diva_bench.errors import StoreError
from diva_bench.runs.store import RunFolder

SPECS = [Path("specs")]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return two_tasks(tmp_path, monkeypatch)


def failing(name: str = "bad.jsonl", task: str = "q", lost: int = 2) -> Path:
    """Six answers, right but for the last `lost`, which failed at their source."""
    said = {"q": [f"right {i}" for i in range(6)], "m": ["anger", "joy", "neutral", "joy", "anger", "neutral"]}[task]
    rows: list[dict[str, Any]] = [{"id": f"{task}{i}", "text": said[i], "score": 1} for i in range(6 - lost)]
    rows += [
        {"id": f"{task}{i}", "text": "", "status": "error", "detail": "timeout", "score": None}
        for i in range(6 - lost, 6)
    ]
    return write(name, rows)


@pytest.mark.parametrize(
    ("rule", "contains", "released", "n", "remark"),
    [
        ("wrong", 100 * 4 / 6, 100 * 4 / 6, 6, "2 failed: scored as empty answers"),
        ("drop", 100, 100, 4, "2 failed: left out"),
    ],
)
def test_a_stated_rule_ranks_the_run_and_every_table_says_so(
    rule: str, contains: float, released: float, n: int, remark: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"other (errors {rule})"
    assert load(failing(), errors=rule, columns="score=score", top=1) == 0
    done = " ".join(capsys.readouterr().err.split())
    assert f"failed at their source: 2: q4, q5: {'scored as an' if rule == 'wrong' else 'left out'}" in done
    assert f"as --errors {rule} says; every table marks the run" in done
    folder = only()
    summary = folder.summary()
    assert (summary["complete"], summary["errors"], summary["errors_as"]) == (True, 2, rule)
    assert [r.status for r in folder.responses()].count("error") == 2, "what was said is kept as it is"
    found = {m: (summary["metrics"][m]["value"], summary["metrics"][m]["n"]) for m in ("contains", "released")}
    assert found == {"contains": (pytest.approx(contains), n), "released": (pytest.approx(released), n)}
    assert folder.record()["model"]["args"]["errors"] == rule
    load(write("good.jsonl", answers(right=3)), model_name="good")
    load(write("third.jsonl", answers(right=2)), model_name="third")
    good = only(run="good-*").path
    capsys.readouterr()
    tables = [
        lambda: leaderboard_command(Path("results"), [], "md"),
        lambda: score_command([folder.path], SPECS),
        lambda: compare_command([folder.path, good], [], 2, [], "md", SPECS),
        lambda: diagnose_command([folder.path, good], 1, "md", SPECS),
        lambda: gap_attribution_command(Path("results"), "good", "other", ["third"], [], "md", SPECS),
    ]
    for print_it in tables:
        assert print_it() == 0
        out = capsys.readouterr().out
        assert name in out
        assert remark in out or "samples without an answer" in out


def test_without_a_rule_it_is_not_ranked_and_a_rule_is_another_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert load(failing()) == 1
    assert "--errors wrong or drop ranks it by a rule that every table names" in " ".join(
        capsys.readouterr().err.split()
    )
    assert (load(failing(), errors="wrong"), load(failing(), errors="drop")) == (0, 0)
    runs = {RunFolder(p.parent).summary().get("errors_as") for p in Path("results").glob("*/other-*/run.json")}
    assert runs == {None, "wrong", "drop"}
    leaderboard_command(Path("results"), [], "csv", every=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[:2] for line in lines if ",other" in line] == [
        ["1", "other (errors drop)"],
        ["2", "other (errors wrong)"],
        ["", "other"],
    ]


def test_a_rule_changes_nothing_where_nothing_failed() -> None:
    assert (load(write("a.jsonl", answers())), load(Path("a.jsonl"), errors="drop")) == (0, 0)
    assert "errors" not in only().record()["model"]["args"]


@pytest.mark.parametrize("rule", ["wrong", "drop"])
def test_a_rule_ranks_neither_a_part_nor_a_run_that_failed_altogether(rule: str) -> None:
    rows = [json.loads(line) for line in failing().read_text().splitlines()]
    assert load(write("part.jsonl", rows[1:]), errors=rule, model_name="part") == 1
    assert only(run="part-*").summary()["reason"] == "1 missing from the file"
    assert load(failing("none.jsonl", lost=6), errors=rule, model_name="none") == 1
    assert only(run="none-*").summary()["reason"] == "6 failed"


def test_label_tasks_count_a_failure_as_wrong_or_not_at_all() -> None:
    for rule, accuracy, unparsed in (("wrong", 100 * 5 / 6, 1), ("drop", 100, 0)):
        assert load(failing(task="m", lost=1), task="mood", errors=rule, model_name=rule) == 0
        folder = only(run=f"{rule}-*")
        assert value(folder, "accuracy") == pytest.approx(accuracy)
        assert folder.summary()["unparsed"] == unparsed


def test_what_was_dropped_is_compared_on_the_samples_that_both_answered(capsys: pytest.CaptureFixture[str]) -> None:
    load(failing(), errors="drop")
    load(write("good.jsonl", answers(right=2)), model_name="good")
    capsys.readouterr()
    runs = [only(run=f"{name}-*").path for name in ("other", "good")]
    assert compare_command(runs, ["contains"], 0, [], "json", SPECS) == 0
    scores, differences, *_ = json.loads(capsys.readouterr().out)
    assert [row["score"]["value"] for row in scores["rows"]] == [100, 50]
    assert differences["rows"][0]["difference"]["value"] == 50
    assert "2 of 6 samples are in no score here, because some run has no value for them" in scores["notes"]


def test_a_group_in_which_everything_failed_has_no_score(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in failing(lost=6).read_text().splitlines()]
    rows = [row if i % 2 else {"id": row["id"], "text": f"right {i}"} for i, row in enumerate(rows)]
    load(write("half.jsonl", rows), errors="drop")
    load(write("good.jsonl", answers(right=2)), model_name="good")
    capsys.readouterr()
    runs = [only(run=f"{name}-*").path for name in ("other", "good")]
    for reference in ([], ["voice=b"]):
        assert compare_command(runs, ["contains"], 0, reference, "json", SPECS) == 0
        groups = next(t for t in json.loads(capsys.readouterr().out) if "by group" in t["title"])
        assert [(row["value"], row["n"], row["difference"] is None) for row in groups["rows"]] == [
            ("a", 3, False),
            ("b", 0, True),
        ]


def test_scores_that_came_alone_follow_the_rule_and_judging_again_gives_the_same_bytes() -> None:
    rows: list[tuple[object, str, object]] = [(f"x{i}", "x", 0.5) for i in range(5)]
    file = diva_eval("outs.txt", [*rows, ("x5", "ERROR IN PROCESSING", "NA")])
    for rule, expected, n in (("wrong", 50 * 5 / 6, 6), ("drop", 50, 5)):
        assert load(file, gold=False, errors=rule, model_name=rule) == 0
        folder = only(run=f"{rule}-*")
        metric = folder.summary()["metrics"]["released"]
        assert (metric["value"], metric["n"]) == (pytest.approx(expected), n)
        before = {name: (folder.path / name).read_bytes() for name in ("summary.json", "scores.jsonl")}
        assert score_command([folder.path], SPECS) == 0
        assert {name: (folder.path / name).read_bytes() for name in before} == before


def test_a_run_without_a_rule_is_still_no_match_for_compare() -> None:
    load(failing(), model_name="plain")
    load(write("good.jsonl", answers()), model_name="good")
    with pytest.raises(StoreError, match="is not complete: 2 failed"):
        compare_command([only(run=f"{n}-*").path for n in ("good", "plain")], [], 0, [], "md", SPECS)
