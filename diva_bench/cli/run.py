"""`diva-bench run`: resolve, check everything that can be checked, announce, ask, judge, print."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

from diva_bench import assets, controls, data, judge, prompt, provenance, runner
from diva_bench.catalog import Catalog
from diva_bench.cli.editions import Editions, choose
from diva_bench.cli.progress import Terminal, amount, duration
from diva_bench.cli.show import print_tables
from diva_bench.cli.streams import keeping, say
from diva_bench.decoding import chat
from diva_bench.errors import StoreError, UserError
from diva_bench.report.controls import listening_table
from diva_bench.report.prompts import families, spread_table, wordings_table
from diva_bench.report.runs import Finished, results_table
from diva_bench.runner import Job
from diva_bench.scorers import offered
from diva_bench.specs import AssetSpec, ModelSpec, Runtime
from diva_bench.store import RunFolder, Shard
from diva_bench.types import Adapter, Progress

_ANNOUNCED = 10  # samples left out that are named one by one


@dataclass(frozen=True, slots=True)
class Options:
    models: list[str]
    tasks: list[str]
    edition: str = "auto"
    model_edition: str | None = None
    output: Path = Path("results")
    limit: int | None = None
    seed: int = 0
    batch_budget: float | None = None
    device: str | None = None
    dtype: str | None = None
    audio: list[str] = field(default_factory=list)
    prompts: int = 1
    dry_run: bool = False
    data_dir: Path | None = None
    allow_partial: bool = False
    paths: list[Path] = field(default_factory=list)


def run_command(options: Options) -> int:
    """Exit code: 0 all answered; 1 something is missing or faulty and was said so."""
    progress = Terminal()
    shard = shard_of_process(os.environ)
    catalog = Catalog(options.paths)
    jobs = prepare(catalog, options, progress)
    if options.dry_run:
        return _dry_run(catalog, framed(catalog, jobs), options, progress)
    jobs = ready(catalog, jobs, options, progress)
    finished = run_jobs(catalog, jobs, options, progress, shard)
    if finished is None:
        return 0  # what failed is in the run folder, and the first process says so
    tables = [results_table(finished)]
    if options.prompts > 1:
        found = families(job.path(options.output) for job in jobs)
        tables += [wordings_table(found), spread_table(found)]
    if options.audio:
        tables.append(listening_table(jobs, options.output))
    print_tables(tables)
    return 0 if all(f.summary["complete"] and not f.summary["data_faults"] for f in finished) else 1


def run_jobs(
    catalog: Catalog, jobs: Sequence[Job], options: Options, progress: Terminal, shard: Shard
) -> list[Finished] | None:
    """Ask what has no answer yet, judge. None where another process has the last word. `jobs`: as `ready` gives them."""
    finished: list[Finished] = []
    with keeping(lambda: kept(jobs, options.output)):
        for model in dict.fromkeys(job.model.name for job in jobs):
            mine = [job for job in jobs if job.model.name == model]
            finished += _ask_all(catalog, mine, options, progress, shard)
    if shard.count > 1:
        _meet()
        if shard.index > 0:
            return None
        finished = [_judge(job, options, shard, progress) for job in jobs]
    return finished


def ready(catalog: Catalog, jobs: Sequence[Job], options: Options, progress: Terminal) -> list[Job]:
    """Jobs that can be asked: their folders made, their weights fetched, and with these the chat frames known that are part
    of their identity."""
    for job in jobs:  # what stands in the way on the disk is told before weights are fetched, not after
        job.check_former(options.output)
        job.reserve(options.output)
    fetch(catalog, [job.model for job in jobs], progress)
    known = framed(catalog, jobs)
    for job in known:
        job.folder(options.output)
    return known


def framed(catalog: Catalog, jobs: Sequence[Job]) -> list[Job]:
    """The jobs, those with the chat frame whose weights are on this machine. AssetError where a chat template cannot take
    what a task asks."""
    return [_framed(catalog, job) for job in jobs]


def _framed(catalog: Catalog, job: Job) -> Job:
    if job.chat is None:
        return job
    asset = job.model.weights[job.chat]
    spec = catalog.has("weights", asset.name)  # a stored run may have weights that nobody names any more
    folder = assets.locate(asset, spec.path.parent if spec else Path())
    return replace(job, frame=chat.frame(folder, bool(job.task.system))) if folder else job


def kept(jobs: Sequence[Job], results: Path) -> str:
    """How many answers of some jobs are on disk, and what to do to get the others."""
    samples = sum(len(job.samples) for job in jobs)
    answers = sum(len(RunFolder(job.path(results)).statuses()) for job in jobs)
    where = str(jobs[0].path(results)) if len(jobs) == 1 else str(results)
    return f"{answers} of {samples} answers are kept in {where}: run the same command again to go on from there"


def shard_of_process(environment: Mapping[str, str]) -> Shard:
    """Which share of the plan is ours: torchrun and `accelerate launch --multi_gpu` set RANK and WORLD_SIZE, and where to
    meet.

    Raises UserError where they are set, but not where to meet: it would be found out when all is asked.
    """
    shard = Shard(_number(environment, "RANK", 0), _number(environment, "WORLD_SIZE", 1))
    if not 0 <= shard.index < shard.count:
        raise UserError(
            f"RANK is {shard.index} and WORLD_SIZE is {shard.count}: a rank is from 0 and below it. {_LAUNCH}"
        )
    lacking = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if shard.count > 1 and lacking:
        raise UserError(
            f"WORLD_SIZE is {shard.count}, but {', '.join(lacking)} are not set: several processes share one run only where "
            f"they can meet. {_LAUNCH}"
        )
    return shard


_LAUNCH = (
    "Start them with `torchrun --nproc-per-node N -m diva_bench run ...` or `accelerate launch --multi_gpu --num_processes N "
    "-m diva_bench run ...` (without --multi_gpu that is one process), or unset RANK and WORLD_SIZE."
)


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    said = environment.get(name, "").strip()
    if said and not (said.isascii() and said.removeprefix("-").isdigit() and len(said) < 10):
        raise UserError(f"the environment variable {name} is {said!r}, not a number. {_LAUNCH}")
    return int(said or default)


def _meet() -> None:
    """Wait until every process has asked its share. One that dies ends all of them (torchrun sees to that); the same
    command goes on from there."""
    import torch.distributed as processes

    processes.init_process_group("gloo", timeout=timedelta(days=30))
    processes.barrier()
    processes.destroy_process_group()


def _judge(job: Job, options: Options, shard: Shard, progress: Terminal) -> Finished:
    with job.folder(options.output, shard) as folder:
        return Finished(judge.judge(job, folder, progress), folder.path, folder.timing())


# ---------------------------------------------------------------- before anything is asked


def editions_of(catalog: Catalog, options: Options, progress: Terminal) -> Editions:
    """The editions that the command line stands for."""
    return choose(
        catalog,
        dict.fromkeys(options.models),
        options.tasks,
        progress,
        edition=options.edition,
        model_edition=options.model_edition,
        data_dir=options.data_dir,
    )


def prepare(
    catalog: Catalog,
    options: Options,
    progress: Terminal,
    resolved: Mapping[str, ModelSpec] | None = None,
    editions: Editions | None = None,
) -> list[Job]:
    """Every (model, task) pair as a Job, in every wording and audio condition that was asked for: specs valid, scorers
    built, data checked, the two compatible.

    `resolved`: specs of models that the catalog cannot resolve, because their weights are not on this machine.
    `editions`: where they are chosen already.
    """
    given = dict.fromkeys(controls.parse(text) for text in options.audio)
    conditions: list[controls.Control | None] = [*given] or [None]
    models = list(dict.fromkeys(options.models))
    chosen = editions or editions_of(catalog, options, progress)
    if any(task in catalog.suites() for task in options.tasks):
        for problem in catalog.problems:
            progress.note(f"left out of {' and '.join(options.tasks)}, for it cannot be used: {problem.error}")
    names = list(dict.fromkeys(leaf for task in options.tasks for leaf in catalog.subsets(task, chosen.data)))
    known = resolved or {}
    specs = [with_options(known[m] if m in known else catalog.model(m, chosen.models[m]), options) for m in models]
    trainings = [training_of(catalog.training(spec)) for spec in specs]
    cache = assets.cache_folder()
    record = provenance.collect(sys.argv)
    jobs: list[Job] = []
    loaded: dict[str, data.Dataset] = {}
    for name in names:
        task = catalog.task(name, chosen.data)
        loaded[name] = data.load(task, cache, progress, data_dir=options.data_dir, allow_partial=options.allow_partial)
        _announce(task.name, loaded[name], progress)
        prompt.check(task, loaded[name].samples)
        offered.check_primary(task, catalog.scorers(task), loaded[name].samples[: offered.ENOUGH])
        wordings = [(asked, catalog.scorers(asked)) for asked in prompt.variants(task, options.prompts)]
        everything = product(wordings, zip(specs, trainings, strict=True), conditions)
        for (asked, scorers), (spec, training), control in everything:
            adapter = catalog.adapter_for(spec)
            jobs.append(
                Job(
                    task=asked,
                    model=spec,
                    dataset=loaded[name],
                    scorers=scorers,
                    accepts=adapter.accepts,
                    adapter_version=adapter.version,
                    limit=options.limit,
                    seed=options.seed,
                    control=control,
                    chat=getattr(adapter, "chat", None),
                    provenance={**record, **({"training": training} if training else {})},
                )
            )
            jobs[-1].check()
    return jobs


def _announce(task: str, dataset: data.Dataset, progress: Terminal) -> None:
    """What is not asked, and why; of many samples the first few, all are in run.json."""
    for note in (*dataset.notes, *([f"PARTIAL, in no table: {dataset.partial}"] if dataset.partial else [])):
        progress.note(f"{task}: {note}")
    for fault in dataset.excluded:
        progress.note(f"{task}: {fault.id} is left out by the task itself: {fault.reason}")
    for fault in dataset.faults[:_ANNOUNCED]:
        progress.note(f"{task}: {fault.id} is left out for every model: {fault.reason}")
    if len(dataset.faults) > _ANNOUNCED:
        more = len(dataset.faults) - _ANNOUNCED
        progress.note(f"{task}: and {more:,} more are left out; all are in run.json")


def training_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a run keeps of a training.json: its settings and what it took, as far as the record has them."""
    return {key: record[key] for key in ("config", "compute") if isinstance(record.get(key), dict)}


