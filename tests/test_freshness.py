"""A leaderboard notices answers that were edited or deleted after they were scored, and reads only files that changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import mini_task
import pytest
from command_line import call

import diva_bench as db
from diva_bench.runs import freshness
from diva_bench.runs.answers import Answers
from diva_bench.runs.run import load_runs
from diva_bench.runs.store import RunFolder

LOST = "not ranked: %d of 6 scored answers are lost: restore responses.jsonl from a copy, or run the model again"
AGAIN = "not ranked: answers changed since they were scored: run `diva-bench score"


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two judged runs of one task, each in two wordings."""
    folder = tmp_path_factory.mktemp("answered")
    specs = mini_task.write(folder / "specs", count=6)
    with (specs / "toy.yaml").open("a") as file:
        file.write("prompts: ['Tell me {what}.']\n")
    mini_task.model(specs, "hears", reply="audio")
    got = call(folder, "run", "--path", "specs", "-m", "echo", "-m", "hears", "-t", "toy", "--prompts", "2")
    assert got.returncode == 0, got.stderr
    return folder


@pytest.fixture
def place(answered: Path, tmp_path: Path) -> Path:
    shutil.copytree(answered, tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The run folders whose answers are read."""
    seen: list[Path] = []
    original = RunFolder.answered

    def answered(self: RunFolder) -> Answers:
        seen.append(self.path)
        return original(self)

    monkeypatch.setattr(RunFolder, "answered", answered)
    return seen


def leaderboard(place: Path, *words: str) -> CompletedProcess[str]:
    got = call(place, "leaderboard", "results", "--path", "specs", *words)
    return CompletedProcess(got.args, got.returncode, " ".join(got.stdout.split()), got.stderr)


def answers_of(place: Path, model: str) -> Path:
    (found,) = place.glob(f"results/toy-??????/{model}-*/responses.jsonl")
    return found


def edited(file: Path) -> None:
    """The same size and the same time of content: only the time of the record tells."""
    before, content = file.stat(), file.read_bytes()
    file.write_bytes(content.replace(b"q001", b"q991").replace(b'"id":"q991"', b'"id":"q001"'))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size


def shortened(file: Path) -> None:
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))


def more(file: Path) -> None:
    """Another process's file, of a later round, beside it."""
    line = file.read_text().splitlines()[0].replace('"status"', '"round":3,"status"').replace("q000", "q000", 1)
    file.with_name("responses.0-of-2.jsonl").write_text(line.replace('"text":"', '"text":"not ') + "\n")


CHANGES: dict[str, Callable[[Path], None]] = {
    "edited": edited,
    "one deleted": shortened,
    "all deleted": Path.unlink,
    "another file": more,
}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_run_whose_answers_changed_is_listed_with_what_to_do_and_the_others_are_ranked(
    place: Path, change: str, known: bool
) -> None:
    if known:
        assert leaderboard(place).returncode == 0
    file = answers_of(place, "echo")
    CHANGES[change](file)
    got = leaderboard(place, "--format", "csv", "--all-tables")
    assert got.returncode == 1
    again = f"{AGAIN} results/{file.parent.parent.name}/{file.parent.name}`"
    assert {"one deleted": f"{LOST % 1}", "all deleted": f"{LOST % 6}"}.get(change, again) in got.stdout
    assert "1,hears" in got.stdout
    assert ",1 of 2 without a score" in got.stdout, "nor does the spread over wordings use its score"


def test_a_run_that_was_scored_again_is_ranked_again(place: Path) -> None:
    file = answers_of(place, "echo")
    edited(file)
    assert AGAIN in leaderboard(place, "--format", "csv", "--all-tables").stdout
    assert call(place, "score", "--path", "specs", str(file.parent)).returncode == 0
    got = leaderboard(place, "--format", "csv", "--all-tables")
    assert got.returncode == 0
    assert AGAIN not in got.stdout


@pytest.mark.parametrize("loss", [shortened, Path.unlink])
def test_a_run_that_lost_answers_is_not_scored_again_until_it_has_them(
    place: Path, loss: Callable[[Path], None]
) -> None:
    file = answers_of(place, "echo")
    summary, whole = (file.parent / "summary.json").read_bytes(), file.read_bytes()
    loss(file)
    got = call(place, "score", "--path", "specs", str(file.parent))
    assert got.returncode == 2
    assert "of 6 scored answers are lost: restore responses.jsonl from a copy" in " ".join(got.stderr.split())
    told = "To score only the answers that are left, delete summary.json first." in " ".join(got.stderr.split())
    assert told is (loss is shortened), "of none there is nothing to score"
    assert (file.parent / "summary.json").read_bytes() == summary
    file.write_bytes(whole)
    assert call(place, "score", "--path", "specs", str(file.parent)).returncode == 0


def test_answers_are_read_once_and_then_only_where_a_file_changed(place: Path, reads: list[Path]) -> None:
    before = sorted((place / "results").rglob("*"))
    leaderboard(place)
    assert len(reads) == 4
    del reads[:]
    leaderboard(place)
    assert not reads
    file = answers_of(place, "echo")
    os.utime(file)
    assert leaderboard(place).returncode == 0, "another time of the same answers is no change"
    assert [path.name for path in reads] == [file.parent.name]
    assert sorted((place / "results").rglob("*")) == before, "nothing is kept in a run"


@pytest.mark.parametrize("kept", ["", "{", "[]", "{}", '{"a": 1}', "null"])
def test_what_is_kept_may_be_anything(place: Path, reads: list[Path], kept: str) -> None:
    leaderboard(place)
    (file,) = (place / "cache" / "answers").iterdir()
    file.write_text(kept)
    del reads[:]
    assert leaderboard(place).returncode == 0
    assert len(reads) == 4


def test_a_cache_that_cannot_be_written_costs_time_alone(place: Path) -> None:
    shutil.rmtree(place / "cache")
    (place / "cache").write_text("a file")
    assert leaderboard(place).returncode == 0
    shortened(answers_of(place, "echo"))
    assert leaderboard(place).returncode == 1


def test_a_diagnosis_shows_no_score_of_answers_that_changed(place: Path) -> None:
    run = answers_of(place, "echo").parent
    words = ("diagnose", "--path", "specs", "--format", "md", str(run))
    assert "| contains | 50.0 " in call(place, *words).stdout
    edited(run / "responses.jsonl")
    assert "| contains |" not in call(place, *words).stdout


def test_lists_of_runs_say_it_too(place: Path) -> None:
    """In Python, on the command line, and as CSV: nowhere does an old score stand as that of the new answers."""
    edited(answers_of(place, "echo"))
    rows = db.load_runs(place / "results").records(every=False)
    doubted = {row["model"] for row in rows if "answers changed since they were scored" in row["remarks"]}
    assert doubted == {"echo"}
    assert {row["complete"] for row in rows if "answers changed" in row["remarks"]} == {False}
    listed = call(place, "list", "runs", "-o", "results", "--format", "csv").stdout
    assert listed.count("answers changed since they were scored") == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_many_answers_are_read_by_several_processes_with_the_same_findings(
    place: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(freshness, "_MUCH", 0)
    edited(answers_of(place, "echo"))
    answers_of(place, "hears").write_bytes(b"no JSON\n")
    runs = load_runs([place / "results"], listed=True, processes=processes)
    assert sorted((run.model, run.changed) for run in runs) == [("echo", False), ("echo", True), ("hears", False)]
    assert ["is not valid JSON" in fault for fault in runs.unreadable] == [True]
