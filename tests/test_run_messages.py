"""Messages about folders that are no runs, about many faults at once and about unparsed labels; and the files that "
"commands write."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import mini_task
import pytest
from command_line import call

LABELS = """\
name: toy
version: 1
description: a test
prompt: "Which one? {choices}."
reference: voice
choices: [a, b]
scorers: {labels: {}}
primary: accuracy
editions:
  mini: {speech: synthetic, source: jsonl, path: toy.jsonl, rows: 6}
"""


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A folder with a run of a task, judged."""
    mini_task.write(tmp_path / "specs", count=6)
    got = call(tmp_path, "run", "--path", "specs", "-m", "echo", "-t", "toy")
    assert got.returncode == 0, got.stderr
    return tmp_path


# ---------------------------------------------------------------- folders that are no runs


NO_RUNS = [(command, name) for command in ("score", "diagnose") for name in ("somewhere", "somewhere/inner")]


@pytest.mark.parametrize(("command", "name"), [*NO_RUNS, ("diagnose", "results"), ("diagnose", ".")])
def test_a_folder_that_is_no_run_is_called_so_as_it_was_typed(judged: Path, command: str, name: str) -> None:
    (judged / "somewhere" / "inner").mkdir(parents=True)
    (judged / "somewhere" / "notes.txt").write_text("x")
    got = call(judged, command, "--path", "specs", name)
    assert got.returncode == 2
    assert (
        f"{name}: is not a run folder: it has none of a run's files. Give folders such as results/<task>/<run>"
        in got.stderr
    )
    assert str(judged) not in got.stderr
    assert "task.json" not in got.stderr


NOWHERE = [
    ("score", "x"),
    ("diagnose", "x"),
    ("compare", "x", "x/y"),
    ("leaderboard", "x"),
    ("list", "runs", "x"),
    ("trio", "x"),
]


@pytest.mark.parametrize("command", NOWHERE)
def test_a_folder_that_does_not_exist_is_called_so_by_every_command(judged: Path, command: tuple[str, ...]) -> None:
    got = call(judged, *command)
    assert got.returncode == 2
    assert got.stderr.startswith("diva-bench: x: no such folder. Give ")


def test_a_task_that_is_not_known_is_told_once_for_all_of_its_runs(judged: Path) -> None:
    assert call(judged, "run", "--path", "specs", "-m", "majority", "-t", "toy").returncode == 0
    runs = sorted(path.parent.relative_to(judged) for path in judged.glob("results/*/*/run.json"))
    for file in judged.glob("results/*/rows.jsonl"):
        file.unlink()
    got = call(judged, "score", "results")
    assert got.returncode == 1
    assert got.stderr.count("unknown task 'toy'") == 1
    assert f"not scored: {runs[0]}, {runs[1]}: unknown task 'toy'" in got.stderr


def test_data_that_differ_are_told_once_for_all_runs_of_a_task(judged: Path) -> None:
    assert call(judged, "run", "--path", "specs", "-m", "majority", "-t", "toy").returncode == 0
    mini_task.write(judged / "specs", table=[row | {"voice": "c"} for row in mini_task.rows(6)])
    got = call(judged, "score", "results", "--path", "specs")
    assert got.returncode == 0
    assert got.stderr.count("differ from the stored rows in 6 of 6 samples (other groups: 6 samples, such as") == 1


def test_edited_rows_are_told_once_for_all_runs_of_a_task(judged: Path) -> None:
    assert call(judged, "run", "--path", "specs", "-m", "majority", "-t", "toy").returncode == 0
    (file,) = judged.glob("results/*/rows.jsonl")
    file.write_text(file.read_text().replace("q001", "q0001", 1))
    got = call(judged, "score", "results")
    assert got.returncode == 1
    assert got.stdout.count("rows.jsonl: its rows were edited") == 1
    got = call(judged, "diagnose", *(str(path.parent) for path in judged.glob("results/*/*/run.json")))
    assert got.returncode == 2
    assert got.stderr.count("rows.jsonl: its rows were edited") == 1


@pytest.mark.parametrize("command", ["score", "diagnose"])
def test_a_run_without_its_tasks_record_is_told_by_the_path_that_was_typed(judged: Path, command: str) -> None:
    (run,) = (path.parent.relative_to(judged) for path in judged.glob("results/*/*/run.json"))
    (judged / run.parent / "task.json").unlink()
    got = call(judged, command, "--path", "specs", str(run))
    assert got.returncode == 2
    assert f"{run.parent}/task.json: cannot be read" in got.stderr
    assert str(judged) not in got.stderr


# ---------------------------------------------------------------- wrong data and metrics


def test_a_kaldi_text_that_lacks_an_utterance_is_told_with_the_utterance(tmp_path: Path) -> None:
    for name in ("u1", "u2", "u3"):
        mini_task.clip(tmp_path / "speech" / f"{name}.wav", 0.3)
    (tmp_path / "speech" / "wav.scp").write_text("u1 u1.wav\nu2 u2.wav\nu3 u3.wav\n")
    (tmp_path / "speech" / "text").write_text("u1 one\nu3 three\n")
    got = call(tmp_path, "new", "task", "speech")
    assert got.returncode == 2
    assert (
        "speech/text: no line for utterance 'u2' of wav.scp: text is empty there or not text, and every row needs an answer: 1 "
        "of 3 rows lack one. Add it, drop the row, or name another column with --reference."
    ) in got.stderr
    assert "no column can be" not in got.stderr


