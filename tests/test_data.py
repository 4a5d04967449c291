"""From rows to a data set: what is asked, what is left out and said so, what is refused, and what the fingerprint covers."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import corpora
import hub_data
import mini_task
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from corpora import put, tone
from hub_data import AUDIO, small

from diva_bench import audio, data
from diva_bench.catalog import Catalog
from diva_bench.data import dataset
from diva_bench.data.readers import Raw, parquet, reader
from diva_bench.errors import ClipError, DataError
from diva_bench.runs.old_identity import edition, is_former
from diva_bench.specs import Edition, TaskSpec
from diva_bench.types import Silent

ROOT = Path(__file__).parents[1]


@pytest.fixture
def load(tmp_path: Path):
    def call(task: TaskSpec, **how: Any) -> data.Dataset:
        return data.load(task, tmp_path / "cache", Silent(), **how)

    return call


def jsonl(folder: Path, table: list[dict[str, object]] | None = None, **changes: Any) -> TaskSpec:
    """The toy task of mini_task with other rows, and a data spec that says other things."""
    mini_task.write(folder, count=4, table=table)
    task = Catalog([folder]).task("toy", "mini")
    return task.model_copy(update={"data": task.data.model_copy(update=changes)})


# ---------------------------------------------------------------- identities


def test_the_committed_runs_are_of_the_data_that_ships(load):
    catalog, seen = Catalog(), 0
    for path in sorted((ROOT / "results" / "mini-v1").glob("*/task.json")):
        stored = json.loads(path.read_text())
        task = catalog.task(stored["name"], cast(Edition, edition(stored["edition"], stored)))
        assert (task.edition, stored["edition"]) == ("mini-v1", "mini")  # the name that it had, and which its id has
        data = load(task)
        assert (data.former if is_former(stored) else data.fingerprint) == stored["fingerprint"], path
        assert task.identity().items() <= stored.items(), path
        seen += 1
    assert seen == 9


def test_the_fingerprint_covers_what_a_question_takes_from_the_data_and_nothing_else(load, tmp_path):
    rows = mini_task.rows(4)
    base = load(jsonl(tmp_path / "base", rows)).fingerprint
    other = [
        [{**rows[0], "id": "z"}, *rows[1:]],
        [{**rows[0], "answers": ["z"]}, *rows[1:]],
        [{**rows[0], "text": "z"}, *rows[1:]],
    ]
    assert len({base, *(load(jsonl(tmp_path / str(i), r)).fingerprint for i, r in enumerate(other))}) == 4
    assert load(jsonl(tmp_path / "base", rows[::-1])).fingerprint == base, "the order of the rows asks nothing else"
    assert load(jsonl(tmp_path / "text", [{**row, "voice": "z", "cluster": "z"} for row in rows])).fingerprint == base
    task = jsonl(tmp_path / "sound", rows)
    mini_task.clip(tmp_path / "sound" / "audio" / "q000.wav", 0.4, pitch=999)
    assert load(task).fingerprint != base


def test_the_fingerprint_says_that_a_clip_cannot_be_used_but_not_in_the_words_of_a_decoder(tmp_path, monkeypatch):
    task, real, found = jsonl(tmp_path / "specs"), audio.read, []
    (tmp_path / "specs" / "audio" / "q000.wav").write_bytes(b"no sound")
    for words in ("one ffmpeg", "another ffmpeg"):

        def read(encoded, words=words):
            if encoded == b"no sound":
                raise ClipError(words)
            return real(encoded)

        monkeypatch.setattr(audio, "read", read)
        found.append(data.load(task, tmp_path / words, Silent()))
    assert [got.faults[0].reason for got in found] == ["audio/q000.wav: one ffmpeg", "audio/q000.wav: another ffmpeg"]
    assert found[0].fingerprint == found[1].fingerprint


def test_the_same_parquet_in_other_files_and_row_groups_is_the_same_data(load, tmp_path):
    one = load(small("heysquad", 3), data_dir=hub_data.heysquad(tmp_path / "a"))
    folder = tmp_path / "b"
    whole = pyarrow.concat_tables(pyarrow.parquet.read_table(p) for p in sorted(tmp_path.glob("a/data/*.parquet")))
    (folder / "data").mkdir(parents=True)
    pyarrow.parquet.write_table(whole, folder / "data/validation-00000-of-00001.parquet", row_group_size=1)
    assert load(small("heysquad", 3), data_dir=folder).fingerprint == one.fingerprint


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'\n{"id": ', r"toy\.jsonl:2: is not valid JSON \("),
        (b"[1]\n", r"toy\.jsonl:1: expected a JSON object, found an array"),
        (b"\xff\n", r"toy\.jsonl:1: is not UTF-8 \(byte 0xff\)"),
    ],
)
def test_a_manifest_that_is_not_json_lines_is_told(load, tmp_path, content, message):
    task = jsonl(tmp_path / "specs")
    (tmp_path / "specs" / "toy.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(task)


def changed(**values: object) -> list[dict[str, object]]:
    """Four rows of which the second has other values; None takes a column away."""
    rows = mini_task.rows(4)
    rows[1] = {k: v for k, v in {**rows[1], **values}.items() if v is not None}
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            changed(audio=None),
            r"toy\.jsonl:2: column 'audio' is missing; the row has answers, cluster, id, text, voice\. "
            r"Name the column with it: `columns: \{audio: NAME\}`\.",
        ),
        (changed(cluster=None), r"toy\.jsonl:2: column 'cluster' is missing"),
        (changed(voice=None), r"toy\.jsonl:2: column 'voice' is missing"),
        (changed(id="q000"), r"toy\.jsonl:2: id 'q000' is already used in line 1; ids must be unique"),
        (changed(id=7), r"toy\.jsonl:2: the id must be a string that is not empty, found 7"),
        (changed(answers=[]), r"toy\.jsonl:2: the reference \(answers\) is empty or not text: \[\]"),
        (changed(answers=["a", " "]), r"toy\.jsonl:2: the reference \(answers\) is empty"),
        (changed(cluster=""), r"toy\.jsonl:2: the cluster must be a string that is not empty"),
    ],
)
def test_a_row_that_is_not_right_is_named_with_its_line(load, tmp_path, rows, message):
    task = jsonl(tmp_path / "specs", rows)
    with pytest.raises(DataError, match=message):
        load(task)


def test_a_byte_order_mark_and_lines_that_end_as_on_windows_are_no_fault(load, tmp_path):
    task = jsonl(tmp_path / "specs")
    as_it_is, path = load(task), tmp_path / "specs" / "toy.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load(task).fingerprint == as_it_is.fingerprint


def test_a_label_outside_the_task_s_choices_is_named_with_those(load, tmp_path):
    task = jsonl(tmp_path / "specs", changed(answers="maybe")).model_copy(update={"choices": ("yes", "no")})
    with pytest.raises(DataError, match=r"answers is \['q\d+'\]|allows yes, no"):
        load(task)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 5}, r"4 rows, but task toy says there are 5"),
        ({"total": (7, 9)}, r"4 rows in all, but task toy says 7 or 9"),
        ({"labels": {"x": 4}}, r"labels .*, but task toy says \{'x': 4\}"),
        ({"where": {"colour": "red"}}, r"toy\.jsonl:1: column 'colour' of `where` is missing; the row has"),
        ({"rate": (8000, 44100)}, r"4 of 4 clips are not sampled at 8,000 or 44,100 Hz .*audio/q000\.wav at 16,000 Hz"),
        ({"seconds": (9.0, 10.0)}, r"none of the 4 clips can be used; the first: audio/q000.wav: is 0.2 s long"),
        (
            {"source": "cvs"},
            r"unknown data source 'cvs'. Did you mean 'csv'.*Available: arrow, audiofolder",
        ),
    ],
)
def test_data_that_is_not_what_the_task_says_names_both(load, tmp_path, changes, message):
    from diva_bench.errors import UserError

    task = jsonl(tmp_path / "specs", None, **changes)
    if "source" in changes:
        task = task.model_copy(update={"data": task.data.model_copy(update={"path": str(tmp_path / "specs")})})
    with pytest.raises(UserError, match=message):
        load(task)


# ---------------------------------------------------------------- what is left out


def test_wrong_counts_are_partial_where_that_is_allowed_and_a_note_where_they_are_from_memory(load, tmp_path):
    task = jsonl(tmp_path / "specs", None, rows=5)
    got = load(task, allow_partial=True)
    assert got.partial == "4 rows, but task toy says there are 5"
    assert len(got.samples) == 4
    cut = load(jsonl(tmp_path / "cut", None, total=(9,), rows_from_memory=True), allow_partial=True)
    assert cut.partial == "4 rows in all, but task toy says 9"
    memory = load(jsonl(tmp_path / "again", None, rows=5, rows_from_memory=True))
    assert memory.partial == ""
    assert memory.notes == ("4 rows, but task toy says there are 5 (that number is from memory)",)
    assert load(jsonl(tmp_path / "right")).partial == ""


def test_known_bad_clips_are_left_out_with_their_reason_and_are_no_fault(load, tmp_path):
    task = jsonl(tmp_path / "specs", None, exclude={"q001": "wrongly cut (issue 20)", "gone": "not in this copy"})
    got = load(task)
    assert got.excluded == (data.Fault("q001", "wrongly cut (issue 20)"),)
    assert got.faults == ()
    assert [s.id for s in got.samples] == ["q000", "q002", "q003"]
    assert got.fingerprint != load(jsonl(tmp_path / "whole")).fingerprint


def test_rows_that_are_not_asked_are_counted_and_named(load, tmp_path):
    got = load(jsonl(tmp_path / "specs", None, rows=2, where={"voice": "a"}))
    assert [s.id for s in got.samples] == ["q000", "q002"]
    assert got.notes == ("2 of 4 rows are left out: only rows where voice is a are used",)
    both = load(jsonl(tmp_path / "both", None, where={"voice": ("a", "b")}))
    assert (len(both.samples), both.notes) == (4, ())


def test_a_clip_of_the_wrong_length_is_a_fault_for_everybody(load, tmp_path):
    got = load(jsonl(tmp_path / "specs", None, seconds=(0.22, 9.0)))
    assert got.faults == (data.Fault("q000", "audio/q000.wav: is 0.2 s long; the task says 0.22 to 9 s"),)
    short = load(jsonl(tmp_path / "short", None, seconds=(0.2, 0.32)))
    assert short.faults == (data.Fault("q003", "audio/q003.wav: is 0.35 s long; the task says 0.2 to 0.32 s"),)


def test_a_row_that_lacks_the_sound_that_others_have_is_a_fault_where_it_must_be_heard(load, tmp_path, monkeypatch):
    read = reader("jsonl")

    def silent(folder: Path, task: TaskSpec) -> list[Raw]:
        return [replace(row, clip=None) if row.values["id"] == "q001" else row for row in read(folder, task)]

    monkeypatch.setattr(dataset, "reader", lambda name: silent)
    task = jsonl(tmp_path / "specs")
    assert load(task).faults == (data.Fault("q001", "has no audio"),)
    assert [s.id for s in load(task, need_audio=False).samples if s.read is None] == ["q001"]


def test_rows_without_sound_can_be_scored_and_not_asked(load, tmp_path):
    task = jsonl(tmp_path / "specs", changed(audio=None))
    got = load(task, need_audio=False)
    assert [s.read is None for s in got.samples] == [False, True, False, False]


# ---------------------------------------------------------------- the index


def test_clips_are_looked_at_once_and_again_when_they_change(load, tmp_path, monkeypatch):
    looked: list[int] = []
    real = audio.read
    monkeypatch.setattr(audio, "read", lambda encoded: looked.append(len(encoded)) or real(encoded))
    task = jsonl(tmp_path / "specs")
    for _ in range(2):
        load(task)
    assert len(looked) == 4
    mini_task.clip(tmp_path / "specs" / "audio" / "q002.wav", 0.9)
    assert [round(s.seconds, 2) for s in load(task).samples] == [0.2, 0.25, 0.9, 0.35]
    assert len(looked) == 5


def swapped(path: Path, sound: bytes) -> None:
    """Other bytes of the same number, with the times of the old ones: what an archive with fixed times, or cp -p, leaves."""
    times = path.stat()
    assert len(sound) == times.st_size
    path.write_bytes(sound)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_other_sound_of_the_same_size_and_time_is_seen(load, tmp_path):
    task = jsonl(tmp_path / "specs")
    base = load(task).fingerprint
    for how in ("written over", "moved there"):
        mini_task.clip(tmp_path / "new.wav", 0.2, pitch=500 if how == "moved there" else 900)
        place = tmp_path / "specs" / "audio" / "q000.wav"
        if how == "written over":
            swapped(place, (tmp_path / "new.wav").read_bytes())
        else:
            times = place.stat()
            os.utime(tmp_path / "new.wav", ns=(times.st_atime_ns, times.st_mtime_ns))
            (tmp_path / "new.wav").replace(place)
        found = load(task).fingerprint
        assert found != base, how
        base = found


def test_a_clip_that_changed_since_it_was_looked_at_is_not_heard_and_the_next_look_sees_it(load, tmp_path):
    task = jsonl(tmp_path / "specs")
    got = load(task)
    mini_task.clip(tmp_path / "new.wav", 0.2, pitch=900)
    swapped(tmp_path / "specs" / "audio" / "q000.wav", (tmp_path / "new.wav").read_bytes())
    assert got.samples[1].read()
    with pytest.raises(ClipError, match=r"audio/q000\.wav: is not the clip that was checked"):
        got.samples[0].read()
    assert list((tmp_path / "cache" / "index").iterdir()) == []
    assert load(task).samples[0].read() == (tmp_path / "new.wav").read_bytes()


def test_a_killed_look_is_gone_on_with(load, tmp_path, monkeypatch):
    from diva_bench.data import clips

    monkeypatch.setattr(clips, "_SAVE", 2)
    monkeypatch.setattr(clips, "_BLOCK", 1)
    task, real, looked = jsonl(tmp_path / "specs"), audio.read, []

    def read(encoded: bytes) -> Any:
        looked.append(encoded)
        if len(looked) == 3:
            raise KeyboardInterrupt
        return real(encoded)

    monkeypatch.setattr(audio, "read", read)
    with pytest.raises(KeyboardInterrupt):
        load(task)
    load(task)
    assert len(looked) == 3 + 2  # the third again, and the fourth


# ---------------------------------------------------------------- parquet


def any_table(folder: Path, count: int = 6, group: int = 2, **columns: Any) -> TaskSpec:
    """A user's own parquet and the task that says what its columns are."""
    cells = pyarrow.array([{"bytes": tone(0.2, 200 + i), "path": None} for i in range(count)], AUDIO)
    table = {"sound": cells, "words": [f"w{i}" for i in range(count)], "who": ["x"] * count, **columns}
    hub_data.table(folder / "data/test-00000-of-00001.parquet", table, group)
    roles = {"audio": "sound", "id": "row", "cluster": "who", "transcript": "words"}
    return corpora.task("parquet", "words", path=str(folder), split="test", rows=count, columns=roles)


