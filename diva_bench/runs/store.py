"""The run folder: open, append, resume, read. This module does not know models.

    results/covost2-de-4be1f0/          one task: comparable runs (a trial on 4 samples: covost2-de-limit4-f33fd8)
        task.json                       identity of the question, hashed; written once
        rows.jsonl                      its samples, without audio (rows.py); written once
        diva-9c2d71/                    one run
            run.json                    resolved specs, versions, machine; written once
            responses.jsonl             append-only, one line per sample; the last line per id wins
            timing.jsonl                one line per batch: rows, audio seconds, wall seconds
            events.jsonl                exceptions to the plan: lack of memory, samples run singly
            judge-<hash>.jsonl, ...     replies of other models about the answers (scorers/reply_cache.py); append-only
            scores.jsonl, summary.json  derived: `diva-bench score` writes them again

An incomplete last line is cut off before the next append. A file has one writer, which holds a lock; a killed process
loses it. Several processes write `responses.<i>-of-<n>.jsonl` and so on; readers merge them. If another number of
processes continues a run, its lines are of the next `round`. For an id the line of the highest round counts, and in a
round the last line; file times are not used, because a copy changes them. Scoring never writes to files of answers.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from io import FileIO
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from diva_bench.decoding.response import ANSWER, to_json
from diva_bench.disk import reason, stamp
from diva_bench.errors import StoreError, UnreadableRun
from diva_bench.runs import old_identity, schemas
from diva_bench.runs.answers import Answers, read_answers
from diva_bench.runs.lines import REMOVE, line_of, parsed, read_lines
from diva_bench.runs.schemas import SCHEMA, RunRecord, Summary, TaskRecord
from diva_bench.specs.problems import words
from diva_bench.types import Response

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shard:
    """Process `index` (from 0) of `count`."""

    index: int = 0
    count: int = 1

    @property
    def suffix(self) -> str:
        return "" if self.count == 1 else f".{self.index}-of-{self.count}"


def expected(path: Path) -> str:
    """The advice for a path that is not a run folder; a pattern without a match gets its own advice."""
    folders = "Give folders such as results/<task>/<run>, with a run.json inside."
    if "*" not in str(path):
        return folders
    return f"No folder matches this pattern. Run the models first. {folders} A checkout has published runs in results/mini-v1."


def absent(path: Path) -> str:
    """What is not there, by the ending of a path: a bundle is a file."""
    return "no such file" if path.suffix.lower() == ".zip" else "no such folder"


class RunFolder:
    """One run on disk. Readers need no lock; a writer uses it as a context manager and holds one."""

    def __init__(self, path: Path, shard: Shard | None = None) -> None:
        self.path = path
        """As it was given; `place` is the absolute path."""
        self._shard = shard or Shard()
        self._lock = FileLock(path / f".lock{self._shard.suffix}")
        self._files: dict[str, FileIO] = {}
        self._round: int | None = None
        self._records: tuple[Json, Json] | None = None

    # ---- opening

    @cached_property
    def newer(self) -> bool:
        """Whether a newer version wrote the run."""
        try:
            return schemas.is_newer(read_json(self.path / "run.json"))
        except UnreadableRun:
            return False

    @cached_property
    def place(self) -> Path:
        """The absolute path of the folder: its name is the run's id, and the name of its parent is the task's id."""
        return located(self.path)

    @cached_property
    def above(self) -> Path:
        """The task's folder with task.json, as the user typed it if possible."""
        typed = self.path.parent
        return typed if typed.resolve() == self.place.parent else self.place.parent

    @classmethod
    def create(cls, results: Path, task: Json, run: Json, shard: Shard | None = None) -> RunFolder:
        """Make or find the folder of this task and run. Both records have "id" and "hash".

        Raises:
            StoreError: The folder cannot be written, belongs to another identity or was edited.
        """
        run = {"schema": SCHEMA, **run}
        schemas.checked(RunRecord, run, "run.json")
        path = cls.reserve(results, task) / run["id"]
        try:
            path.mkdir(exist_ok=True)
            _write_once(path / "run.json", run)
        except OSError as err:
            raise cannot_write(path, err) from err
        folder = cls(path, shard)
        folder.check()
        return folder

    @staticmethod
    def reserve(results: Path, task: Json) -> Path:
        """Make or find the folder of this task. Raises StoreError as `create`."""
        task = {"schema": SCHEMA, **task}
        schemas.checked(TaskRecord, task, "task.json")
        path: Path = results / task["id"]
        try:
            path.mkdir(parents=True, exist_ok=True)
            _write_once(path / "task.json", task)
        except OSError as err:
            raise cannot_write(path, err) from err
        return path

    @staticmethod
    def hash_of(record: Path) -> str:
        """The hash in a task.json or run.json. Raises UnreadableRun if it is not JSON."""
        return str(read_json(record).get("hash"))

    def __enter__(self) -> RunFolder:
        try:
            self._lock.acquire(timeout=0)
            for (
                name
            ) in self._others():  # after taking the own lock, so that one of two simultaneous starts sees the other
                # after a delay: processes that share the run with this one check at the same moment
                FileLock(self.path / name).acquire(timeout=1, poll_interval=0.02).lock.release()
            self._holder.write_text(json.dumps([os.getpid(), socket.gethostname(), _now()]), encoding="utf-8")
        except Timeout as err:
            self._lock.release()
            raise StoreError(
                f"{self.path}: another process is writing this run{_held_by(Path(err.lock_file))}. Wait for it or stop it; "
                "its answers are kept."
            ) from err
        except OSError as err:
            self._lock.release()
            raise cannot_write(self.path, err) from err
        return self

    def _others(self) -> list[str]:
        """Locks of processes that share this run in another number, which would mix the rounds."""
        names = {path.name for pattern in (".lock", ".lock.*-of-*") for path in self.path.glob(pattern)}
        return sorted(name for name in names if _sharers(name) != self._shard.count)

    @property
    def _holder(self) -> Path:
        """The file with the holder of the lock. It is not the lock file itself, because every attempt to lock empties
        that."""
        return self.path / f"{_HOLDER}{self._shard.suffix}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._round = None
        with contextlib.suppress(OSError):
            self._holder.unlink(missing_ok=True)
        self._lock.release()

    def _file(self, name: str) -> Path:
        return self.path / f"{name}{self._shard.suffix}.jsonl"

    # ---- writing

    def append(self, responses: Sequence[Response], timing: Json | None) -> None:
        """Append one batch: its answers, flushed, then its timing, if it has one."""
        if self._round is None:
            self._round = self._next_round()
        mark = {"round": self._round} if self._round else {}
        self._write("responses", [to_json(r) | mark for r in responses], ANSWER)
        if timing is not None:
            self._write("timing", [timing], schemas.TIMING)

    def event(self, event: Json) -> None:
        """Record an exception to the plan."""
        self._write("events", [event], schemas.EVENT)

    def _next_round(self) -> int:
        """The round of new lines: the last round if this number of processes wrote it, else a new one."""
        ours, others = -1, -1
        for path in self._shards("responses"):
            last = max((row.get("round", 0) for *_, row in read_answers(path, self.newer)), default=-1)
            if _count(path) == self._shard.count:
                ours = max(ours, last)
            else:
                others = max(others, last)
        return ours if ours > others else others + 1

    def _write(self, name: str, rows: Sequence[Json], schema: TypeAdapter[Any]) -> None:
        path = self._file(name)
        lines = b"".join(line_of(_fit(row, schema, path)) for row in rows)
        try:
            if name not in self._files:
                self._files[name] = _open_for_append(path)
            left = memoryview(lines)
            while left:
                left = left[self._files[name].write(left) :]
        except OSError as err:
            raise cannot_write(path, err) from err

    def write_scores(self, header: Json, rows: Iterable[Json]) -> None:
        """Replace scores.jsonl atomically."""
        path = self.path / "scores.jsonl"
        head = line_of(_fit({"schema": SCHEMA, **header}, schemas.SCORES_HEAD, path))
        schema = schemas.scores_line(tuple(sorted(header["signature"])))
        self._replace(path.name, chain([head], (line_of(_fit(row, schema, path)) for row in rows)))

    def write_summary(self, summary: Json) -> None:
        summary = {"schema": SCHEMA, **summary}
        schemas.checked(Summary, summary, str(self.path / "summary.json"))
        text = json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        self._replace("summary.json", [text.encode()])

    def _replace(self, name: str, parts: Iterable[bytes]) -> None:
        aside = self.path / f"{name}.{os.getpid()}.tmp"
        try:
            with aside.open("wb") as file:
                file.writelines(parts)
            aside.replace(self.path / name)
        except OSError as err:
            raise cannot_write(self.path / name, err) from err
        finally:
            aside.unlink(missing_ok=True)

    # ---- reading

    def check(self) -> None:
        """Raises UnreadableRun if run.json or task.json do not fit their schema, were edited, or belong to another
        folder."""
        if self._records is not None:
            return
        if not any(path.is_file() for name in OF_A_RUN for path in self.path.glob(name)):
            there = self.path.is_dir() or "*" in str(self.path)
            what = "is not a run folder: it has none of a run's files" if there else absent(self.path)
            raise UnreadableRun(f"{self.path}: {what}. {expected(self.path)}")
        if not (self.path / "run.json").exists():
            raise UnreadableRun(f"{self.path}: run.json is missing. Restore it from a copy, or move the folder away.")
        run, above = read_json(self.path / "run.json"), self.above
        if not (above / "task.json").exists():
            raise UnreadableRun(f"{above / 'task.json'}: cannot be read, because it is missing. {_AWAY}")
        task = read_json(above / "task.json")
        schemas.checked(TaskRecord, task, str(above / "task.json"), _AWAY)
        schemas.checked(RunRecord, run, str(self.path / "run.json"), _AWAY)
        for file, value, folder_name in (
            (self.path / "run.json", run["id"], self.place.name),
            (self.path / "run.json", run["task_id"], self.place.parent.name),
            (above / "task.json", task["id"], self.place.parent.name),
        ):
            if value != folder_name:
                raise UnreadableRun(
                    f"{file}: is the record of {value!r}, but is in {folder_name!r}. A copy is not a run: remove it, or "
                    f"give the folder its old name."
                )
        schemas.check_identity(task, run, str(self.path))
        run["task"]["edition"] = old_identity.edition(run["task"]["edition"], task)
        self._records = task, run

    def record(self) -> Json:
        """The checked run.json."""
        return self._both()[1]

    def task_record(self) -> Json:
        """The checked task.json."""
        return self._both()[0]

    def _both(self) -> tuple[Json, Json]:
        self.check()
        assert self._records is not None
        return self._records

    def summary(self) -> Json:
        """The content of summary.json, with the edition by its present name."""
        summary = read_json(self.path / "summary.json")
        if summary.get("edition") == "mini":
            summary["edition"] = old_identity.edition("mini", read_json(self.above / "task.json"))
        return summary

    def scores(self) -> tuple[Json, dict[str, Json]]:
        """(first line of scores.jsonl (`schemas.ScoresHead`), sample id -> row). Raises UnreadableRun if the file is
        missing or damaged."""
        path = self.path / "scores.jsonl"
        again = f"Run `diva-bench score {self.path}` to write it again."
        lines = read_lines(path, again)
        _, _, first = next(lines, (0, 0, b""))
        if not first:
            raise UnreadableRun(f"{path}: is empty. {again}")
        header: Json = parsed(first, schemas.SCORES_HEAD, f"{path}:1", again)
        schema, newer = schemas.scores_line(tuple(sorted(header["signature"]))), schemas.is_newer(header)
        rows = (parsed(line, schema, f"{path}:{number}", again, newer=newer) for number, _, line in lines)
        return header, {row["id"]: row for row in rows}

    def scored_rows(self) -> str:
        """sha256 of the task's rows with which the run was scored; "" if there are no scores, or each score has its own
        row."""
        if not (self.path / "scores.jsonl").is_file():
            return ""
        line = next(read_lines(self.path / "scores.jsonl"), (0, 0, b"{}"))[2]
        try:
            head = json.loads(line)
        except ValueError:
            return ""
        return str(head.get("rows", "")) if isinstance(head, dict) else ""

    def scores_of_now(self) -> tuple[Json, dict[str, Json]]:
        """As `scores`. Raises UnreadableRun if the answers changed after they were scored."""
        header, rows = self.scores()
        if header.get("answers", about := self.answered().digest()) != about:
            raise UnreadableRun(
                f"{self.path}: its answers changed after they were scored. Run `diva-bench score {self.path}`."
            )
        return header, rows

    def events(self) -> list[Json]:
        return list(self._rows("events", schemas.EVENT))

    def timing(self) -> list[Json]:
        return list(self._rows("timing", schemas.TIMING))

    def statuses(self) -> dict[str, str]:
        """id -> status of the answer that counts."""
        return dict(self.answered().statuses())

    def answered(self) -> Answers:
        """The answer that counts, for every id."""
        return Answers(self._shards("responses"), self.newer)

    def responses(self) -> Iterator[Response]:
        """The answers that count, one after another, in the order of the files."""
        return iter(self.answered().values())

    def stamps(self) -> list[list[str | int]]:
        """Name and stamp (`disk.stamp`) of every file of answers, as in JSON; with equal stamps the answers are the same."""
        try:
            return [[path.name, *stamp(path)] for path in self._shards("responses")]
        except OSError as err:
            raise UnreadableRun(f"{err.filename}: cannot be read ({err.strerror}). Is this a run folder?") from err

    def answers(self, ids: Set[str]) -> dict[str, Response]:
        """The answers that count for these ids; memory holds no others."""
        return {response.id: response for response in self.responses() if response.id in ids}

    def files(self, *names: str) -> list[Path]:
        """The files of all processes for some kinds of lines: responses, timing, events."""
        return [path for name in names for path in self._shards(name)]

    def _rows(self, name: str, schema: TypeAdapter[Any]) -> Iterator[Json]:
        for path in self._shards(name):
            for number, _, line in read_lines(path):
                yield parsed(line, schema, f"{path}:{number}", REMOVE, newer=self.newer)

    def _shards(self, name: str) -> list[Path]:
        """The files of all processes, by name."""
        return sorted([*self.path.glob(f"{name}.jsonl"), *self.path.glob(f"{name}.*-of-*.jsonl")])


