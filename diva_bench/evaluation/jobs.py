"""What `diva_bench.run` and `diva-bench run` do: resolve, check, fetch, ask, score.

prepare   models and tasks -> Jobs: specs valid, data read, scorers built, model and task compatible; nothing is written
ready     the run folders are made, devices checked, weights fetched
run_jobs  every Job is asked what has no answer yet, then scored

Nothing here prints or ends the process: a mistake of the user is a UserError, news goes to a Progress.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diva_bench import data, provenance
from diva_bench.audio import perturbations
from diva_bench.catalog import Catalog
from diva_bench.data.place import data_folder
from diva_bench.decoding import chat
from diva_bench.errors import SpecError, UserError
from diva_bench.evaluation.editions import Editions, choose
from diva_bench.runs import runner, scoring
from diva_bench.runs.run import Run
from diva_bench.runs.runner import Job
from diva_bench.runs.store import RunFolder, Shard
from diva_bench.scorers import primary
from diva_bench.specs import IN_MEMORY, Json, ModelSpec, Runtime, TaskSpec, prompt
from diva_bench.specs.problems import words
from diva_bench.types import Adapter, Progress, Sample
from diva_bench.weights import assets

_ANNOUNCED = 10  # samples left out that are named one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How models are asked and where their runs are kept. `None` leaves a setting to the model or the task.

    `edition` of the data, `model_edition` of the models. `limit`: number of samples. `batch_seconds`: padded audio seconds
    that an encoder reads at once. `batch_rows`: samples that are answered together. `audio`: conditions as
    `perturbations.parse` reads them. `prompts`: number of prompt variants.
    """

    edition: str = "auto"
    model_edition: str | None = None
    output: Path = Path("results")
    limit: int | None = None
    seed: int = 0
    batch_seconds: float | None = None
    batch_rows: int | None = None
    device: str | None = None
    dtype: str | None = None
    audio: tuple[str, ...] = ()
    prompts: int = 1
    data_dir: Path | None = None
    allow_partial: bool = False
    prompt: str | None = None
    system: str | None = None
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        """UserError for a value that no setting has."""
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                listing = ", ".join(repr(one) for one in allowed)
                raise UserError(f"{name} is {getattr(self, name)!r}. Allowed: {listing}.")
        for name, (kinds, least, what) in _KINDS.items():
            value = getattr(self, name)
            if value is None and name not in ("seed", "prompts"):
                continue
            if (
                not isinstance(value, kinds)
                or isinstance(value, bool)
                or (least is not None and not least <= value < _MOST)
            ):
                raise UserError(f"{name} is {value!r} ({type(value).__name__}). Allowed: {what}.")
        if self.prompt is not None and not self.prompt.strip():
            raise UserError("prompt is empty. Allowed: text.")

    def changed(self) -> str:
        """The settings that are not the defaults, as arguments in a call."""
        every = ((field.name, getattr(self, field.name), field.default) for field in fields(self))
        shown = {
            name: str(value) if isinstance(value, Path) else value for name, value, default in every if value != default
        }
        return "".join(f", {name}={value!r}" for name, value in shown.items())


_CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "edition": ("auto", "full", "mini", "nano"),
    "model_edition": (None, "full", "mini", "nano"),
    "dtype": (None, "float32", "bfloat16", "float16"),
}
_MOST = 2**32  # beyond what any setting may be; not infinity, which no batch has
_KINDS: Mapping[str, tuple[Any, float | None, str]] = {
    "limit": (int, 1, "a number of samples, from 1; None for all"),
    "seed": (int, 0, "a whole number, from 0 to 4294967295"),
    "prompts": (int, 1, "a number of prompt variants, from 1"),
    "batch_seconds": ((int, float), 0.1, "seconds, from 0.1"),
    "batch_rows": (int, 1, "a number of samples, from 1"),
    "max_new_tokens": (int, 1, "a number of tokens, from 1"),
    "prompt": (str, None, "text"),
    "system": (str, None, 'text; "" for no system message'),
    "device": (str, None, "cpu, cuda, cuda:1, ..."),
}


# ---------------------------------------------------------------- before a model is run


ModelLike = str | ModelSpec | Adapter
"""The model: a name or YAML file, a resolved spec, or a model in memory, which has a `name` too."""
TaskLike = str | TaskSpec
"""The task: a name or YAML file, or a resolved task."""


def editions_of(
    catalog: Catalog, models: Sequence[ModelLike], tasks: Sequence[TaskLike], settings: Settings, progress: Progress
) -> Editions:
    """The editions that the settings stand for."""
    return choose(
        catalog,
        dict.fromkeys(model for model in models if isinstance(model, str)),
        [task for task in tasks if isinstance(task, str)],
        progress,
        edition=settings.edition,
        model_edition=settings.model_edition,
        data_dir=settings.data_dir,
        resolved=next((task.edition for task in tasks if isinstance(task, TaskSpec)), None),
    )


