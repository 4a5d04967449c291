"""Score the answers of stored runs again, without the model.

score       a stored run is measured, reduced and written again
job_of      the Job of a stored run: from the rows that are stored with it, else from the data on this machine
stored_job  the same with the current task and data, even if they have changed

Nothing here prints or ends the process: a mistake of the user is a UserError, and notes go to a Progress.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from diva_bench import data
from diva_bench.audio import perturbations
from diva_bench.catalog import Catalog
from diva_bench.data.place import locate
from diva_bench.errors import OtherQuestion, SpecError, StoreError, UnknownName, UnreadableRun, UserError
from diva_bench.predictions import imported
from diva_bench.runs import freshness, old_identity, rows, scoring
from diva_bench.runs.run import Run
from diva_bench.runs.runner import Job
from diva_bench.runs.store import RunFolder
from diva_bench.runs.stored_task import changed, of_catalog, recorded, task_of
from diva_bench.scorers import primary
from diva_bench.specs import MEMORY, Json, ModelSpec, TaskSpec
from diva_bench.types import Progress
from diva_bench.weights import assets


def score(
    catalog: Catalog,
    path: Path,
    progress: Progress,
    more: Mapping[str, Json] | None = None,
    data_dir: Path | None = None,
    *,
    share: bool = False,
) -> Run:
    """Score the answers of a run again and store the result.

    The task and the rows that are stored with the run are used; a note reports differences to the task or the data on
    this machine.

    Args:
        more: Additional scorers for this scoring.
        share: Store the rows of the task among the results even if its data is licensed.

    Raises:
        OtherQuestion: No rows are stored, and the task or its data have changed since the model was run.
        UnreadableRun: The files of the run are damaged.
    """
    folder = RunFolder(path)
    folder.timing()  # raises for unreadable lines before anything is written
    _check_answers(folder)
    job = job_of(catalog, folder, progress, more, data_dir, look=True)
    if imported.needs_data(folder.record()):
        primary.check_primary(job.task, job.scorers, job.samples[: primary.ENOUGH])
    with folder:
        rows.keep(folder.above, folder.task_record(), job.task, job.dataset, share=share)
        return Run.of(path, scoring.score(job, folder, progress), job)


def _check_answers(folder: RunFolder) -> None:
    """Raise UnreadableRun if answers are lost that were scored before."""
    try:
        scored = folder.summary().get("scored")
    except UserError:  # no summary, or a damaged one, which is written again
        return
    if isinstance(scored, int) and (loss := freshness.lost(folder, scored)):
        rest = " To score only the answers that are left, delete summary.json first." if folder.answered() else ""
        raise UnreadableRun(f"{folder.path}: {loss}.{rest}")


def job_of(
    catalog: Catalog,
    folder: RunFolder,
    progress: Progress,
    more: Mapping[str, Json] | None = None,
    data_dir: Path | None = None,
    *,
    look: bool = False,
) -> Job:
    """The Job of a stored run, with the current scorers of the catalog, and `more`.

    Args:
        look: Also read the data on this machine, for columns and groups that are not stored, and report differences.

    Raises:
        StoreError: No rows are stored, and the task or its data have changed in something that would change the
            question.
    """
    task_record = folder.task_record()
    if old_identity.is_former(task_record):
        raise StoreError(old_identity.moved(folder.path))
    stored_rows = rows.load(folder.above, task_record)
    if stored_rows is not None:
        return _stored(catalog, folder, stored_rows, progress, more, data_dir if look else None, look)
    job = stored_job(catalog, folder, progress, more, data_dir)
    if job.task_record["hash"] != task_record["hash"]:
        changed = sorted(k for k, v in job.task_record.items() if k not in ("id", "hash") and task_record.get(k) != v)
        raise OtherQuestion(
            f"{folder.path}: task {job.task.name} has changed since this run ({', '.join(changed)}); "
            "answers to another question cannot be scored. Run the model again."
        )
    return job


def stored_job(
    catalog: Catalog,
    folder: RunFolder,
    progress: Progress,
    more: Mapping[str, Json] | None = None,
    data_dir: Path | None = None,
) -> Job:
    """The model of a stored run with its current task and data: `job_of` without the check that they are unchanged."""
    task = task_of(folder, catalog)
    return _job(catalog, folder, task, data_of(folder, task, progress, data_dir), more)


def data_of(folder: RunFolder, task: TaskSpec, progress: Progress, data_dir: Path | None) -> data.Dataset:
    """The current data of a stored run's task."""
    if imported.is_imported(folder.record()):
        return imported.dataset_of(folder.record(), folder.responses, task, progress, data_dir)
    partial = "partial" in folder.task_record()
    return data.load(task, assets.cache_folder(), progress, data_dir=data_dir, allow_partial=partial)


