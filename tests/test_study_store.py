"""The database of a study: no acknowledged vote is lost or doubled, whatever ends the process or fills the disk."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from diva_bench.errors import StoreError, UserError
from diva_bench.study.assignment import Assignment, Design, next_assignment
from diva_bench.study.store import Refused, Store

DESIGN = Design({f"item{i}": ("a", "b") for i in range(5)}, ("a", "b"), per_rater=5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with Store(tmp_path / "study.sqlite", create=True) as opened:
        return Store(opened.path)


def enrolled(store: Store, name: str = "ann") -> str:
    store.enrol(rater := store.hashed(name))
    return rater


def asked(store: Store, rater: str, design: Design = DESIGN) -> Assignment:
    page = next_assignment(store, design, rater)
    assert isinstance(page, Assignment)
    return page


def test_a_vote_that_is_sent_twice_is_stored_once_and_the_first_choice_counts(store: Store) -> None:
    rater = enrolled(store)
    page = asked(store, rater)
    first = store.vote(rater, page.id, "a", '{"page": "1"}')
    assert store.vote(rater, page.id, "a") == first
    with pytest.raises(Refused, match="The first vote counts"):
        store.vote(rater, page.id, "b")
    assert store.votes() == [first]
    assert first.versions == {"page": "1"}
    assert first.shown == page.shown
    assert first.at.endswith("+00:00")


@pytest.mark.parametrize(
    ("who", "id", "choice", "message"),
    [
        ("ann", "0" * 32, "a", "belongs to no question that you were asked"),
        ("ben", None, "a", "belongs to no question that you were asked"),
        ("ann", None, "c", "this choice is not possible here"),
        ("ann", None, "tie", "this choice is not possible here"),
        ("ann", None, "<script>", "this choice is not possible here"),
    ],
)
def test_a_forged_vote_is_refused_and_stores_nothing(
    store: Store, who: str, id: str | None, choice: str, message: str
) -> None:
    page = asked(store, enrolled(store, "ann"))
    with pytest.raises(Refused, match=message):
        store.vote(enrolled(store, who), id or page.id, choice)
    assert store.votes() == []


def test_a_tie_is_a_choice_where_the_study_allows_it(store: Store) -> None:
    rater = enrolled(store)
    assert not store.vote(rater, asked(store, rater).id, "tie", others=("tie",)).decided


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE votes SET choice = 'b'", "votes do not change"),
        ("DELETE FROM votes", "only when their rater withdraws"),
        ("INSERT OR REPLACE INTO votes SELECT * FROM votes", "only when their rater withdraws"),
    ],
)
def test_votes_are_neither_changed_nor_deleted(store: Store, statement: str, message: str) -> None:
    rater = enrolled(store)
    store.vote(rater, asked(store, rater).id, "a")
    with pytest.raises(StoreError, match=message), store.writing() as db:
        db.execute(statement)
    assert len(store.votes()) == 1


def test_withdrawal_deletes_what_a_rater_gave_records_it_and_leaves_no_byte(store: Store, tmp_path: Path) -> None:
    ann, ben = enrolled(store, "ann"), enrolled(store, "ben")
    for rater in (ann, ben):
        store.vote(rater, asked(store, rater).id, "a")
    sound = tmp_path / "rec" / "x1.wav"
    sound.parent.mkdir()
    sound.write_bytes(b"RIFF")
    with store.writing() as db:
        db.execute("INSERT INTO recordings VALUES ('x1', ?, 'item', 1.0, '')", (ann,))
        db.execute("UPDATE raters SET questions = ? WHERE rater = ?", (json.dumps({"age": "SECRET-AGE"}), ann))
    store.add_answers([("own", "a", "SECRET-ANSWER", ann, "")])
    done = store.withdraw(ann, sound.parent)
    assert (done.votes, done.recordings) == (1, 1)
    assert not sound.exists()
    assert [vote.rater for vote in store.votes()] == [ben]
    assert store.withdraw(ann) == done
    left = b"".join(path.read_bytes() for path in tmp_path.glob("study.sqlite*"))
    assert b"SECRET" not in left
    with pytest.raises(Refused, match="has withdrawn"):
        store.enrol(ann)
    with pytest.raises(UserError, match=r"no rater of this name or hash\. Nothing was deleted"):
        store.withdraw(store.hashed("nobody"))


def test_a_database_of_the_first_version_gets_the_new_table_and_keeps_its_votes(store: Store) -> None:
    rater = enrolled(store)
    vote = store.vote(rater, asked(store, rater).id, "a")
    store.close()
    with sqlite3.connect(store.path) as db:
        db.execute("DROP TABLE failures")
        db.execute("PRAGMA user_version = 1")
    with Store(store.path) as again:
        again.failed(asked(again, rater).id, {"a": "why"})
        assert (again.votes(), again.failures()) == ([vote], {"a": 1})


def test_sound_that_belongs_to_no_recording_is_swept_away_and_nothing_else(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "rec"
    folder.mkdir()
    kept, lost = "0" * 32, "1" * 32
    for name in (kept, lost, "mine"):
        (folder / f"{name}.wav").write_bytes(b"RIFF")
    with store.writing() as db:
        db.execute("INSERT INTO recordings VALUES (?, 'r', 'item', 1.0, '')", (kept,))
    store.sweep(folder)
    assert sorted(path.stem for path in folder.iterdir()) == [kept, "mine"]


def test_names_of_raters_are_stored_only_as_hashes_that_differ_between_studies(store: Store, tmp_path: Path) -> None:
    rater = enrolled(store, "PROLIFIC-5f3e")
    with Store(tmp_path / "other.sqlite", create=True) as other:
        assert other.hashed("PROLIFIC-5f3e") != rater
    assert b"PROLIFIC" not in b"".join(path.read_bytes() for path in tmp_path.glob("study.sqlite*"))


KILLED = """
import sys, time
from pathlib import Path
from diva_bench.study.assignment import Design, next_assignment
from diva_bench.study.store import Store
store = Store(Path(sys.argv[1]))
design = Design({f"i{n}": ("a", "b") for n in range(2000)}, ("a", "b"), per_rater=2000)
store.enrol(rater := store.hashed(sys.argv[2]))
while True:
    page = next_assignment(store, design, rater)
    store.vote(rater, page.id, "a")
    print(page.id, flush=True)
    time.sleep(0.01)  # so that the other process gets its turn
