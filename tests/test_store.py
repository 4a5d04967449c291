"""The run folder: append, tear, resume, lock."""

import contextlib
import itertools
import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from diva_bench.errors import StoreError
from diva_bench.runs import answers
from diva_bench.runs.store import RunFolder, Shard
from diva_bench.specs import ModelSpec, Runtime, digest
from diva_bench.types import LabelScore, Response


def records(model: str = "m"):
    """task.json and run.json as a run writes them, of no data."""
    asked = {"edition": "mini", "limit": None, "seed": 0, "fingerprint": "f" * 64}
    task = {"id": f"t-{digest(asked)[:6]}", "hash": digest(asked), "name": "t", **asked}
    words = dict.fromkeys(("description", "citation", "licence"), "")
    spec = ModelSpec(
        name=model, edition=None, adapter="echo", args={}, weights={}, runtime=Runtime(), training=None, **words
    )
    hashed = digest({"task": task["hash"], "model": spec.identity(), "adapter_version": "1"})
    run = {"id": f"{model}-{hashed[:6]}", "hash": hashed, "task_id": task["id"], "adapter_version": "1"}
    run |= {"limit": None, "seed": 0, "fingerprint": "f" * 64, "model": spec.model_dump(mode="json")}
    return task, run | {"task": {"name": "t", "edition": "mini", "primary": "contains", "scorers": {}}}


TASK, RUN = records()


def create(tmp_path, **changes):
    return RunFolder.create(tmp_path, TASK, {**RUN, **changes})


def test_what_was_appended_comes_back(tmp_path):
    rows = [
        Response("a", text="ja \u732b", tokens={"new": 3}),
        Response("b", status="error", detail="why"),
        Response("c", choices={"x": LabelScore(-1.5, 2, -1.0)}, heard="see"),
    ]
    with create(tmp_path) as folder:
        folder.append(rows, {"rows": 3, "audio": 1.5, "wall": 0.25, "stages": {"decode": 0.2}})
    assert list(RunFolder(folder.path).responses()) == rows
    assert folder.statuses() == {"a": "ok", "b": "error", "c": "ok"}


def test_the_last_answer_of_an_id_wins(tmp_path):
    with create(tmp_path) as folder:
        folder.append([Response("a", status="error"), Response("b", text="1")], None)
        folder.append([Response("a", text="now")], None)
    assert {r.id: r.text for r in folder.responses()} == {"a": "now", "b": "1"}


@pytest.mark.parametrize("torn", [b'{"id":"b","sta', b"x" * 200_000])
def test_a_torn_last_line_is_cut_off_before_the_next_append(tmp_path, torn):
    with create(tmp_path) as folder:
        folder.append([Response("a")], None)
    file = folder.path / "responses.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + torn)
    assert list(folder.statuses()) == ["a"], "a reader does not see a torn line"
    with create(tmp_path) as folder:
        folder.append([Response("b")], None)
    assert file.read_bytes().startswith(whole + b'{"id":"b"')
    assert list(folder.statuses()) == ["a", "b"]


def test_half_a_surrogate_pair_does_not_break_the_file(tmp_path):
    with create(tmp_path) as folder:
        folder.append([Response("a", text="\ud83d broken")], None)
    assert [r.id for r in folder.responses()] == ["a"]


def test_a_second_writer_is_refused(tmp_path):
    with create(tmp_path), pytest.raises(StoreError, match="another process is writing"), create(tmp_path):
        pass


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (Shard(), Shard(0, 2), "alone"),
        (Shard(0, 2), Shard(), "1 of 2 that share it"),
        (Shard(1, 2), Shard(0, 3), "2 of 2 that share it"),
        (Shard(1, 2), Shard(1, 2), "2 of 2 that share it"),
    ],
)
def test_another_number_of_processes_is_refused_with_who_holds_the_run(tmp_path, first, second, said):
    with RunFolder.create(tmp_path, TASK, RUN, first) as folder:
        with (
            pytest.raises(StoreError, match="another process is writing this run") as refused,
            RunFolder.create(tmp_path, TASK, RUN, second),
        ):
            pass
        assert f"process {os.getpid()} on {socket.gethostname()}, {said}, since 20" in str(refused.value)
        folder.append([Response("a")], None)
    with RunFolder.create(tmp_path, TASK, RUN, second):
        assert [r.id for r in folder.responses()] == ["a"]
    assert not [*folder.path.glob(".lock-holder*")]


def test_processes_that_share_a_run_do_not_refuse_each_other(tmp_path):
    """Also where an earlier run of one process left its lock file, which all of them look at in the same moment."""
    with create(tmp_path):
        pass
    with contextlib.ExitStack() as stack:
        folders = [RunFolder.create(tmp_path, TASK, RUN, Shard(i, 8)) for i in range(8)]
        with ThreadPoolExecutor(8) as pool:
            for held in pool.map(RunFolder.__enter__, folders):
                stack.push(held)


def test_shards_write_their_own_files_and_are_read_together(tmp_path):
    for index in range(3):
        with RunFolder.create(tmp_path, TASK, RUN, Shard(index, 3)) as folder:
            folder.append([Response(f"s{index}")], None)
    assert sorted(p.name for p in folder.path.glob("responses*")) == [f"responses.{i}-of-3.jsonl" for i in range(3)]
    assert sorted(r.id for r in RunFolder(folder.path).responses()) == ["s0", "s1", "s2"]


def written(path, count, *batches, index=0):
    """One process of `count` opens the folder, and appends each batch."""
    with RunFolder.create(path, TASK, RUN, Shard(index, count)) as folder:
        for batch in batches:
            folder.append(batch, None)
    return folder


