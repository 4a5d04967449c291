"""Choose the edition of the data (`--edition`) and of every model (`--model-edition`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from diva_bench import data
from diva_bench.catalog import Catalog
from diva_bench.data import place
from diva_bench.errors import UserError, unknown
from diva_bench.specs import Edition, models_of
from diva_bench.types import Progress
from diva_bench.weights import assets


@dataclass(frozen=True, slots=True)
class Editions:
    """The editions of the data and of every model (for a model without editions that of the data)."""

    data: Edition
    models: dict[str, Edition] = field(default_factory=dict)


def choose(
    catalog: Catalog,
    models: Iterable[str],
    tasks: Sequence[str],
    progress: Progress,
    *,
    edition: str = "auto",
    model_edition: str | None = None,
    data_dir: Path | None = None,
    resolved: Edition | None = None,
) -> Editions:
    """The editions of a run. Every automatic choice is reported in one line.

    Args:
        tasks: Names as given, with suites, because their tasks depend on the edition.
        edition: "nano" stands for mini data and nano models.
        resolved: The edition of tasks that are given as specs; it decides if there are no names.

    Raises:
        UnknownName: A task or a model does not have the edition.
    """
    if edition == "nano":
        model_edition = model_edition or "nano"
    data = "mini" if edition == "nano" else edition
    selection = resolved if resolved and not tasks else _of_data(catalog, tasks, data, progress, data_dir)
    forced = None if model_edition is None else cast(Edition, model_edition)
    return Editions(
        selection, {m: of_model(catalog, m, selection, forced, progress, fetch=edition == "full") for m in models}
    )


def _of_data(catalog: Catalog, tasks: Sequence[str], choice: str, progress: Progress, data_dir: Path | None) -> Edition:
    """auto: full if all its data is on this machine, else mini, else the last edition in common."""
    have = {task: catalog.task_editions(task) for task in tasks}
    every: tuple[Edition, ...] = ("full", "mini", "mini-v1")
    common = [edition for edition in every if all(edition in editions for editions in have.values())]
    if choice != "auto":
        missing = [task for task, editions in have.items() if choice not in editions]
        if missing:
            raise unknown("edition", choice, common, f"all of {', '.join(tasks)} ({', '.join(missing)} lacks it)")
        return cast(Edition, choice)
    if not common:
        theirs = "; ".join(f"{task}: {', '.join(editions)}" for task, editions in have.items())
        raise UserError(f"the tasks have no edition in common ({theirs}). Run them in separate commands.")
    smallest = "mini" if "mini" in common else common[-1]
    if smallest == "full" or (common[0] == "full" and _all_here(catalog, tasks, progress, data_dir)):
        return "full"
    leaves = [catalog.task(leaf, smallest) for task in tasks for leaf in catalog.subsets(task, smallest)]
    reasons = [f"for the full one: diva-bench pull --edition full --task {tasks[0]}"] if "full" in common else []
    if any(leaf.data.speech == "synthetic" for leaf in leaves):
        reasons.insert(0, "synthetic speech: shows that the pipeline works, not how good a model is")
    if reasons:
        progress.note(f"edition: {smallest} ({'; '.join(reasons)})")
    return smallest


def _all_here(catalog: Catalog, tasks: Sequence[str], progress: Progress, data_dir: Path | None) -> bool:
    """Whether the full data of every task is on this machine and has audio; partial data gets a note."""
    leaves = [catalog.task(leaf, "full") for task in tasks for leaf in catalog.subsets(task, "full")]
    absent = [task.name for task in leaves if not place.locate(task, data_dir)]
    unheard = "" if absent else next(filter(None, (data.unheard(task, data_dir) for task in leaves)), "")
    if unheard:
        progress.note(unheard)
    elif absent and data_dir is not None:
        progress.note(f"{data_dir}: has no data of {', '.join(absent)}; --edition full prints what was expected")
    return not absent and not unheard


def of_model(
    catalog: Catalog, model: str, data: Edition, choice: Edition | None, progress: Progress, *, fetch: bool
) -> Edition:
    """The edition of one model: the requested one, else that of the data (mini for mini-v1), else mini, else the only one.

    Args:
        fetch: Choose the full model even if its weights must be downloaded.

    Raises:
        UnknownName: The model does not have the requested edition.
    """
    editions = catalog.model_editions(model)
    data = models_of(data)
    if not editions:
        return data
    if choice is not None:
        if choice not in editions:
            raise unknown("edition", choice, editions, f"model {model}")
        return choice
    if data in editions and (data != "full" or fetch or _here(catalog, model)):
        return data
    selection: Edition = "mini" if "mini" in editions else editions[0]
    if data in editions:
        why = f"weights of its edition {data} are not here: diva-bench pull --model {model} --edition {data}"
    else:
        others = [edition for edition in editions if edition != selection]
        why = f"it has no edition {data}" + (f"; it also has {', '.join(others)}: --model-edition" if others else "")
    progress.note(f"model {model}: edition {selection} ({why})")
    return selection


def _here(catalog: Catalog, model: str) -> bool:
    """Whether all weights of a model's full edition are on this machine."""
    if catalog.untrained(model, "full"):
        return False
    spec = catalog.model(model, "full")
    states = [assets.state(asset, catalog.home(asset)) for asset in spec.weights.values()]
    return all(state.status in ("ready", "not hashed") for state in states)
