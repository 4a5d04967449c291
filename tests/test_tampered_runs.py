"""Run folders that somebody edited, copied, tore or filled with something else: told in words, and nobody else suffers."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import mini_task
import pytest
from command_line import call

from diva_bench.errors import UnreadableRun
from diva_bench.runs.store import RunFolder

SECONDS = float(os.environ.get("DIVA_BENCH_FUZZ_SECONDS", "20"))
FILES = (
    "run.json",
    "../task.json",
    "../rows.jsonl",
    "responses.jsonl",
    "timing.jsonl",
    "events.jsonl",
    "scores.jsonl",
    "summary.json",
)
VALUES = (
    None,
    True,
    -1,
    7,
    0.5,
    1e308,
    float("nan"),
    float("-inf"),
    10**400,
    "",
    "x",
    [],
    ["x"],
    {},
    {"x": {}},
    [[[]]],
)
LINES = (b"", b"\n", b"null\n", b"{}\n", b'{"id":', b'"\xff\xfe"\n', b"\x00\x00\n", b"[" * 100_000 + b"\n", b"[1]\n")


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two judged runs of one task, one of which had an error and a split batch before."""
    folder = tmp_path_factory.mktemp("answered")
    specs = mini_task.write(folder / "specs", count=6)
    mini_task.model(specs, "hears", reply="audio", fail_ids=["q001"], fail_how="raise")
    got = call(folder, "run", "--path", "specs", "-m", "echo", "-m", "hears", "-t", "toy")
    assert got.returncode == 1, got.stderr
    return folder


@pytest.fixture
def place(answered: Path, tmp_path: Path) -> Path:
    """A copy of both, to be spoilt."""
    shutil.copytree(answered, tmp_path / "here", dirs_exist_ok=True)
    return tmp_path / "here"