def test_files_of_one_split_have_the_same_columns(load, tmp_path):
    task = any_table(tmp_path / "own")
    first = tmp_path / "own/data/test-00000-of-00001.parquet"
    first = first.rename(first.with_name("test-00000-of-00002.parquet"))
    second = pyarrow.parquet.read_table(first).drop_columns(["who"])
    pyarrow.parquet.write_table(second, first.with_name("test-00001-of-00002.parquet"))
    with pytest.raises(
        DataError, match=r"00001-of-00002.parquet: columns sound, words; .*00000.* has sound, words, who"
    ):
        load(task)


def test_any_parquet_is_a_task_with_columns_by_role_and_row_numbers_for_ids(load, tmp_path):
    got = load(any_table(tmp_path / "own"))
    assert [(s.id, s.references, s.transcript) for s in got.samples[:2]] == [("0", ("w0",), "w0"), ("1", ("w1",), "w1")]
    assert {s.cluster for s in got.samples} == {"x"}


def test_the_files_of_other_splits_are_not_read(load, tmp_path):
    task = any_table(tmp_path / "own")
    any_table(tmp_path / "other", count=3)
    (tmp_path / "other/data/test-00000-of-00001.parquet").rename(tmp_path / "own/data/train-00000-of-00001.parquet")
    assert len(load(task).samples) == 6
    other = task.model_copy(update={"data": task.data.model_copy(update={"split": "dev"})})
    with pytest.raises(DataError, match=r"no parquet files of task parquet \(looked for data/dev-\*\.parquet"):
        load(other)


