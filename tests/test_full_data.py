"""Full data from a user's chair: pull, --data-dir, the edition that auto takes, --allow-partial; what may ask the hub is a
real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import hub_data
import mini_task
import pytest
from asset_tools import web_server
from command_line import call as inside
from hub_data import small
from test_data import any_table

from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.data import hub, place
from diva_bench.errors import DataError
from diva_bench.evaluation.editions import choose
from diva_bench.runs.store import read_json

COMMIT = "a" * 40


@pytest.fixture
def call(tmp_path: Path):
    environment = {
        **os.environ,
        "DIVA_BENCH_CACHE": str(tmp_path / "cache"),
        "DIVA_BENCH_PATH": "",
        "DIVA_BENCH_DATA": "",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "COLUMNS": "200",
    }

    def command(*words: object, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "diva_bench", *map(str, words)],
            cwd=tmp_path,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return command


# ---------------------------------------------------------------- pull


def own_task(folder: Path) -> bytes:
    """A task of a repository own/data on the hub; gives its one parquet file."""
    any_table(folder / "source")
    (folder / "specs").mkdir()
    (folder / "specs" / "own.yaml").write_text(
        "{name: own, version: 1, description: a test, prompt: Say it., reference: words, scorers: {qa: {}}, primary: em, "
        f"editions: {{full: {{source: parquet, hub: {{repo: own/data, revision: {COMMIT}}}, split: test, rows: 6, "
        "columns: {audio: sound, id: row, cluster: who, transcript: words}}}}\n"
    )
    return (folder / "source/data/test-00000-of-00001.parquet").read_bytes()


def test_pull_says_the_size_fetches_once_and_run_then_takes_the_full_edition_offline(call, tmp_path):
    content = own_task(tmp_path)
    name = "data/test-00000-of-00001.parquet"
    with web_server() as web:
        web.headers = {"ETag": f'"{"b" * 64}"', "X-Repo-Commit": COMMIT}
        tree = [
            {"type": "file", "path": path, "size": size, "oid": "0" * 40}
            for path, size in ((name, len(content)), ("x", 1))
        ]
        web.files = {
            "/": b"the hub",
            f"/api/datasets/own/data/tree/{COMMIT}?recursive=true&expand=false": json.dumps(tree).encode(),
            f"/datasets/own/data/resolve/{COMMIT}/{name}": content,
        }
        asked = ("pull", "--edition", "full", "-t", "own", "--path", "specs")
        first = call(*asked, HF_ENDPOINT=web.address)
        assert (first.returncode, first.stdout) == (0, "task own: 6 samples ready, 0 left out\n"), first.stderr
        assert "task own: fetching 35 kB in 1 file of own/data" in first.stderr
        fetched = [path for method, path, _ in web.requests if method == "GET" and "/resolve/" in path]
        assert fetched == [f"/datasets/own/data/resolve/{COMMIT}/{name}"]
        web.requests.clear()
        assert call(*asked, HF_ENDPOINT=web.address).returncode == 0
        assert web.requests == []
    run = call("run", "-m", "majority", "-t", "own", "--path", "specs")
    assert run.returncode == 0, run.stderr
    record = read_json(next(tmp_path.glob("results/own-*/majority-*/run.json")))
    assert record["data_revision"] == COMMIT
    assert record["task"]["edition"] == "full"


def test_pull_without_a_network_says_what_else_can_be_done(call, tmp_path):
    own_task(tmp_path)
    done = call("pull", "--edition", "full", "-t", "own", "--path", "specs")
    assert done.returncode == 1
    assert "task own: http://127.0.0.1:9 cannot be reached" in done.stdout
    assert "put it: DIR/own; then give --data-dir DIR (or set DIVA_BENCH_DATA=DIR)" in done.stdout


def test_pull_says_of_licensed_data_where_to_ask_and_where_to_put_it(call):
    done = call("pull", "--edition", "full", "-t", "iemocap")
    assert done.returncode == 1
    for said in (
        "it is not downloaded",
        "https://sail.usc.edu/iemocap/",
        "Session1 to Session5",
        "put it: DIR/IEMOCAP_full_release",
    ):
        assert said in done.stdout


def test_pull_of_a_task_alone_readies_mini_and_says_how_the_full_data_is_had(call):
    done = call("pull", "-t", "iemocap")
    assert done.returncode == 0, done.stderr
    assert "task iemocap: 204 samples ready" in done.stdout
    assert "task iemocap, edition full:\n  ask for it: https://sail.usc.edu/iemocap/" in done.stdout
    done = call("pull", "-t", "paper-meld")  # has no mini
    assert done.returncode == 1
    assert "task paper-meld: its data is licensed" in done.stdout


def test_what_of_a_split_is_fetched_is_that_split_of_that_config():
    data = small("covost2-sv-SE", 4).data
    wanted = ["en_sv-SE/test-00000-of-00002.parquet", "en_sv-SE/test/0000.parquet"]
    others = ["en_sv-SE/train-00000-of-00001.parquet", "en_sl/test-00000-of-00001.parquet", "sv-SE_en/test-0.parquet"]
    patterns = hub.patterns(data.config, data.split)
    assert [path for path in wanted if any(hub._matches(path, p) for p in patterns[:2])] == wanted
    assert not [path for path in others if any(hub._matches(path, p) for p in patterns[:4])]


# ---------------------------------------------------------------- where data is


def test_the_data_folder_may_hold_the_corpus_or_be_it_and_the_layout_tells(tmp_path, monkeypatch):
    monkeypatch.delenv(place.ENVIRONMENT, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    task = small("heysquad", 3)
    inside = hub_data.heysquad(tmp_path / "corpora" / "HeySQuAD")
    alone = hub_data.heysquad(tmp_path / "mine")
    assert place.locate(task, tmp_path / "corpora") == inside
    assert place.locate(task, alone) == alone
    assert place.locate(task, tmp_path) is None
    assert place.locate(task) is None
    monkeypatch.setenv(place.ENVIRONMENT, str(tmp_path / "corpora"))
    assert place.locate(task) == inside
    assert place.locate(task, alone) == alone
    with pytest.raises(DataError, match=r"no such folder \(--data-dir and DIVA_BENCH_DATA"):
        place.locate(task, tmp_path / "nowhere")


def test_a_split_in_the_hub_s_cache_is_found_and_half_of_one_is_not(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv(place.ENVIRONMENT, raising=False)
    task = small("heysquad", 3)
    commit = task.data.hub.revision
    folder = hub_data.heysquad(tmp_path / "datasets--yijingwu--HeySQuAD_human" / "snapshots" / commit)
    assert place.locate(task) == folder
    assert hub.revision(folder) == commit
    (folder / "data/validation-00001-of-00002.parquet").unlink()
    assert place.locate(task) is None


def test_auto_takes_the_full_edition_where_all_of_it_is_here(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv(place.ENVIRONMENT, raising=False)
    catalog, progress = Catalog(), Terminal()
    hub_data.heysquad(tmp_path / "HeySQuAD")

    def chosen(*tasks: str, wanted: str = "auto", folder: Path | None = tmp_path) -> str:
        return choose(catalog, [], tasks, progress, edition=wanted, data_dir=folder).data

    assert chosen("heysquad") == "full"
    assert chosen("heysquad", folder=None) == "mini"
    assert chosen("heysquad", "meld") == "mini"
    assert chosen("covost2") == "mini"
    assert chosen("all") == "mini"
    assert chosen("heysquad", wanted="mini") == "mini"
    assert chosen("covost2", wanted="nano") == "mini"
    assert chosen("paper-heysquad", folder=None) == "full"  # there is no other: its data is then asked for in words


def test_auto_takes_mini_and_says_why_where_the_full_data_cannot_be_heard(tmp_path):
    hub_data.heysquad_json(tmp_path / "HeySQuAD")  # labels alone
    hub_data.covost(tmp_path / "covost2")  # German alone
    for task, said in (
        ("heysquad", "the labels of task heysquad are here (3 rows), but the audio is not"),
        (
            "covost2",
            "neither covost_v2.en_tr.test.tsv (get_covost_splits.py makes it) nor parquet files in en_tr/ in it",
        ),
    ):
        asked = inside(tmp_path, "run", "-m", "majority", "-t", task, "--data-dir", str(tmp_path), "--dry-run")
        assert asked.returncode == 0, asked.stderr
        assert said in asked.stderr
        assert "edition: mini" in asked.stderr


# ---------------------------------------------------------------- partial data


def test_wrong_counts_stop_a_run_and_with_allow_partial_mark_it_and_keep_it_out_of_the_table(tmp_path):
    from diva_bench.specs import digest

    hub_data.heysquad(tmp_path / "HeySQuAD", hub_data.SQUAD[:3] + hub_data.SQUAD[3:] * 1)
    asked = ("run", "-m", "majority", "-t", "some", "--path", "specs", "--data-dir", str(tmp_path))
    text = (Path(__file__).parents[1] / "tasks" / "heysquad.yaml").read_text()
    (tmp_path / "specs").mkdir()
    text = text.replace("name: heysquad", "name: some").replace("    total: [4158, 1002]", "    total: [4, 1002]")
    (tmp_path / "specs" / "some.yaml").write_text(text.replace("rows: 48}", "rows: 3}"))
    refused = inside(tmp_path, *asked, "--edition", "full")
    assert refused.returncode == 2
    assert "3 rows, but task some says there are 1,002. Get all of it, or give --allow-partial" in refused.stderr
    done = inside(tmp_path, *asked, "--edition", "full", "--allow-partial")
    assert done.returncode == 1, done.stderr
    assert "some: PARTIAL, left out of all tables: 3 rows, but task some says there are 1,002" in done.stderr
    folder = next(tmp_path.glob("results/some-partial-*/majority-*"))
    summary, task = read_json(folder / "summary.json"), read_json(folder.parent / "task.json")
    assert summary["partial"] == task["partial"] == "3 rows, but task some says there are 1,002"
    assert (summary["complete"], summary["scored"]) == (False, 3)
    assert summary["data_notes"] == ["1 of 4 rows are left out: only rows where answerable is true are used"]
    assert digest({k: v for k, v in task.items() if k not in ("id", "hash", "name", "schema")}) == task["hash"]
    table = inside(tmp_path, "leaderboard", "results", COLUMNS="200").stdout
    assert "not ranked: partial data: 3 rows, but task some says there are 1,002" in table
    again = inside(tmp_path, "score", str(folder), "--path", "specs", "--data-dir", str(tmp_path))
    assert again.returncode == 1
    assert read_json(folder / "summary.json") == summary
    other = inside(tmp_path, *asked[:2], "echo", *asked[3:], "--edition", "full", "--allow-partial")
    assert other.returncode == 1, other.stderr
    both = inside(tmp_path, "compare", *map(str, tmp_path.glob("results/some-partial-*/*-*")))
    assert both.returncode == 2
    assert "partial data: 3 rows, but task some says there are 1,002. Only runs on all" in both.stderr
    told = inside(tmp_path, "diagnose", str(folder), "--path", "specs", "--data-dir", str(tmp_path))
    assert told.returncode == 0, told.stderr


def test_what_the_task_itself_leaves_out_is_said_and_is_no_failure(tmp_path):
    mini_task.write(tmp_path / "specs", count=4)
    path = tmp_path / "specs" / "toy.yaml"
    path.write_text(path.read_text().replace("rows: 4}", "rows: 4, exclude: {q001: wrongly cut}}"))
    done = inside(tmp_path, "run", "-m", "majority", "-t", "toy", "--path", "specs", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "toy: q001 is left out by the task itself: wrongly cut" in done.stderr
    assert "toy: 1 left out by the task itself: q001 (wrongly cut)" in done.stdout
    summary = read_json(next(tmp_path.glob("results/*/*/summary.json")))
    assert summary["excluded"] == [{"id": "q001", "reason": "wrongly cut"}]
    assert (summary["n"], summary["complete"]) == (3, True)
