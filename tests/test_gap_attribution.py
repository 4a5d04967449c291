"""`trio` on run folders that the import command made: the gap, the samples counted, and how the runs are found."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from compared_runs import RIGHT, command, copied, imported, lined

from diva_bench.cli.compare import gap_attribution_command
from diva_bench.errors import StoreError, UnknownName, UserError
from diva_bench.report.gap_attribution import attribute, by_group, count
from diva_bench.specs import ModelSpec, digest


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported(tmp_path_factory.mktemp("compare"))


def test_the_gap_of_a_trio_adds_up_and_its_samples_are_counted(results: Path) -> None:
    found = attribute(lined(results, "good", "middle", "bad"))
    assert found.lost.value == pytest.approx(found.scores[0] - found.scores[1])
    assert found.gained.value == pytest.approx(found.scores[2] - found.scores[1])
    assert found.total.value == pytest.approx(found.gained.value - found.lost.value)
    assert found.total.high < 0
    assert found.counts.lost - found.counts.helped == pytest.approx(found.lost.value * 0.6)
    assert found.counts.gained - found.counts.worse == pytest.approx(found.gained.value * 0.6)
    assert found.counts.right is not None


def test_counts_of_samples_worked_by_hand() -> None:
    oracle, cascade, model = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0], [1, 0, 1, 0, 1, 0]], dtype=float)
    found = count([oracle, cascade, model], binary=True)
    assert (found.lost, found.back, found.helped, found.gained, found.worse) == (2, 1, 1, 2, 1)
    assert (found.right, found.wrong) == (1, 1)
    assert count([oracle, cascade, model], binary=False).right is None


def test_the_trio_command_finds_the_runs_by_the_names_of_the_models(results: Path) -> None:
    names = ("--oracle", "good", "--cascade", "middle", "--model", "bad")
    done = command(results, "trio", "results", *names, "--path", ".", "--format", "json")
    assert done.returncode == 0, done.stderr
    gaps, samples = json.loads(done.stdout)
    (row,) = gaps["rows"]
    assert (row["task"], row["metric"], row["n"]) == ("toy", "contains", 60)
    assert row["total"]["value"] == pytest.approx(row["bad"] - row["oracle"])
    assert row["total"]["value"] == pytest.approx(row["end to end"]["value"] - row["recogniser loss"]["value"])
    assert samples["rows"][0]["n"] == 60
    shown = command(results, "trio", "results", *names, "--path", ".", width=80).stdout
    assert "recogniser" in shown


def test_by_a_group_there_is_a_row_for_each_of_its_values(results: Path) -> None:
    names = ("--oracle", "good", "--cascade", "middle", "--model", "bad", "--path", ".")
    done = command(results, "trio", "results", *names, "--by", "voice", "--format", "json")
    assert done.returncode == 0, done.stderr
    whole, *parts = json.loads(done.stdout)[0]["rows"]
    assert (whole["task"], whole["voice"]) == ("toy", "all")
    assert [(row["task"], row["voice"]) for row in parts] == [("toy", "a"), ("toy", "b")]
    assert sum(row["n"] for row in parts) == whole["n"] == 60
    for name in ("oracle", "cascade", "bad"):
        assert sum(row["n"] * row[name] for row in parts) == pytest.approx(whole["n"] * whole[name])
    assert parts[0]["oracle"] != parts[1]["oracle"]
    shown = command(results, "trio", "results", *names, "--by", "voice", width=80).stdout.splitlines()
    assert any(line.split()[:2] == ["toy", "b"] for line in shown), "one row for each value fits 80 columns"


def test_the_mark_of_a_whole_task_does_not_depend_on_the_groups_that_are_shown(tmp_path: Path) -> None:
    published = Path(__file__).parents[1] / "results" / "languages"
    words = ("trio", str(published), "-t", "languages-questions", "--format", "md")
    whole, parts = (command(tmp_path, *words, *more).stdout for more in ((), ("--by", "language")))
    (row,) = re.findall(r"^\| languages-questions \| contains \|.*$", whole, re.MULTILINE)
    assert row.count("†") == 3
    assert row.replace("| contains |", "| all | contains |") in parts
    assert "Holm over the 3 differences of whole tasks, and over the 30 of their parts" in parts


def test_a_part_of_a_task_has_the_gap_of_its_samples_alone(results: Path) -> None:
    (_, part) = by_group(lined(results, "good", "middle", "bad"), "voice")
    shares = []
    for name in ("good", "middle", "bad"):
        lines = [json.loads(line) for line in (results / f"{name}.jsonl").read_text().splitlines()]
        shares.append(100 * np.mean([line["text"].startswith("answer ") for line in lines if int(line["id"][1:]) % 2]))
    assert part.scores == pytest.approx(shares)
    assert part.lost.value == pytest.approx(shares[0] - shares[1])
    assert part.lost.n == 30


def test_tasks_without_the_group_are_named(tmp_path: Path) -> None:
    published = Path(__file__).parents[1] / "results" / "mini-v1"
    done = command(tmp_path, "trio", str(published), "--by", "accent", "-t", "sdqa,heysquad")
    assert "without the group accent: heysquad" in done.stdout


def test_an_unknown_group_is_refused_with_those_that_there_are(results: Path) -> None:
    names = ("--oracle", "good", "--cascade", "middle", "--model", "bad", "--path", ".")
    done = command(results, "trio", "results", *names, "--by", "voices")
    assert done.returncode == 2
    assert "no task of these runs has the group 'voices'. Their groups: voice. Did you mean 'voice'?" in done.stderr


def test_a_trio_that_lacks_somebody_says_who(results: Path, tmp_path: Path) -> None:
    asked = (results / "results", "good", "middle")
    assert gap_attribution_command(*asked, ["bad", "worse"], [], "md", [results]) == 1
    with pytest.raises(
        UnknownName, match=r"unknown model 'worse' in the runs in .*results\. Available: bad, good, middle"
    ):
        gap_attribution_command(*asked, ["worse"], [], "md", [results])
    with pytest.raises(UserError, match="--model middle: middle already is the cascade of this table"):
        gap_attribution_command(*asked, ["middle"], [], "md", [results])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="Run what is missing: diva-bench run -m good,middle,bad -t TASK"):
        gap_attribution_command(tmp_path / "empty", "good", "middle", ["bad"], [], "md", [results])
    with pytest.raises(StoreError, match="nowhere: no such folder"):
        gap_attribution_command(tmp_path / "nowhere", "good", "middle", ["bad"], [], "md", [results])


def test_a_trio_of_trials_alone_says_that_these_are_not_looked_at(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "results", tmp_path / "trials")
    found = list((tmp_path / "trials").glob("*/*/summary.json"))
    for file in found:
        file.write_text(json.dumps(json.loads(file.read_text()) | {"limit": 3}))
    with pytest.raises(
        UserError,
        match=rf"runs of no model; {len(found)} runs with --limit, --audio, another prompt or other settings are not used",
    ):
        gap_attribution_command(tmp_path / "trials", "good", "middle", ["bad"], [], "md", [results])


def test_several_runs_of_one_model_are_not_picked_from(results: Path, tmp_path: Path) -> None:
    for name in RIGHT:
        copied(results, tmp_path, name)
    (run,) = tmp_path.glob("*/good-*")
    twin = Path(shutil.copytree(run, run.with_name("good-000000")))
    record = json.loads((twin / "run.json").read_text()) | {"adapter_version": "another"}
    model = ModelSpec.model_validate(record["model"])
    known = json.loads((run.parent / "task.json").read_text())["hash"]
    record["hash"] = digest({"task": known, "model": model.identity(), "adapter_version": "another"})
    record["id"] = f"good-{record['hash'][:6]}"
    (twin / "run.json").write_text(json.dumps(record))
    summary = json.loads((twin / "summary.json").read_text()) | {"run_id": record["id"]}
    (twin / "summary.json").write_text(json.dumps(summary))
    twin.rename(twin.with_name(record["id"]))
    with pytest.raises(UserError, match=r"several runs are called good: good-\w+, good-\w+. Name one of these"):
        gap_attribution_command(tmp_path, "good", "middle", ["bad"], [], "md", [results])
    assert gap_attribution_command(tmp_path, run.name, "middle", ["bad"], [], "md", [results]) == 0