def prepare(
    catalog: Catalog,
    models: Sequence[ModelLike],
    tasks: Sequence[TaskLike],
    settings: Settings,
    progress: Progress,
    *,
    command: str = "",
    resolved: Mapping[str, ModelSpec] | None = None,
    editions: Editions | None = None,
) -> list[Job]:
    """Every (model, task) pair as a Job, in every wording and audio condition that was asked for: specs valid, scorers
    built, data checked, the two compatible.

    `command`: what the run record says of how the run was started. `resolved`: specs of models that the catalog cannot
    resolve, because their weights are not on this machine. `editions`: where they are chosen already.
    """
    data_folder(settings.data_dir)  # told also where no task reads it
    controls = dict.fromkeys(perturbations.parse(text) for text in settings.audio)
    conditions: list[perturbations.Control | None] = [*controls] or [None]
    selection = editions or editions_of(catalog, models, tasks, settings, progress)
    candidates = _candidates(catalog, models, selection, settings, resolved or {})
    record = provenance.collect(command)
    jobs: list[Job] = []
    for task_spec in _tasks(catalog, tasks, selection, progress):
        task = prompt.changed(task_spec, settings.prompt, settings.system, settings.max_new_tokens)
        dataset = _load(task, settings, progress)
        task = _with_primary(catalog, task, dataset.samples[: primary.ENOUGH])
        wordings = [(variant, catalog.scorers(variant)) for variant in prompt.variants(task, settings.prompts)]
        for (variant, scorers), (spec, adapter, training), control in product(wordings, candidates, conditions):
            made = adapter or catalog.adapter_for(spec)
            jobs.append(
                Job(
                    task=variant,
                    model=spec,
                    dataset=dataset,
                    scorers=scorers,
                    accepts=frozenset(made.accepts),
                    adapter_version=str(made.version),
                    limit=settings.limit,
                    seed=settings.seed,
                    control=control,
                    chat=None if adapter else getattr(made, "chat", None),
                    provenance={**record, **({"training": training} if training else {})},
                    adapter=adapter,
                )
            )
            jobs[-1].check()
    return jobs


def _tasks(catalog: Catalog, tasks: Sequence[TaskLike], selection: Editions, progress: Progress) -> list[TaskSpec]:
    """The tasks behind names, and those that are given as specs. UserError for two of one name."""
    names = [task for task in tasks if isinstance(task, str)]
    if any(name in catalog.suites() for name in names):
        for problem in catalog.problems:
            progress.note(f"left out of {' and '.join(names)}, because it is not valid: {problem.error}")
    specs: dict[str, TaskSpec] = {}
    for task in tasks:
        leaves = catalog.subsets(task, selection.data) if isinstance(task, str) else [task.name]
        for leaf in leaves:
            if leaf in specs and not isinstance(task, str):
                raise UserError(f"two tasks are called {leaf!r}: give one of them another name.")
            specs.setdefault(leaf, catalog.task(leaf, selection.data) if isinstance(task, str) else task)
    return list(specs.values())


def _with_primary(catalog: Catalog, task: TaskSpec, samples: Sequence[Sample]) -> TaskSpec:
    """The task, whose primary metric its scorers give; one that names none is ranked by the first that they give."""
    scorers = catalog.scorers(task)
    if not task.primary:
        return task.model_copy(update={"primary": primary.first_metric(task, scorers, samples)})
    primary.check_primary(task, scorers, samples)
    return task


def _candidates(
    catalog: Catalog,
    models: Sequence[ModelLike],
    selection: Editions,
    settings: Settings,
    resolved: Mapping[str, ModelSpec],
) -> list[tuple[ModelSpec, Adapter | None, Json]]:
    """Every model as (spec, the model itself if it is in memory, what its training took). UserError for two of one name."""
    candidates: dict[str, tuple[ModelSpec, Adapter | None, Json]] = {}
    for model in dict.fromkeys(model if isinstance(model, str) else id(model) for model in models):
        candidate = model if isinstance(model, str) else next(one for one in models if id(one) == model)
        if isinstance(candidate, str):
            spec = (
                resolved[candidate] if candidate in resolved else catalog.model(candidate, selection.models[candidate])
            )
        else:
            spec = candidate if isinstance(candidate, ModelSpec) else spec_of(candidate)
        if spec.name in candidates and isinstance(candidate, str):
            raise UserError(f"model {spec.name!r} is given twice, by name and by file; give it once.")
        if spec.name in candidates:
            raise UserError(f"two models are called {spec.name!r}: give one of them another name.")
        spec = with_settings(spec, settings)
        adapter = None if isinstance(candidate, str | ModelSpec) else candidate
        candidates[spec.name] = spec, adapter, training_of(catalog.training(spec))
    return list(candidates.values())


