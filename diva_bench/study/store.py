"""The database of a study: SQLite with a write-ahead log, one transaction for every vote.

A vote that was acknowledged is on the disk (`synchronous = FULL`), so that neither a killed process nor a power failure
loses it. Its id is that of its assignment, so that a vote that is sent twice is stored once. Triggers keep votes from being
changed, and from being deleted unless their rater has withdrawn.

Names of raters are stored only as HMAC-SHA256 with a secret of the database.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from diva_bench.errors import StoreError, UserError
from diva_bench.study.votes import Vote, now

APPLICATION = 0x44495641  # "DIVA", the mark of our databases in SQLite's header
SCHEMA = 2
"""Version of the tables."""
_TO_2 = (
    "CREATE TABLE failures (item TEXT NOT NULL, system TEXT NOT NULL, rater TEXT NOT NULL, reason TEXT NOT NULL, "
    "at TEXT NOT NULL) STRICT",
    "DROP INDEX assignments_of_items",
    "CREATE INDEX assignments_of_items ON assignments (item, shown, state, at) WHERE expected IS NULL",
)
_WAIT = 10.0  # seconds for another process that writes
_HEADER = b"SQLite format 3\0"
_RANDOM = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Keep:
    """A recording to be kept: its length in seconds, and what writes it under a name."""

    seconds: float
    write: Callable[[str], None]


class Refused(UserError):
    """A vote that is not accepted: it is forged, belongs to another rater, or is not a possible choice."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What was deleted when a rater withdrew."""

    rater: str
    at: str
    votes: int
    recordings: int


