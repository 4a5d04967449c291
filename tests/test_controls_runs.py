"""Runs under audio conditions: identity, batches, shards, killed and resumed, and the tables that tell of them."""

import json
import os
import signal
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import mini_task
import pytest
from command_line import here
from stored import collect
from test_controls import MISTAKES
from test_run import _until_growing, command, environment, only

from diva_bench.audio import perturbations
from diva_bench.catalog import Catalog
from diva_bench.errors import ClipError
from diva_bench.evaluation.jobs import Settings, prepare
from diva_bench.evaluation.rescoring import job_of, stored_job
from diva_bench.report.leaderboard import leaderboard
from diva_bench.runs import runner
from diva_bench.runs.old_identity import is_former
from diva_bench.runs.records import summary_of
from diva_bench.runs.store import RunFolder, Shard
from diva_bench.types import Silent

ROOT = Path(__file__).parents[1]


@pytest.fixture
def ask(tmp_path, monkeypatch):
    run = here(tmp_path, monkeypatch)

    def asked(model: str, *more: str, output: str = "results") -> subprocess.CompletedProcess[str]:
        return run("run", "--path", "specs", "-m", model, "-t", "toy", "--output", output, *more)

    return asked


def answers(folder: Path, task: str) -> dict[str, str]:
    rows = [
        json.loads(x) for f in sorted(folder.glob(f"{task}/*/responses*.jsonl")) for x in f.read_text().splitlines()
    ]
    return {row["id"]: row["text"] for row in rows}


@pytest.fixture
def specs(tmp_path):
    """A task of 12 clips and a model that writes a transcript."""
    made = mini_task.write(tmp_path / "specs", count=12)
    mini_task.model(made, "hears", reply="audio")
    return made


def test_a_condition_is_a_task_folder_of_its_own_and_the_plain_one_stays(tmp_path, specs, ask):
    assert ask("hears").returncode == 0
    plain = only(tmp_path / "results").parent.parent
    got = ask("hears", "--audio", "silence", "--audio", "10", "--audio", "-5")
    assert got.returncode == 0, got.stderr
    names = sorted(p.name.rpartition("-")[0] for p in (tmp_path / "results").iterdir())
    assert names == ["toy", "toy-silence", "toy-snr-5", "toy-snr10"]
    assert "audio" not in json.loads((plain / "task.json").read_text())
    assert "audio" not in json.loads(next(plain.glob("*/summary.json")).read_text())
    silent = next((tmp_path / "results").glob("toy-silence-*"))
    assert json.loads((silent / "task.json").read_text())["audio"] == {"condition": "silence", "version": 1}
    assert json.loads(next(silent.glob("*/summary.json")).read_text())["audio"] == "silence"
    by_length = Counter(answers(tmp_path / "results", "toy-silence-*").values())
    assert sorted(by_length.values()) == [3, 3, 3, 3], "zeros of four lengths"
    assert len(set(answers(tmp_path / "results", "toy-snr10-*").values())) == 12


@pytest.mark.parametrize("condition", ["noise", "10", "shuffled", "speed=0.9"])
def test_what_is_heard_depends_on_neither_batch_nor_limit(tmp_path, specs, condition, ask):
    ask("hears", "--audio", condition, "--batch-budget", "0.1", output="one")
    ask("hears", "--audio", condition, "--batch-budget", "60", output="many")
    ask("hears", "--audio", condition, "--limit", "5", output="few")
    one, many, few = (answers(tmp_path / name, "*") for name in ("one", "many", "few"))
    assert len(one) == 12
    assert one == many
    assert len(few) == 5
    assert few.items() <= one.items()


def test_another_seed_is_other_noise_and_another_task(tmp_path, specs, ask):
    for seed in ("0", "1"):
        assert ask("hears", "--audio", "10", "--seed", seed, output=seed).returncode == 0
    first, other = (answers(tmp_path / seed, "*") for seed in ("0", "1"))
    assert first.keys() == other.keys()
    assert not set(first.values()) & set(other.values())
    names = [next((tmp_path / seed).iterdir()).name for seed in ("0", "1")]
    assert names[0] != names[1]