def spec_of(adapter: Adapter) -> ModelSpec:
    """The spec of a model in memory: of who it is, no more is known than its name; with its version that is its identity.
    SpecError for a name that no folder can have."""
    try:
        return ModelSpec.model_validate(
            {
                "name": adapter.name,  # type: ignore[attr-defined]  # what the Protocol leaves to specs; checked by api.py
                "edition": None,
                "adapter": IN_MEMORY,
                "description": f"A model in memory, {type(adapter).__qualname__}; its weights are not hashed.",
                "citation": "",
                "licence": "",
                "args": {},
                "weights": {},
                "runtime": Runtime(dtype="float32"),
                "training": None,
            }
        )
    except ValidationError as err:
        raise SpecError(f"model {getattr(adapter, 'name', None)!r}: name: {words(err)}.") from err


def _load(task: TaskSpec, settings: Settings, progress: Progress) -> data.Dataset:
    """The data of a task, all of which its prompts can be filled with; what is not asked is announced."""
    dataset = data.load(
        task, assets.cache_folder(), progress, data_dir=settings.data_dir, allow_partial=settings.allow_partial
    )
    _announce(task.name, dataset, progress)
    prompt.check(task, dataset.samples)
    return dataset


def _announce(task: str, dataset: data.Dataset, progress: Progress) -> None:
    """What is not asked, and why; of many samples the first few, all are in run.json."""
    for note in (*dataset.notes, *([f"PARTIAL, left out of all tables: {dataset.partial}"] if dataset.partial else [])):
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


def with_settings(model: ModelSpec, settings: Settings) -> ModelSpec:
    """The spec with what the settings say about device, dtype and batches."""
    changes: dict[str, Any] = {}
    if settings.device is not None:
        changes["device"] = settings.device
    if settings.dtype is not None and model.weights:  # a baseline computes nothing in any dtype
        changes["dtype"] = settings.dtype
    if settings.batch_seconds is not None:
        changes["batch_seconds"] = settings.batch_seconds
    if settings.batch_rows is not None:
        changes["batch_rows"] = settings.batch_rows
    return model.model_copy(update={"runtime": Runtime(**{**model.runtime.model_dump(), **changes})})


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


def ready(catalog: Catalog, jobs: Sequence[Job], output: Path, progress: Progress) -> list[Job]:
    """Jobs that can be asked: their folders made, their weights fetched, and with these the chat frames known that are part
    of their identity.

    Raises StoreError where nothing can be written, and UserError where a device is missing, before anything is fetched.
    """
    for job in jobs:
        job.check_former(output)
        job.reserve(output)
    left = [job for job in framed(catalog, jobs) if not job.named or _unfinished(job, RunFolder(job.path(output)))]
    for device in dict.fromkeys(job.model.runtime.device for job in left if job.model.weights):
        provenance.device(device)
    catalog.fetch([job.model for job in jobs], progress)
    ready_jobs = [job.settled(output) for job in framed(catalog, jobs)]
    for job in ready_jobs:
        job.folder(output)
    return ready_jobs


# ---------------------------------------------------------------- asking


def run_jobs(
    catalog: Catalog, jobs: Sequence[Job], output: Path, progress: Progress, shard: Shard | None = None
) -> list[Run] | None:
    """Ask what has no answer yet, score. None where another process has the last word. `jobs`: as `ready` gives them."""
    shard = shard or Shard()
    finished: list[Run] = []
    with keeping(lambda: kept(jobs, output)), contextlib.ExitStack() as stack:

        def load(model: ModelSpec) -> Adapter:
            if _hears_twice(jobs):
                from diva_bench.decoding.memo import ENCODED  # torch

                stack.enter_context(ENCODED.keeping(assets.cache_folder() / "encoded"))
            return catalog.load(model, progress)

        for model in dict.fromkeys(job.model.name for job in jobs):
            mine = [job for job in jobs if job.model.name == model]
            finished += _ask_all(load, mine, output, progress, shard)
    if shard.count > 1:
        _meet()
        if shard.index > 0:
            return None
        finished = [_score(job, output, shard, progress) for job in jobs]
    return finished