class Store:
    """An open database. All methods may be called from several threads.

    Args:
        path: The file.
        create: Make the file if there is none.

    Raises:
        StoreError: There is no such file, it is not a study, or it cannot be opened.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        _check_file(path, create)
        try:
            self._db = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as err:
            raise self._failed(err) from err
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # ---- transactions

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes. It is stored as a whole when the block ends, or not at all."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as err:
                self._undo()
                raise self._failed(err) from err
            except BaseException:
                self._undo()
                raise

    def rows(self, query: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query that reads."""
        with self._lock:
            try:
                return self._db.execute(query, tuple(values)).fetchall()
            except sqlite3.Error as err:
                raise self._failed(err) from err

    def one(self, query: str, values: Iterable[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a query that reads, or None."""
        found = self.rows(query, values)
        return found[0] if found else None

    def _undo(self) -> None:
        if self._db.in_transaction:  # SQLite itself rolls back after some errors
            self._db.execute("ROLLBACK")

    def _prepare(self) -> None:
        try:
            for setting in (
                "journal_mode = WAL",
                "synchronous = FULL",
                "secure_delete = ON",
                "recursive_triggers = ON",
            ):
                self._db.execute(f"PRAGMA {setting}")
            [(version,)], [(mark,)] = (self.rows(f"PRAGMA {name}") for name in ("user_version", "application_id"))
            empty = self.one("SELECT 1 FROM sqlite_schema LIMIT 1") is None
        except sqlite3.Error as err:
            raise self._failed(err) from err
        if not empty and mark != APPLICATION:
            raise StoreError(f"{self.path}: is an SQLite database, but not of a study. Give another file.")
        if version > SCHEMA:
            raise StoreError(
                f"{self.path}: has version {version} of the tables; this diva-bench reads up to {SCHEMA}. Update diva-bench."
            )
        if empty:
            with self.writing() as db:
                if db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None:  # no other process was first
                    for statement in _statements():
                        db.execute(statement)
                    db.execute("INSERT INTO facts VALUES ('salt', ?)", (secrets.token_hex(32),))
                    db.execute(f"PRAGMA application_id = {APPLICATION}")
                    db.execute(f"PRAGMA user_version = {SCHEMA}")
        elif version < SCHEMA:
            with self.writing() as db:
                if db.execute("PRAGMA user_version").fetchone()[0] < SCHEMA:  # no other process was first
                    for statement in _TO_2:
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {SCHEMA}")

    def _failed(self, err: sqlite3.Error) -> StoreError:
        text = str(err)
        code = getattr(err, "sqlite_errorname", "")
        if code.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            return StoreError(
                f"{self.path}: nothing was stored, the disk is full or cannot be written ({text}). Free some space, then "
                "send the same vote again."
            )
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StoreError(f"{self.path}: another process has been writing for {_WAIT:.0f} s. Try again later.")
        if code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return StoreError(f"{self.path}: is damaged, or not a database ({text}). Give another file.")
        if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            return StoreError(
                f"{self.path}: cannot be opened or written ({text}). Check the rights of file and folder."
            )
        return StoreError(f"{self.path}: {text}.")

    # ---- facts and raters

    def fact(self, name: str) -> str:
        """A stored setting; "" if it is not set."""
        row = self.one("SELECT value FROM facts WHERE name = ?", (name,))
        return str(row[0]) if row else ""

    def set_fact(self, name: str, value: str) -> None:
        with self.writing() as db:
            db.execute("INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = ?2", (name, value))

    def hashed(self, name: str) -> str:
        """The hash that stands for the name of a rater, 32 hexadecimal digits."""
        salt = bytes.fromhex(self.fact("salt"))
        return hmac.new(salt, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]

    def enrol(self, rater: str, *, consent: str = "", keeps: bool = False, simulated: str = "") -> None:
        """Add a rater; one who is there already is not changed.

        Args:
            rater: The hash of the name.
            consent: sha256 of the text that the rater agreed to.
            keeps: The rater agreed that recordings are kept.
            simulated: The scorer or judge that votes; "" for a person.
        """
        with self.writing() as db:
            self._refuse_withdrawn(rater)
            db.execute(
                "INSERT OR IGNORE INTO raters (rater, simulated, seed, started, consent, keeps) VALUES (?, ?, ?, ?, ?, ?)",
                (rater, simulated, int(rater[:12], 16), now(), consent, keeps),
            )

    def withdrawn(self, rater: str) -> bool:
        return self.one("SELECT 1 FROM withdrawals WHERE rater = ?", (rater,)) is not None

    def _refuse_withdrawn(self, rater: str) -> None:
        if self.withdrawn(rater):
            raise Refused("this rater has withdrawn from the study.")

    def withdraw(self, rater: str, recordings: Path | None = None) -> Withdrawal:
        """Delete the votes, answers, recordings and answers to questions of a rater, and record that it was done.

        A second call deletes nothing and returns the same record. The sound is deleted first: if the process is killed
        between the two, a second call completes the deletion.

        Args:
            rater: The hash of the name.
            recordings: Folder of the recordings, if there is one.

        Raises:
            UserError: There is no such rater.
        """
        done = self.one("SELECT rater, at, votes, recordings FROM withdrawals WHERE rater = ?", (rater,))
        if done:
            return Withdrawal(*done)
        if not self.one(
            "SELECT 1 FROM raters WHERE rater = ?1 UNION ALL SELECT 1 FROM votes WHERE rater = ?1", (rater,)
        ):
            raise UserError(f"{self.path}: has no rater of this name or hash. Nothing was deleted.")
        with self.writing() as db:
            sounds = [str(row[0]) for row in db.execute("SELECT id FROM recordings WHERE rater = ?", (rater,))]
            if recordings is not None:
                for name in sounds:
                    _delete(recordings / f"{name}.wav")
            count = int(db.execute("SELECT count(*) FROM votes WHERE rater = ?", (rater,)).fetchone()[0])
            record = Withdrawal(rater, now(), count, len(sounds))
            db.execute(
                "INSERT INTO withdrawals VALUES (?, ?, ?, ?)",
                (record.rater, record.at, record.votes, record.recordings),
            )
            for table in ("votes", "answers", "recordings", "failures", "assignments", "raters", "sessions"):
                db.execute(f"DELETE FROM {table} WHERE rater = ?", (rater,))
        if recordings is not None:
            self.sweep(recordings)
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")  # the log still had the deleted rows
        return record

    # ---- answers of models

    def answered(
        self, id: str, answers: Mapping[str, str], versions: Mapping[str, str], *, own: bool, keep: Keep | None = None
    ) -> bool:
        """Store the answers to an open assignment, all or none.

        Args:
            id: Of the assignment.
            answers: System -> text.
            versions: System -> what made the answer.
            own: The question is a recording of the rater, so that the answers go when the rater withdraws.
            keep: Writes the recording to be kept.

        Returns:
            False if the assignment is gone, because its rater has withdrawn in the meantime.
        """
        with self.writing() as db:
            found = db.execute("SELECT rater, item FROM assignments WHERE id = ? AND state = 'open'", (id,)).fetchone()
            if found is None:
                return False
            rater, item = found
            db.executemany(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)",
                [(item, s, text, rater if own else None, versions.get(s, "")) for s, text in answers.items()],
            )
            if keep is not None:
                name = secrets.token_hex(16)
                db.execute("INSERT INTO recordings VALUES (?, ?, ?, ?, ?)", (name, rater, item, keep.seconds, now()))
                keep.write(name)
        return True

    def failed(self, id: str, reasons: Mapping[str, str]) -> None:
        """Record which systems gave no answer to an open assignment; nobody votes on it. `reasons`: by system."""
        with self.writing() as db:
            found = db.execute("SELECT rater, item FROM assignments WHERE id = ? AND state = 'open'", (id,)).fetchone()
            if found is not None:
                rows = [(found[1], system, found[0], reason, now()) for system, reason in reasons.items()]
                db.executemany("INSERT INTO failures VALUES (?, ?, ?, ?, ?)", rows)
                db.execute("UPDATE assignments SET state = 'failed' WHERE id = ?", (id,))

    def failures(self) -> Counter[str]:
        """System -> number of questions that it did not answer."""
        return Counter(dict(self.rows("SELECT system, count(*) FROM failures GROUP BY system")))

    def sweep(self, recordings: Path) -> None:
        """Delete the sound files of which nothing is stored: of a process that was killed while it wrote one."""
        with self.writing() as db:  # so that no other process is writing one
            kept = {str(row[0]) for row in db.execute("SELECT id FROM recordings")}
            for path in recordings.glob("*.wav"):
                if path.stem not in kept and _RANDOM.fullmatch(path.stem):
                    _delete(path)

    # ---- votes

    def vote(self, rater: str, id: str, choice: str, versions: str = "{}", others: Collection[str] = ()) -> Vote:
        """Store the choice of a rater for an assignment, or return the vote that is stored already.

        Args:
            rater: The hash of the name.
            id: Of the assignment.
            choice: A system of the assignment, or one of `others`.
            versions: JSON of what the answers were made with.
            others: Choices besides the systems that the study allows.

        Raises:
            Refused: The assignment does not exist, is another rater's or failed, or the choice is not possible.
            StoreError: Nothing was stored; the same vote can be sent again.
        """
        with self.writing() as db:
            self._refuse_withdrawn(rater)
            found = db.execute(
                "SELECT rater, item, shown, expected, state, shown_at FROM assignments WHERE id = ?", (id,)
            ).fetchone()
            if found is None or found[0] != rater:
                raise Refused("this vote belongs to no question that you were asked.")
            _, item, shown, expected, state, shown_at = found
            systems = json.loads(shown)
            if state == "voted":
                return self._stored(id, choice)
            if state != "open":
                raise Refused("this question was left out, because a system gave no answer.")
            if choice not in systems and choice not in others:
                raise Refused(
                    f"this choice is not possible here; allowed: {len(systems)} answers, {len(others)} others."
                )
            at = now()
            db.execute(
                "INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (id, rater, item, json.dumps(sorted(systems)), shown, choice, expected, shown_at, at, versions),
            )
            db.execute("UPDATE assignments SET state = 'voted' WHERE id = ?", (id,))
        return Vote(
            id, item, tuple(sorted(systems)), choice, rater, tuple(systems), expected, shown_at, at,
            versions=json.loads(versions),
        )  # fmt: skip

    def _stored(self, id: str, choice: str) -> Vote:
        vote = next(iter(self.votes("votes.id = ?", (id,))))
        if vote.choice != choice:
            raise Refused("you have already voted here, for something else. The first vote counts.")
        return vote

    def add(self, votes: Iterable[Vote]) -> int:
        """Add votes that were collected elsewhere, all or none; those that are there already are not added again. Votes of
        raters who have withdrawn here are left out.

        Returns:
            The number of added votes.

        Raises:
            UserError: Another vote with the same id is stored.
        """
        added = 0
        with self.writing() as db:
            gone = {row[0] for row in db.execute("SELECT rater FROM withdrawals")}
            for vote in votes:
                if vote.rater in gone:
                    continue
                row = _row(vote)
                before = db.execute("SELECT * FROM votes WHERE id = ?", (vote.id,)).fetchone()
                if before is None:
                    db.execute("INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
                    added += 1
                elif tuple(before) != row:
                    raise UserError(
                        f"{self.path}: has another vote with the id {vote.id!r}. Import the file into a database of its own."
                    )
        return added

    def votes(self, where: str = "1", values: Iterable[Any] = ()) -> list[Vote]:
        """Votes in the order in which they were stored; `where` is a condition in SQL."""
        query = (
            "SELECT votes.*, coalesce(simulated, '') FROM votes LEFT JOIN raters ON raters.rater = votes.rater "
            f"WHERE {where} ORDER BY votes.rowid"
        )
        return [_vote(row) for row in self.rows(query, values)]

    def answers(self, item: str | None = None) -> dict[tuple[str, str], str]:
        """(item, system) -> text of every stored answer, or of those to one item."""
        where, values = ("", ()) if item is None else (" WHERE item = ?", (item,))
        rows = self.rows(f"SELECT item, system, text FROM answers{where}", values)
        return {(item, system): text for item, system, text in rows}

    def add_answers(self, answers: Iterable[tuple[str, str, str, str | None, str]]) -> None:
        """Store (item, system, text, rater or None, version); an answer that is there already stays."""
        with self.writing() as db:
            db.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", list(answers))

    def add_failures(self, failures: Iterable[tuple[str, str, str, str]]) -> None:
        """Store (item, system, reason, time) of questions that a system did not answer elsewhere; none is added twice."""
        with self.writing() as db:
            db.executemany(
                "INSERT INTO failures SELECT ?1, ?2, '', ?3, ?4 WHERE NOT EXISTS "
                "(SELECT 1 FROM failures WHERE item = ?1 AND system = ?2 AND at = ?4)",
                list(failures),
            )


def _row(vote: Vote) -> tuple[Any, ...]:
    shown = json.dumps(list(vote.shown)) if vote.shown is not None else None
    return (
        vote.id, vote.rater, vote.item, json.dumps(list(vote.systems)), shown, vote.choice, vote.expected, vote.shown_at,
        vote.at, json.dumps(dict(vote.versions), sort_keys=True),
    )  # fmt: skip


def _vote(row: tuple[Any, ...]) -> Vote:
    id, rater, item, systems, shown, choice, expected, shown_at, at, versions, simulated = row
    return Vote(
        id, item, tuple(json.loads(systems)), choice, rater, tuple(json.loads(shown)) if shown else None, expected,
        shown_at, at, simulated, json.loads(versions),
    )  # fmt: skip


def _statements() -> Iterator[str]:
    """The statements of schema.sql, so that all of them can be in one transaction (`executescript` would commit)."""
    pending = ""
    for line in files("diva_bench.study").joinpath("schema.sql").read_text("utf-8").splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def is_database(path: Path) -> bool:
    """Whether a file begins as an SQLite database."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(_HEADER)) == _HEADER
    except OSError:
        return False


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as err:
        raise StoreError(
            f"{path}: cannot be deleted ({err.strerror}). Check the rights of its folder, then try again."
        ) from err


def _check_file(path: Path, create: bool) -> None:
    if path.is_dir():
        raise StoreError(f"{path}: is a folder. Give the path of the study's database.")
    if not path.exists():
        if not create:
            raise StoreError(
                f"{path}: there is no such file. Give the database that `study serve` or `study import` wrote."
            )
        if not path.parent.is_dir():
            raise StoreError(f"{path}: there is no folder {path.parent}. Make it, or choose another file.")
    elif path.stat().st_size and not is_database(path):
        raise StoreError(
            f"{path}: is not a database of a study. Give the file that `study serve` or `study import` wrote."
        )


def recordings_of(database: Path) -> Path:
    """The folder of the recordings of a study."""
    return database.with_name(f"{database.stem}-recordings")