def _count(path: Path) -> int:
    """Number of processes that wrote this set of files: 2 for responses.0-of-2.jsonl."""
    number = path.name.removesuffix(".jsonl").rpartition("-of-")[2]
    return int(number) if number.isdecimal() else 1


_HOLDER = ".lock-holder"


def _sharers(lock: str) -> int:
    """Number of processes that share a run, from the name of a lock: 2 for .lock.0-of-2."""
    number = lock.rpartition("-of-")[2]
    return int(number) if number.isdecimal() else 1


def _held_by(lock: Path) -> str:
    """The holder of a lock as text; "" if unknown."""
    suffix = lock.name.removeprefix(".lock")
    try:
        pid, host, since = json.loads((lock.parent / f"{_HOLDER}{suffix}").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return ""
    index = suffix.removeprefix(".").partition("-of-")[0]
    part = f", {int(index) + 1} of {_sharers(lock.name)} that share it" if index.isdecimal() else ", alone"
    return f" (process {pid} on {host}{part}, since {since})"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def located(path: Path) -> Path:
    """The absolute path of a run folder, for names: "." and "../diva-9c2d71" do not end in one, and a link may have
    another name than the run. A link to a run that was moved away from its task.json keeps its name."""
    real, typed = path.resolve(), Path(os.path.abspath(path))
    return real if (real.parent / "task.json").is_file() else typed.parent.resolve() / typed.name


OF_A_RUN = ("run.json", "summary.json", "scores.jsonl", "responses*.jsonl")
"""Names of files that only a run folder has."""
_AWAY = "Restore it from a copy, or move the folder away to start anew."


def read_json(path: Path) -> Json:
    """A JSON object from disk. Raises UnreadableRun if it is missing or not a JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise UnreadableRun(f"{path}: cannot be read ({err.strerror}). Is this a run folder?") from err
    except (ValueError, RecursionError) as err:
        raise UnreadableRun(f"{path}: is not valid JSON ({err}). {_AWAY}") from err
    if not isinstance(value, dict):
        raise UnreadableRun(f"{path}: expected a JSON object, found {type(value).__name__}. {_AWAY}")
    return value


def _write_once(path: Path, record: Json) -> None:
    """Write a record, or check that the stored one has the same identity."""
    if path.exists():
        there = read_json(path).get("hash")
        if there != record["hash"]:
            raise StoreError(
                f"{path}: belongs to {there}, not to {record['hash']} (two identities share their first six letters, or "
                "the file was edited). Choose another --output."
            )
        return
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    aside.write_text(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    aside.replace(path)


def _open_for_append(path: Path) -> FileIO:
    """Open for appending, after cutting off an incomplete last line."""
    file = path.open("ab+", buffering=0)  # unbuffered, so that nothing is left to flush when the disk is full
    end = file.tell()
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    file.truncate(end)
    return file


def _fit(row: Json, schema: TypeAdapter[Any], path: Path) -> Json:
    """The row, if it can be read again. Raises StoreError before it is written otherwise."""
    try:
        schema.validate_python(row)
    except ValidationError as err:
        raise StoreError(f"{path}: nothing was written: {row.get('id', 'a line')}: {words(err)}.") from err
    return row


def cannot_write(path: Path, err: OSError) -> StoreError:
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"{path}: the disk is full. What was written is kept; free space and run the same command again."
        )
    return StoreError(
        f"{path}: cannot be written ({reason(err)}). Choose a folder you may write to with --output; "
        "what was written is kept."
    )
