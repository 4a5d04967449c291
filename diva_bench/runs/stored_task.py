"""The task and the samples of a stored run.

A run folder has them: task.json, the task in run.json, and the rows. Scorers and texts come from the current task in
the catalog; if the catalog has no such task, or has changed it, from run.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diva_bench.catalog import Catalog
from diva_bench.data.dataset import Dataset
from diva_bench.errors import UnreadableRun, UserError
from diva_bench.predictions import imported
from diva_bench.runs import rows
from diva_bench.runs.store import RunFolder
from diva_bench.specs import MEMORY, TaskSpec, prompt
from diva_bench.specs.problems import words

_NOT_IN_SPEC = ("names", "overrides", "home", "rows")


def task_of(folder: RunFolder, catalog: Catalog) -> TaskSpec:
    """The task of a run by the catalog, in the prompt variant of the run, or by run.json if the catalog has no such task.
    For imported answers it has the scorer of their scores."""
    record = folder.record()
    try:
        return of_catalog(folder, catalog)
    except UserError:
        if rows.path_of(folder.above, folder.task_record()["hash"]) is None:
            raise
        return recorded(record)


def of_catalog(folder: RunFolder, catalog: Catalog) -> TaskSpec:
    """The task of a run by the catalog. Raises UserError if it has no such task."""
    task_record, record = folder.task_record(), folder.record()
    if imported.is_imported(record):
        return imported.task_of(catalog, record)
    number, overrides = record.get("variant", 0), record.get("overrides", {})
    if record["task"].get("data", {}).get("source") != MEMORY:
        own = catalog.task(task_record["name"], record["task"]["edition"])
        return prompt.variant(prompt.again(own, overrides), number)
    if (own_task := catalog.in_memory(task_record["name"])) is not None:
        own = own_task.model_copy(update={"primary": own_task.primary or record["task"]["primary"]})
        return prompt.variant(prompt.again(own, overrides), number)
    return recorded(record)


def recorded(record: Mapping[str, Any]) -> TaskSpec:
    """The task in a run.json, without rows."""
    more = {"overrides": record.get("overrides", {}), "home": Path(), "recorded": True}
    if imported.is_imported(record):
        more["names"] = record["model"]["args"].get("labels", {})
    values = {key: value for key, value in record["task"].items() if key not in _NOT_IN_SPEC}
    try:
        return TaskSpec.model_validate(values | more)
    except ValidationError as err:
        raise UnreadableRun(f"run.json of {record['id']}: task.{words(err)}. Run the model again.") from err


def changed(task: TaskSpec, task_record: Mapping[str, Any]) -> list[str]:
    """The keys of a task.json that differ from the task; empty if nothing has changed."""
    now = task.identity()
    keys = [*now, *(["variant"] if "variant" in task_record else [])]
    return sorted(key for key in dict.fromkeys(keys) if now.get(key) != task_record.get(key))


def stored(folder: RunFolder) -> Dataset | None:
    """The samples of a run from its stored rows; None if none are stored."""
    task_record = folder.task_record()
    stored_rows = rows.load(folder.above, task_record)
    return stored_rows.dataset(task_record, folder.record()) if stored_rows else None