ERROR, OK = Response("a", status="error"), Response("a", text="right")


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 3])))
def test_what_was_asked_last_counts_whatever_the_number_of_processes_and_the_times_of_the_files(tmp_path, order):
    for asked, count in enumerate(order):
        folder = written(tmp_path, count, [ERROR] if asked < 2 else [OK])
    files = sorted(folder.path.glob("responses*"))
    for times in (range(len(files)), range(len(files), 0, -1)):
        for file, time in zip(files, times, strict=True):
            os.utime(file, (time, time))
        assert RunFolder(folder.path).statuses() == {"a": "ok"}
        assert list(RunFolder(folder.path).responses()) == [OK]
        assert RunFolder(folder.path).answers({"a"}) == {"a": OK}


def test_an_answer_that_failed_when_it_was_asked_again_is_a_failure(tmp_path):
    written(tmp_path, 1, [OK])
    folder = written(tmp_path, 2, [ERROR])
    assert folder.statuses() == {"a": "error"}
    assert written(tmp_path, 1, [OK]).statuses() == {"a": "ok"}


def test_processes_that_share_a_run_write_one_round_and_a_killed_one_goes_on_in_it(tmp_path):
    written(tmp_path, 1, [ERROR])
    for index in (0, 1, 0):
        folder = written(tmp_path, 2, [Response(f"s{index}")], index=index)
    lines = [line for file in folder.path.glob("responses.*-of-2*") for line in file.read_text().splitlines()]
    rounds = [json.loads(line)["round"] for line in lines]
    assert rounds == [1, 1, 1]
    assert "round" not in (folder.path / "responses.jsonl").read_text()


def test_of_files_that_an_older_version_wrote_an_answer_counts_before_an_error(tmp_path):
    for first, second in ((1, 2), (2, 1)):
        folder = create(tmp_path / str(first))
        for count, row in ((first, OK), (second, ERROR)):
            name = "responses.jsonl" if count == 1 else "responses.0-of-2.jsonl"
            (folder.path / name).write_text(json.dumps({"id": row.id, "status": row.status, "text": row.text}) + "\n")
        assert folder.statuses() == {"a": "ok"}


def test_who_only_judges_opens_no_answers_for_writing(tmp_path):
    folder = written(tmp_path, 1, [OK])
    file = folder.path / "responses.jsonl"
    file.write_bytes(file.read_bytes() + b'{"torn')
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.path.glob("*.jsonl")}
    assert list(before) == ["responses.jsonl"]
    with RunFolder(folder.path) as again:
        again.write_scores({"signature": {}}, [{"id": "a"}])
    after = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.path.glob("*.jsonl")}
    assert after.keys() - before.keys() == {"scores.jsonl"}
    assert before.items() <= after.items()


def test_a_folder_of_another_identity_is_refused(tmp_path):
    create(tmp_path)
    other = {**RUN, "hash": RUN["hash"][:6] + "0" * 58}
    with pytest.raises(StoreError, match=f"belongs to {RUN['hash']}, not to {other['hash']}"):
        RunFolder.create(tmp_path, TASK, other)


@pytest.mark.parametrize(("content", "said"), [("{", "not valid JSON"), ("[]", "expected a JSON object")])
def test_a_record_that_was_spoilt_is_told(tmp_path, content, said):
    folder = create(tmp_path)
    (folder.path / "run.json").write_text(content)
    with pytest.raises(StoreError, match=said):
        create(tmp_path)


def test_a_broken_line_in_the_middle_is_told_with_its_number(tmp_path):
    with create(tmp_path) as folder:
        folder.append([Response("a")], None)
    (folder.path / "responses.jsonl").write_text(
        "nonsense\n" + json.dumps({"id": "a", "status": "ok", "text": ""}) + "\n"
    )
    with pytest.raises(StoreError, match=r"responses\.jsonl:1: is not valid JSON"):
        folder.statuses()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_and_what_was_written_is_kept(tmp_path):
    with pytest.raises(StoreError, match="the disk is full"), create(tmp_path) as folder:  # noqa: PT012
        folder.append([Response("a")], None)
        folder._files["responses"].close()
        folder._files["responses"] = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115 (the folder closes it)
        folder.append([Response("b")], None)
    assert list(RunFolder(folder.path).statuses()) == ["a"]


@pytest.mark.parametrize("held", [0, 1 << 24], ids=["read when used", "held in memory"])
def test_answers_and_their_digest_are_the_same_whether_their_files_are_held_or_not(tmp_path, monkeypatch, held):
    monkeypatch.setattr(answers, "_SMALL", held)
    run = create(tmp_path)
    lines = [
        {"id": "b", "status": "error", "text": "", "detail": "no memory", "round": 0},
        {"id": "a", "status": "ok", "text": "é\u2028", "detail": "", "tokens": {}, "scores": {}, "label": ""},
        {"id": "c", "status": "odd", "text": "x"},
        {"id": "b", "status": "ok", "text": "B", "choices": {"yes": [-1, 2, -0.5]}, "heard": "", "round": 1},
        {"id": "d", "status": "ok", "text": "D", "tokens": {"new": 3}, "scores": {"yes": 1}, "round": 2},
    ]
    (run.path / "responses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = run.answered()
    assert [(one.id, one.status, one.text) for one in found.values()] == [
        ("a", "ok", "é\u2028"),
        ("c", "error", ""),
        ("b", "ok", "B"),
        ("d", "ok", "D"),
    ]
    assert found.digest() == answers.digest_of(found.values())
    assert found["b"].choices == {"yes": LabelScore(-1.0, 2, -0.5)}