def run_of(place: Path, model: str) -> Path:
    (found,) = (path.parent for path in place.glob(f"results/*/{model}-*/run.json"))
    return found


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file, or the last line of a list of them."""
    *lines, last = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    value = json.loads(last)
    change(value)
    file.write_text("\n".join([*lines, json.dumps(value)]) + "\n")


def leaderboard(place: Path) -> CompletedProcess[str]:
    got = call(place, "leaderboard", "results", "--details", "--path", "specs")
    return CompletedProcess(got.args, got.returncode, " ".join(got.stdout.split()), got.stderr)


# ---------------------------------------------------------------- kinds of it


CHANGES: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("run.json", lambda r: r.update(hash=r["hash"][:-1] + "z"), "run.json was edited: its hash is not that of"),
    ("run.json", lambda r: r["model"].update(name="other"), "run.json was edited: its hash is not that of its content"),
    ("run.json", lambda r: r.update(seed=1), "run.json and task.json differ in seed"),
    ("run.json", lambda r: r.update(limit="all"), "run.json: limit: must be a whole number (found 'all')"),
    ("run.json", lambda r: r.clear(), "run.json: id: is missing"),
    ("run.json", lambda r: r.pop("model"), "run.json: model: is missing"),
    (
        "run.json",
        lambda r: r.update(schema=99, limit="all"),
        "run.json: limit: must be a whole number (found 'all'). A newer version of diva-bench wrote it (schema 99;",
    ),
    (
        "summary.json",
        lambda r: r["metrics"]["contains"].update(value=None),
        "metrics.contains.value: must be a number",
    ),
    (
        "summary.json",
        lambda r: r.update(schema=99, n="x"),
        "summary.json: n: must be a whole number (found 'x'). A newer version of diva-bench wrote it (schema 99;",
    ),
    ("../task.json", lambda r: r.update(prompt="Say nothing."), "task.json above it was edited: its hash is not that"),
]


@pytest.mark.parametrize(("file", "change", "said"), CHANGES)
def test_a_run_that_was_edited_is_listed_and_the_others_are_ranked(
    place: Path, file: str, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    edit(run_of(place, "hears") / file, change)
    got = leaderboard(place)
    assert got.returncode == 1
    assert "runs that cannot be read and are left out of all tables" in got.stdout
    assert said in got.stdout
    assert ("1 echo 50.0" in got.stdout) is (file != "../task.json"), "its task.json is the other's, too"


def test_a_run_of_a_newer_version_is_read_without_the_keys_that_are_not_known_here(place: Path) -> None:
    folder = run_of(place, "echo")
    for name in ("run.json", "summary.json"):
        edit(folder / name, lambda r: r.update(schema=99, weather="fine"))
    edit(folder / "summary.json", lambda r: r["metrics"]["contains"].update(weather="fine"))
    for name in ("responses.jsonl", "timing.jsonl"):
        edit(folder / name, lambda r: r.update(weather={"sky": ["blue"]}))
    got = leaderboard(place)
    assert "1 echo 50.0" in got.stdout
    assert "cannot be read" not in got.stdout
    assert "A newer version of diva-bench wrote 1 of these runs, such as" in got.stderr
    assert [r.id for r in RunFolder(folder).responses()] == [
        r.id for r in RunFolder(run_of(place, "hears")).responses()
    ]
    edit(folder / "run.json", lambda r: r.update(schema=3))
    edit(folder / "timing.jsonl", lambda r: r.update(weather="fine"))
    with pytest.raises(UnreadableRun, match=r"timing\.jsonl:\d: weather: is not a known key"):
        RunFolder(folder).timing()


@pytest.mark.parametrize("left", ["summary.json", "responses.jsonl"])
def test_a_run_that_lost_its_record_is_listed_and_the_others_are_ranked(place: Path, left: str) -> None:
    folder = run_of(place, "hears")
    for path in [*folder.iterdir()]:
        if path.name != left:
            path.unlink()
    (place / "results" / "notes" / "old").mkdir(parents=True)  # no run, and no reason to say anything
    got = leaderboard(place)
    assert got.returncode == 1
    assert "run.json is missing. Restore it from a copy, or move the folder away." in got.stdout
    assert "1 echo 50.0" in got.stdout


def test_answers_that_changed_after_they_were_judged_are_not_compared(place: Path) -> None:
    folder = RunFolder(run_of(place, "echo"))
    folder.scores_of_now()
    edit(folder.path / "responses.jsonl", lambda row: row.update(text="something else"))
    with pytest.raises(UnreadableRun, match=r"its answers changed after they were scored\. Run `diva-bench score"):
        folder.scores_of_now()
    call(place, "score", "--path", "specs", str(folder.path))
    RunFolder(folder.path).scores_of_now()


@pytest.mark.parametrize("judged", [False, True])
def test_a_copied_folder_is_no_second_system(place: Path, judged: bool) -> None:
    copy = run_of(place, "echo").with_name("echo-better")
    shutil.copytree(run_of(place, "echo"), copy)
    if judged:
        got = call(place, "score", "--path", "specs", str(copy))
        assert got.returncode == 2
        assert "A copy is not a run: remove it, or give the folder its old name." in got.stderr
        edit(copy / "summary.json", lambda s: s.update(run_id="echo-better"))
    got = leaderboard(place)
    assert got.returncode == 1
    assert "is the record of 'echo-" in got.stdout
    assert got.stdout.count("echo 50.0") == 1


def test_a_line_of_a_status_that_nobody_knows_is_counted_as_an_error_and_asked_again(place: Path) -> None:
    folder = run_of(place, "echo")
    edit(folder / "responses.jsonl", lambda row: row.update(status="timeout"))
    assert call(place, "score", "--path", "specs", str(folder)).returncode == 1
    summary = RunFolder(folder).summary()
    assert (summary["n"], summary["scored"], summary["errors"], summary["complete"]) == (6, 5, 1, False)
    assert summary["metrics"]["contains"]["n"] == 5
    lost = [r.detail for r in RunFolder(folder).responses() if r.status == "error"]
    assert lost == ["responses.jsonl:6 has status 'timeout', which is none of ok, unsupported, error"]
    assert call(place, "run", "--path", "specs", "-m", "echo", "-t", "toy").returncode == 0
    assert RunFolder(folder).summary()["complete"] is True


LINE: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("responses.jsonl", lambda r: r.update(text=None), ":6: text: must be text (found nothing)"),
    ("responses.jsonl", lambda r: r.pop("id"), ":6: id: is missing"),
    (
        "responses.jsonl",
        lambda r: r.update(tokens={"new": "many"}),
        ":6: tokens.new: must be a whole number (found 'many')",
    ),
    ("responses.jsonl", lambda r: r.update(round=-1), ":6: round: must be 0 or more (found -1)"),
    ("timing.jsonl", lambda r: r.update(wall=float("nan")), "wall: must be a finite number"),
    ("events.jsonl", lambda r: r.update(event="party"), "must have 'event' as one of 'budget', 'split'"),
]


@pytest.mark.parametrize(("file", "change", "said"), LINE)
def test_a_line_that_is_none_is_named_with_its_number_before_anything_is_written(
    place: Path, file: str, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    folder = run_of(place, "echo")
    edit(folder / file, change)
    before = {path.name: path.read_bytes() for path in folder.glob("*.json*")}
    got = call(place, "score", "--path", "specs", str(folder), str(run_of(place, "hears")))
    assert got.returncode == 1, "the other run is scored"
    shown = " ".join(got.stdout.split())
    assert f"{file}{said}" in shown or said in shown
    assert "Remove that line to continue." in shown
    changed = {name for name, content in before.items() if (folder / name).read_bytes() != content}
    assert changed <= {"summary.json", "scores.jsonl"} if file == "timing.jsonl" else not changed


def test_a_run_that_cannot_be_read_is_left_out_of_a_comparison_of_three_and_refused_in_one_of_two(place: Path) -> None:
    mini_task.model(place / "specs", "third", reply="nothing like it")
    mini_task.model(place / "specs", "fourth", reply="q001")
    assert call(place, "run", "--path", "specs", "-m", "third", "-m", "fourth", "-t", "toy").returncode == 0
    edit(run_of(place, "fourth") / "scores.jsonl", lambda row: row["qa"].update({"qa.em": "one"}))
    runs = [str(run_of(place, name)) for name in ("echo", "third", "fourth")]
    got = call(place, "compare", "--path", "specs", *runs)
    assert got.returncode == 1, got.stderr
    assert "scores.jsonl:7: qa.qa.em: must be a number (found 'one')" in " ".join(got.stdout.split())
    assert "echo - third" in got.stdout
    refused = call(place, "compare", "--path", "specs", *runs[1:])
    assert refused.returncode == 2
    assert "scores.jsonl:7: qa.qa.em" in refused.stderr


# ---------------------------------------------------------------- anything


def test_no_harm_done_to_a_run_folder_ends_in_a_traceback(place: Path) -> None:
    """Small harm to one file, then the commands that read runs: `call` fails on any exception that main lets through."""
    ends, dice, number = time.monotonic() + SECONDS, random.Random(12), 0
    folder, other = run_of(place, "echo"), run_of(place, "hears")
    shutil.copytree(place, whole := place.with_name("whole"))
    commands = (
        ("leaderboard", "results"),
        ("score", "--path", "specs", str(folder)),
        ("compare", "--path", "specs", str(folder), str(other)),
        ("run", "--path", "specs", "-m", "echo", "-t", "toy"),
        ("diagnose", "--path", "specs", str(folder)),
        ("leaderboard", "results", "--ranks"),
        ("trio", "results", "--oracle", "echo", "--cascade", "hears", "-m", "hears"),
    )
    while time.monotonic() < ends or number < len(FILES):
        file = folder / FILES[number % len(FILES)]
        harm = spoil(file, dice)
        for words in (commands[0], commands[1 + number % (len(commands) - 1)]):
            try:
                got = call(place, *words)
            except Exception as err:
                raise AssertionError(f"{number}: {file.name}: {harm}: {words[0]}") from err
            assert got.returncode in (0, 1, 2), (file.name, harm, words[0])
        shutil.rmtree(place / "results")
        shutil.copytree(whole / "results", place / "results")
        number += 1


def spoil(file: Path, dice: random.Random) -> str:
    """Do one thing to a file, and say what."""
    content = file.read_bytes()
    lines = content.splitlines(keepends=True)
    at = dice.randrange(len(lines)) if lines else 0
    kind = dice.choice(["value", "value", "value", "value", "byte", "cut", "line", "twice", "gone", "folder"])
    if kind == "value" and lines:
        text = content if file.suffix == ".json" else lines[at]
        value, where = json.loads(text), ""
        value, where = changed(value, dice)
        if file.suffix == ".json":
            file.write_text(json.dumps(value))
        else:
            lines[at] = json.dumps(value).encode() + b"\n"
            file.write_bytes(b"".join(lines))
        return f"value {where}"
    if kind == "byte" and content:
        spot = dice.randrange(len(content))
        file.write_bytes(content[:spot] + bytes([dice.randrange(256)]) + content[spot + 1 :])
        return f"byte {spot}"
    if kind == "cut":
        file.write_bytes(content[: dice.randrange(len(content) + 1)])
    elif kind == "line":
        file.write_bytes(b"".join([*lines[:at], dice.choice(LINES), *lines[at:]]))
    elif kind == "twice":
        file.write_bytes(b"".join([*lines[:at], *lines[at : at + 1], *lines[at:]]))
    elif kind in ("gone", "folder"):
        file.unlink()
        if kind == "folder":
            file.mkdir()
    return f"{kind} at {at}"


def changed(value: Any, dice: random.Random, where: str = "") -> tuple[Any, str]:
    """The value with one thing in it, however deep, replaced, removed or added; and where."""
    inner = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not inner or dice.random() < 0.15:
        return dice.choice(VALUES), where
    key = dice.choice(inner)
    how = dice.random()
    if how < 0.15:
        del value[key]
        return value, f"{where}.{key} removed"
    if how < 0.25 and isinstance(value, dict):
        return value | {"more": dice.choice(VALUES)}, f"{where}.more added"
    value[key], where = changed(value[key], dice, f"{where}.{key}")
    return value, where