"""


def test_no_acknowledged_vote_is_lost_or_doubled_when_processes_are_killed(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    Store(path, create=True).close()
    said: list[str] = []
    for round_ in range(3):
        running = [
            subprocess.Popen([sys.executable, "-c", KILLED, path, f"r{round_}{i}"], stdout=subprocess.PIPE, text=True)
            for i in range(2)
        ]
        for process in running:
            assert process.stdout is not None
            said += [process.stdout.readline().strip() for _ in range(5 + round_)]
        for process in running:
            process.send_signal(signal.SIGKILL)
        for process in running:
            said += [line for line in process.communicate()[0].split() if len(line) == 32]
    with Store(path) as store:
        stored = [vote.id for vote in store.votes()]
        assert set(said) <= set(stored)
        assert len(set(stored)) == len(stored)
        assert store.rows("PRAGMA integrity_check") == [("ok",)]
        assert store.rows("SELECT count(*) FROM assignments WHERE state = 'voted'") == [(len(stored),)]


FULL = """
import resource, sys
from pathlib import Path
from diva_bench.errors import StoreError
from diva_bench.study.assignment import Design, next_assignment
from diva_bench.study.store import Store
store = Store(Path(sys.argv[1]), create=True)
design = Design({f"i{n}": ("a", "b") for n in range(2000)}, ("a", "b"), per_rater=2000)
store.enrol(rater := store.hashed("ann"))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
count = 0
try:
    while True:
        page = next_assignment(store, design, rater)
        store.vote(rater, page.id, "a")
        count += 1
except StoreError as err:
    print(err)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
page = next_assignment(store, design, rater)
store.vote(rater, page.id, "a")
print(count + 1, len(store.votes()))
"""


def test_a_full_disk_refuses_the_vote_in_words_loses_nothing_and_voting_goes_on_when_there_is_space(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "s.sqlite"], capture_output=True, text=True, check=True
    )
    message, counts = done.stdout.splitlines()
    assert "nothing was stored, the disk is full or cannot be written" in message
    assert "send the same vote again" in message
    acknowledged, stored = counts.split()
    assert acknowledged == stored
    assert int(stored) > 1


def test_raters_who_vote_at_the_same_time_do_not_disturb_each_other(store: Store) -> None:
    def vote(name: str) -> None:
        rater = enrolled(store, name)
        for _ in range(5):
            store.vote(rater, asked(store, rater).id, "a")

    threads = [threading.Thread(target=vote, args=(f"r{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.votes()) == 40


def _text(path: Path) -> None:
    path.write_text("hello")


def _other(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()


def _later(path: Path) -> None:
    Store(path, create=True).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()


def _damaged(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + os.urandom(2000))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no such file. Give the database"),
        (Path.mkdir, "is a folder"),
        (_text, "is not a database of a study"),
        (_other, "not of a study"),
        (_later, "has version 9 of the tables; this diva-bench reads up to 2. Update diva-bench"),
        (_damaged, "is damaged, or not a database"),
    ],
)
def test_a_file_that_is_no_study_is_refused_in_words(tmp_path: Path, make: object, message: str) -> None:
    path = tmp_path / "x.sqlite"
    make(path)  # type: ignore[operator]
    with pytest.raises(StoreError, match=message):
        Store(path)


def test_a_database_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no folder"):
        Store(tmp_path / "no" / "x.sqlite", create=True)
