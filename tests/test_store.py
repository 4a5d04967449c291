"""The run folder: append, tear, resume, lock."""

import json
from pathlib import Path

import pytest

from diva_bench.errors import StoreError
from diva_bench.store import RunFolder, Shard
from diva_bench.types import LabelScore, Response

TASK = {"id": "t-1", "hash": "1"}
RUN = {"id": "m-2", "hash": "2"}


def create(tmp_path, **changes):
    return RunFolder.create(tmp_path, TASK, {**RUN, **changes})


def test_what_was_appended_comes_back(tmp_path):
    rows = [
        Response("a", text="ja \u732b", tokens={"new": 3}),
        Response("b", status="error", detail="why"),
        Response("c", choices={"x": LabelScore(-1.5, 2, -1.0)}, heard="see"),
    ]
    with create(tmp_path) as folder:
        folder.append(rows, {"rows": 3})
    assert list(RunFolder(folder.path).responses()) == rows
    assert folder.statuses() == {"a": "ok", "b": "error", "c": "ok"}


def test_the_last_answer_of_an_id_wins(tmp_path):
    with create(tmp_path) as folder:
        folder.append([Response("a", status="error"), Response("b", text="1")], {})
        folder.append([Response("a", text="now")], {})
    assert {r.id: r.text for r in folder.responses()} == {"a": "now", "b": "1"}


@pytest.mark.parametrize("torn", [b'{"id":"b","sta', b"x" * 200_000])
def test_a_torn_last_line_is_cut_off_before_the_next_append(tmp_path, torn):
    with create(tmp_path) as folder:
        folder.append([Response("a")], {})
    file = folder.path / "responses.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + torn)
    assert list(folder.statuses()) == ["a"], "a reader does not see a torn line"
    with create(tmp_path) as folder:
        folder.append([Response("b")], {})
    assert file.read_bytes().startswith(whole + b'{"id":"b"')
    assert list(folder.statuses()) == ["a", "b"]


def test_half_a_surrogate_pair_does_not_break_the_file(tmp_path):
    with create(tmp_path) as folder:
        folder.append([Response("a", text="\ud83d broken")], {})
    assert [r.id for r in folder.responses()] == ["a"]


def test_a_second_writer_is_refused(tmp_path):
    with create(tmp_path), pytest.raises(StoreError, match="another process is writing"), create(tmp_path):
        pass


def test_shards_write_their_own_files_and_are_read_together(tmp_path):
    for index in range(3):
        with RunFolder.create(tmp_path, TASK, RUN, Shard(index, 3)) as folder:
            folder.append([Response(f"s{index}")], {"rows": 1})
    assert sorted(p.name for p in folder.path.glob("responses*")) == [f"responses.{i}-of-3.jsonl" for i in range(3)]
    assert sorted(r.id for r in RunFolder(folder.path).responses()) == ["s0", "s1", "s2"]


def test_a_folder_of_another_identity_is_refused(tmp_path):
    create(tmp_path)
    with pytest.raises(StoreError, match="belongs to 2, not to other"):
        create(tmp_path, hash="other")


@pytest.mark.parametrize(("content", "said"), [("{", "not valid JSON"), ("[]", "expected a JSON object")])
def test_a_record_that_was_spoilt_is_told(tmp_path, content, said):
    folder = create(tmp_path)
    (folder.path / "run.json").write_text(content)
    with pytest.raises(StoreError, match=said):
        create(tmp_path)


def test_a_broken_line_in_the_middle_is_told_with_its_number(tmp_path):
    with create(tmp_path) as folder:
        folder.append([Response("a")], {})
    (folder.path / "responses.jsonl").write_text("nonsense\n" + json.dumps({"id": "a", "status": "ok"}) + "\n")
    with pytest.raises(StoreError, match=r"responses\.jsonl:1: is not valid JSON"):
        folder.statuses()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_and_what_was_written_is_kept(tmp_path):
    with pytest.raises(StoreError, match="the disk is full"), create(tmp_path) as folder:  # noqa: PT012
        folder.append([Response("a")], {})
        folder._files["responses"].close()
        folder._files["responses"] = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115 (the folder closes it)
        folder.append([Response("b")], {})
    assert list(RunFolder(folder.path).statuses()) == ["a"]