def test_a_split_of_which_files_are_missing_is_refused(load, tmp_path):
    folder = hub_data.heysquad(tmp_path / "it")
    (folder / "data/validation-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"1 of the 2 files of validation are here"):
        load(small("heysquad", 3), data_dir=folder)


def test_a_torn_parquet_file_says_so(load, tmp_path):
    task = any_table(tmp_path / "own")
    path = tmp_path / "own/data/test-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cannot be read as parquet .*Fetch the file again"):
        load(task)


def test_sound_in_parquet_is_held_by_row_group_and_never_all_at_once(load, tmp_path, monkeypatch):
    got = load(any_table(tmp_path / "own", count=40, group=4))
    one = len(got.samples[0].read())
    monkeypatch.setattr(parquet, "_CACHE_BYTES", 12 * one)
    groups = parquet._Groups()
    monkeypatch.setattr(parquet, "_GROUPS", groups)
    most = 0
    for sample in (*got.samples, *reversed(got.samples)):
        assert audio.decode(sample.read()).seconds == pytest.approx(0.2)
        most = max(most, sum(cells.nbytes for cells in groups._arrays.values()))
    assert most <= 12 * one + 4 * one
    assert most >= 4 * one


@pytest.mark.parametrize("cell", [None, {"bytes": None, "path": None}, {"bytes": None, "path": "gone.wav"}])
def test_a_cell_that_holds_no_sound_is_a_fault_of_its_row(load, tmp_path, cell):
    task = any_table(tmp_path / "own", count=2)
    cells = pyarrow.array([{"bytes": tone(), "path": None}, cell], AUDIO)
    hub_data.table(
        tmp_path / "own/data/test-00000-of-00001.parquet", {"sound": cells, "words": ["a", "b"], "who": ["x", "x"]}
    )
    (fault,) = load(task).faults
    assert fault.id == "1"
    assert "column sound holds no sound" in fault.reason


def test_a_cell_may_name_a_file_beside_the_table(load, tmp_path):
    task = any_table(tmp_path / "own", count=1)
    put(tmp_path / "own/data/there.wav", tone(0.7))
    cells = pyarrow.array([{"bytes": None, "path": "there.wav"}], AUDIO)
    hub_data.table(tmp_path / "own/data/test-00000-of-00001.parquet", {"sound": cells, "words": ["a"], "who": ["x"]})
    got = load(task)
    assert got.samples[0].seconds == pytest.approx(0.7)
    put(tmp_path / "own/data/there.wav", tone(0.8))
    assert load(task).samples[0].seconds == pytest.approx(0.8), "the table is as it was, the file beside it is not"


def test_the_rate_is_the_file_s_own(load, tmp_path):
    task = jsonl(tmp_path / "specs", None, rate=(16000,))
    soundfile.write(tmp_path / "specs" / "audio" / "q003.wav", [0.1] * 4000, 8000)
    with pytest.raises(DataError, match=r"1 of 4 clips are not sampled at 16,000 Hz .*q003\.wav at 8,000 Hz"):
        load(task)
