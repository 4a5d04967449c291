"""`diva-bench migrate`: runs of older versions get the ids of now, nobody is asked; what cannot be verified stays, in words."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mini_task
import pytest
from command_line import Command, here
from filelock import FileLock
from tiny_models import CHAT, make_llm, store

from diva_bench.catalog import Catalog
from diva_bench.evaluation.rescoring import stored_job
from diva_bench.runs import old_identity
from diva_bench.runs.store import RunFolder
from diva_bench.types import Silent

FORMER_TASK = {  # task.json of a published run, as an older version wrote and hashed it
    "task": "meld",
    "subset": None,
    "edition": "mini",
    "version": 1,
    "prompt": "What emotion does the speaker show? Answer with one word out of: {choices}.",
    "system": None,
    "choices": ["anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"],
    "decode": {"max_new_tokens": 12, "temperature": 0.0},
    "fields": {},
    "fingerprint": "4b896ed162c76c1613825e4b77b0d20b73820c008a04040d6882236bb431bedc",
    "limit": None,
    "seed": 0,
}
FORMER_MODEL = {
    "name": "majority", "edition": None, "adapter": "baseline", "args": {"kind": "majority"}, "weights": {},
    "runtime": {"dtype": "float32"},
}  # fmt: skip
LLM = {
    "format": "gguf",
    "files": [
        {
            "path": "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            "sha256": "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        }
    ],
}
FORMER_ORACLE = {
    **FORMER_MODEL, "name": "oracle", "edition": "mini", "adapter": "oracle", "args": {}, "weights": {"llm": LLM},
    "runtime": {"dtype": "bfloat16"},
}  # fmt: skip


def test_the_rules_of_before_give_the_hashes_of_published_runs() -> None:
    task = old_identity.task_hash(FORMER_TASK)
    assert task == "89b8ec1fa773c71cce621fd84a2ae97da857cedafe049450e563075bebf058a0"
    oracle = old_identity.run_hash(task, FORMER_ORACLE, "1")
    assert oracle == "b3937fbb8202b7dbb0c376e267f2c70d1519ca8606156ccedc85846533a3c88a"
    assert old_identity.run_hash(task, FORMER_MODEL, "1").startswith("2a51a8")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return here(tmp_path, monkeypatch)


@pytest.fixture
def specs(tmp_path: Path, call: Command) -> Path:
    """Task toy; `says`, which needs transcripts and writes down whom it was asked about."""
    folder = mini_task.write(tmp_path / "specs", count=4)
    mini_task.model(folder, "says", reply="transcript", log="asked.log")
    return folder


def aged(call: Command, model: str) -> Path:
    """A run of toy as an older version left it: asked now, and its records written by the rules of before."""
    done = call("run", "--path", "specs", "-m", model, "-t", "toy")
    assert done.returncode == 0, done.stderr
    [run] = [path.parent for path in Path("results").glob(f"*/{model}-*/run.json")]
    record = json.loads((run / "run.json").read_text())
    job = stored_job(Catalog([Path("specs")]), RunFolder(run), Silent())
    asked = {"name": "toy", **job.former_record}
    asked = {"id": f"toy-{asked['hash'][:6]}", **asked}
    hashed = old_identity.run_hash(asked["hash"], record["model"], record["adapter_version"])
    record |= {
        "id": f"{model}-{hashed[:6]}",
        "hash": hashed,
        "task_id": asked["id"],
        "fingerprint": asked["fingerprint"],
    }
    old = Path("results") / asked["id"] / record["id"]
    old.parent.mkdir(exist_ok=True)
    run.rename(old)
    (old.parent / "task.json").write_text(json.dumps(asked))
    (old / "run.json").write_text(json.dumps({k: v for k, v in record.items() if k not in ("frame", "schema")}))
    for empty in [path for path in Path("results").iterdir() if [p.name for p in path.iterdir()] == ["task.json"]]:
        shutil.rmtree(empty)
    return old


def tree(folder: Path) -> dict[str, bytes]:
    """Every file but locks, by its path."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".lock"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_run_that_hears_no_words_moves_and_is_not_asked_again(call: Command, specs: Path) -> None:
    old = aged(call, "majority")
    answers = (old / "responses.jsonl").read_bytes()
    done = call("migrate", "--path", "specs")
    assert done.returncode == 0, done.stderr
    [run] = [path.parent for path in Path("results").glob("*/*/run.json")]
    assert done.stdout.splitlines() == [
        f"{old.parent.name}/{old.name} -> {run.parent.name}/{run.name}",
        "results: 1 moved, 0 left",
    ]
    assert (run / "responses.jsonl").read_bytes() == answers
    assert not old.parent.exists()
    record, summary = RunFolder(run).record(), RunFolder(run).summary()
    assert record["moved_from"] == f"{old.parent.name}/{old.name}"
    assert (summary["task_id"], summary["run_id"]) == (run.parent.name, run.name)
    assert "all 4 answered before" in call("run", "--path", "specs", "-m", "majority", "-t", "toy").stderr
    assert call("score", "--path", "specs", str(run)).returncode == 0
    before = tree(Path("results"))
    again = call("migrate", "--path", "specs")
    assert again.stdout == "results: 0 moved, 0 left; it has no run of an older version\n"
    assert tree(Path("results")) == before


