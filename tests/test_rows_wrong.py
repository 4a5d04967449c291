"""Mistakes in tasks that are made in Python: each is told when the task is made, with the setting or the number of the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

import diva_bench as db

RATE = 16_000
SETTINGS: dict[str, Any] = {"prompt": "Say yes or no.", "reference": "answer", "scorers": "qa"}
WAVE = (0.3 * np.sin(np.arange(4000) / 20)).astype(np.float32)


def rows(**changes: Any) -> list[dict[str, Any]]:
    """Three rows; `changes` are made in row 1, None takes a column out."""
    made = {"audio": (WAVE, RATE), "answer": "yes", "who": "a"}
    table: list[dict[str, Any]] = [{"id": f"r{i}", "text": f"number {i}", **made} for i in range(3)]
    table[1] = {key: value for key, value in {**table[1], **changes}.items() if value is not None}
    return table


# ---------------------------------------------------------------- the scale of arrays


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (WAVE * 10_000, "the largest value of this float array is 3000. Allowed: floats in [-1, 1], or int16"),
        (-WAVE.astype(np.float64) * 20, "the largest value of this float array is 6."),
        (WAVE.astype(np.float16) * 10_000, "the largest value of this float array is 300"),
        ((WAVE * 10_000).astype(np.int32), "the largest value of this int32 array is 3000, which is next to silence"),
        ((WAVE * 10_000).astype(np.int64), "type int64. Allowed: mono, shape (n,), floats in [-1, 1]"),
        (np.full(900, np.nan), "the array has values that are not finite"),
        (np.full(900, np.inf, np.float32), "the array has values that are not finite"),
        (np.zeros(0, np.float32), "an array without samples"),
        ([[0.1], [0.1, 0.2]], "the array is not one sequence of samples"),
    ],
)
@pytest.mark.parametrize("form", ["pair", "mapping", "Audio"])
def test_an_array_that_is_not_on_its_scale_is_refused(wave: Any, message: str, form: str) -> None:
    audio: Any = {
        "pair": (wave, RATE),
        "mapping": {"array": wave, "sampling_rate": RATE},
        "Audio": db.Audio(wave, RATE),
    }[form]
    with pytest.raises(db.UserError) as caught:
        db.Task.from_rows(rows(audio=audio), **SETTINGS)
    assert "row 1: audio: " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "wave", [WAVE * 3.5, (WAVE * 30_000).astype(np.int16), (WAVE * 2e9).astype(np.int32), np.zeros(900, np.int32)]
)
def test_an_array_on_its_scale_and_one_that_overshoots_a_little_are_taken(wave: Any) -> None:
    assert db.Task.from_rows(rows(audio=(wave, RATE)), **SETTINGS).rows


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {},
            "Task.from_rows: prompt and reference and scorers are missing. Needed: prompt=..., reference=..., scorers=",
        ),
        ({"prompt": "x", "reference": "answer"}, "Task.from_rows: scorers is missing."),
        (
            {**SETTINGS, "promt": "x"},
            "Task.from_rows: unknown setting 'promt'. Did you mean 'prompt'? Allowed: prompt,",
        ),
        ({**SETTINGS, "limit": 3}, "Task.from_rows: unknown setting 'limit'."),
        ({**SETTINGS, "reference": 3}, "task 'rows': reference: must be the name of a column (found 3)"),
        ({**SETTINGS, "audio": ["a"]}, "task 'rows': audio: must be the name of a column (found ['a'])"),
        (
            {**SETTINGS, "reference": "nope"},
            "task rows, row 0: column 'nope' is missing; the row has answer, id, text, who",
        ),
        ({**SETTINGS, "groups": "nope"}, "task rows, row 0: column 'nope' is missing"),
        ({**SETTINGS, "prompt": "Say {it}."}, "the prompt asks for {it}"),
        ({**SETTINGS, "max_new_tokens": "8"}, "task 'rows': max_new_tokens: must be a whole number (found '8')"),
        ({**SETTINGS, "speech": "robot"}, "task 'rows': speech: must be 'synthetic' or 'human' (found 'robot')"),
        ({**SETTINGS, "name": 3}, "task 3: name: must be text (found 3)"),
    ],
)
def test_a_setting_that_is_wrong_is_told_when_the_task_is_made(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(db.UserError) as caught:
        db.Task.from_rows(rows(), **settings)
    assert message in str(caught.value)


@pytest.mark.parametrize("make", [db.Task, lambda: db.Task("x"), lambda: db.Task(prompt="x")])
def test_a_task_is_not_made_by_its_class(make: Any) -> None:
    with pytest.raises(db.UserError, match=r"Allowed: Task\.from_rows\(rows, prompt="):
        make()


def test_what_is_made_is_a_task() -> None:
    made = db.Task.from_rows(rows(), **SETTINGS)
    assert isinstance(made, db.Task)
    assert made.data.rows == 3


@pytest.mark.parametrize("make", [db.Task.from_rows, db.Task.from_pandas, db.Task.from_dataset])
def test_a_task_needs_rows(make: Any) -> None:
    with pytest.raises(db.UserError, match=r"rows: there are none|from_pandas: None|from_dataset: None"):
        make(**SETTINGS)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"answer": ""}, {}, "row 1: the reference (answer) is empty or not text: ''"),
        ({"answer": []}, {}, "row 1: the reference (answer) is empty or not text: []"),
        ({"answer": ["yes", " "]}, {}, "row 1: the reference (answer) is empty or not text"),
        ({"answer": None}, {}, "row 1: column 'answer' is missing"),
        (
            {"answer": "maybe"},
            {"choices": ["yes", "no"], "scorers": "labels"},
            "row 1: answer is 'maybe'; task rows allows",
        ),
        ({"id": "r0"}, {}, "row 1: id 'r0' is already used in task rows, row 0"),
        ({"id": ""}, {}, "row 1: the id must be a string that is not empty"),
        ({"text": ["a"]}, {}, "row 1: the transcript (text) is ['a'], not text"),
        ({"who": {"a": 1}}, {"groups": ["who"]}, "row 1: the group 'who' is {'a': 1}"),
        ({"answer": "\ud800"}, {}, "row 1: "),
        ({"audio": "gone.wav"}, {}, "row 1: audio: "),
        ({"audio": {"path": "gone.wav"}}, {}, "gone.wav: there is no such file"),
    ],
)
def test_a_row_that_is_wrong_is_told_by_its_number(
    changes: dict[str, Any], settings: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(db.UserError) as caught:
        db.Task.from_rows(rows(**changes), **SETTINGS | settings)
    assert message in str(caught.value)
    assert "row 1" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scorers": "wre"}, "unknown scorer 'wre'. Did you mean 'wer'?"),
        (
            {"scorers": None},
            "scorers: must be the name of a scorer, a list of names, or a mapping, name -> settings (found",
        ),
        ({"scorers": {"qa", "wer"}}, "task 'rows': scorers: a set has no order, which counts here. Give a list."),
        ({"choices": {"yes", "no"}}, "task 'rows': choices: a set has no order, which counts here. Give a list."),
        ({"groups": {"who"}}, "task 'rows': groups: a set has no order"),
        ({"scorers": []}, "task 'rows': scorers: the list is empty. Allowed: adherence, bleu, chrf"),
        ({"scorers": {"qa": {"x": 1}}}, "task rows: scorers.qa has no setting 'x'."),
        ({"scorers": "labels"}, "scorers.labels needs a task with choices"),
        ({"primary": "blue"}, "unknown metric 'blue' in `primary` of task rows. Available: contains, em, f1."),
        ({"audio": "clip"}, "no row has a clip in column 'clip'; the other columns are "),
    ],
)
def test_scorers_and_clips_are_checked_when_the_task_is_made(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(db.UserError) as caught:
        db.Task.from_rows(rows(), **SETTINGS | settings)
    assert message in str(caught.value)


def test_a_row_without_a_clip_is_told_when_the_task_is_made(caplog: pytest.LogCaptureFixture) -> None:
    assert repr(db.Task.from_rows(rows(audio=None), **SETTINGS)) == (
        "Task('rows', edition='full', rows=3, prompt='Say yes or no.', reference='answer', scorers=['qa'])"
    )
    assert "task rows, row 1: audio: has no clip; it is left out for every model" in caplog.text


# ---------------------------------------------------------------- frames


def test_a_frame_with_two_columns_of_one_name_is_refused() -> None:
    frame = pandas.DataFrame([["r0", "yes", "no"]], columns=["id", "answer", "answer"])
    with pytest.raises(db.UserError, match="from_pandas: the frame has more than one column 'answer'"):
        db.Task.from_pandas(frame, **SETTINGS)


def test_whole_numbers_of_a_column_with_gaps_are_whole_numbers() -> None:
    clips: dict[str, Any] = {"audio": [(WAVE, RATE)] * 3}
    frame = pandas.DataFrame({"text": ["a", "b", "c"], "answer": [3, 4, 5], "who": [1, None, 2], **clips})
    table = db.Task.from_pandas(frame, **SETTINGS).rows
    assert table is not None
    assert [(row.values["answer"], row.values["who"]) for row in table.rows] == [("3", 1), ("4", None), ("5", 2)]
    gaps = pandas.DataFrame({"text": ["a", "b"], "answer": [3, None]})
    with pytest.raises(db.UserError, match=r"row 1: the reference \(answer\) is empty or not text: None"):
        db.Task.from_pandas(gaps, **SETTINGS)
    mixed = db.Task.from_rows([{"answer": answer, "audio": (WAVE, RATE)} for answer in (3.0, 2.5)], **SETTINGS).rows
    assert mixed is not None
    assert [row.values["answer"] for row in mixed.rows] == ["3", "2.5"]
