"""`diva-bench run`: killed, resumed, failing, refused; as a real process wherever one is killed or several meet."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import mini_task
import pytest
from command_line import call

from diva_bench.runs.store import RunFolder, Shard
from diva_bench.types import Response


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "DIVA_BENCH_CACHE": str(tmp_path / "cache"), "DIVA_BENCH_PATH": "", "COLUMNS": "100"}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "diva_bench", *words]


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return call(tmp_path, *words, COLUMNS="100")


def ask(tmp_path: Path, model: str, *more: str, output: str = "results") -> subprocess.CompletedProcess[str]:
    return run(tmp_path, "run", "--path", "specs", "-m", model, "-t", "toy", "--output", output, *more)


def only(folder: Path, name: str = "summary.json") -> Path:
    found = list(folder.glob(f"*/*/{name}"))
    assert len(found) == 1, found
    return found[0]


def test_a_run_ends_with_scores_and_a_second_one_asks_nothing(tmp_path):
    mini_task.write(tmp_path / "specs")
    words = command("run", "--path", "specs", "-m", "echo", "-t", "toy")
    first = subprocess.run(
        words, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False, timeout=120
    )
    assert first.returncode == 0, first.stderr
    assert "50.0" in first.stdout
    assert "toy" in first.stdout
    before = only(tmp_path / "results", "responses.jsonl").read_bytes()
    second = ask(tmp_path, "echo")
    assert second.returncode == 0, second.stderr
    assert "toy x echo: all 10 answered before in results/toy-" in second.stderr
    assert only(tmp_path / "results", "responses.jsonl").read_bytes() == before
    assert "50.0" in second.stdout


def test_killed_at_five_random_moments_the_summary_is_the_same_to_the_byte(tmp_path):
    specs = mini_task.write(tmp_path / "specs", count=40)
    mini_task.model(specs, "slow", delay=0.04)
    assert ask(tmp_path, "slow", output="whole").returncode == 0
    rng, killed = random.Random(7), 0
    for _ in range(5):
        process = subprocess.Popen(
            command("run", "--path", "specs", "-m", "slow", "-t", "toy", "--output", "torn"),
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # wait until answers are being written, so that the kill lands inside the asking
        _until_growing(tmp_path / "torn", process)
        time.sleep(rng.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 2, "the runs ended before they could be killed: the test proves nothing"
    last = ask(tmp_path, "slow", output="torn")
    assert last.returncode == 0, last.stderr
    for name in ("summary.json", "scores.jsonl"):
        assert only(tmp_path / "torn", name).read_bytes() == only(tmp_path / "whole", name).read_bytes()


def _until_growing(folder: Path, process: subprocess.Popen[bytes]) -> None:
    def size() -> int:
        return sum(p.stat().st_size for p in folder.glob("*/*/responses.jsonl"))

    start, deadline = size(), time.monotonic() + 30
    while size() == start and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_resumed_run_says_where_it_goes_on(tmp_path):
    specs = mini_task.write(tmp_path / "specs")
    mini_task.model(specs, "flaky", fail_ids=["q003"])
    assert ask(tmp_path, "flaky").returncode == 1
    assert "resuming 9/10" in ask(tmp_path, "flaky").stderr


@pytest.mark.parametrize("how", ["raise", "error"])
def test_a_failure_is_not_an_answer_and_is_asked_again(tmp_path, how):
    specs = mini_task.write(tmp_path / "specs")
    mini_task.model(specs, "flaky", fail_ids=["q003"], fail_how=how)
    got = ask(tmp_path, "flaky")
    assert got.returncode == 1
    summary = json.loads(only(tmp_path / "results").read_text())
    assert (summary["errors"], summary["scored"], summary["complete"]) == (1, 9, False)
    assert summary["metrics"]["contains"]["n"] == 9
    assert "1 failed" in got.stdout
    rows = [json.loads(line) for line in only(tmp_path / "results", "responses.jsonl").read_text().splitlines()]
    assert [r["id"] for r in rows if r["status"] == "error"] == ["q003"]
    board = run(tmp_path, "leaderboard", "results").stdout
    assert "not ranked: 1 failed" in " ".join(board.split())


def test_out_of_memory_halves_the_batch_and_goes_on(tmp_path):
    specs = mini_task.write(tmp_path / "specs")
    mini_task.model(specs, "small", memory_rows=1)
    assert ask(tmp_path, "small").returncode == 0
    events = [json.loads(x) for x in only(tmp_path / "results", "events.jsonl").read_text().splitlines()]
    assert any(e["event"] == "split" for e in events)
    assert json.loads(only(tmp_path / "results").read_text())["errors"] == 0


def test_clips_that_cannot_be_used_are_left_out_for_every_model_and_said_so(tmp_path):
    specs = mini_task.write(tmp_path / "specs")
    (specs / "audio/q001.wav").unlink()
    (specs / "audio/q002.wav").write_bytes(b"")
    whole = (specs / "audio/q003.wav").read_bytes()
    (specs / "audio/q003.wav").write_bytes(whole[: len(whole) // 2])
    for model in ("echo", "majority"):
        got = ask(tmp_path, model)
        assert got.returncode == 1
        summary = json.loads(next((tmp_path / "results").glob(f"*/{model}*/summary.json")).read_text())
        assert [f["id"] for f in summary["data_faults"]] == ["q001", "q002", "q003"]
        assert (summary["n"], summary["complete"]) == (7, True)
        assert "q002 is left out for every model: audio/q002.wav: the file is empty" in " ".join(got.stderr.split())
    assert len(list((tmp_path / "results").iterdir())) == 1, "both models were asked the same task"


def test_a_second_writer_is_refused_in_words(tmp_path):
    specs = mini_task.write(tmp_path / "specs", count=40)
    mini_task.model(specs, "slow", delay=0.1)
    words = command("run", "--path", "specs", "-m", "slow", "-t", "toy")
    with subprocess.Popen(words, cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.DEVNULL) as first:
        _until_growing(tmp_path / "results", first)
        second = ask(tmp_path, "slow")
        first.kill()
    assert second.returncode == 2
    assert "another process is writing this run" in second.stderr


def test_a_trial_with_limit_is_another_task(tmp_path):
    mini_task.write(tmp_path / "specs")
    ask(tmp_path, "echo")
    assert ask(tmp_path, "echo", "--limit", "4").returncode == 0
    assert len(list((tmp_path / "results").iterdir())) == 2


def test_score_judges_again_without_asking(tmp_path):
    mini_task.write(tmp_path / "specs")
    ask(tmp_path, "echo")
    summary = only(tmp_path / "results")
    before = summary.read_bytes()
    summary.unlink()
    got = run(tmp_path, "score", "--path", "specs", str(summary.parent))
    assert got.returncode == 0, got.stderr
    assert summary.read_bytes() == before


def test_a_dry_run_writes_nothing(tmp_path):
    mini_task.write(tmp_path / "specs")
    got = ask(tmp_path, "echo", "--dry-run")
    assert got.returncode == 0, got.stderr
    assert "10 samples" in got.stdout
    assert "Say it." in got.stdout
    assert not (tmp_path / "results").exists()


MISTAKES = [
    (["-m", "dvia", "-t", "toy"], "unknown model 'dvia'. Did you mean 'diva'?"),
    (["-m", "echo", "-t", "covost"], "Did you mean 'covost2'?"),
    (["-m", "echo", "-t", "toy", "--edition", "full"], "unknown edition 'full'"),
    (["-m", "echo", "-t", "toy", "--path", "nowhere"], "nowhere: no such folder"),
    (["-m", "nowhere.yaml", "-t", "toy"], "nowhere.yaml: no such file"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES)
def test_a_mistake_is_told_in_words_with_exit_code_2(tmp_path, words, said):
    mini_task.write(tmp_path / "specs")
    got = run(tmp_path, "run", "--path", "specs", *words)
    assert got.returncode == 2
    assert said in " ".join(got.stderr.split())
    assert "Traceback" not in got.stderr
    assert not (tmp_path / "results").exists()


def _double_id(table):
    table[3]["id"] = "q001"


def _no_reference(table):
    table[3]["answers"] = [" "]


def _no_column(table):
    del table[3]["cluster"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_double_id, "toy.jsonl:4: id 'q001' is already used in line 2"),
        (_no_reference, "toy.jsonl:4: the reference (answers) is empty"),
        (_no_column, "toy.jsonl:4: column 'cluster' is missing"),
        (lambda table: table.pop(), "9 rows, but task toy says there are 10"),
    ],
)
def test_bad_data_is_refused_before_anything_is_asked(tmp_path, spoil, said):
    specs = mini_task.write(tmp_path / "specs")
    table = mini_task.rows(10)
    spoil(table)
    (specs / "toy.jsonl").write_text("".join(json.dumps(r) + "\n" for r in table))
    got = ask(tmp_path, "echo")
    assert got.returncode == 2
    assert said in got.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path):
    mini_task.write(tmp_path / "specs")
    (tmp_path / "results").mkdir(mode=0o500)
    got = ask(tmp_path, "echo")
    assert got.returncode == 2
    assert "cannot be written" in got.stderr


def test_an_output_that_is_a_file_is_told(tmp_path):
    mini_task.write(tmp_path / "specs")
    (tmp_path / "results").write_text("not a folder")
    got = ask(tmp_path, "echo")
    assert got.returncode == 2
    assert "cannot be written" in got.stderr


def test_processes_that_share_a_run_end_with_the_summary_of_one(tmp_path):
    """Two real processes under torchrun: the first waits for the second, then judges what both asked."""
    specs = mini_task.write(tmp_path / "specs", count=40)
    mini_task.model(specs, "slow", delay=0.02)
    assert ask(tmp_path, "slow", output="one").returncode == 0
    launch = [str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node", "2", "-m", "diva_bench"]
    asked = ["run", "--path", "specs", "-m", "slow", "-t", "toy", "--batch-budget", "5", "--output", "two"]
    done = subprocess.run(
        [*launch, *asked],
        check=False,
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("score [95 %]") == 1, "one table, by one process"
    shares = sorted(p.name for p in (tmp_path / "two").glob("*/*/responses*.jsonl"))
    assert shares == ["responses.0-of-2.jsonl", "responses.1-of-2.jsonl"]
    assert only(tmp_path / "two", "scores.jsonl").read_bytes() == only(tmp_path / "one", "scores.jsonl").read_bytes()


def test_what_failed_in_one_process_and_was_answered_in_two_stays_answered_when_it_is_scored(tmp_path):
    """The first attempt leaves error lines in a file of its own, which `score` and `touch` come near last."""
    specs = mini_task.write(tmp_path / "specs", count=8)
    mini_task.model(specs, "slow", fail_ids=["q001", "q004"], fail_how="error")
    assert ask(tmp_path, "slow").returncode == 1
    folder = only(tmp_path / "results", "run.json").parent
    rows = [Response(f"q{i:03}", text="here") for i in (1, 4)]
    with RunFolder(folder, Shard(1, 2)) as second:
        second.append(rows, None)
    (folder / "responses.jsonl").touch()
    assert run(tmp_path, "score", "--path", "specs", str(folder)).returncode == 0
    again = json.loads((folder / "summary.json").read_text())
    assert (again["errors"], again["scored"], again["complete"]) == (0, 8, True)


def test_a_world_size_without_a_meeting_point_is_refused_before_anything_is_asked(tmp_path, monkeypatch):
    mini_task.write(tmp_path / "specs")
    monkeypatch.setenv("WORLD_SIZE", "4")
    done = ask(tmp_path, "echo")
    assert done.returncode == 2
    assert "WORLD_SIZE is 4, but RANK, MASTER_ADDR, MASTER_PORT are not set" in done.stderr
    assert "`accelerate launch --multi_gpu --num_processes N -m diva_bench run ...`" in done.stderr
    assert not (tmp_path / "results").exists()