def test_every_command_that_meets_an_old_run_reads_it_or_names_the_command(call: Command, specs: Path) -> None:
    old = aged(call, "majority")
    ask = ("run", "--path", "specs", "-m", "majority", "-t", "toy")
    for words in (ask, ("score", "--path", "specs", str(old)), ("diagnose", "--path", "specs", str(old))):
        done = call(*words)
        assert done.returncode != 0
        assert re.search("`diva-bench migrate [^ ]*results` moves it to its current id", done.stderr)
    assert "`diva-bench migrate results` moves it" in call(*ask, "--dry-run").stderr
    assert "majority" in call("leaderboard").stdout
    assert call(*ask, "--output", "elsewhere").returncode == 0


def test_what_old_ids_say_nothing_of_moves_by_the_users_word_alone(call: Command, specs: Path) -> None:
    old = aged(call, "says")
    asked = Path("asked.log").read_text()
    done = call("migrate", "--path", "specs")
    assert done.returncode == 1
    assert "its id does not cover the transcripts" in done.stderr
    assert "give --data-unchanged; otherwise move the folder away." in done.stderr
    assert (old / "run.json").is_file()
    done = call("migrate", "--path", "specs", "--data-unchanged")
    assert done.returncode == 0, done.stderr
    [run] = [path.parent for path in Path("results").glob("*/*/run.json")]
    assert RunFolder(run).record()["data_unchanged"] == "vouched"
    assert "all 4 answered before" in call("run", "--path", "specs", "-m", "says", "-t", "toy").stderr
    assert Path("asked.log").read_text() == asked


def references(specs: Path) -> None:
    table = [{**row, "answers": ["another"]} for row in mini_task.rows(4)]
    mini_task.write(specs, table=table)


def prompt(specs: Path) -> None:
    (specs / "toy.yaml").write_text((specs / "toy.yaml").read_text().replace("Say {what}.", "Tell {what}."))


@pytest.mark.parametrize(("change", "named"), [(references, "fingerprint"), (prompt, "prompt")])
def test_answers_to_another_question_stay(
    call: Command, specs: Path, change: Callable[[Path], None], named: str
) -> None:
    old = aged(call, "majority")
    change(specs)
    before = tree(Path("results"))
    done = call("migrate", "--path", "specs", "--data-unchanged")
    assert done.returncode == 1
    assert f"task toy has changed since this run ({named}): its answers are to another question" in done.stderr
    assert tree(Path("results")) == before
    assert old.is_dir()


def test_an_edited_record_stays(call: Command, specs: Path) -> None:
    old = aged(call, "majority")
    record = json.loads((old / "run.json").read_text())
    (old / "run.json").write_text(json.dumps({**record, "model": {**record["model"], "args": {"kind": "prior"}}}))
    done = call("migrate", "--path", "specs")
    assert done.returncode == 1
    assert "run.json was edited" in done.stderr