def test_a_clip_that_a_condition_cannot_be_made_of_is_an_error_and_never_heard_plain(tmp_path, specs, ask, monkeypatch):
    whole = perturbations.apply

    def refuses(control, sound, ident, seed):
        if ident == "q003":
            raise ClipError("codec gsm-8k: refused")
        return whole(control, sound, ident, seed)

    monkeypatch.setattr(perturbations, "apply", refuses)
    assert ask("hears", "--audio", "codec=gsm-8k").returncode == 1
    rows = [json.loads(line) for line in only(tmp_path / "results", "responses.jsonl").read_text().splitlines()]
    failed = [(row["id"], row["detail"]) for row in rows if row["status"] == "error"]
    assert failed == [("q003", "codec gsm-8k: refused")]


def test_a_run_under_noise_killed_and_resumed_ends_the_same_to_the_byte(tmp_path, ask):
    specs = mini_task.write(tmp_path / "specs", count=40)
    mini_task.model(specs, "slow", reply="audio", delay=0.03)
    assert ask("slow", "--audio", "10", output="whole").returncode == 0
    words = command("run", "--path", "specs", "-m", "slow", "-t", "toy", "--audio", "10", "--output", "torn")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(words, cwd=tmp_path, env=environment(tmp_path), **quiet)
    _until_growing(tmp_path / "torn", process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < len(answers(tmp_path / "torn", "*")) < 40
    again = ask("slow", "--audio", "10", output="torn")
    assert "toy (snr=10) x slow: resuming" in again.stderr
    assert answers(tmp_path / "torn", "*") == answers(tmp_path / "whole", "*")
    assert only(tmp_path / "torn").read_bytes() == only(tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("condition", ["shuffled", "10"])
def test_processes_that_share_a_run_hear_what_one_hears(tmp_path, specs, ask, condition):
    ask("hears", "--audio", condition, output="one")
    settings = Settings(audio=(condition,), batch_seconds=2.0)
    catalog = Catalog([specs])
    for share in (Shard(0, 2), Shard(1, 2)):
        job = prepare(catalog, ["hears"], ["toy"], settings, Silent())[0]  # every process makes its own
        adapter = catalog.load(job.model, Silent())
        with job.folder(tmp_path / "two", share) as folder:
            assert 0 < runner.ask(job, adapter, folder, Silent(), share).answered < 12
    assert len(list((tmp_path / "two").glob("*/*/responses.*-of-2.jsonl"))) == 2
    assert answers(tmp_path / "two", "*") == answers(tmp_path / "one", "*")


def test_a_model_that_hears_nothing_is_refused_before_anything_is_asked(tmp_path, specs, ask):
    got = ask("majority", "-m", "hears", "--audio", "silence")
    assert got.returncode == 2
    assert "model majority takes no audio: --audio silence changes nothing for it" in got.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(("text", "said"), [MISTAKES[1], MISTAKES[7], MISTAKES[10]])
def test_a_mistake_is_told_with_exit_code_2(tmp_path, specs, text, said, ask):
    got = ask("hears", "--audio", text)
    assert got.returncode == 2
    assert said in " ".join(got.stderr.split())
    assert "Traceback" not in got.stderr
    assert not (tmp_path / "results").exists()


def test_no_transcript_is_given_where_hearing_is_put_to_the_test(tmp_path, specs, ask):
    mini_task.model(specs, "cheat", reply="transcript")
    ask("cheat")
    ask("cheat", "--audio", "silence")
    assert all(answers(tmp_path / "results", "toy-??????").values())
    assert not any(answers(tmp_path / "results", "toy-silence-*").values())


def test_a_controlled_run_is_scored_again_as_it_was(tmp_path, specs, monkeypatch, ask):
    ask("hears", "--audio", "shuffled", "--limit", "5", "--seed", "3")
    summary = only(tmp_path / "results")
    before = summary.read_bytes()
    summary.unlink()
    got = here(tmp_path, monkeypatch)("score", "--path", "specs", str(summary.parent))
    assert got.returncode == 0, got.stderr
    assert summary.read_bytes() == before
    job = job_of(Catalog([specs]), RunFolder(summary.parent), Silent())
    assert job.title == "toy (shuffled) x hears"
    assert replace(job, control=None).path(tmp_path).parent.name.startswith("toy-")


def test_a_dry_run_names_the_condition_and_writes_nothing(tmp_path, specs, ask):
    got = ask("hears", "--audio", "codec=gsm-8k", "--dry-run")
    assert got.returncode == 0, got.stderr
    assert "toy (codec=gsm-8k) x hears: 12 samples" in got.stdout
    assert "results/toy-gsm-8k-" in got.stdout
    assert not (tmp_path / "results").exists()


# ---------------------------------------------------------------- tables


def test_the_difference_to_the_plain_run_is_shown_where_there_is_one(tmp_path, ask):
    """Half of the answers are the id whatever is heard: no sign that it listens."""
    mini_task.write(tmp_path / "specs", count=40)
    alone = " ".join(ask("echo", "--audio", "silence").stdout.split())
    assert "does the model listen" in alone
    assert "not compared: toy (silence) x echo: no run without --audio in this folder" in alone
    ask("echo")
    both = " ".join(ask("echo", "--audio", "silence", "--audio", "snr=0").stdout.split())
    assert "toy echo silence 50.0 50.0 0.0 [0.0, 0.0] 40 no sign of listening" in both
    assert "toy echo snr=0 50.0 50.0 0.0 [0.0, 0.0] 40 no difference seen" in both
    scores = next((tmp_path / "results").glob("toy-??????/*/scores.jsonl"))
    scores.write_text(scores.read_text().replace("norm:squad", "norm:other", 1))
    stale = " ".join(ask("echo", "--audio", "silence").stdout.split())
    assert "toy (silence) x echo: results/toy-" in stale
    assert "scores.jsonl and summary.json are from different scorings. Run `diva-bench score" in stale
    scores.unlink()  # as in results that are published without what can be derived
    derived = " ".join(ask("echo", "--audio", "silence").stdout.split())
    assert "toy (silence) x echo: not scored: the run is not finished, or run `diva-bench score" in derived


def test_a_model_that_listens_is_seen_to(tmp_path, ask):
    """Its answer is the hash of the clip, and the reference is the hash of the clip as it is."""
    specs = mini_task.write(tmp_path / "specs", count=40)
    for i in range(40):
        mini_task.clip(specs / f"audio/q{i:03}.wav", 0.2, pitch=200 + 10 * i)
    mini_task.model(specs, "hears", reply="audio")
    ask("hears", output="first")
    right = answers(tmp_path / "first", "*")
    table = [{**row, "answers": [right[str(row["id"])]]} for row in mini_task.rows(40)]
    mini_task.write(specs, table=table)
    ask("hears")
    said = " ".join(ask("hears", "--audio", "shuffled").stdout.split())
    assert "toy hears shuffled 0.0 100.0 -100.0 [-100.0, -100.0] 40 it listens" in said


def test_leaderboards_caption_a_condition_and_keep_it_out_of_the_overview(tmp_path, specs, ask):
    ask("echo")
    ask("echo", "--audio", "silence")
    summaries = collect(tmp_path / "results")
    tables = leaderboard(summaries)
    assert [t.title.partition("-")[0] for t in tables] == ["toy", "toy"], "no overview: there is one task"
    assert "silence" not in tables[0].title
    assert "audio condition silence, not the unchanged clips" in tables[1].title
    other = summaries[0].model_copy(update={"task": "other", "task_id": "other-123456"})
    overview = leaderboard([*summaries, other])[0]
    assert overview.title.startswith("overview")
    assert len(overview.rows) == 2


def test_summaries_of_before_there_were_conditions_are_still_read():
    old = sorted((ROOT / "results/mini-v1").glob("*/*/summary.json"))
    assert old
    for file in old:
        raw = json.loads(file.read_text())
        got = summary_of({k: v for k, v in raw.items() if k not in ("audio", "variant")}, file)
        assert (got.audio, got.variant, got.title) == (None, 0, got.task)


def test_committed_runs_keep_their_identity(tmp_path, monkeypatch):
    monkeypatch.setenv("DIVA_BENCH_CACHE", os.environ.get("DIVA_BENCH_CACHE", str(tmp_path)))
    catalog = Catalog()
    for task in ("heysquad", "iemocap"):
        for run_json in (ROOT / "results/mini-v1").glob(f"{task}-*/*/run.json"):
            folder = RunFolder(run_json.parent)
            asked = folder.task_record()
            job = stored_job(catalog, folder, Silent())
            assert (job.former_record if is_former(asked) else job.task_record)["hash"] == asked["hash"]