@pytest.mark.parametrize("command", ["score", "import"])
def test_a_metric_that_no_scorer_gives_is_refused_before_anything_is_written(judged: Path, command: str) -> None:
    file = judged / "specs" / "toy.yaml"
    file.write_text(file.read_text().replace("primary: contains", "primary: contain"))
    (run,) = (path.parent for path in judged.glob("results/*/*/run.json"))
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.suffix in (".json", ".jsonl")}
    (judged / "outs.jsonl").write_text("".join(json.dumps({"id": f"q{i:03}", "text": "x"}) + "\n" for i in range(6)))
    words = {
        "score": ("score", "--path", "specs", str(run)),
        "import": ("import", "outs.jsonl", "--path", "specs", "-t", "toy", "-n", "X", "--edition", "mini"),
    }
    got = call(judged, *words[command])
    assert got.returncode == 2
    assert "unknown metric 'contain' in `primary` of task toy. Did you mean 'contains'?" in got.stderr
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.suffix in (".json", ".jsonl")} == before
    assert not [*judged.glob("results/*/X-*")]


# ---------------------------------------------------------------- what a table has to say


def test_many_clips_that_cannot_be_used_are_told_by_reason_with_their_number(tmp_path: Path) -> None:
    specs = mini_task.write(tmp_path / "specs", count=60)
    for number in range(50):
        file = specs / "audio" / f"q{number:03}.wav"
        file.write_bytes(file.read_bytes()[: -100 - number] if number < 40 else b"no sound")
    got = call(tmp_path, "run", "--path", "specs", "-m", "echo", "-t", "toy")
    assert got.returncode == 1
    said = " ".join(got.stdout.split()).split("left out for every model: ")[1:]
    assert len(said) == 2
    assert said[0].startswith("40 samples, the first: audio/q000.wav: is cut short: the WAV header promises")
    assert said[1].startswith(
        "10 samples, the first: audio/q040.wav: no audio format is recognised in it; audio/q041.wav:"
    )
    assert all("run.json under `faults`" in one for one in said)
    assert got.stdout.count("q000") == 1, "once, not as id and as name"
    assert len(got.stdout.splitlines()) < 30


def test_labels_that_no_answer_names_are_told_beside_the_score(tmp_path: Path) -> None:
    specs = mini_task.write(tmp_path / "specs", count=6)
    (specs / "toy.yaml").write_text(LABELS)
    mini_task.model(specs, "vague", reply="I would rather not say")
    got = call(tmp_path, "run", "--path", "specs", "-m", "vague", "-t", "toy")
    assert "6 of 6 answers name no label" in " ".join(got.stdout.split())
    board = call(tmp_path, "leaderboard", "results", "--format", "csv").stdout
    assert "6 of 6 answers name no label" in board


# ---------------------------------------------------------------- files of tables


WAYS: dict[str, Callable[[str], bool]] = {
    "out.md": lambda text: text.startswith("<!-- Generated") and "| # | model |" in text,
    "out.csv": lambda text: (
        [row[:3] for row in csv.reader(text.splitlines())][:2]
        == [["task", "model", "metric"], ["toy", "echo", "contains"]]
    ),
    "out.json": lambda text: json.loads(text)[0]["rows"][0]["model"] == "echo",
    "out.tex": lambda text: "\\begin{tabular}" in text,
    "out.txt": lambda text: "echo" in text and "\x1b" not in text,
}


@pytest.mark.parametrize("name", WAYS)
def test_a_leaderboard_is_also_written_to_a_file_in_the_format_of_its_ending(judged: Path, name: str) -> None:
    plain = call(judged, "leaderboard", "results").stdout
    got = call(judged, "leaderboard", "results", "-o", name)
    assert (got.returncode, got.stdout) == (0, plain)
    assert WAYS[name]((judged / name).read_text())


@pytest.mark.parametrize("command", [("diagnose",), ("compare",), ("trio", "results")])
def test_all_commands_of_tables_take_the_same_option(judged: Path, command: tuple[str, ...]) -> None:
    """Before anything is worked out: for a file whose ending says no format."""
    runs = [str(path.parent) for path in judged.glob("results/*/*/run.json")] * 2
    words = command if len(command) > 1 else (*command, *runs)
    got = call(judged, *words, "--output", "out.doc")
    assert got.returncode == 2
    assert "--output out.doc: its ending names no format. Allowed: .md, .csv, .tex, .json, .txt." in got.stderr


def test_a_file_that_cannot_be_written_is_told_before_anything_is_worked_out(judged: Path) -> None:
    assert (
        "--output gone/out.md: there is no folder gone. Make it"
        in call(judged, "leaderboard", "-o", "gone/out.md").stderr
    )
    (judged / "a.md").mkdir()
    assert (
        "--output a.md: this is a folder. Give a file in it, such as a.md/tables.md."
        in call(judged, "leaderboard", "-o", "a.md").stderr
    )