def with_options(model: ModelSpec, options: Options) -> ModelSpec:
    """The spec with what the command line says about device, dtype and batch budget."""
    changes: dict[str, Any] = {}
    if options.device is not None:
        changes["device"] = options.device
    if options.dtype is not None and model.weights:  # a baseline computes nothing in any dtype
        changes["dtype"] = options.dtype
    if options.batch_budget is not None:
        changes["batch_seconds"] = options.batch_budget
    return model.model_copy(update={"runtime": Runtime(**{**model.runtime.model_dump(), **changes})})


def needed(models: Sequence[ModelSpec]) -> dict[str, AssetSpec]:
    """All weights of some models, each once."""
    return {asset.name: asset for model in models for asset in model.weights.values()}


def fetch(catalog: Catalog, models: Sequence[ModelSpec], progress: Progress) -> dict[str, Path]:
    """weights name -> folder; what is missing is announced with its size, then fetched."""
    wanted = needed(models)
    missing = [a for a in wanted.values() if assets.locate(a, catalog.weights(a.name)[1]) is None]
    if missing:
        total = amount(sum(a.bytes for a in missing), "bytes")
        progress.note(f"fetching {total} of weights into {assets.cache_folder()}: {', '.join(a.name for a in missing)}")
    return {name: assets.ready(asset, catalog.weights(name)[1], progress) for name, asset in wanted.items()}


