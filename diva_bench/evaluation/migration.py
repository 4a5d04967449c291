"""Move runs of older versions to their current ids; no model is run.

A run moves only if its question is known to equal the current one; other runs stay, and a note gives the reason. The
run is copied, its records are rewritten, the copy is renamed atomically, and then the old folder is deleted. After a
kill at any moment, the same command continues.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from diva_bench.catalog import Catalog
from diva_bench.decoding import chat
from diva_bench.disk import sync
from diva_bench.errors import StoreError, UserError
from diva_bench.evaluation.jobs import framed
from diva_bench.evaluation.rescoring import stored_job
from diva_bench.predictions import imported
from diva_bench.runs import old_identity, schemas
from diva_bench.runs.runner import Job
from diva_bench.runs.store import RunFolder, read_json
from diva_bench.specs import Json, digest, prompt
from diva_bench.specs.spec_file import builtin_folder
from diva_bench.types import Progress
from diva_bench.weights import assets

ASIDE = ".migrating"
"""Folder beside the task folders, for runs that are being moved."""


def migrate(
    catalog: Catalog, results: Path, progress: Progress, *, vouched: bool = False, data_dir: Path | None = None
) -> Iterator[tuple[Path, Path | None]]:
    """Move every run of an older version in `results`.

    Args:
        vouched: The user confirms that everything outside the old ids is unchanged.

    Yields:
        (folder of the run, its new folder, or None if it stays). A note says why a run stays.

    Raises:
        StoreError: There is no such folder, or another command works in it.
    """
    if not results.is_dir():
        raise StoreError(f"{results}: no such folder. Give the folder that `diva-bench run --output` wrote to.")
    with _alone(results):
        shutil.rmtree(results / ASIDE, ignore_errors=True)  # left by a killed command: copies, and runs that were moved
        for task in [path.parent for path in sorted(results.glob("*/task.json"))]:
            if not old_identity.is_former(read_json(task / "task.json")):
                continue
            for run in [path.parent for path in sorted(task.glob("*/run.json"))]:
                try:
                    job = _examined(catalog, RunFolder(run), progress, vouched, data_dir)
                    target = _move(run, job, results, vouched)
                except UserError as err:
                    progress.note(f"stays: {err}")
                    yield run, None
                else:
                    yield run, target
            if [path.name for path in task.iterdir()] == ["task.json"]:
                _drop(task, results)
        shutil.rmtree(results / ASIDE, ignore_errors=True)


@contextmanager
def _alone(results: Path) -> Iterator[None]:
    """Lock against other commands of this kind."""
    lock = assets.cache_folder() / "locks" / f"migrate-{digest(str(results.resolve()))[:12]}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout as err:
        raise StoreError(f"{results}: another `{old_identity.COMMAND}` is at work there. Wait for it.") from err


# ---------------------------------------------------------------- comparing the questions


def _examined(catalog: Catalog, folder: RunFolder, progress: Progress, vouched: bool, data_dir: Path | None) -> Job:
    """The Job of a run of an older version, with its current identity. Raises UserError if it has none."""
    task_record, record, where = folder.task_record(), folder.record(), folder.path
    if (
        old_identity.run_hash(old_identity.task_hash(task_record), record["model"], record["adapter_version"])
        != record["hash"]
    ):
        raise StoreError(f"{where}: its ids do not match its records.")
    job = stored_job(catalog, folder, progress, data_dir=data_dir)
    now, then = old_identity.identity(job.former_record), old_identity.identity(task_record)
    if changed := [key for key in {**then, **now} if now.get(key) != then.get(key)]:
        raise StoreError(
            f"{where}: task {job.task.name} has changed since this run ({', '.join(changed)}): its answers are to "
            "another question. Move the folder away, and run the model again."
        )
    accepts: frozenset[str] = frozenset()
    if not imported.is_imported(record):
        adapter = catalog.declared(job.model.adapter)
        if adapter.version != job.adapter_version:
            raise StoreError(
                f"{where}: version {job.adapter_version} of adapter {job.model.adapter} answered it, and now there is version "
                f"{adapter.version}, which can give other answers. Run the model again."
            )
        accepts, job = adapter.accepts, replace(job, chat=getattr(adapter, "chat", None), frame=None)
        job = _framed(catalog, job, where)
    _check_untold(job, record, accepts, where, vouched)
    _check_lengths(job, folder, accepts)
    return job


def _framed(catalog: Catalog, job: Job, where: Path) -> Job:
    """The job with its chat frame, which must equal that of the older version."""
    [framed_job] = framed(catalog, [job])
    if not framed_job.named:
        asset = job.model.weights[job.chat or ""]
        raise StoreError(
            f"{where}: its id depends on the chat template in the weights {asset.name}, which are not on this machine. "
            f"Fetch them (`diva-bench pull --model {job.model.name}`) and migrate again."
        )
    if (
        framed_job.frame is not None
        and chat.frame(_llm(framed_job), bool(job.task.system), with_date=False) != framed_job.frame
    ):
        raise StoreError(
            f"{where}: the chat template of its LLM writes the date into the prompt; the run has the date of its day, and "
            f"this version uses {chat.TODAY}. Run the model again."
        )
    return framed_job


def _llm(job: Job) -> Path:
    """Folder of the weights with the chat template, which is on this machine."""
    folder = assets.locate(job.model.weights[job.chat or ""], Path())
    assert folder is not None
    return folder


def _check_untold(job: Job, record: Json, accepts: frozenset[str], where: Path, vouched: bool) -> None:
    """Everything outside the old id must be unchanged: the data ships, is one commit of a data set of the hub, or the user
    vouches for it."""
    shuffled = job.control is not None and job.control.kind == "shuffled"
    untold = old_identity.untold(job.task, job.samples, accepts, shuffled)
    ours = job.task.home.resolve() == (builtin_folder() / "tasks").resolve()
    if untold == ["the transcripts"] and ours and old_identity.shipped(job.task.data.path, job.dataset.samples):
        return
    same_commit = job.dataset.revision and job.dataset.revision == record.get("data_revision")
    if untold and not same_commit and not vouched:
        raise StoreError(
            f"{where}: its id does not cover {' and '.join(untold)}, so a change since the run cannot be detected. If "
            f"nothing has changed, give --data-unchanged; otherwise move the folder away."
        )


def _check_lengths(job: Job, folder: RunFolder, accepts: frozenset[str]) -> None:
    """Prompts and transcripts must have the token counts of the stored answers."""
    if job.frame is None:
        return
    tokenizer = chat.tokenizer_of(_llm(job))
    answers = {response.id: response for response in folder.responses() if response.tokens}

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    framing: dict[tuple[str, str | None], int] = {}
    for sample in (s for s in job.samples if s.id in answers):
        tokens, request = answers[sample.id].tokens, prompt.build(job.task, sample, accepts)
        turn = (request.prompt, request.system)
        if turn not in framing:
            framing[turn] = sum(count(text) for text in chat.around(tokenizer, *turn))
        transcript_tokens = tokens.get("virtual", tokens.get("text", 0))
        words = request.transcript if "text" in accepts else answers[sample.id].heard
        if tokens.get("prompt") != framing[turn] + transcript_tokens or (
            "text" in tokens and transcript_tokens != count(words or "")
        ):
            raise StoreError(
                f"{folder.path}: the stored prompt of sample {sample.id} has {tokens.get('prompt')} tokens, of which "
                f"{transcript_tokens} are the transcript; now their number differs. The question has changed: run the "
                "model again."
            )


# ---------------------------------------------------------------- moving


def _move(run: Path, job: Job, results: Path, vouched: bool) -> Path:
    """Move the folder to its new id; the old folder is deleted."""
    target = job.path(results)
    old = read_json(run / "run.json")
    came = {"moved_from": f"{run.parent.name}/{run.name}", **({"data_unchanged": "vouched"} if vouched else {})}
    record = {"schema": schemas.SCHEMA, **job.run_at(results)}
    record |= {key: value for key, value in old.items() if key not in record} | came
    schemas.check_identity(job.task_record, record, str(target))
    try:
        with _locked(run):
            if (target / "run.json").is_file():
                _same_answers(run, target)
            else:
                _copy(run, target, job, record)
            _drop(run, results)
    except OSError as err:
        raise StoreError(f"{run}: cannot be moved to {target} ({err.strerror or err}). What it holds is kept.") from err
    return target


def _copy(run: Path, target: Path, job: Job, record: Json) -> None:
    """Copy with new records, flush, and rename atomically."""
    results = target.parent.parent
    making = results / ASIDE / "new" / target.name
    shutil.rmtree(making, ignore_errors=True)
    shutil.copytree(run, making, ignore=shutil.ignore_patterns(".lock*", "*.tmp"))
    _write(making / "run.json", record)
    _rename_summary(making / "summary.json", job.task_at(results), record)
    for path in (*making.iterdir(), making):
        sync(path)
    job.reserve(results)
    os.replace(making, target)
    sync(target.parent)


def _same_answers(run: Path, target: Path) -> None:
    """Check that an existing folder is the same run, moved before by a killed command."""
    names = {path.name for folder in (run, target) for path in folder.glob("responses*.jsonl")}
    if any(not (f / name).is_file() for f in (run, target) for name in names) or any(
        (run / name).read_bytes() != (target / name).read_bytes() for name in names
    ):
        raise StoreError(f"{run}: its new folder {target} already exists and has other answers. Move one of them away.")


def _rename_summary(path: Path, task: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Change only the ids. An unreadable summary is dropped: `diva-bench score` writes it."""
    if not path.is_file():
        return
    try:
        summary = read_json(path)
    except StoreError:
        path.unlink()
        return
    _write(path, {**summary, "task_id": task["id"], "run_id": run["id"]}, sort=True)


def _write(path: Path, record: Mapping[str, Any], sort: bool = False) -> None:
    text = json.dumps(record, indent=1, sort_keys=sort, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")


def _drop(folder: Path, results: Path) -> None:
    """Delete a folder: first rename it, then remove its files."""
    gone = results / ASIDE / "old" / folder.name
    gone.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(gone, ignore_errors=True)
    os.replace(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    """Lock the run against writers."""
    with ExitStack() as held:
        for path in {run / ".lock", *run.glob(".lock*")}:
            try:
                held.enter_context(FileLock(path, timeout=0))
            except Timeout as err:
                raise StoreError(
                    f"{run}: another process is writing this run. Wait for it, then migrate again."
                ) from err
        yield
