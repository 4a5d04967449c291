"""`diva-bench score --scorer`: metrics beside the task's own, and a judge that is killed, fails or cannot be read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mini_task
import pytest
from command_line import call
from scoring import asked, judge_lines
from stored import collect

from diva_bench.cli.results import more_scorers
from diva_bench.errors import SpecError
from diva_bench.scorers.reply_cache import key


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return call(tmp_path, *words, "--path", str(tmp_path / "specs"), COLUMNS="120")


@pytest.fixture
def answered(tmp_path: Path) -> Path:
    """The folder of a finished run of echo on the toy task."""
    mini_task.write(tmp_path / "specs")
    assert run(tmp_path, "run", "-m", "echo", "-t", "toy").returncode == 0
    (folder,) = (path.parent for path in tmp_path.glob("results/*/*/summary.json"))
    return folder


def summary(folder: Path) -> dict[str, object]:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def test_a_scorer_of_the_command_line_adds_its_metrics_until_the_next_score(tmp_path: Path, answered: Path) -> None:
    mini_task.model(tmp_path / "specs", "judge", reply="no", log=str(tmp_path / "specs" / "asked.log"))
    plain = (answered / "summary.json").read_bytes()
    got = run(tmp_path, "score", str(answered), "--scorer", "llm_judge: {model: judge}", "--scorer", "wer")
    assert got.returncode == 0, got.stderr
    metrics = summary(answered)["metrics"]
    assert {"contains", "judge", "judge_unparsed", "wer"} <= set(metrics)
    assert (metrics["judge"]["value"], metrics["judge"]["n"]) == (0, 10)
    assert [metrics[m]["higher_is_better"] for m in ("judge", "judge_unparsed", "wer")] == [True, False, False]
    assert summary(answered)["primary"] == "contains"
    assert "judge|model:judge@" in got.stdout.replace("\n", "")
    assert len(asked(tmp_path / "specs")) == 10
    again = run(tmp_path, "score", str(answered), "--scorer", "llm_judge: {model: judge}", "--scorer", "wer")
    assert again.stdout == got.stdout
    assert len(asked(tmp_path / "specs")) == 10
    assert run(tmp_path, "score", str(answered)).returncode == 0
    assert (answered / "summary.json").read_bytes() == plain
    assert len(list(answered.glob("judge-*.jsonl"))) == 1


def test_the_n_of_a_judged_run_is_the_verdicts_that_could_be_read(tmp_path: Path) -> None:
    table = [row | {"answers": ["yes" if i < 4 else "unclear"]} for i, row in enumerate(mini_task.rows(10))]
    mini_task.model(mini_task.write(tmp_path / "specs", table=table), "judge", reply="transcript")
    assert run(tmp_path, "run", "-m", "echo", "-t", "toy").returncode == 0
    (folder,) = (path.parent for path in tmp_path.glob("results/*/*/summary.json"))
    got = run(tmp_path, "score", str(folder), "--scorer", "llm_judge: {model: judge, prompt: '{answer}: {reference}'}")
    assert got.returncode == 0, got.stderr
    metrics = summary(folder)["metrics"]
    assert (metrics["judge"]["value"], metrics["judge"]["n"]) == (100, 4)
    assert (metrics["judge_unparsed"]["value"], metrics["judge_unparsed"]["n"]) == (60, 10)
    assert "unjudged" not in summary(folder)


def test_killed_while_it_judges_it_goes_on_from_what_was_kept(tmp_path: Path, answered: Path) -> None:
    log = tmp_path / "specs" / "asked.log"
    mini_task.model(tmp_path / "specs", "judge", reply="yes", delay=0.3, log=str(log))
    words = ("score", str(answered), "--scorer", "llm_judge: {model: judge}")
    command = [sys.executable, "-m", "diva_bench", *words, "--path", str(tmp_path / "specs")]
    environment = {**os.environ, "DIVA_BENCH_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _until(lambda: any(f.read_bytes().count(b"\n") > 1 for f in answered.glob("judge-*.jsonl")))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (file,) = answered.glob("judge-*.jsonl")
    kept = {row["key"][:16] for row in judge_lines(answered)[1:]}
    assert 0 < len(kept) < 10, "it was killed too late to prove anything"
    file.write_bytes(file.read_bytes() + b'{"id": "q00')
    log.unlink()
    got = run(tmp_path, *words)
    assert got.returncode == 0, got.stderr
    assert summary(answered)["metrics"]["judge"]["value"] == 100
    assert not kept & set(asked(tmp_path / "specs"))
    assert len(kept | set(asked(tmp_path / "specs"))) == 10


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_judge_that_fails_leaves_the_run_incomplete_where_it_is_the_primary(tmp_path: Path, answered: Path) -> None:
    specs = tmp_path / "specs"
    bad = key("q003")[:16]
    mini_task.model(specs, "judge", reply="yes", fail_ids=[bad])
    scorer = "llm_judge: {model: judge, prompt: '{answer}'}"
    got = run(tmp_path, "score", str(answered), "--scorer", scorer)
    assert got.returncode == 1
    assert summary(answered)["unjudged"] == {"llm_judge": 1}
    assert summary(answered)["complete"] is True
    assert summary(answered)["metrics"]["judge"]["n"] == 9
    text = (specs / "toy.yaml").read_text(encoding="utf-8")
    text = text.replace("scorers: {qa: {}}", f"scorers: {{{scorer}}}").replace("primary: contains", "primary: judge")
    (specs / "toy.yaml").write_text(text, encoding="utf-8")
    got = run(tmp_path, "score", str(answered))
    assert got.returncode == 1
    assert (summary(answered)["complete"], summary(answered)["reason"]) == (False, "1 not scored by llm_judge")
    assert (summary(answered)["at_chance"], summary(answered)["baseline"]) == (None, None)
    (found,) = collect(tmp_path / "results")
    assert (found.ranked, found.unjudged) == (False, {"llm_judge": 1})


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([], {}),
        (["wer"], {"wer": {}}),
        (["wer:", "chrf: {word_order: 2}"], {"wer": {}, "chrf": {"word_order": 2}}),
        (["{wer: {unit: char}, qa: {}}"], {"wer": {"unit": "char"}, "qa": {}}),
    ],
)
def test_scorers_of_the_command_line_are_yaml(given: list[str], found: dict[str, object]) -> None:
    assert more_scorers(given) == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["llm_judge: [a"], "--scorer 'llm_judge: [a': not valid YAML: did not find expected ',' or ']'"),
        (["[1]"], "--scorer '[1]': expected a scorer and its settings, such as 'wer'"),
        (["wer: 3"], "--scorer 'wer: 3': expected a scorer and its settings"),
        (["3"], "--scorer '3': expected a scorer and its settings"),
        (["wer", "wer: {of: heard}"], "scorer wer is given twice"),
    ],
)
def test_a_wrong_scorer_on_the_command_line_is_told(given: list[str], message: str) -> None:
    with pytest.raises(SpecError) as err:
        more_scorers(given)
    assert message in str(err.value)


def test_a_scorer_that_the_task_has_is_not_added_a_second_time(tmp_path: Path, answered: Path) -> None:
    got = run(tmp_path, "score", str(answered), "--scorer", "qa")
    assert got.returncode == 2
    assert "task toy has scorer qa of its own, and its metrics have one name" in got.stderr