def _job(
    catalog: Catalog, folder: RunFolder, task: TaskSpec, dataset: data.Dataset, more: Mapping[str, Json] | None
) -> Job:
    record = folder.record()
    if twice := sorted(set(more or ()) & set(task.scorers)):
        raise SpecError(
            f"task {task.name} has scorer {twice[0]} of its own, and its metrics have one name: change its settings in the "
            "task's YAML (of which a copy under another name may be given with --path)."
        )
    task = task.model_copy(update={"scorers": {**task.scorers, **(more or {})}})
    return Job(
        task=task,
        model=ModelSpec.model_validate(record["model"]),
        dataset=dataset,
        scorers=catalog.scorers(task, lenient=True),
        accepts=frozenset({"audio"}),
        adapter_version=record["adapter_version"],
        limit=record["limit"],
        seed=record["seed"],
        control=perturbations.of_record(folder.task_record().get("audio")),
        frame=record.get("frame"),
    )


# ---------------------------------------------------------------- stored rows


def _stored(
    catalog: Catalog,
    folder: RunFolder,
    stored_rows: rows.Rows,
    progress: Progress,
    more: Mapping[str, Json] | None,
    data_dir: Path | None,
    look: bool,
) -> Job:
    """The Job of a run from the rows that are stored with it."""
    task_record, record = folder.task_record(), folder.record()
    dataset = stored_rows.dataset(task_record, record)
    try:
        task = of_catalog(folder, catalog)
    except UserError as err:  # there is no task file here, so the place of its data is unknown
        if not isinstance(err, UnknownName):
            progress.note(f"{folder.path}: the task that is stored with the run counts: {err}")
        task, look = recorded(record), False
    if differ := changed(task, task_record):
        progress.note(
            f"{folder.path}: task {task.name} has changed since this run ({', '.join(differ)}); the task that is stored "
            "with the run counts."
        )
        task = recorded(record)
    elif look and (here := _at_hand(folder, task, progress, data_dir)) is not None:
        rows.warn(difference := rows.differences(stored_rows, here))
        dataset = replace(dataset, samples=dataset.samples if difference else stored_rows.joined(here).samples)
    task = _with_groups(task, dataset, stored_rows, progress)
    job = _job(catalog, folder, task, dataset, more)
    if job.task_record["hash"] != task_record["hash"]:
        differ = sorted(k for k, v in job.task_record.items() if k not in ("id", "hash") and task_record.get(k) != v)
        raise OtherQuestion(
            f"{folder.path}: its task.json and the rows in {stored_rows.path} do not give the hash of what was asked: "
            f"{task_record['hash']} is stored, and they give {job.task_record['hash']} ({', '.join(differ)}). Restore both "
            "from a copy, or run the model again."
        )
    return job


def _at_hand(folder: RunFolder, task: TaskSpec, progress: Progress, data_dir: Path | None) -> data.Dataset | None:
    """The data of a task if it is on this machine; a note reports its faults."""
    try:
        return data_of(folder, task, progress, data_dir)
    except UserError as err:
        place = locate(task, data_dir) if task.data.source != MEMORY else None
        if place is not None and place.exists():
            progress.note(
                f"{folder.path}: the stored rows are scored; the data at hand cannot be compared with them: {err}"
            )
        return None


def _with_groups(task: TaskSpec, dataset: data.Dataset, stored_rows: rows.Rows, progress: Progress) -> TaskSpec:
    """The task with the groups that its samples have."""
    missing = [group for group in task.groups if any(group not in sample.groups for sample in dataset.samples)]
    if not missing:
        return task
    progress.note(
        f"{stored_rows.path}: has no groups {', '.join(missing)}, which task {task.name} has now: no breakdown by them. For "
        "one, score the run where the unchanged data of the task is."
    )
    return task.model_copy(update={"groups": tuple(group for group in task.groups if group not in missing)})
