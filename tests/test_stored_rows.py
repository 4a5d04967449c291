"""A run folder is whole in itself: the rows of its task lie beside task.json, and nothing of them is believed unseen."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mini_task
import pytest
from command_line import call

import diva_bench as db
from diva_bench.errors import UnreadableRun, UserError
from diva_bench.runs import rows
from diva_bench.runs.lines import LONGEST
from diva_bench.runs.store import RunFolder, read_json
from diva_bench.weights import assets


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def moved(place: Path) -> list[Path]:
    """Two runs of a task of one's own, whose YAML and clips are gone."""
    specs = mini_task.write(place / "specs", count=6)
    mini_task.model(specs, "hears", reply="audio")
    got = call(place, "run", "--path", "specs", "-m", "echo", "-m", "hears", "-t", "toy")
    assert got.returncode == 0, got.stderr
    shutil.rmtree(specs)
    return sorted(path.parent for path in place.glob("results/*/*/run.json"))


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def write(file: Path, lines: list[dict[str, Any]], sign: bool = False) -> None:
    """The lines; `sign`: with the sha256 in the first line set right, as who forges rows would."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines[1:])
    head = lines[0] | ({"sha256": hashlib.sha256(text.encode()).hexdigest()} if sign else {})
    file.write_text(json.dumps(head) + "\n" + text, encoding="utf-8")


# ---------------------------------------------------------------- without YAML and data


def test_runs_of_ones_own_task_are_scored_compared_and_read_without_its_yaml_and_its_data(
    moved: list[Path], place: Path
) -> None:
    before = {path: path.read_bytes() for path in place.glob("results/*/*/*.json*")}
    for path in before:
        if path.name in ("summary.json", "scores.jsonl"):
            path.unlink()
    names = [str(path) for path in moved]
    for command in (["score"], ["compare", "--items", "2"], ["diagnose"], ["ablate", "--runs"]):
        got = call(place, *command, *names)
        assert got.returncode == 0, (command, got.stderr)
        assert "toy" in got.stdout
    assert {path: path.read_bytes() for path in place.glob("results/*/*/*.json*")} == before
    assert call(place, "leaderboard", "results", "--ranks").returncode == 0
    frame = db.load_runs("results")[0].to_pandas()
    assert list(frame["prompt"]) == ["Say it."] * 6
    assert list(frame["transcript"]) == [f"question {i}" for i in range(6)]
    assert list(frame["reference"])[:2] == ["nothing like it", "q001"]
    assert db.score(moved[0])[0].score == 50.0


def test_a_task_in_memory_is_scored_again_without_it(place: Path) -> None:
    mini_task.clip(place / "a.wav", 0.3)
    table = [{"audio": "a.wav", "answer": ["yes", "yea"], "who": "ab"[i % 2], "text": f"w{i}"} for i in range(4)]
    task = db.Task.from_rows(
        table, name="mine", prompt="Say {text}.", reference="answer", scorers=["qa", "wer"], groups="who"
    )
    [run] = db.run("echo", task)
    shutil.rmtree("cache", ignore_errors=True)
    (place / "a.wav").unlink()
    found = lines_of(run.path.parent / "rows.jsonl")
    assert [line["prompt"] for line in found[1:]] == ["Say w0.", "Say w1.", "Say w2.", "Say w3."]
    assert found[1]["groups"] == {"who": "a"}
    [again] = db.score(db.load_runs("results"), scorers={"chrf": {"references": 2}})
    assert again.summary.metrics.keys() - run.summary.metrics.keys() == {"chrf2"}
    [again] = db.score("results")
    assert again.summary == run.summary
    assert again.to_pandas().equals(run.to_pandas())


def test_rows_are_stored_once_for_all_runs_and_scores_do_not_repeat_them(moved: list[Path]) -> None:
    file = moved[0].parent / "rows.jsonl"
    head, *found = lines_of(file)
    assert (head["rows"], head["prompt"], len(found)) == (6, "Say it.", 6)
    assert found[1] == {
        "id": "q001",
        "audio": found[1]["audio"],
        "references": ["q001"],
        "transcript": "question 1",
        "cluster": "c0",
        "groups": {"voice": "b"},
        "seconds": 0.25,
    }
    for folder in moved:
        first, *scored = lines_of(folder / "scores.jsonl")
        assert first["rows"] == head["sha256"]
        assert all(line.keys() == {"id", "qa"} for line in scored)
    assert sorted(path.name for path in moved[0].parent.iterdir() if path.is_file()) == ["rows.jsonl", "task.json"]


def test_a_run_of_an_older_version_gets_its_rows_when_it_is_scored(place: Path) -> None:
    mini_task.write(place / "specs", count=6)
    call(place, "run", "--path", "specs", "-m", "echo", "-t", "toy", "--limit", "3")
    (file,) = place.glob("results/*/rows.jsonl")
    written = file.read_bytes()
    file.unlink()
    (run,) = (path.parent for path in place.glob("results/*/*/run.json"))
    assert call(place, "score", str(run)).returncode == 2, "neither rows nor YAML"
    assert call(place, "score", str(run), "--path", "specs").returncode == 0
    assert file.read_bytes() == written
    assert len(lines_of(file)) == 7, "all rows: baselines look at those that are not asked, too"


def test_a_run_that_was_killed_goes_on_by_the_rows_of_its_start(place: Path) -> None:
    specs = mini_task.write(place / "specs", count=6)
    mini_task.model(specs, "weak", fail_ids=["q001"], fail_how="raise")
    assert call(place, "run", "--path", "specs", "-m", "weak", "-t", "toy").returncode == 1
    (file,) = place.glob("results/*/rows.jsonl")
    written = file.read_bytes()
    table = mini_task.rows(6)
    table[3]["cluster"] = "another"
    mini_task.write(specs, table=table)
    got = call(place, "run", "--path", "specs", "-m", "echo", "-t", "toy")
    assert got.returncode == 0
    assert (
        "differ from the stored rows in 1 of 6 samples (another cluster: q003). The stored rows are used." in got.stderr
    )
    assert file.read_bytes() == written
    folder = RunFolder(next(path.parent for path in place.glob("results/*/echo-*/run.json")))
    assert folder.summary()["clusters"] == 3


# ---------------------------------------------------------------- stored rows and data at hand


def test_what_differs_between_stored_rows_and_data_is_said_and_the_stored_rows_count(place: Path) -> None:
    specs = mini_task.write(place / "specs", count=6)
    call(place, "run", "--path", "specs", "-m", "echo", "-t", "toy")
    (run,) = (path.parent for path in place.glob("results/*/*/run.json"))
    before = (run / "summary.json").read_bytes()
    table = mini_task.rows(6)
    table[1]["answers"], table[3]["answers"], table[4]["voice"] = ["other"], ["other"], "c"
    table[5]["text"] = "another question"
    mini_task.clip(specs / "audio" / "q000.wav", 0.4, pitch=900)
    mini_task.write(specs, table=[*table[:2], *table[3:], table[2] | {"id": "new"}])
    got = call(place, "score", str(run), "--path", "specs")
    assert got.returncode == 0
    assert (
        "rows.jsonl: the data on this machine differ from the stored rows in 7 of 7 samples (missing from the data: q002; not "
        "among the stored rows: new; other sound: q000; other references: q001, q003; another transcript: q005; other groups: "
        "q004). The stored rows are used. Keep this file: these answers give no scores for the changed data. For those, "
        "run the model again."
    ) in got.stderr
    assert (run / "summary.json").read_bytes() == before
    (specs / "toy.jsonl").write_text("{}\n")
    got = call(place, "score", str(run), "--path", "specs")
    assert "the stored rows are scored; the data at hand cannot be compared with them" in got.stderr
    assert got.returncode == 0


CHANGED: dict[str, tuple[dict[str, Any], bool]] = {
    "other groups": ({"voice": "c"}, True),
    "another cluster": ({"cluster": "new"}, True),
    "other references": ({"answers": ["other"]}, False),
    "another transcript": ({"text": "another question"}, False),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_rows_are_only_to_be_deleted_where_that_brings_scores_by_the_data(
    place: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    change, works = CHANGED[kind]
    specs = mini_task.write(place / "specs", count=6)
    call(place, "run", "--path", "specs", "-m", "echo", "-t", "toy")
    (run,) = (path.parent for path in place.glob("results/*/*/run.json"))
    mini_task.write(specs, table=[row | change for row in mini_task.rows(6)])
    with caplog.at_level(logging.WARNING, "diva_bench"):
        db.score(run, paths="specs")
    (told,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert f"in 6 of 6 samples ({kind}: 6 samples, such as q000, q001, q002). The stored rows are used. " in told
    assert ("delete this file" in told, "run the model again" in told) == (works, not works)
    (run.parent / "rows.jsonl").unlink()
    if works:
        [again] = db.score(run, paths="specs")
        assert again.summary.complete
        assert db.load_runs("results")[0].summary.complete
    else:
        with pytest.raises(UserError, match="has changed since this run"):
            db.score(run, paths="specs")


def test_a_task_that_asks_otherwise_now_does_not_change_what_was_asked(place: Path) -> None:
    specs = mini_task.write(place / "specs", count=6)
    call(place, "run", "--path", "specs", "-m", "echo", "-t", "toy")
    (run,) = (path.parent for path in place.glob("results/*/*/run.json"))
    before = (run / "summary.json").read_bytes()
    file = specs / "toy.yaml"
    file.write_text(file.read_text().replace("Say {what}.", "Shout {what}."))
    got = call(place, "score", str(run), "--path", "specs")
    assert got.returncode == 0
    assert "task toy has changed since this run (prompt); the task that is stored with the run counts." in got.stderr
    assert (run / "summary.json").read_bytes() == before


def test_groups_that_a_task_has_since_come_from_the_data_or_are_said_to_lack(place: Path) -> None:
    specs = mini_task.write(
        place / "specs", table=[row | {"side": "lr"[i // 3]} for i, row in enumerate(mini_task.rows(6))]
    )
    call(place, "run", "--path", "specs", "-m", "echo", "-t", "toy")
    (run,) = (path.parent for path in place.glob("results/*/*/run.json"))
    file = specs / "toy.yaml"
    file.write_text(file.read_text().replace("groups: [voice]", "groups: [voice, side]"))
    call(place, "score", str(run), "--path", "specs")
    assert RunFolder(run).summary()["groups"]["side"].keys() == {"l", "r"}
    (specs / "toy.jsonl").unlink()
    got = call(place, "score", str(run), "--path", "specs")
    assert "has no groups side, which task toy has now: no breakdown by them." in got.stderr
    assert RunFolder(run).summary()["groups"].keys() == {"voice"}


# ---------------------------------------------------------------- licensed data

ACCESS = "access: {url: https://example.org, note: sign}"


def licensed(place: Path) -> Path:
    specs = mini_task.write(place / "specs", count=6)
    file = specs / "toy.yaml"
    file.write_text(file.read_text().replace("rows: 6}", f"rows: 6, {ACCESS}}}"))
    got = call(place, "run", "--path", "specs", "-m", "echo", "-t", "toy")
    assert got.returncode == 0, got.stderr
    shutil.rmtree(specs)
    (run,) = (path.parent for path in place.glob("results/*/*/run.json"))
    return run


def test_rows_of_licensed_data_stay_on_this_machine_unless_they_are_asked_for(place: Path) -> None:
    run = licensed(place)
    own = {"run.json", "responses.jsonl"}
    shared = [path for path in run.parent.rglob("*") if path.is_file() and path.name not in own]
    assert not any(b"nothing like it" in path.read_bytes() or b"question 1" in path.read_bytes() for path in shared)
    kept = rows.local(read_json(run.parent / "task.json")["hash"])
    assert kept.parent == assets.cache_folder() / "rows"
    assert call(place, "score", str(run)).returncode == 0
    text = kept.read_bytes()
    assert call(place, "score", str(run), "--share-rows").returncode == 0
    assert (run.parent / "rows.jsonl").read_bytes() == text
    kept.unlink()
    assert db.score(run)[0].score == 50.0


def test_where_licensed_rows_are_not_the_data_is_asked_for(place: Path) -> None:
    run = licensed(place)
    shutil.rmtree(place / "cache")
    got = call(place, "score", str(run))
    assert got.returncode == 2
    assert "unknown task" in got.stderr


# ---------------------------------------------------------------- rows that somebody changed


def forged(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    def spoil(file: Path) -> None:
        lines = lines_of(file)
        change(lines)
        write(file, lines, sign=True)

    return spoil


def edited(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    def spoil(file: Path) -> None:
        lines = lines_of(file)
        change(lines)
        write(file, lines)

    return spoil


def raw(change: Callable[[str], str]) -> Callable[[Path], None]:
    return lambda file: (file.write_text(change(file.read_text())), None)[1]


SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "an edited reference": (edited(lambda r: r[2].update(references=["x"])), "rows.jsonl: its rows were edited"),
    "an edited cluster": (edited(lambda r: r[2].update(cluster="x")), "sha256 is not the one in the first line"),
    "an edited group": (edited(lambda r: r[2].update(groups={"voice": "x"})), "rows were edited"),
    "a forged reference": (forged(lambda r: r[2].update(references=["x"])), "do not give the fingerprint"),
    "a forged transcript": (forged(lambda r: r[2].update(transcript="x")), "do not give the fingerprint"),
    "a forged clip": (forged(lambda r: r[2].update(audio="0" * 64)), "do not give the fingerprint"),
    "rows of another task": (
        edited(lambda r: r[0].update(task="0" * 64)),
        "rows.jsonl:1: holds the rows of another task",
    ),
    "a row that is gone": (edited(lambda r: r.pop()), "has 5 rows, and its first line says 6"),
    "a torn last line": (raw(lambda text: text[:-20]), "has 5 rows, and its first line says 6"),
    "one id twice": (edited(lambda r: r[3].update(id="q001")), "rows.jsonl:4: id 'q001' is already used in line 3"),
    "an unknown key": (edited(lambda r: r[2].update(weather="x")), "rows.jsonl:3: weather: is not a known key"),
    "no number": (raw(lambda text: text.replace('"seconds":0.25', '"seconds":NaN', 1)), "rows.jsonl:3: seconds: "),
    "no references": (edited(lambda r: r[2].update(references=[])), "rows.jsonl:3: references: is missing or empty"),
    "no cluster": (edited(lambda r: r[2].pop("cluster")), "rows.jsonl:3: cluster: is missing or empty"),
    "no text": (edited(lambda r: r[2].update(references=[1])), "rows.jsonl:3: references.0: must be text"),
    "no JSON": (raw(lambda text: text.replace('{"id":"q001"', '{"id":', 1)), "rows.jsonl:3: is not valid JSON"),
    "no first line": (edited(lambda r: r.pop(0)), "rows.jsonl:1: "),
    "nothing": (raw(lambda text: ""), "rows.jsonl: is empty"),
    "no text at all": (lambda file: (file.write_bytes(b"\xff\xfe\x00\n"), None)[1], "rows.jsonl:1: is not valid JSON"),
    "a line without an end": (raw(lambda text: "x" * (LONGEST + 2)), "rows.jsonl:1: is longer than 16.8 MB"),
}


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answered")
    specs = mini_task.write(folder / "specs", count=6)
    mini_task.model(specs, "hears", reply="audio")
    assert call(folder, "run", "--path", "specs", "-m", "echo", "-m", "hears", "-t", "toy").returncode == 0
    return folder / "results"


@pytest.fixture
def results(answered: Path, place: Path) -> Path:
    shutil.copytree(answered, place / "results")
    return place / "results"


@pytest.mark.parametrize("kind", SPOILT)
def test_rows_that_are_not_what_was_written_are_refused_in_words(results: Path, kind: str) -> None:
    spoil, said = SPOILT[kind]
    (file,) = results.glob("*/rows.jsonl")
    spoil(file)
    (run,) = (path.parent for path in results.glob("*/echo-*/run.json"))
    before = (run / "summary.json").read_bytes()
    with pytest.raises(UnreadableRun) as told:
        db.score(run)
    assert said in str(told.value)
    assert "Restore the file from a copy; or delete it, and run `diva-bench score`" in str(told.value)
    assert (run / "summary.json").read_bytes() == before


def test_rows_with_what_a_newer_version_adds_are_read(results: Path) -> None:
    (file,) = results.glob("*/rows.jsonl")
    lines = lines_of(file)
    write(
        file, [lines[0] | {"schema": 99, "weather": "fine"}, *(line | {"weather": "fine"} for line in lines[1:])], True
    )
    assert [run.score for run in db.score("results")] == [50.0, 0.0]
