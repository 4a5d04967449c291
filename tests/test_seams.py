"""What adapters and scorers give is checked at the seam: a bad answer is an error row, bad numbers write nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mini_task
import numpy as np
import pytest

from diva_bench import data
from diva_bench.catalog import Catalog
from diva_bench.errors import ScorerError, Stop, StoreError
from diva_bench.runs import runner, scoring
from diva_bench.runs.runner import Job
from diva_bench.types import Floats, LabelScore, Request, Response, Sample, Silent


class Says:
    """An adapter that answers what a test tells it to."""

    accepts = frozenset({"audio"})
    version = "1"

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        self._answer = answer

    def generate(self, requests: Sequence[Request]) -> Any:
        return [self._answer(request) for request in requests]

    def close(self) -> None:
        return None


class Counts:
    """A scorer of one metric, `good`: the mean of its statistic."""

    signature, higher_is_better = "counts|v1", True

    def __init__(self, row: object = None, score: object = None) -> None:
        self._row, self._score = row, score

    def measure(self, sample: Sample, response: Response) -> Any:
        return {"n": 1.0, "sum": 1.0} if self._row is None else self._row

    def reduce(self, totals: Mapping[str, Floats]) -> Any:
        return {"good": 100 * totals["sum"] / totals["n"]} if self._score is None else self._score


@pytest.fixture
def job(tmp_path: Path) -> Job:
    catalog = Catalog([mini_task.write(tmp_path / "specs", count=4)])
    task = catalog.task("toy", "mini")
    task = task.model_copy(update={"primary": "good", "groups": ()})
    return Job(
        task=task,
        model=catalog.model("echo", "mini"),
        dataset=data.load(task, tmp_path / "cache", Silent()),
        scorers={"counts": Counts()},
        accepts=frozenset({"audio"}),
        adapter_version="1",
    )


class Pairs(Says):
    """An adapter whose answers come two at a time. When it waits, it looks at the file of answers."""

    def __init__(self, file: Path, stops: bool) -> None:
        super().__init__(lambda request: None)
        self._file, self._stops, self.arrived = file, stops, 0
        self.stored: list[int] = []

    def stream(self, requests: Iterable[Request]) -> Iterator[Response]:
        taken = iter(requests)
        for first, second in zip(taken, taken, strict=True):
            self.stored.append(len(self._file.read_bytes().splitlines()) if self._file.exists() else 0)
            self.arrived = 1
            yield Response(first.id, "a")
            if self._stops:
                raise Stop("no more")
            self.arrived = 0
            yield Response(second.id, "b")


def asked(job: Job, results: Path, answer: Callable[[Request], Any]) -> dict[str, Response]:
    """What is stored of the answers of one adapter, all of it asked in one batch."""
    with job.folder(results) as folder:
        runner.ask(job, Says(answer), folder, Silent())
    return {r.id: r for r in folder.responses()}


RESPONSES: list[tuple[dict[str, Any], str]] = [
    ({"text": None}, "text: must be text (found nothing)"),
    ({"text": b"yes"}, "text: is b'yes', of type bytes, not text or a Python number"),
    ({"status": "done"}, "status: 'done' is none of ok, unsupported, error"),
    ({"detail": 5}, "detail: must be text (found 5)"),
    ({"heard": ["a"]}, "heard: must be text (found ['a'])"),
    ({"tokens": {"new": np.int64(3)}}, "tokens.new: is np.int64(3), of type int64, not text or a Python number"),
    ({"tokens": {"new": -1}}, "tokens.new: must be 0 or more"),
    ({"seconds": {"decode": float("nan")}}, "decode: must be"),
    ({"seconds": {"decode": np.float32(1)}}, "seconds.decode: is np.float32(1.0), of type float32, not text"),
    ({"seconds": 3.0}, "TypeError: 'float' object is not iterable"),
    ({"choices": {"a": -1.0}}, "AttributeError: 'float' object has no attribute 'total'"),
    ({"choices": {"a": LabelScore(float("-inf"), 1, -1.0)}}, "choices.a.0: must be a finite number"),
    ({"choices": {"a": LabelScore(np.float32(-1), 1, -1.0)}}, "choices.a.0: is np.float32(-1.0), of type float32"),
    ({"scores": {"given": float("nan")}}, "scores.given: must be a finite number"),
]


@pytest.mark.parametrize(("changes", "said"), RESPONSES)
def test_a_response_that_cannot_be_stored_is_an_error_that_names_adapter_and_sample(
    job: Job, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    bad = Response("q001", **{"text": "q001"} | changes)
    got = asked(job, tmp_path / "results", lambda q: bad if q.id == "q001" else Response(q.id, text=q.id))
    assert {r.status for i, r in got.items() if i != "q001"} == {"ok"}, "the others of its batch are answers"
    assert got["q001"].status == "error"
    assert got["q001"].detail.startswith(f"adapter echo: its response to q001: {said}")
    again = asked(job, tmp_path / "results", lambda q: Response(q.id, text=q.id))
    assert {r.status for r in again.values()} == {"ok"}, "the run is not spoilt: it is asked again"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda q: q.id, "adapter echo gave list of str, not a list of Response"),
        (lambda q: None, "adapter echo gave list of NoneType, not a list of Response"),
        (lambda q: Response("other"), "adapter echo answered ['other'] (1) to ['q000'] (1)"),
    ],
)
def test_what_is_no_list_of_responses_fails_each_sample_alone(
    job: Job, tmp_path: Path, answer: Callable[[Request], Any], said: str
) -> None:
    got = asked(job, tmp_path / "results", answer)
    assert {r.status for r in got.values()} == {"error"}
    assert said in got["q000"].detail


def test_answers_that_come_together_are_stored_together_before_the_adapter_waits_again(
    job: Job, tmp_path: Path
) -> None:
    with job.folder(tmp_path / "results") as folder:
        adapter = Pairs(folder.path / "responses.jsonl", stops=False)
        runner.ask(job, adapter, folder, Silent())
    assert adapter.stored == [0, 2]
    assert sorted(r.text for r in folder.responses()) == ["a", "a", "b", "b"]


def test_an_answer_that_came_before_a_stop_is_stored(job: Job, tmp_path: Path) -> None:
    with job.folder(tmp_path / "results") as folder:
        with pytest.raises(Stop, match="no more"):
            runner.ask(job, Pairs(folder.path / "responses.jsonl", stops=True), folder, Silent())
        assert [r.text for r in folder.responses()] == ["a"]


def test_half_a_surrogate_pair_is_no_fault_of_an_answer(job: Job, tmp_path: Path) -> None:
    got = asked(job, tmp_path / "results", lambda q: Response(q.id, text="\ud83d so"))
    assert {(r.status, r.text) for r in got.values()} == {("ok", "? so")}


ROWS: list[tuple[object, str]] = [
    ({"n": float("nan")}, "n = nan (float), not a finite Python number"),
    ({"n": float("inf")}, "n = inf (float)"),
    ({"n": np.float32(1)}, "n = np.float32(1.0) (float32), not a finite Python number"),
    ({"n": True}, "n = True (bool)"),
    ({"n": "1"}, "n = '1' (str)"),
    ({1: 1.0}, "a statistic named 1, which is no string"),
    ([1.0], "row [1.0], not a dict"),
]
SCORES: list[tuple[object, str]] = [
    ({"good": np.float64(100.5)}, "good = 100.5, outside its scale (0 to 100)"),
    ({"good": np.float64(-1)}, "good = -1, outside its scale"),
    ({"good": np.float64("nan")}, "good = nan, which is no number"),
    ({"good": np.float32(1)}, "good of type float32, not numbers in double precision"),
    ({"good": "1"}, "good of type <U1"),
    ({"good": np.zeros(3)}, "good of shape (3,) for sums of shape ()"),
    ({1: np.float64(1)}, "a metric named 1"),
    ([1.0], "list, not a dict of scores"),
]


@pytest.mark.parametrize(
    ("scorer", "said"),
    [(Counts(row=row), f"scorer counts gave for sample q000 {said}") for row, said in ROWS]
    + [(Counts(score=score), f"scorer counts gave {said}") for score, said in SCORES],
)
def test_numbers_that_are_none_are_told_with_the_scorer_and_nothing_is_written(
    job: Job, tmp_path: Path, scorer: Counts, said: str
) -> None:
    asked(job, tmp_path / "results", lambda q: Response(q.id, text=q.id))
    with job.folder(tmp_path / "results") as folder:
        scoring.score(job, folder, Silent())
        before = {p.name: p.read_bytes() for p in folder.path.iterdir()}
        with pytest.raises(ScorerError) as err:
            scoring.score(replace(job, scorers={"counts": scorer}), folder, Silent())
        assert str(err.value).startswith(f"task toy: {said}")
        assert {p.name: p.read_bytes() for p in folder.path.iterdir()} == before


def test_a_scorer_may_have_another_scale_if_it_says_so(job: Job, tmp_path: Path) -> None:
    asked(job, tmp_path / "results", lambda q: Response(q.id, text=q.id))
    wide = Counts(row={"n": 1.0, "sum": 3.0})
    wide.ranges = {"good": (None, None)}  # type: ignore[attr-defined]
    with job.folder(tmp_path / "results") as folder:
        summary = scoring.score(replace(job, scorers={"counts": wide}), folder, Silent())
    assert summary["metrics"]["good"]["value"] == 300


def test_what_the_store_is_given_is_checked_before_it_is_written(job: Job, tmp_path: Path) -> None:
    with job.folder(tmp_path / "results") as folder:
        for write in (
            lambda: folder.append([Response("a", text=None)], None),  # type: ignore[arg-type]
            lambda: folder.append([], {"rows": 1, "audio": 0.0, "wall": float("nan"), "stages": {}}),
            lambda: folder.event({"event": "party"}),
            lambda: folder.write_scores({"signature": {"qa": "v1"}}, [{"id": "a"}]),
            lambda: folder.write_summary({"task": "toy"}),
        ):
            with pytest.raises(StoreError):
                write()
        assert [p.name for p in folder.path.glob("*.json*") if p.stat().st_size] == ["run.json"]
    assert json.loads((folder.path / "run.json").read_text())["schema"] == 3