def _hears_twice(jobs: Sequence[Job]) -> bool:
    """Whether an encoder gets the same clips more than once: for several target languages, prompt variants, or models that
    share it."""
    clips = [
        (asset.name, job.control, tuple((sample.id, sample.seconds) for sample in job.samples))
        for job in jobs
        for role, asset in job.model.weights.items()
        if role in ("encoder", "asr")
    ]
    return len(set(clips)) < len(clips)


def _ask_all(
    load: Callable[[ModelSpec], Adapter], jobs: Sequence[Job], output: Path, progress: Progress, shard: Shard
) -> list[Run]:
    """All jobs of one model: it is loaded once, and only if there is something left to ask. Each is scored when it is
    asked, unless other processes still ask their share of it."""
    model = jobs[0].model
    loaded: Adapter | None = None
    finished: list[Run] = []
    try:
        for job in jobs:
            with job.folder(output, shard) as folder:
                if _unfinished(job, folder):
                    loaded = job.adapter or loaded or load(model)
                    runner.ask(job, loaded, folder, progress, shard)
                else:
                    progress.note(f"{job.title}: all {len(job.samples)} answered before in {folder.path}")
                    if job.adapter is not None:
                        _warn_of_stored(job, folder)
            if shard.count == 1:
                finished.append(_score(job, output, shard, progress))
    finally:
        if loaded is not None and jobs[0].adapter is None:  # a model that was given stays its owner's
            loaded.close()
    return finished


def _warn_of_stored(job: Job, folder: RunFolder) -> None:
    """A model in memory is known by name and version alone: that it was edited, nobody can see."""
    logging.getLogger("diva_bench").warning(
        "%s: model %s was not asked: a model of this name and version (%r) has given all %d answers before, in %s. If you have "
        "changed the model, give it another `version`, or delete that folder.",
        job.task.name,
        job.model.name,
        job.adapter_version,
        len(job.samples),
        folder.path,
    )


def _unfinished(job: Job, folder: RunFolder) -> bool:
    statuses = folder.statuses()
    return any(statuses.get(s.id) not in ("ok", "unsupported") for s in job.samples)


def _score(job: Job, output: Path, shard: Shard, progress: Progress) -> Run:
    with job.folder(output, shard) as folder:
        return Run.of(folder.path, scoring.score(job, folder, progress), job)


def _meet() -> None:
    """Wait until every process has asked its share. One that dies ends all of them (torchrun sees to that); the same
    command goes on from there."""
    import torch.distributed as processes

    processes.init_process_group("gloo", timeout=timedelta(days=30))
    processes.barrier()
    processes.destroy_process_group()


def kept(jobs: Sequence[Job], results: Path) -> str:
    """How many answers of some jobs are on disk, and what to do to get the others."""
    samples = sum(len(job.samples) for job in jobs)
    answers = sum(len(RunFolder(job.path(results)).statuses()) for job in jobs)
    where = str(jobs[0].path(results)) if len(jobs) == 1 else str(results)
    return f"{answers} of {samples} answers are kept in {where}: run the same command again to continue"


@contextlib.contextmanager
def keeping(report: Callable[[], str]) -> Iterator[None]:
    """Where a signal stops the block: `report` tells what of the work is kept, "" for nothing."""
    try:
        yield
    except KeyboardInterrupt as err:
        with contextlib.suppress(Exception):  # a second fault must not hide that the command was stopped
            if note := report():
                err.add_note(note)
        raise


# ---------------------------------------------------------------- several processes


def shard_of_process(environment: Mapping[str, str]) -> Shard:
    """Which share of the plan is ours: torchrun and `accelerate launch --multi_gpu` set RANK and WORLD_SIZE, and where to
    meet.

    Raises UserError where they are set, but not where to meet: it would be found out when all is asked.
    """
    shard = Shard(_number(environment, "RANK", 0), _number(environment, "WORLD_SIZE", 1))
    if not 0 <= shard.index < shard.count:
        raise UserError(
            f"RANK is {shard.index} and WORLD_SIZE is {shard.count}: a rank is at least 0 and below WORLD_SIZE. {_LAUNCH}"
        )
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if shard.count > 1 and missing:
        raise UserError(
            f"WORLD_SIZE is {shard.count}, but {', '.join(missing)} are not set: several processes can share one run only "
            f"if they can reach each other. {_LAUNCH}"
        )
    return shard


_LAUNCH = (
    "Start them with `torchrun --nproc-per-node N -m diva_bench run ...` or `accelerate launch --multi_gpu --num_processes N "
    "-m diva_bench run ...` (without --multi_gpu that is one process), or unset RANK and WORLD_SIZE."
)


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "").strip()
    if text and not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 10):
        raise UserError(f"the environment variable {name} is {text!r}, not a number. {_LAUNCH}")
    return int(text or default)
