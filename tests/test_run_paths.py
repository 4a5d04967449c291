"""Run folders by every path that leads to them: names come from the folder itself, not from how it was typed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import compared_runs
import pytest
from command_line import call
from stored import collect

from diva_bench.runs.store import RunFolder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compared_runs.imported(tmp_path_factory.mktemp("made"))


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """The runs, a link to one of them by another name, one moved away with a link left in its place."""
    whole = Path(shutil.copytree(made, tmp_path / "place"))
    task = compared_runs.run_of(whole, "good").parent
    (whole / "best").symlink_to(task / compared_runs.run_of(whole, "good").name)
    moved = compared_runs.run_of(whole, "middle")
    shutil.move(moved, whole / "other-disk")
    moved.symlink_to(whole / "other-disk", target_is_directory=True)
    return whole


@pytest.mark.parametrize("command", [("compare", "--items", "0"), ("score",), ("diagnose",)])
@pytest.mark.parametrize(
    ("inside", "runs"),
    [
        (".", ("results/{task}/{good}", "results/{task}/{bad}")),
        (".", ("results/{task}/{good}/", "./results//{task}/../{task}/{bad}/.")),
        ("results/{task}", ("{good}", "{bad}/")),
        ("results/{task}/{good}", (".", "../{bad}")),
        (".", ("best", "results/{task}/{bad}")),
        (".", ("{absolute}/best/", "results/{task}/{middle}")),
    ],
)
def test_any_path_to_a_run_is_that_run(
    place: Path, command: tuple[str, ...], inside: str, runs: tuple[str, ...]
) -> None:
    found = {name: compared_runs.run_of(place, name).name for name in ("good", "bad", "middle")}
    known = {"task": compared_runs.run_of(place, "good").parent.name, "absolute": str(place), **found}
    before = (compared_runs.run_of(place, "good") / "summary.json").read_bytes()
    folder = place / inside.format(**known)
    typed = [run.format(**known) for run in runs]
    done = call(folder, *command, *typed, "--path", str(place))
    assert (done.returncode, "does not belong" in done.stderr) == (0, False), done.stderr
    assert "good" in done.stdout
    assert (compared_runs.run_of(place, "good") / "summary.json").read_bytes() == before


def test_a_link_is_not_a_second_run(place: Path) -> None:
    results, good = place / "results", compared_runs.run_of(place, "good")
    assert len(collect(results)) == 3
    (good.parent / "latest").symlink_to(good.name)
    (results / "again").symlink_to(good.parent.name)
    for typed in (results, Path(os.path.relpath(results)), results / ".." / "results"):
        assert sorted(s.model for s in collect(typed)) == ["bad", "good", "middle"]


def test_runs_that_are_linked_from_elsewhere_are_ranked(place: Path) -> None:
    chosen = place / "chosen" / compared_runs.run_of(place, "good").parent.name
    chosen.mkdir(parents=True)
    for name in ("good", "bad"):
        run = compared_runs.run_of(place, name)
        (chosen / f"my-{name}").symlink_to(run)
    done = call(place, "leaderboard", "chosen", "--ranks", "--format", "csv", "--all-tables", "--path", ".")
    assert done.returncode == 0, done.stderr
    assert [line.split(",")[1] for line in done.stdout.splitlines()[1:3]] == ["good", "bad"]


def test_the_record_of_the_task_is_found_from_inside_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = compared_runs.run_of(place, "good")
    monkeypatch.chdir(good)
    assert RunFolder(Path()).task_record()["id"] == good.parent.name
    assert RunFolder(Path()).place == good
