"""Progress in the terminal: counts, speed, and a time left that is not told before it can be known."""

from __future__ import annotations

import pytest

from diva_bench.cli import progress
from diva_bench.cli.progress import Terminal, amount


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_the_time_left_is_that_of_complete_batches(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal().bar("task x model", 120, "samples") as bar:
        clock[0] += 240
        bar.advance(1, "40 at a time, decode", inside=True)
        assert last_line(capsys) == "task x model: 1/120, 0.00 samples/s, 40 at a time, decode", (
            "unknown in the first batch"
        )
        clock[0] += 60
        bar.advance(39, "40 at a time")
        assert last_line(capsys) == "task x model: 40/120, 0.1 samples/s, 40 at a time, 10:00 left"
        clock[0] += 200
        bar.advance(1, "40 at a time, decode", inside=True)
        assert last_line(capsys).endswith("41/120, 0.08 samples/s, 40 at a time, decode, 6:40 left"), (
            "it goes on to fall"
        )
        clock[0] += 2000
        bar.advance(1, "40 at a time, decode", inside=True)
        assert last_line(capsys).endswith(", 0:00 left")
    assert last_line(capsys) == "task x model: 42/120, 0.02 samples/s, 40 at a time, decode, done after 41:40"


def test_the_first_of_many_items_says_nothing_because_it_loads_what_all_of_them_need(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Terminal().bar("scoring", 204) as bar:
        clock[0] += 5
        bar.advance(1)
        assert last_line(capsys) == "scoring: 1/204, 0.2 items/s"
        clock[0] += 15
        bar.advance(50)
        assert last_line(capsys) == "scoring: 51/204, 2.5 items/s, 0:46 left"


def test_a_run_that_goes_on_counts_only_its_own_answers_for_the_speed(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Terminal().bar("task x model", 100, "samples", done=60) as bar:
        clock[0] += 20
        bar.advance(20)
        assert last_line(capsys) == "task x model: 80/100, 1 samples/s, 0:20 left"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12, "samples", "12"),
        (2.34, "samples", "2.3"),
        (0.0432, "samples", "0.04"),
        (123.4, "samples", "123"),
        (0, "samples", "0"),
        (1_234_567, "bytes", "1.2 MB"),
        (2_500_000_000, "bytes", "2.50 GB"),
    ],
)
def test_amounts_are_short(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text