# ---------------------------------------------------------------- asking


def _ask_all(
    catalog: Catalog,
    jobs: Sequence[Job],
    options: Options,
    progress: Terminal,
    shard: Shard,
) -> list[Finished]:
    """All jobs of one model: it is loaded once, and only if there is something left to ask. Each is judged when it is
    asked, unless other processes still ask their share of it."""
    model, adapter = jobs[0].model, None
    finished: list[Finished] = []
    try:
        for job in jobs:
            with job.folder(options.output, shard) as folder:
                if _unfinished(job, folder):
                    adapter = adapter or load_adapter(catalog, model, progress)
                    runner.ask(job, adapter, folder, progress, shard)
                else:
                    progress.note(f"{job.title}: all {len(job.samples)} answered before in {folder.path}")
            if shard.count == 1:
                finished.append(_judge(job, options, shard, progress))
    finally:
        if adapter is not None:
            adapter.close()
    return finished


def _unfinished(job: Job, folder: RunFolder) -> bool:
    statuses = folder.statuses()
    return any(statuses.get(s.id) not in ("ok", "unsupported") for s in job.samples)


_SLOW = (
    ", which it has no instructions for: --dtype float32 is faster here, takes twice the memory and is a run of its own"
)


def load_adapter(catalog: Catalog, model: ModelSpec, progress: Progress) -> Adapter:
    """Build the adapter on the device that the spec and the machine agree on.

    Its weights are looked up now, not when the command began: a file that was replaced since is no longer what the run's
    identity says, and AssetError says so.
    """
    folders = fetch(catalog, [model], progress)
    device = "cpu"
    if model.weights:
        device = provenance.device(model.runtime.device)
        slow = model.runtime.dtype == "bfloat16" and provenance.bfloat16(device).startswith("slow")
        where = f"on {device} in {model.runtime.dtype}{_SLOW if slow else ''}"
        progress.note(f"loading {model.name} ({model.edition}) {where}")
    made = catalog.adapter(model.adapter)
    paths = {role: folders[asset.name] for role, asset in model.weights.items()}
    return made(model, paths, device)  # type: ignore[call-arg]  # the Protocol has no constructor


