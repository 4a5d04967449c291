"""The ablation table of stored runs, also imported ones: choose the runs and the metric, one column per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diva_bench.catalog import Catalog
from diva_bench.errors import StoreError, UserError, unknown
from diva_bench.evaluation.jobs import training_of
from diva_bench.report.ablation import Block, Outcome, Variant
from diva_bench.report.ablation_grid import Part, compared, own_gaps
from diva_bench.runs.aligned import Sheet, sheet
from diva_bench.runs.records import RunSummary, is_of
from diva_bench.runs.run import Run, Runs, load_runs
from diva_bench.runs.store import RunFolder
from diva_bench.types import Progress


@dataclass(frozen=True, slots=True)
class Model:
    """One row of the table: its runs by task id."""

    name: str
    runs: dict[str, RunSummary] = field(default_factory=dict)


def parts_of(
    catalog: Catalog,
    words: Sequence[str],
    tasks: Sequence[str],
    metrics: Sequence[str],
    results: Path,
    progress: Progress,
    unreadable: list[str],
) -> list[Part]:
    """The columns of the table. A note names what is not shown.

    Args:
        words: Run folders, or names of models or runs in `results`; the first is the base.
        metrics: Names, or TASK=NAME.
        unreadable: Gets the fault of each run in `results` that cannot be read.

    Raises:
        UserError: A name is unknown, or no run has a metric.
    """
    models = chosen(words, results, unreadable)
    for problem in unreadable:
        progress.note(f"not read: {problem}")
    if len(models) < 2:
        raise UserError(
            f"ablate --runs needs a base and at least one other model; {', '.join(words) or 'nothing'} is one."
        )
    metrics_by_task = _metrics(metrics)
    columns = _columns(models, tasks)
    parts = [_part(models, task_id, metrics_by_task, catalog, progress) for task_id in columns]
    _check_metrics(metrics_by_task, parts)
    for part in parts:
        for outcome, gap in own_gaps(part):
            progress.note(f"{part.block.task} x {outcome.variant.name}: {gap}")
    for model in models[1:]:
        if missing := [run.task for id, run in model.runs.items() if id not in columns and _selected(run, tasks)]:
            progress.note(f"not shown: {model.name} at {', '.join(missing)}: {models[0].name} has no comparable run")
    if alone := [run.task for id, run in models[0].runs.items() if id not in columns and not tasks]:
        progress.note(f"not shown: {models[0].name} at {', '.join(alone)}: no other model has a comparable run")
    return parts


# ---------------------------------------------------------------- which runs


def chosen(words: Sequence[str], results: Path, unreadable: list[str]) -> list[Model]:
    """The rows of the table, in the given order. Folders of one model with different tasks are one row.

    Args:
        unreadable: Gets the faults of runs in `results` that cannot be read.

    Raises:
        UserError: A word is neither a run folder nor a name in `results`, several runs of one task have the name, or a
            run is given twice.
    """
    models: dict[str, Model] = {}
    stored_summaries: list[RunSummary] | None = None
    for word in words:
        folder = Path(word)
        if (folder / "run.json").is_file():
            run = Run.open(folder).summary
            model = models.setdefault(run.label, Model(run.label))
            if (there := model.runs.get(run.task_id)) and there.run_id != run.run_id:
                model = models.setdefault(run.run_id, Model(run.run_id))
            runs = [run]
        else:
            if stored_summaries is None:
                stored_summaries = _in(results, unreadable)
            runs = _named(word, stored_summaries, results)
            labels = {run.label for run in runs}
            name = labels.pop() if len(labels) == 1 and word != runs[0].run_id else word
            model = models.setdefault(name, Model(name))
        for run in runs:
            if run.task_id in model.runs:
                raise UserError(
                    f"{model.name} at {run.task} is given twice ({run.folder}); a run does not differ from itself."
                )
            model.runs[run.task_id] = run
    return list(models.values())


def _in(results: Path, unreadable: list[str]) -> list[RunSummary]:
    """The runs of a folder; empty if there is no such folder."""
    runs = load_runs([results]) if results.is_dir() else Runs()
    unreadable += runs.unreadable
    return [run.summary for run in runs]


def _named(word: str, summaries: Sequence[RunSummary], results: Path) -> list[RunSummary]:
    """The runs of a model in the results folder, one per task."""
    matches = [run for run in summaries if word in (run.model, run.name, run.label)]
    matches = [run for run in matches if run.plain]
    matches = matches or [run for run in summaries if word == run.run_id]
    if not matches:
        if not summaries:
            raise StoreError(
                f"{word}: is not a run folder, and {results} has no runs. Give run folders (results/<task>/<run>), or the names "
                "of models and their results folder with --output."
            )
        raise unknown(
            "run folder, model or run", word, [n for run in summaries for n in (run.label, run.run_id)], str(results)
        )
    runs: list[RunSummary] = []
    for task_id in dict.fromkeys(run.task_id for run in matches):
        here = [run for run in matches if run.task_id == task_id]
        complete = [run for run in here if run.complete]
        if len(complete) > 1:
            raise UserError(
                f"{complete[0].folder.parent}: several runs are called {word}: {', '.join(run.run_id for run in complete)}. "
                "Give the folder of the one that is meant, or its name here."
            )
        runs.append((complete or here)[0])
    return runs


def _selected(run: RunSummary, tasks: Sequence[str]) -> bool:
    return not tasks or any(is_of(run, name) for name in tasks)


def _columns(models: Sequence[Model], tasks: Sequence[str]) -> list[str]:
    """The task ids of the table: those of `tasks`, in that order; without `tasks` those of the base that another model has
    too."""
    base = models[0]
    order = [run.task_id for name in tasks for run in base.runs.values() if _selected(run, [name])]
    columns = list(dict.fromkeys(order if tasks else base.runs))
    for name in tasks:
        if not any(_selected(run, [name]) for run in base.runs.values()):
            raise unknown("task", name, [run.task for run in base.runs.values()], f"the runs of {base.name}")
    shared = [id for id in columns if any(id in model.runs for model in models[1:])]
    return columns if tasks else shared or columns


# ---------------------------------------------------------------- which metric


def _metrics(words: Sequence[str]) -> dict[str, list[str]]:
    """Task ("" for any) -> requested metrics."""
    metrics: dict[str, list[str]] = {}
    for text in words:
        task, equals, metric = text.rpartition("=")
        if equals and not (task and metric):
            raise UserError(f"--metric {text!r}: expected NAME, or TASK=NAME.")
        metrics.setdefault(task, []).append(metric)
    return metrics


def _metric(metrics: Mapping[str, Sequence[str]], lineup: Sheet) -> str:
    """The metric of one task: the first requested one that exists, else the primary one. A task with requested metrics of
    its own, none of which exists, gets the first of them, and so no comparison."""
    own = [
        m
        for name, named in metrics.items()
        if name in (lineup.task.name, lineup.task.task, lineup.task_id)
        for m in named
    ]
    named = own or list(metrics.get("", ()))
    return next((m for m in named if m in lineup.metrics), named[0] if named else lineup.task.primary)


def _check_metrics(names_by_task: Mapping[str, Sequence[str]], parts: Sequence[Part]) -> None:
    """Raises UnknownName for a metric or a task without a column, which is a typing error."""
    tasks = {part.block.task for part in parts}
    runs = [outcome.summary for part in parts for outcome in (part.block.base, *part.block.against) if outcome.summary]
    there = {metric for run in runs for metric in run.metrics}
    for task, metrics in names_by_task.items():
        if task and not any(task == name or name.startswith(f"{task}-") for name in tasks):
            raise unknown("task", task, tasks, "--metric")
        for metric in metrics:
            if metric not in there:
                raise unknown("metric", metric, there, "any of these runs")


# ---------------------------------------------------------------- one task


def _part(
    models: Sequence[Model], task_id: str, metrics: Mapping[str, Sequence[str]], catalog: Catalog, progress: Progress
) -> Part:
    base_run = models[0].runs[task_id]
    read = [_read(model, base_run, catalog, progress) for model in models]
    lineup = [one for one in read if isinstance(one, Sheet)]
    metric = _metric(metrics, lineup[0]) if lineup else models[0].runs[task_id].primary
    scorer = next((one.metrics[metric] for one in lineup if metric in one.metrics), "")
    base, *against = [_outcome(model, task_id, one, metric) for model, one in zip(models, read, strict=True)]
    clusters = {ident: cluster for one in lineup for ident, cluster in zip(one.ids, one.clusters, strict=True)}
    several = len({id for id, run in models[0].runs.items() if run.task == base_run.task}) > 1
    return compared(
        Block(
            task=task_id if several else base_run.title,
            metric=metric,
            clusters=clusters,
            reduce=next((one.reduce(scorer) for one in lineup if scorer in one.scorers), lambda totals: {}),
            base=base,
            against=against,
            scorer=scorer,
            edition=base_run.edition,
            synthetic=base_run.synthetic,
            limit=base_run.limit,
        )
    )


def _read(model: Model, base_run: RunSummary, catalog: Catalog, progress: Progress) -> Sheet | str:
    """A run with the question of the base and its rows, or why there are none."""
    run = model.runs.get(base_run.task_id)
    if run is None:
        other = [run.task_id for run in model.runs.values() if run.task == base_run.task]
        return f"its run is of {other[0]}, which has other data, another prompt or another limit" if other else "no run"
    if not run.complete:
        return f"incomplete: {run.reason} of {run.n}" if run.n else f"not scored: run `diva-bench score {run.folder}`"
    try:
        return sheet([Run(run.folder, run)], catalog, progress)
    except UserError as err:
        return str(err)


def _outcome(model: Model, task_id: str, read: Sheet | str, metric: str) -> Outcome:
    run = model.runs.get(task_id)
    if run is None:
        return Outcome(Variant(model.name, ""), str(read))
    training = RunFolder(run.folder).record().get("training")
    parts = training_of(training) if isinstance(training, dict) else {}
    variant = Variant(model.name, model.name, edition=run.model_edition, **parts)
    if isinstance(read, str):
        return Outcome(variant, read, run)
    if metric not in read.metrics:
        lacks = f"no {metric}; it has {', '.join(read.metrics)} (choose with --metric)"
        if metric in run.metrics:
            lacks = (
                f"{metric} was scored by another version or setting of its scorer: run `diva-bench score {run.folder}`"
            )
        return Outcome(variant, lacks, run)
    rows = dict(zip(read.ids, read.rows[0][read.metrics[metric]], strict=True))
    return Outcome(variant, "", run.by(metric), rows)
