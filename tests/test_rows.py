"""Tasks that are made in Python: whatever rows and clips come as, they are one task; other rows are another."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pytest
import soundfile

import diva_bench as db
from diva_bench.specs.rows import rows_of

RATE = 16_000
SETTINGS: dict[str, Any] = {"prompt": "Say yes or no.", "reference": "answer", "scorers": "qa"}


def wave(number: int) -> Any:
    return (0.3 * np.sin(np.arange(RATE // 2 + 100 * number) / 20)).astype(np.float32)


def rows(count: int = 5) -> list[dict[str, Any]]:
    return [
        {
            "id": f"r{i}",
            "audio": (wave(i), RATE),
            "text": f"number {i}",
            "answer": "yes" if i % 2 else "no",
            "who": "ab"[i % 2],
        }
        for i in range(count)
    ]


class Yes:
    name, version, accepts = "yes", "1", frozenset({"audio"})

    def __init__(self) -> None:
        self.heard: dict[str, float] = {}

    def generate(self, requests: Any) -> list[db.Response]:
        self.heard |= {request.id: request.audio.seconds for request in requests}
        return [db.Response(request.id, text="yes") for request in requests]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in (("DIVA_BENCH_CACHE", str(tmp_path / "cache")), ("DIVA_BENCH_PATH", "")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def task(**changes: Any) -> db.Task:
    return db.Task.from_rows(rows(), **SETTINGS | changes)


def identity(asked: db.Task) -> str:
    return db.run(Yes(), asked)[0].path.parent.name


def test_five_rows_are_asked_scored_broken_down_and_read_back() -> None:
    model, asked = Yes(), task(groups="who", prompt="Say yes or no. It is {who}.")
    [run] = db.run(model, asked)
    assert run.score == 40.0
    assert run.summary.primary == "contains"
    assert {group: scores["contains"] for group, scores in run.summary.groups["who"].items()} == {"a": 0.0, "b": 100.0}
    assert model.heard["r1"] == pytest.approx(0.5 + 100 / RATE)
    frame = run.to_pandas()
    assert list(frame["prompt"])[:2] == ["Say yes or no. It is a.", "Say yes or no. It is b."]
    assert list(frame["transcript"]) == [f"number {i}" for i in range(5)]
    assert db.run(Yes(), asked)[0].path == run.path
    assert db.score(run, tasks=asked)[0].score == 40.0
    assert db.score(run)[0].score == 40.0  # by the rows that are stored with the run
    other = Yes()
    other.name = "other"
    assert db.compare(run, db.run(other, asked)[0], metrics="contains")[0].rows


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "Say no or yes."},
        {"system": "Be brief."},
        {"max_new_tokens": 5},
        {"choices": ["yes", "no"], "scorers": "labels"},
        {"name": "others"},
    ],
)
def test_other_settings_are_another_task(changes: dict[str, Any]) -> None:
    assert identity(task()) != identity(task(**changes))


def _louder(table: list[dict[str, Any]]) -> None:
    table[2]["audio"] = (wave(2) * 1.5, RATE)


def _slower(table: list[dict[str, Any]]) -> None:
    table[2]["audio"] = (wave(2), RATE // 2)


def _other_answer(table: list[dict[str, Any]]) -> None:
    table[2]["answer"] = "maybe"


def _other_id(table: list[dict[str, Any]]) -> None:
    table[2]["id"] = "r9"


def _other_words(table: list[dict[str, Any]]) -> None:
    table[2]["text"] = "other words"


def _one_less(table: list[dict[str, Any]]) -> None:
    table.pop()


@pytest.mark.parametrize("change", [_louder, _slower, _other_answer, _other_id, _other_words, _one_less])
def test_other_rows_are_another_task(change: Any) -> None:
    table = rows()
    change(table)
    assert identity(task()) != identity(db.Task.from_rows(table, **SETTINGS))
    assert identity(task()) == identity(db.Task.from_rows(rows(), **SETTINGS))


def wav(number: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave(number), RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def as_path(number: int, place: Path) -> Any:
    (place / f"{number}.wav").write_bytes(wav(number))
    return place / f"{number}.wav"


FORMS: dict[str, Any] = {
    "bytes": lambda i, place: wav(i),
    "path": as_path,
    "text": lambda i, place: str(as_path(i, place)),
    "relative": lambda i, place: as_path(i, place).name,
    "hub bytes": lambda i, place: {"bytes": wav(i), "path": None},
    "hub path": lambda i, place: {"bytes": None, "path": str(as_path(i, place))},
}
WAVES: dict[str, Any] = {
    "pair": lambda i, place: (wave(i), RATE),
    "double": lambda i, place: (wave(i).astype(np.float64), np.int64(RATE)),
    "list": lambda i, place: (wave(i).tolist(), float(RATE)),
    "hub array": lambda i, place: {"array": wave(i), "sampling_rate": RATE, "path": "gone.wav"},
    "Audio": lambda i, place: db.Audio(wave(i), RATE),
}


@pytest.mark.parametrize("same", [FORMS, WAVES])
def test_a_clip_may_come_in_any_form_and_is_the_same_clip(place: Path, same: dict[str, Any]) -> None:
    found = {}
    for name, form in same.items():
        table = [{**row, "audio": form(i, place)} for i, row in enumerate(rows())]
        model = Yes()
        found[name] = db.run(model, db.Task.from_rows(table, **SETTINGS), output=name)[0].path.parent.name
        assert model.heard["r3"] == pytest.approx(0.5 + 300 / RATE)
    assert len(set(found.values())) == 1, found


def test_sixteen_bit_samples_are_what_their_file_has(place: Path) -> None:
    sound, _ = soundfile.read(io.BytesIO(wav(1)), dtype="int16")
    table = [{**row, "audio": (sound, RATE)} for row in rows(1)]
    other = [{**row, "audio": wav(1)} for row in rows(1)]

    class Exact(Yes):
        def generate(self, requests: Any) -> list[db.Response]:
            self.samples = requests[0].audio.samples
            return super().generate(requests)

    one, two = Exact(), Exact()
    db.run(one, db.Task.from_rows(table, **SETTINGS), output="one")
    db.run(two, db.Task.from_rows(other, **SETTINGS), output="two")
    assert np.array_equal(one.samples, two.samples)


BAD: list[tuple[Any, str]] = [
    (3, "rows: 3 (int) is not a list of rows. Allowed: an iterable of mappings"),
    ([], "rows: there are none"),
    ([3], "row 0: 3 (int) is not a mapping"),
    ([{3: "x"}], "row 0: the column 3 is not text"),
    ([{"audio": 3, "answer": "x"}], "row 0: audio is 3 (int). Allowed: a path; encoded bytes"),
    (
        [{"audio": (wave(0), "fast"), "answer": "x"}],
        "row 0: audio: the sampling rate is 'fast'. Allowed: a whole number",
    ),
    ([{"audio": (wave(0), 5), "answer": "x"}], "the sampling rate is 5. Allowed: a whole number of Hz from 1000"),
    ([{"audio": (np.zeros((2, 9)), RATE), "answer": "x"}], "an array of shape (2, 9) and type float64. Allowed: mono"),
    ([{"audio": (np.zeros(9, complex), RATE), "answer": "x"}], "type complex128"),
    ([{"audio": {"wave": 1}, "answer": "x"}], "row 0: audio is a dict. Allowed"),
]


@pytest.mark.parametrize(("given", "said"), BAD)
def test_rows_that_are_none_are_told(given: Any, said: str) -> None:
    with pytest.raises(db.UserError) as told:
        db.Task.from_rows(given, **SETTINGS)
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": 3}, "task 'rows': prompt: must be text"),
        ({"name": "a/b"}, "task 'a/b': name:"),
        ({"scorers": "qo"}, "unknown scorer 'qo'"),
        (
            {"scorers": 3},
            "task 'rows': scorers: must be the name of a scorer, a list of names, or a mapping, name -> settings (found 3)",
        ),
        ({"scorers": {"qa": 3}}, "task 'rows': scorers.qa: must be a mapping (key: value) (found 3)"),
        ({"choices": 3}, "task 'rows': choices: must be a list (found 3)"),
        ({"choices": "yes"}, "task 'rows': choices: must be a list (found 'yes')"),
        ({"max_new_tokens": 0}, "task 'rows': max_new_tokens: must be more than 0 (found 0)"),
        ({"fields": [1]}, "task 'rows': fields: must be a mapping"),
        ({"primary": "bleu"}, "unknown metric 'bleu'"),
    ],
)
def test_settings_that_are_none_are_told(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(db.UserError) as told:
        db.run(Yes(), task(**changes))
    assert said in str(told.value)


def test_a_clip_that_cannot_be_decoded_is_a_fault_of_its_row_alone(caplog: pytest.LogCaptureFixture) -> None:
    table = rows()
    table[1]["audio"] = b"no sound"
    table[3]["audio"] = wav(3)[:900]
    made = db.Task.from_rows(table, **SETTINGS)
    assert "task rows, row 1: audio: the clip no audio format is recognised in it; it is left out" in caplog.text
    assert "task rows, row 3: audio: the clip is cut short" in caplog.text
    [run] = db.run(Yes(), made)
    faults = {fault["id"]: fault["reason"] for fault in run.summary.data_faults}
    assert faults["r1"].startswith("row 1: no audio format")
    assert faults["r3"].startswith("row 3: is cut short")
    assert run.summary.n == 3


def test_numbers_and_gaps_of_pandas_are_text_and_nothing() -> None:
    given = [{"id": np.int64(7), "answer": np.array(["a", "b"]), "text": float("nan"), "cluster": 3, "x": pandas.NA}]
    [row] = rows_of(given, "audio", ["id", "cluster"]).rows
    assert row.values == {"row": "0", "id": "7", "answer": ["a", "b"], "text": None, "cluster": "3", "x": None}
    assert row.sound is None


def test_rows_without_ids_are_numbered() -> None:
    table = [{key: value for key, value in row.items() if key != "id"} for row in rows()]
    frame = db.run(Yes(), db.Task.from_rows(table, **SETTINGS))[0].to_pandas()
    assert list(frame["id"]) == list("01234")


def test_a_frame_of_pandas_is_the_same_task_as_its_rows() -> None:
    frame = pandas.DataFrame(rows())
    assert identity(db.Task.from_pandas(frame, **SETTINGS)) == identity(task())
    with pytest.raises(db.UserError, match=r"from_pandas: a list is not a pandas\.DataFrame"):
        db.Task.from_pandas(rows(), **SETTINGS)


def test_a_data_set_of_the_datasets_library_is_the_same_task_as_its_rows() -> None:
    table = [{**row, "audio": {"bytes": wav(i), "path": None}} for i, row in enumerate(rows())]
    stored = datasets.Dataset.from_list(table).cast_column("audio", datasets.Audio())
    stored = stored.cast_column("answer", datasets.ClassLabel(names=["no", "yes"]))
    same = [{**row, "audio": wav(i)} for i, row in enumerate(rows())]
    assert identity(db.Task.from_dataset(stored, **SETTINGS)) == identity(db.Task.from_rows(same, **SETTINGS))
    with pytest.raises(db.UserError, match=r"name a split: dataset\['train'\]"):
        db.Task.from_dataset(datasets.DatasetDict({"train": stored}), **SETTINGS)
    with pytest.raises(db.UserError, match=r"a list is not a datasets\.Dataset"):
        db.Task.from_dataset(rows(), **SETTINGS)
