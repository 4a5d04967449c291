"""Speeds of stored runs: what a run records about its machine, and tables in which one machine stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import diva_bench as db
from diva_bench.cli.results import leaderboard_command
from diva_bench.report.speed import measured, speed_tables
from diva_bench.runs.run import Run
from diva_bench.types import Request, Response

SOUND = np.sin(np.arange(16_000, dtype=np.float32) / 9) / 2  # one second
ROWS = [{"id": str(i), "audio": (SOUND, 16_000), "text": f"question {i}", "answer": "yes"} for i in range(6)]


class Model:
    """Says how long it took."""

    accepts = frozenset({"text"})
    version = "1"

    def __init__(self, name: str, fails: frozenset[str] = frozenset()) -> None:
        self.name, self.fails = name, fails

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        took = {"prefill": 1e-6, "decode": 3e-6}
        return [
            Response(r.id, status="unsupported", detail="no")
            if r.id in self.fails
            else Response(r.id, "yes", seconds=took)
            for r in requests
        ]

    def close(self) -> None: ...


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return made(tmp_path)


def made(folder: Path, model: Model | None = None) -> Run:
    task = db.Task.from_rows(ROWS, name="ask", prompt="Answer.", reference="answer", scorers="qa")
    return db.run(model or Model("quick"), [task], output=folder / "results", batch_seconds=2.0)[0]


def lines(run: Run) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run.path / "timing.jsonl").read_text().splitlines()]


def rewrite(run: Run, rows: list[dict[str, object]]) -> Run:
    (run.path / "timing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Run(run.path, run.summary)


def test_the_first_batch_of_a_process_says_on_what_it_ran_and_when_it_was_there(run: Run) -> None:
    first, *others = lines(run)
    assert first["rows"] == 2
    assert set(first) == {"rows", "audio", "wall", "stages", "memory", "first", "machine"}
    assert first["first"] >= first["wall"]
    assert first["machine"]["cores"] >= 1
    assert "device" not in first["machine"]  # a model in memory may compute anywhere
    assert len(others) == 2
    assert all(set(other) == {"rows", "audio", "wall", "stages", "memory"} for other in others)
    assert all(10 << 20 < line["memory"] < 1 << 40 for line in lines(run))  # bytes


def test_a_first_batch_in_which_nothing_was_computed_does_not_hide_the_machine(tmp_path: Path) -> None:
    silent, *rest = lines(made(tmp_path, Model("deaf", frozenset({"0", "1"}))))
    assert set(silent) == {"rows", "audio", "wall", "stages"}
    assert "machine" in rest[0]


def test_parts_of_a_run_on_two_machines_are_in_two_tables(run: Run) -> None:
    first, second, third = lines(run)
    on = {"device": "NVIDIA H200", "processor": "other", "cores": 16, "threads": 8}
    rewritten = rewrite(run, [first | {"wall": 2.0}, second | {"wall": 1.0, "machine": on}, third | {"wall": 3.0}])
    tables = {table.title: table.rows for table in speed_tables([rewritten])}
    own, other = (next(t for t in tables if ("H200" in t) == here) for here in (False, True))
    assert other == "speed: device NVIDIA H200, other, 16 cores, 8 threads, number format not recorded"
    assert [row[2:5] for row in tables[own]] == [[2, 1.0, 1.0]]
    assert [row[2:5] for row in tables[other]] == [[4, 1.0, 1.0]]


def test_a_run_of_an_older_version_has_a_table_of_its_own_with_dashes(run: Run) -> None:
    older = [{key: line[key] for key in ("rows", "audio", "wall", "stages")} for line in lines(run)]
    (table,) = speed_tables([rewrite(run, older)])
    assert table.title.startswith("speed: device not recorded")
    assert "threads not recorded" in table.title
    named = dict(zip([column.name for column in table.columns], table.rows[0], strict=True))
    assert (named["samples"], named["first answer"], named["peak memory"]) == (6, None, None)


def test_the_stages_and_the_rest_are_the_whole_time(run: Run) -> None:
    rows = [line | {"wall": 1.0, "stages": {"prefill": 0.25, "decode": 0.5}} for line in lines(run)]
    (table,) = speed_tables([rewrite(run, rows)])
    named = dict(zip([column.name for column in table.columns], table.rows[0], strict=True))
    assert {name: value for name, value in named.items() if name.endswith("%")} == {
        "prefill %": 25.0,
        "decode %": 50.0,
        "other %": 25.0,
    }


def test_a_damaged_timing_file_costs_the_speed_alone(run: Run) -> None:
    (run.path / "timing.jsonl").write_text("{}\n")
    assert measured([run]) == {}


def test_speeds_are_printed_and_their_absence_is_explained(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leaderboard_command(tmp_path / "results", [], "md", speed=True) == 0
    assert "| ask | quick | 6 |" in capsys.readouterr().out
    (run.path / "timing.jsonl").unlink()
    assert leaderboard_command(tmp_path / "results", [], "md", speed=True) == 1
    assert "no speeds: no model computed in these runs" in capsys.readouterr().err