# ---------------------------------------------------------------- --dry-run


def _dry_run(catalog: Catalog, jobs: Sequence[Job], options: Options, progress: Terminal) -> int:
    """What would be asked, how many, how long, what is missing; nothing is written or fetched."""
    for job in jobs:
        path = job.find(options.output)
        statuses = RunFolder(path).statuses() if path and path.is_dir() else {}
        try:
            job.check_former(options.output)
        except StoreError as err:
            progress.note(str(err))
        done = sum(statuses.get(s.id) in ("ok", "unsupported") for s in job.samples)
        seconds = sum(s.seconds for s in job.samples)
        say(f"{job.title}: {len(job.samples)} samples, {duration(seconds)} of audio, {done} answered")
        say(f"  time:   {_estimate(job, options.output, len(job.samples) - done)}")
        say(f"  folder: {path or f'in {job.task_path(options.output)}; its name is known when the weights are here'}")
        request = prompt.build(job.task, job.samples[0], job.given)
        say(f"  prompt: {request.prompt}")
        if job.task.variant and job.task.choices:
            say(f"  labels: {', '.join(job.task.choices)}")
        for fault in job.dataset.faults:
            say(f"  left out: {fault.id}: {fault.reason}")
    missing = [
        a for a in needed([j.model for j in jobs]).values() if assets.locate(a, catalog.weights(a.name)[1]) is None
    ]
    for asset in missing:
        say(f"missing: weights {asset.name}, {amount(asset.bytes, 'bytes')} to fetch")
    if not missing:
        say("missing: nothing")
    return 0


def _estimate(job: Job, results: Path, left: int) -> str:
    """Time left by earlier runs of the same model in the same results folder, or that it is not known."""
    rows, wall = 0, 0.0
    for run in results.glob(f"{job.task.name}-*/{job.model.name}-*"):
        for line in RunFolder(run).timing():
            rows, wall = rows + line["rows"], wall + line["wall"]
    if left == 0:
        return "nothing left to ask"
    return f"about {duration(left * wall / rows)}" if rows and wall else "not known: no earlier run of this model here"
