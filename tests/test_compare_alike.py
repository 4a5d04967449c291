"""Two systems that do not differ: no test of any kind finds a difference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from answer_files import load, only, two_tasks, write

from diva_bench.cli.compare import compare_command

SCORERS = {
    "quiz": "{bleu: {}, chrf: {word_order: [0, 2]}, qa: {}, wer: {unit: char}, sentence_bleu: {}}",
    "mood": "{labels: {}}",
}
ANSWERS = {
    "quiz": ["right 0", "right 1 and more", "", "It is right 3.", "no", "right right"],
    "mood": ["anger", "joy", "Hm.", "joy", "neutral", "anger"],
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return two_tasks(tmp_path, monkeypatch)


def compared(
    task: str, first: list[str], second: list[str], capsys: pytest.CaptureFixture[str]
) -> list[dict[str, Any]]:
    """The rows of all tables of the comparison."""
    spec = Path(f"specs/{task}.yaml")
    old = "scorers: {qa: {}}" if task == "quiz" else "scorers: {labels: {}}"
    spec.write_text(spec.read_text().replace(old, f"scorers: {SCORERS[task]}"))
    for name, texts in (("one", first), ("two", second)):
        rows = [{"id": f"{task[0]}{i}", "text": text} for i, text in enumerate(texts)]
        assert load(write(f"{name}.jsonl", rows), task=task, model_name=name) == 0
    capsys.readouterr()
    runs = [only(run=f"{name}-*").path for name in ("one", "two")]
    assert compare_command(runs, [], 0, [], "json", [Path("specs")]) == 0
    tables = json.loads(capsys.readouterr().out)
    return [row for table in tables for row in table["rows"]]


PS = ("p", "p (Holm)", "p (iid)", "McNemar", "swaps", "swaps (iid)", "sacreBLEU")


@pytest.mark.parametrize("task", ["quiz", "mood"])
def test_every_p_of_two_identical_answer_sets_is_1(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = compared(task, ANSWERS[task], ANSWERS[task], capsys)
    found = {(row["metric"], name): row[name] for row in rows for name in PS if row.get(name) is not None}
    assert set(found.values()) == {1.0}
    seen = {name for _, name in found}
    assert seen >= {"p", "p (Holm)", "p (iid)", "McNemar", "swaps", "swaps (iid)"}
    assert ("sacreBLEU" in seen) is (task == "quiz")
    differences = [row for row in rows if "p (Holm)" in row]
    assert {row["detectable"] for row in differences} == {None}
    assert {row["difference"]["high"] for row in differences} == {0}


def test_two_systems_that_are_right_equally_often_differ_by_no_test(capsys: pytest.CaptureFixture[str]) -> None:
    first = [f"right {i}" if i < 3 else "wrong" for i in range(6)]
    second = [f"right {i}" if i >= 3 else "wrong" for i in range(6)]
    rows = compared("quiz", first, second, capsys)
    for row in rows:
        for name in ("McNemar", "swaps", "swaps (iid)", "sacreBLEU"):
            assert row.get(name, 1.0) in (None, 1.0), (row["metric"], name)
