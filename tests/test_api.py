"""`import diva_bench as db`: what it offers, what a mistake is told, and that a library call neither prints nor ends anything."""

from __future__ import annotations

import inspect
import json
import logging
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import mini_task
import pytest
from command_line import call

import diva_bench as db
from diva_bench.catalog import Catalog
from diva_bench.decoding import news
from diva_bench.evaluation.in_memory import TaskSettings
from diva_bench.types import Silent

EXPORTED = [
    *(
        "Adapter",
        "Audio",
        "LabelScore",
        "ModelSpec",
        "Progress",
        "Request",
        "Response",
        "Run",
        "Runs",
        "Sample",
        "Scorer",
    ),
    *("Table", "Tables", "Task", "UserError", "__version__"),
    *("compare", "import_predictions", "leaderboard", "load_runs", "run", "score"),
]


class Yes:
    """A model of ten lines."""

    name, version = "yes", "1"
    accepts = frozenset({"audio"})

    def __init__(self) -> None:
        self.asked: list[str] = []

    def generate(self, requests: Any) -> list[db.Response]:
        self.asked += [request.id for request in requests]
        return [db.Response(request.id, text="yes") for request in requests]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in (("DIVA_BENCH_CACHE", str(tmp_path / "cache")), ("DIVA_BENCH_PATH", "")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def toy(place: Path) -> Path:
    return mini_task.write(place / "specs")


def ask(**settings: Any) -> db.Runs:
    return db.run("echo", "toy", paths="specs", **settings)


class Telling:
    """A model that reports every answer as it ends, and fails if it is asked for more than one."""

    name, version = "telling", "1"
    accepts = frozenset({"audio"})

    def generate(self, requests: Any) -> list[db.Response]:
        for _ in requests:
            news.report(news.DECODE, 1)
        if len(requests) > 1:
            raise RuntimeError("one at a time, please")
        return [db.Response(request.id, text="yes") for request in requests]


class Bars(Silent):
    """A progress that remembers what bars were told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str]] = []

    def bar(self, label: str, total: float | None, unit: str = "items", done: float = 0) -> Any:
        return self

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def advance(self, amount: float = 1, text: str = "", inside: bool = False) -> None:
        self.told.append((amount, text))


def test_the_bar_of_a_run_counts_answers_inside_a_batch_and_none_of_them_twice(toy: Path) -> None:
    bars = Bars()
    [run] = db.run(Telling(), "toy", paths="specs", progress=bars)
    assert run.summary.errors == 0
    inside = [told for told in bars.told if told[1] == "10 at a time, decode"]
    assert sum(amount for amount, _ in inside) == 10  # the failed batch had shown all of them
    assert len(inside) == 10 + 10
    assert sum(amount for amount, text in bars.told if text.startswith("10 at a time")) == 10


def test_a_printed_run_fits_80_columns_and_names_its_path_once(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    [run] = ask(output="a-folder-with-a-rather-long-name")
    lines = str(run).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("a-folder-with-a" in line for line in lines) == 1


def test_the_timing_of_a_run_is_read_once(toy: Path) -> None:
    [run] = ask()
    opened = db.Run.open(run.path)
    assert opened.timing
    (run.path / "timing.jsonl").unlink()
    assert opened.speed == run.speed
    assert not opened.reused


def test_the_settings_of_a_task_are_in_its_signature() -> None:
    for method in (db.Task.from_rows, db.Task.from_pandas, db.Task.from_dataset):
        _, *shown = inspect.signature(method).parameters.values()
        assert [p.name for p in shown] == list(TaskSettings.__annotations__)
        required = {name for name, kind in TaskSettings.__annotations__.items() if "Required" in str(kind)}
        assert {p.name for p in shown if p.default is p.empty} == required == {"prompt", "reference", "scorers"}


# ---------------------------------------------------------------- the door


def test_what_is_exported_is_what_the_module_says_and_can_be_had() -> None:
    assert sorted(db.__all__) == EXPORTED
    assert set(EXPORTED) <= set(dir(db))
    assert all(getattr(db, name) is not None for name in EXPORTED)
    with pytest.raises(AttributeError, match="no attribute 'evaluate'"):
        db.evaluate  # noqa: B018


def test_importing_it_loads_no_library() -> None:
    code = "import sys, diva_bench, diva_bench; print(sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    heavy = {"torch", "pandas", "typer", "pydantic", "numpy", "transformers", "datasets", "evaluate", "rich"}
    assert not heavy & set(json.loads(done.stdout.replace("'", '"')))


ROOT = Path(__file__).parents[1]


def test_the_shortest_run_gives_a_table_of_samples() -> None:
    frame = db.run("echo", "heysquad", limit=4, output="out")[0].to_pandas()
    assert len(frame) == 4
    assert {"id", "voice", "prompt", "transcript", "reference", "answer", "status"} <= set(frame.columns)
    assert {"contains", "f1", "qa.n"} <= set(frame.columns)
    assert list(frame["answer"]) == list(frame["id"])  # echo says the id
    assert frame["transcript"].notna().all()


def test_a_library_call_prints_nothing_and_tells_its_news_to_the_log(
    toy: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "diva_bench")
    ask()
    ask()
    assert capfd.readouterr() == ("", "")
    assert "edition: mini" in caplog.text
    assert "all 10 answered before" in caplog.text


WRONG: list[tuple[Any, str]] = [
    (lambda: db.run(3, "toy"), "models: 3 (int) is not allowed. Allowed: a name"),  # type: ignore[arg-type]
    (lambda: db.run("echo", 3.5), "tasks: 3.5 (float) is not allowed. Allowed: a name"),  # type: ignore[arg-type]
    (lambda: db.run([], "toy"), "models: the list is empty"),
    (lambda: db.run(["echo", None], "toy"), "models: None (NoneType) is not allowed"),  # type: ignore[list-item]
    (lambda: db.run(Yes, "toy"), "Yes is a class: give an object of it, Yes(...)"),  # type: ignore[arg-type]
    (lambda: db.run({"echo": 1}, "toy"), "models: {'echo': 1} (dict) is not allowed"),
    (lambda: ask(limit=0), "limit is 0 (int). Allowed: a number of samples, from 1"),
    (lambda: ask(limit="4"), "limit is '4' (str)"),
    (lambda: ask(seed=-1), "seed is -1 (int)"),
    (lambda: ask(prompts=True), "prompts is True (bool)"),
    (lambda: ask(edition="huge"), "edition is 'huge'. Allowed: 'auto', 'full', 'mini', 'mini-v1', 'nano'"),
    (lambda: ask(dtype="int8"), "dtype is 'int8'. Allowed: None, 'float32'"),
    (lambda: ask(prompt=" "), "prompt is empty"),
    (lambda: ask(max_new_tokens=0), "max_new_tokens is 0 (int). Allowed: a number of tokens, from 1"),
    (lambda: ask(audio=3), "audio: 3 (int) is not allowed. Allowed: a condition"),
    (lambda: ask(progress=True), "progress: True (bool) is not allowed; it has no track, bar, note. Allowed: None"),
    (lambda: ask(output=3), "output: 3 (int) is not allowed. Allowed: a path"),
    (lambda: db.run("ecko", "toy", paths="specs"), "Did you mean 'echo'?"),
    (lambda: db.load_runs(4), "is not allowed. Allowed: a path"),  # type: ignore[arg-type]
    (lambda: db.load_runs("nowhere"), "nowhere: no such folder"),
    (lambda: db.score(4), "runs: 4 (int) is not allowed"),  # type: ignore[arg-type]
    (lambda: db.compare("specs"), "compare needs two runs or more, and got 0"),
    (lambda: db.leaderboard(4), "runs: 4 (int) is not allowed"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("wrong", "said"), WRONG)
def test_a_mistake_is_told_in_words_before_anything_is_asked(toy: Path, place: Path, wrong: Any, said: str) -> None:
    with pytest.raises(db.UserError) as told:
        wrong()
    assert said in str(told.value)
    assert not (place / "results").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"generate": None}, "is not allowed"),
        ({"version": 1}, "models: its `version`: 1 (int) is not allowed. Allowed: text"),
        ({"accepts": "audio"}, "models: its `accepts`: 'audio' (str) is not allowed"),
        ({"accepts": {"video"}}, "Allowed: a set of 'audio', 'text'"),
        ({"name": "../up"}, "model '../up': name:"),
    ],
)
def test_a_model_in_memory_that_is_none_is_told_what_it_lacks(toy: Path, changes: dict[str, Any], said: str) -> None:
    model = Yes()
    for name, value in changes.items():
        setattr(model, name, value)
    with pytest.raises(db.UserError, match=None) as told:
        db.run(model, "toy", paths="specs")
    assert said in str(told.value)


def test_a_device_that_is_missing_is_told_before_anything_is_fetched(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: Any) -> Any:
        raise AssertionError("fetched")

    monkeypatch.setattr(Catalog, "fetch", fetch)
    with pytest.raises(db.UserError, match="device 'cuda:9'"):
        db.run("cascade", "toy", paths="specs", device="cuda:9")


# ---------------------------------------------------------------- models in memory


def test_a_model_in_memory_is_asked_marked_and_ranked_only_when_that_is_asked_for(toy: Path) -> None:
    model = Yes()
    [run] = db.run([model], "toy", paths="specs")
    assert sorted(model.asked) == [f"q{i:03}" for i in range(10)]
    record = json.loads((run.path / "run.json").read_text())
    assert (record["weights_hashed"], record["model"]["adapter"]) == (False, "in-memory")
    assert run.summary.complete
    assert run.summary.weights_hashed is False
    [board] = db.leaderboard()
    assert "its weights are not hashed (--in-memory ranks it)" in str(board.rows)
    [ranked] = db.leaderboard(in_memory=True)
    assert ranked.rows[0][:2] == [1, "yes"]
    assert "weights not hashed" in str(ranked.rows)
    again = Yes()
    assert db.run(again, "toy", paths="specs")[0].path == run.path
    assert again.asked == []
    again.version = "2"
    assert db.run(again, "toy", paths="specs")[0].path != run.path
    with pytest.raises(db.UserError, match="two models are called 'yes'"):
        db.run([model, again], "toy", paths="specs")


def test_a_run_that_is_interrupted_leaves_no_thread_and_goes_on_where_it_stopped(place: Path) -> None:
    mini_task.write(place / "specs", count=40)

    class Stopped(Yes):
        def generate(self, requests: Any) -> list[db.Response]:
            if self.asked:
                raise KeyboardInterrupt
            return super().generate(requests)

    model, before = Stopped(), threading.active_count()
    with pytest.raises(KeyboardInterrupt) as told:
        db.run(model, "toy", paths="specs", batch_seconds=5.0)
    assert threading.active_count() == before, "while the exception, and so every frame of the run, is still kept"
    assert "of 40 answers are kept" in told.value.__notes__[0]
    rest = Yes()
    [run] = db.run(rest, "toy", paths="specs", batch_seconds=5.0)
    assert run.summary.complete
    assert sorted([*model.asked, *rest.asked]) == [f"q{i:03}" for i in range(40)]


# ---------------------------------------------------------------- settings of one's own

CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "Repeat {what}."}, "changed: prompt"),
    ({"system": "Be brief."}, "changed: system"),
    ({"max_new_tokens": 7}, "changed: max_new_tokens 7"),
]


@pytest.mark.parametrize(("changes", "said"), CHANGES)
def test_a_changed_setting_is_another_task_and_stands_in_no_row_beside_it(
    toy: Path, place: Path, changes: dict[str, Any], said: str
) -> None:
    [plain], [other] = ask(), ask(**changes)
    assert plain.path.parent != other.path.parent
    assert other.summary.overrides == changes
    assert said in other.summary.title
    assert "changed" in other.path.parent.name
    assert said in str(other) or said in str(other.to_pandas()) or said in db.Runs([other]).records()[0]["settings"]
    assert len(db.leaderboard()) == 2
    assert not db.leaderboard(overview=True)
    assert db.score(other, paths="specs")[0].score == other.score
    words = [f"--{name.replace('_', '-')}={value}" for name, value in changes.items()]
    done = call(place, "run", "--path", "specs", "-m", "echo", "-t", "toy", *words)
    assert done.returncode == 0, done.stderr
    assert str(other.path.relative_to(place) if other.path.is_absolute() else other.path) in done.stdout


def test_a_setting_that_is_the_tasks_own_changes_nothing(toy: Path) -> None:
    assert ask(prompt="Say {what}.", max_new_tokens=64, system="")[0].path == ask()[0].path


# ---------------------------------------------------------------- runs


def test_runs_are_found_in_any_folder_above_them(toy: Path, place: Path) -> None:
    [run], [trial] = ask(), ask(limit=4)
    for folder in (run.path, run.path.parent):
        assert [found.path for found in db.load_runs(folder)] == [run.path]
    assert len(db.load_runs()) == len(db.load_runs(place)) == 2
    frame = db.load_runs().to_pandas()
    assert {
        *(
            "task",
            "model",
            "edition",
            "limit",
            "seed",
            "n",
            "score",
            "low",
            "high",
            "errors",
            "samples/s",
            "path",
            "date",
        )
    } <= set(frame.columns)
    primary = frame[frame["metric"] == "contains"].set_index("path")
    assert primary.loc[str(trial.path), "limit"] == 4
    assert primary.loc[str(run.path), "score"] == run.score == 50.0
    assert str(primary.loc[str(run.path), "date"]).startswith("20")


def test_a_run_that_cannot_be_read_is_left_out_and_named(toy: Path, caplog: pytest.LogCaptureFixture) -> None:
    [run], [trial] = ask(), ask(limit=4)
    (trial.path / "summary.json").write_text("{")
    assert [found.path for found in db.load_runs()] == [run.path]
    assert f"left out: {trial.path}/summary.json: is not valid JSON" in caplog.text


def test_a_run_from_disk_has_prompts_transcripts_and_metrics_of_its_own(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ask()[0].to_pandas()
    assert list(asked["prompt"]) == ["Say it."] * 10
    shutil.move(toy, "elsewhere")
    run = db.load_runs()[0]
    assert run.to_pandas().equals(asked)
    (run.path.parent / "rows.jsonl").unlink()  # as older versions left it
    lost = db.load_runs()[0].to_pandas()
    assert lost["prompt"].isna().all()
    assert list(lost["answer"]) == list(asked["answer"])
    assert list(lost["qa.contains"]) == list(asked["contains"] / 100)
    monkeypatch.setenv("DIVA_BENCH_PATH", "elsewhere")
    assert db.load_runs()[0].to_pandas().drop(columns=["voice"]).equals(asked.drop(columns=["voice"]))


def test_stored_runs_are_scored_again_compared_and_joined_by_answers_of_others(toy: Path, place: Path) -> None:
    [echo], [other] = ask(), db.run(Yes(), "toy", paths="specs")
    (echo.path / "summary.json").unlink()
    scored = db.score(echo, paths="specs", scorers={"wer": {}})
    assert " wer " in str(scored)
    assert "wer" in scored._repr_html_()
    assert "wer" in str(scored[:1])
    [again] = scored
    assert "wer" in again.summary.metrics
    assert again.score == echo.score
    assert "wer" not in db.score("results", paths="specs")[0].summary.metrics
    tables = db.compare(echo, other, metrics="contains", paths="specs")
    assert repr(db.compare([echo, other], metrics="contains", paths="specs")) == repr(tables)
    assert tables[0].to_pandas()["score"].tolist() == [50.0, 0.0]
    assert len(tables.to_pandas()) == len(tables)
    rows = "".join(json.dumps({"id": f"q{i:03}", "text": f"q{i:03}"}) + "\n" for i in range(10))
    (place / "answers.jsonl").write_text(rows)
    [came] = db.import_predictions("answers.jsonl", "toy", "theirs", edition="mini", paths="specs")
    assert (came.score, came.summary.imported) == (50.0, True)
    with pytest.raises(db.UserError, match=r"gone\.jsonl"):
        db.import_predictions("gone.jsonl", "toy", "theirs", edition="mini", paths="specs")
