"""The leaderboard of a terminal: one screen, with what is best, what is tied, what is at chance, and what is left out."""

from __future__ import annotations

import io
import json
import re
import shutil
import time
from pathlib import Path

import pytest
from command_line import call
from rich.console import Console
from stored import collect
from test_leaderboard import run

from diva_bench.report.leaderboard import screen, signatures, standings
from diva_bench.tables import Score

MINI = Path(__file__).parents[1] / "results" / "mini-v1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("screen")
    shutil.copytree(MINI, folder / "results")
    return folder


@pytest.mark.parametrize("width", [80, 120, 160])
def test_the_leaderboard_of_a_terminal_is_one_screen(place: Path, width: int) -> None:
    shown = call(place, "leaderboard", "results", COLUMNS=str(width)).stdout
    assert max(map(len, shown.splitlines())) <= width
    assert len(shown.splitlines()) <= {80: 50, 120: 30, 160: 24}[width]
    assert "--details" in shown
    assert (
        call(place, "leaderboard", "results", "--details", COLUMNS="160").stdout.count("interval: cluster bootstrap")
        > 5
    )


def test_the_screen_has_the_numbers_of_the_details(place: Path) -> None:
    tables = json.loads(call(place, "leaderboard", "results", "--format", "json").stdout)
    details = {}
    for table in (table for table in tables if "#" in table["columns"]):
        task = re.split(r"-[0-9a-f]{6}\b| over tasks", table["title"])[0]
        for row in table["rows"]:
            score = row[table["columns"][2]]
            details[task, row["model"]] = [round(score[key], 1) for key in ("value", "low", "high")]
    head, _, *lines = call(place, "leaderboard", "results", COLUMNS="160").stdout.splitlines()[2:]
    models = head.split()[4:]
    shown = {}
    for line in lines[: lines.index("")]:
        numbers = [float(text) for text in re.findall(r"-?\d+\.\d", line)]
        for k, model in enumerate(models):
            shown[line.split()[0], model] = numbers[3 * k : 3 * k + 3]
    assert shown == details


def test_best_tied_and_chance_are_marked(tmp_path: Path) -> None:
    run(tmp_path, "best", 22.4)
    run(tmp_path, "near", 19.0)  # intervals of 3 to both sides: standard error 1.53, of a difference 2.16
    run(tmp_path, "far", 18.0)
    run(tmp_path, "blind", 21.0, at_chance=True)
    summaries = collect(tmp_path)
    stand = standings(summaries)
    assert {s.model: stand[s.run_id] for s in summaries} == {
        "best": "best",
        "near": "tied",
        "far": "",
        "blind": "at chance",
    }
    (table,) = screen(summaries)
    cells = {c.heading: cell for c, cell in zip(table.columns, table.rows[0], strict=True) if isinstance(cell, Score)}
    assert {name: (cell.mark, cell.tone) for name, cell in cells.items()} == {
        "best": ("+ ", "strong"),
        "near": ("= ", "strong"),
        "far": ("", ""),
        "blind": ("* ", "faint"),
    }
    out = io.StringIO()
    Console(file=out, width=160, force_terminal=True, color_system="standard", highlight=False).print(table)
    assert "\x1b[1m+ 22.4" in out.getvalue()
    assert re.search(r"\x1b\[90m\* 21\.0", out.getvalue())


def test_a_lower_word_error_rate_is_the_best(tmp_path: Path) -> None:
    run(tmp_path, "worse", 30.0, task_id="asr-4be1f0", primary="wer")
    run(tmp_path, "better", 10.0, task_id="asr-4be1f0", primary="wer")
    summaries = collect(tmp_path)
    stand = standings(summaries)
    assert {s.model: stand[s.run_id] for s in summaries} == {"worse": "", "better": "best"}
    assert "wer: lower is better" in screen(summaries)[0].notes


def test_ranks_decide_ties_if_they_are_known(tmp_path: Path) -> None:
    paths = {name: run(tmp_path, name, value) for name, value in (("a", 22.4), ("b", 22.0), ("c", 15.0))}
    task_id = paths["a"].parent.name
    ranks = {(task_id, paths["a"].name): (1, 1), (task_id, paths["b"].name): (2, 2), (task_id, paths["c"].name): (1, 3)}
    stand = standings(collect(tmp_path), ranks)
    assert [stand[paths[name].name] for name in "abc"] == ["best", "", "tied"]


def test_what_is_left_out_is_said_in_one_line(tmp_path: Path) -> None:
    run(tmp_path, "diva", 22.4)
    run(tmp_path, "half", 20.0, complete=False, reason="3 failed")
    run(tmp_path, "diva", 50.0, task_id="covost2-de-limit4-f33fd8", limit=4)
    (table,) = screen(collect(tmp_path), unreadable=2)
    (line,) = [note for note in table.notes if note.startswith("runs left out here")]
    assert line == "runs left out here: 1 with --limit, 1 not complete or without a score, 2 that cannot be read"
    assert table.notes[table.notes.index(line) + 1] == "covost2-de, half: not ranked: 3 failed"


def test_editions_are_never_in_one_table(tmp_path: Path) -> None:
    run(tmp_path, "diva", 22.4)
    run(tmp_path, "diva", 30.0, task_id="covost2-de-111111", edition="full", model_edition="full", speech="human")
    tables = screen(collect(tmp_path))
    assert [table.title.partition(" ")[0] for table in tables] == ["full", "mini:"]
    assert all(len(table.rows) == 1 for table in tables)


def test_answers_are_counted_where_some_are_missing(tmp_path: Path) -> None:
    run(tmp_path, "diva", 22.4, unsupported=12)
    (table,) = screen(collect(tmp_path))
    place = [column.name for column in table.columns].index("answered")
    assert table.rows[0][place] == "75 %"
    assert not table.columns[place].optional


def test_signatures_are_listed_once(place: Path) -> None:
    table = signatures(collect(place / "results"))
    assert len({row[0] for row in table.rows}) == len(table.rows)
    shown = call(place, "leaderboard", "results", "--signatures", "--format", "json").stdout
    assert [row["signature"] for row in json.loads(shown)[0]["rows"]] == [row[0] for row in table.rows]


def test_a_leaderboard_of_stored_summaries_is_fast(place: Path) -> None:
    call(place, "leaderboard", "results")  # digests of the answers are kept from here on
    began = time.process_time()
    call(place, "leaderboard", "results")
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--speed", "--compute"),
            "--speed and --compute print different tables. Give one of --overview, --signatures, --speed, --published, ",
        ),
        (
            ("--overview", "--ranks"),
            "--ranks has no effect on --overview. Leave one out. --ranks goes with the default table",
        ),
        (("--signatures", "--details"), "--details has no effect on --signatures. Leave one out."),
        (("--published", "--in-memory"), "--in-memory goes with the default table, --overview."),
        (("--compute", "--task", "meld"), "--task has no effect on --compute. Leave one out."),
    ],
)
def test_options_that_exclude_each_other_are_refused_with_what_they_go_with(
    place: Path, words: tuple[str, ...], message: str
) -> None:
    got = call(place, "leaderboard", "results", *words)
    assert (got.returncode, got.stdout) == (2, "")
    assert message in got.stderr


@pytest.mark.parametrize("words", [("--overview", "--in-memory"), ("--signatures", "--task", "meld")])
def test_options_that_go_together_are_taken(place: Path, words: tuple[str, ...]) -> None:
    assert call(place, "leaderboard", "results", *words).returncode == 0