def test_a_run_that_is_being_written_stays(call: Command, specs: Path) -> None:
    old = aged(call, "majority")
    with FileLock(old / ".lock"):
        done = call("migrate", "--path", "specs")
    assert done.returncode == 1
    assert "another process is writing this run" in done.stderr
    assert call("migrate", "--path", "specs").returncode == 0


def test_a_new_folder_with_other_answers_is_not_written_over(call: Command, specs: Path) -> None:
    old = aged(call, "majority")
    shutil.copytree("results", "kept")
    assert call("migrate", "--path", "specs").returncode == 0
    [run] = [path.parent for path in Path("results").glob("*/*/run.json")]
    shutil.copytree(Path("kept") / old.parent.name, old.parent)
    with (run / "responses.jsonl").open("a") as file:
        file.write('{"id":"q000","status":"ok","text":"z"}\n')
    done = call("migrate", "--path", "specs")
    assert done.returncode == 1
    assert "already exists and has other answers" in done.stderr


def test_killed_at_any_step_the_same_command_ends_as_an_unbroken_one(
    call: Command, specs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after every step that others can see."""
    aged(call, "majority")
    shutil.copytree("results", "kept")
    assert call("migrate", "--path", "specs").returncode == 0
    whole, real, steps = tree(Path("results")), os.replace, 0
    for late in (False, True):
        for step in range(1, 9):
            shutil.rmtree("results")
            shutil.copytree("kept", "results")
            steps = 0

            def killed(*paths: Any, step: int = step, late: bool = late) -> None:
                nonlocal steps
                steps += 1
                if steps == step and not late:
                    raise SystemExit(9)
                real(*paths)
                if steps == step:
                    raise SystemExit(9)

            with monkeypatch.context() as patched:
                patched.setattr(os, "replace", killed)
                code = call("migrate", "--path", "specs").returncode
            if code == 0:
                assert step > 2, "it was never killed"
                break
            shown = [path for path in Path("results").glob("*/*/run.json") if path.parent.parent.name != ".migrating"]
            assert shown, "the run is to be seen at every moment"
            assert call("migrate", "--path", "specs").returncode == 0
            assert tree(Path("results")) == whole


# ---------------------------------------------------------------- runs with a chat frame


def reader(tmp_path: Path, specs: Path, template: str = CHAT) -> None:
    """The oracle with an LLM of a few kilobytes."""
    store(make_llm(tmp_path / "llm", template=template), specs, "tiny")
    (specs / "reader.yaml").write_text(
        "name: reader\nadapter: oracle\ndescription: d\nweights: {llm: tiny}\nruntime: {dtype: float32}\n"
    )


def test_a_run_in_a_chat_template_moves_where_the_template_is_the_same(
    call: Command, specs: Path, tmp_path: Path
) -> None:
    reader(tmp_path, specs)
    aged(call, "reader")
    shutil.copytree("results", "kept")
    (tmp_path / "llm").rename(tmp_path / "away")
    done = call("migrate", "--path", "specs", "--data-unchanged")
    assert done.returncode == 1
    assert "its id depends on the chat template in the weights tiny, which are not on this machine" in done.stderr
    (tmp_path / "away").rename(tmp_path / "llm")
    assert call("migrate", "--path", "specs", "--data-unchanged").returncode == 0
    assert "all 4 answered before" in call("run", "--path", "specs", "-m", "reader", "-t", "toy").stderr
    # other words, of another length: the user's word is not taken
    shutil.rmtree("results")
    shutil.copytree("kept", "results")
    mini_task.write(specs, table=[{**row, "text": f"{row['text']}, please"} for row in mini_task.rows(4)])
    done = call("migrate", "--path", "specs", "--data-unchanged")
    assert done.returncode == 1
    assert "now their number differs. The question has changed" in done.stderr


def test_a_run_whose_prompt_held_the_day_stays(call: Command, specs: Path, tmp_path: Path) -> None:
    reader(tmp_path, specs, template="{{ strftime_now('%d %b %Y') }}\n" + CHAT)
    aged(call, "reader")
    done = call("migrate", "--path", "specs", "--data-unchanged")
    assert done.returncode == 1
    assert "writes the date into the prompt; the run has the date of its day" in done.stderr
