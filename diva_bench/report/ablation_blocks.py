"""The runs for the ablation table of a base and its variants, with one block of rows per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from diva_bench.catalog import Catalog
from diva_bench.errors import AssetError, StoreError, UnreadableRun, UserError, unknown
from diva_bench.evaluation.jobs import Settings, editions_of, framed, prepare, ready, run_jobs, training_of
from diva_bench.report.ablation import Block, Outcome, Variant
from diva_bench.runs.run import Run
from diva_bench.runs.runner import Job
from diva_bench.runs.store import RunFolder, Shard
from diva_bench.scorers import METRICS
from diva_bench.specs import Edition, ModelSpec
from diva_bench.specs.problems import words
from diva_bench.specs.spec_file import read_spec
from diva_bench.stats import totals
from diva_bench.types import Progress, Response, WholeScorer


def blocks_of(
    catalog: Catalog,
    models: Sequence[str],
    tasks: Sequence[str],
    settings: Settings,
    progress: Progress,
    *,
    metric: str | None = None,
    ask: bool = True,
    shard: Shard | None = None,
    command: str = "",
) -> list[Block] | None:
    """One block per task: the base (the first of `models`) and its variants. None if another process makes the table.

    Args:
        ask: Run what is missing; False: use only stored runs, also of models whose weights are not on this machine.
        metric: None for the primary metric of each task.

    Raises:
        UserError: A mistake. No model was run.
    """
    output = settings.output
    jobs = _jobs(catalog, models, tasks, settings, progress, ask, command)
    groups = _by_task(jobs)
    owners = [_owner(group[0], metric or group[0].task.primary) for group in groups]
    if metric and not any(owners):
        scorers = {name for job in jobs for name in job.scorers}
        metric_names = {m.name for m in METRICS if m.scorer in scorers} | {n for job in jobs for n in _names(job)}
        raise unknown("metric", metric, metric_names, f"any of {', '.join(group[0].task.name for group in groups)}")
    if ask:
        jobs = ready(catalog, jobs, output, progress)
        if run_jobs(catalog, jobs, output, progress, shard) is None:
            return None
    else:
        jobs = framed(catalog, jobs)
        for job in jobs:
            job.check_former(output)
    groups = _by_task(jobs)
    folders: dict[str, list[Path]] = {}
    for job in jobs:
        folders.setdefault(job.model.name, []).extend(path for path in [job.find(output)] if path)
    variants = {job.model.name: variant(catalog, job.model, folders[job.model.name]) for job in groups[0]}
    blocks = [
        _block(group, metric or group[0].task.primary, owner, variants, output)
        for group, owner in zip(groups, owners, strict=True)
    ]
    for group, block in zip(groups, blocks, strict=True):
        for job, outcome in zip(group, (block.base, *block.against), strict=True):
            if outcome.gap:
                progress.note(f"{block.task} x {job.model.name}: {outcome.gap} ({job.find(output) or output})")
    return blocks


def _jobs(
    catalog: Catalog,
    models: Sequence[str],
    tasks: Sequence[str],
    settings: Settings,
    progress: Progress,
    ask: bool,
    command: str,
) -> list[Job]:
    editions = editions_of(catalog, models, tasks, settings, progress)
    resolved: dict[str, ModelSpec] = {}
    if not ask:  # published runs can be compared without the weights of their models
        resolved = {
            model: _published(model, edition, settings, why)
            for model, edition in editions.models.items()
            if (why := catalog.untrained(model, edition))
        }
    return prepare(catalog, models, tasks, settings, progress, command=command, resolved=resolved, editions=editions)


def _published(model: str, edition: Edition, settings: Settings, untrained: str) -> ModelSpec:
    """A model as recorded in its runs under --output, if its weights are not on this machine.

    Raises:
        AssetError: There is no such run.
        UserError: The runs are of several connectors or dtypes.
    """
    name = read_spec(Path(model))[1].spec.name if model.endswith((".yaml", ".yml")) else model
    published: dict[str, tuple[ModelSpec, Path]] = {}
    for path in sorted(settings.output.glob(f"*/{name}-*/run.json")):
        spec = _model_of(path)
        if (spec.name, spec.edition) == (name, edition) and settings.dtype in (None, spec.runtime.dtype):
            published.setdefault(spec.hash, (spec, path.parent))
    if not published:
        dtype = f" in {settings.dtype}" if settings.dtype else ""
        raise AssetError(
            f"{untrained}\nNor has {settings.output} a run of it{dtype}. Give the folder of its runs with --output."
        )
    if len(published) > 1:
        runs = ", ".join(f"{folder} ({spec.runtime.dtype})" for spec, folder in published.values())
        raise UserError(
            f"model {name}, edition {edition}: its weights are not on this machine, and the runs in {settings.output} are of "
            f"{len(published)} different weights: {runs}. Move all runs but those of one away, or give --dtype where the "
            f"dtype differs."
        )
    return next(iter(published.values()))[0]


def _model_of(path: Path) -> ModelSpec:
    """The model of a run.json."""
    try:
        return ModelSpec.model_validate(RunFolder(path.parent).record().get("model"))
    except ValidationError as err:
        raise StoreError(
            f"{path}: model: this version of diva-bench cannot read it ({words(err)}). "
            "Move the folder away, or use the version that wrote it."
        ) from err


def _by_task(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs of every task, that of the base first."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        group = groups.setdefault(job.task.name, [])
        if any(job.model.name == other.model.name for other in group):
            raise UserError(f"model {job.model.name!r} is given twice, by name and by file; give it once.")
        group.append(job)
    return list(groups.values())


# ---------------------------------------------------------------- one task


def _block(
    group: Sequence[Job], metric: str, owner: str | None, variants: Mapping[str, Variant], results: Path
) -> Block:
    base, *against = [_outcome(job, metric, owner, variants[job.model.name], results) for job in group]
    job = group[0]
    return Block(
        task=job.task.name,
        metric=metric,
        clusters={sample.id: sample.cluster for sample in job.samples},
        reduce=job.scorers[owner or next(iter(job.scorers))].reduce,
        base=base,
        against=against,
        edition=job.task.edition,
        synthetic=job.task.data.speech == "synthetic",
        limit=job.task_record["limit"],
    )


def _owner(job: Job, metric: str) -> str | None:
    """The scorer of a task that has the metric: by METRICS for a built-in scorer, otherwise by what it returns."""
    listed = {m.scorer for m in METRICS if m.name == metric}
    return next(
        (n for n in job.scorers if n in listed), next((n for n in job.scorers if metric in _names(job, n)), None)
    )


def _names(job: Job, *scorers: str) -> list[str]:
    """The metrics that scorers return for an empty answer; scorers that use a model are in METRICS and are not run."""
    sample = job.samples[0]
    blank = Response(sample.id, status="unsupported")
    scorers_of_job = [job.scorers[name] for name in scorers or job.scorers]
    selection = [scorer for scorer in scorers_of_job if not isinstance(scorer, WholeScorer)]
    return [metric for scorer in selection for metric in scorer.reduce(totals([scorer.measure(sample, blank)]))]


def _outcome(job: Job, metric: str, owner: str | None, variant: Variant, results: Path) -> Outcome:
    """A stored run, or why it cannot be compared."""
    path = job.find(results)
    if path is None or not (path / "run.json").is_file():
        return Outcome(variant, "never asked")
    again = f"run `diva-bench score {path}`"
    if not (path / "summary.json").is_file() or not (path / "scores.jsonl").is_file():
        return Outcome(variant, f"not scored: the run is not finished, or {again}")
    try:
        run = Run.open(path)
    except UnreadableRun as err:
        return Outcome(variant, f"cannot be read: {err}")
    summary = run.summary
    if not summary.complete:
        return Outcome(variant, f"incomplete: {summary.reason} of {summary.n}", summary)
    if owner is None or metric not in summary.metrics:
        return Outcome(variant, f"no {metric}; it has {', '.join(summary.metrics)}", summary)
    if summary.signature.get(owner) != job.scorers[owner].signature:
        return Outcome(variant, f"scored by another version or setting of the scorers: {again}", summary)
    try:
        lines = run.scores()
    except UnreadableRun as err:
        return Outcome(variant, f"cannot be read: {err}")
    except StoreError:
        return Outcome(variant, f"scores.jsonl and summary.json are from different scorings: {again}")
    rows = {ident: line.get(owner, {}) for ident, line in lines.items()}
    if rows.keys() != {sample.id for sample in job.samples}:
        return Outcome(variant, f"scores.jsonl and summary.json are from different scorings: {again}", summary)
    return Outcome(variant, "", summary.by(metric), rows)


# ---------------------------------------------------------------- training


def variant(catalog: Catalog, model: ModelSpec, runs: Sequence[Path] = ()) -> Variant:
    """A model with its training record, from one of its runs or from the folder of its connector."""
    stored = (RunFolder(run).record().get("training") for run in runs if (run / "run.json").is_file())
    record = next((r for r in stored if isinstance(r, dict)), None)
    parts = training_of(catalog.training(model) if record is None else record)
    return Variant(model.name, model.description, edition=model.edition, **parts)
