"""The questions of a study from the stored answers of runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from diva_bench import data
from diva_bench.errors import UserError
from diva_bench.runs.run import Run
from diva_bench.study.spec import StudyFile
from diva_bench.types import Sample, Silent
from diva_bench.weights import assets


@dataclass(frozen=True, slots=True)
class Item:
    """A question: its words, its clip, and the answers of the systems."""

    words: str
    clip: Callable[[], bytes] | None = None
    answers: dict[str, str] = field(default_factory=dict)


def _with_sound(run: Run) -> dict[str, Sample]:
    """The samples of a run with their clips, if its data is on this machine and has not changed; else none."""
    task = run.inputs()[0]
    if task is None:
        return {}
    here = data.load(task, assets.cache_folder(), Silent(), allow_partial=True)
    if here.fingerprint != run.folder.task_record()["fingerprint"]:
        raise UserError(
            f"{run.path}: the data of task {task.name} has changed since the run. Write sound: false for words alone."
        )
    return {sample.id: sample for sample in here.limited(run.summary.limit, run.summary.seed)}


def of_runs(study: StudyFile, folder: Path) -> tuple[dict[str, Item], dict[str, str]]:
    """(item -> Item, system -> name of its run). An answer that failed is no answer: that system is not shown for it.

    Args:
        study: The study file.
        folder: Its folder.

    Raises:
        UserError: Runs are of different tasks, or no item has answers of enough systems.
    """
    items: dict[str, Item] = {}
    runs = {system: Run.open(folder / place) for system, place in study.systems.items()}
    tasks = {run.path.resolve().parent.name for run in runs.values()}
    if len(tasks) > 1:
        raise UserError(
            f"the runs are of {len(tasks)} tasks ({', '.join(sorted(tasks))}); a study compares runs of one task."
        )
    for system, run in runs.items():
        samples = {sample.id: sample for sample in run.inputs()[1]}
        samples |= _with_sound(run) if study.sound else {}
        for response in run.folder.responses():
            if response.status != "ok":
                continue
            sample = samples.get(response.id)
            item = items.setdefault(
                response.id,
                Item(sample.transcript or "" if sample else "", sample.read if sample and study.sound else None),
            )
            item.answers[system] = response.text
    usable = {
        name: item for name, item in items.items() if len(item.answers) >= study.shown and (item.words or item.clip)
    }
    if not usable:
        raise UserError(
            f"no sample has {study.shown} answers and a question. Give runs of the same task whose data is on this machine."
        )
    return usable, {system: run.path.name for system, run in runs.items()}
