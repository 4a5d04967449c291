"""The questions of a study: the stored answers of runs, or the clips of a task."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diva_bench import data
from diva_bench.errors import UserError
from diva_bench.runs.run import Run
from diva_bench.scorers import cleaned
from diva_bench.study.spec import StudyFile
from diva_bench.types import Sample, Silent
from diva_bench.weights import assets


@dataclass(frozen=True, slots=True)
class Item:
    """A question: its words, its clip, and the answers of the systems (none if models answer while raters wait)."""

    words: str
    clip: Callable[[], bytes] | None = None
    answers: dict[str, str] = field(default_factory=dict)
    sample: Sample | None = None


def alike(items: Mapping[str, Item], shown: int) -> frozenset[tuple[str, tuple[str, ...]]]:
    """(item, systems, sorted) of `shown` systems whose answers are not all different. A choice between them is a guess."""
    return frozenset(
        (name, systems)
        for name, item in items.items()
        for systems in itertools.combinations(sorted(item.answers), shown)
        if len({" ".join(item.answers[system].split()) for system in systems}) < shown
    )


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


def _item(sample: Sample, study: StudyFile) -> Item:
    return Item(sample.transcript or "", sample.read if study.sound else None, sample=sample)


def of_samples(study: StudyFile, samples: Sequence[Sample]) -> dict[str, Item]:
    """item -> Item of a task whose clips models answer. Raises UserError if it has no clips."""
    items = {sample.id: _item(sample, study) for sample in samples if sample.read is not None}
    if not items:
        raise UserError(f"task {study.task} has no clips on this machine. Give another task, or let raters record.")
    return items


def _opened(system: str, path: Path) -> Run:
    try:
        return Run.open(path)
    except UserError as err:
        raise UserError(f"systems.{system}: {err}") from err


def of_runs(study: StudyFile, folder: Path) -> tuple[dict[str, Item], dict[str, str]]:
    """(item -> Item, system -> name of its run). An answer that failed is no answer: that system is not shown for it.

    Args:
        study: The study file.
        folder: Its folder.

    Raises:
        UserError: Runs are of different tasks, two systems are one run, or no item has different answers of enough
            systems.
    """
    items: dict[str, Item] = {}
    runs = {system: _opened(system, folder / str(place.run)) for system, place in study.systems.items()}
    places = {system: run.path.resolve() for system, run in runs.items()}
    for one, other in itertools.combinations(places, 2):
        if places[one] == places[other]:
            raise UserError(f"systems {one} and {other} are the same run, {runs[one].path}. Give two different runs.")
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
            item = items.setdefault(response.id, _item(sample, study) if sample else Item(""))
            item.answers[system] = cleaned(response).text
    usable = {
        name: item for name, item in items.items() if len(item.answers) >= study.shown and (item.words or item.clip)
    }
    if not usable:
        raise UserError(
            f"no sample has {study.shown} answers and a question. Give runs of the same task whose data is on this machine."
        )
    same = alike(usable, study.shown)
    if all(
        (n, s) in same for n, item in usable.items() for s in itertools.combinations(sorted(item.answers), study.shown)
    ):
        raise UserError("the systems gave the same answers to all questions, so that there is nothing to choose.")
    return usable, {system: run.path.name for system, run in runs.items()}
