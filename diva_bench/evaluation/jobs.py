"""The work of `diva_bench.run` and `diva-bench run`: resolve, check, download, run, score.

prepare   models and tasks -> Jobs: specs valid, data read, scorers built, model and task compatible; nothing is written
ready     the run folders are made, devices checked, weights downloaded
run_jobs  every Job is run for samples without an answer, then scored

Nothing here prints or ends the process: a mistake of the user is a UserError, and notes go to a Progress.
"""

from __future__ import annotations

import contextlib
import logging
import os
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
from diva_bench.diva import layouts
from diva_bench.errors import SpecError, Stop, UserError
from diva_bench.evaluation.editions import Editions, choose
from diva_bench.runs import runner, scoring
from diva_bench.runs.run import Run
from diva_bench.runs.runner import Job
from diva_bench.runs.store import RunFolder, Shard
from diva_bench.scorers import primary
from diva_bench.server.budget import Budget
from diva_bench.server.key import key_of
from diva_bench.specs import IN_MEMORY, Json, ModelSpec, Runtime, TaskSpec, prompt
from diva_bench.specs.problems import words
from diva_bench.types import Adapter, Progress, Sample
from diva_bench.weights import assets

_ANNOUNCED = 10  # left-out samples that are named


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How models are run, and where runs are stored. `None` leaves a setting to the model or the task.

    Attributes:
        edition: Of the data.
        model_edition: Of the models.
        limit: Number of samples.
        batch_seconds: Seconds of audio, with padding, that an encoder reads at once.
        batch_rows: Samples that are answered together.
        audio: Audio conditions, see `perturbations.parse`.
        prompts: Number of prompt variants.
        max_requests: Largest number of requests to servers, of the whole command.
        max_cost: Largest cost of these requests, in the currency of the models' prices.
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
    max_requests: int | None = None
    max_cost: float | None = None

    def __post_init__(self) -> None:
        """Raises UserError if a value is not allowed."""
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
        """The settings that differ from the defaults, as arguments of a call."""
        every = ((field.name, getattr(self, field.name), field.default) for field in fields(self))
        shown = {
            name: str(value) if isinstance(value, Path) else value for name, value, default in every if value != default
        }
        return "".join(f", {name}={value!r}" for name, value in shown.items())


_CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "edition": ("auto", "full", "mini", "mini-v1", "nano"),
    "model_edition": (None, "full", "mini", "nano"),
    "dtype": (None, "float32", "bfloat16", "float16"),
}
_MOST = 2**32  # the upper bound of every setting; infinity is not allowed
_KINDS: Mapping[str, tuple[Any, float | None, str]] = {
    "limit": (int, 1, "a number of samples, from 1; None for all"),
    "seed": (int, 0, "a whole number, from 0 to 4294967295"),
    "prompts": (int, 1, "a number of prompt variants, from 1"),
    "batch_seconds": ((int, float), 0.1, "seconds, from 0.1"),
    "batch_rows": (int, 1, "a number of samples, from 1"),
    "max_new_tokens": (int, 1, "a number of tokens, from 1"),
    "max_requests": (int, 1, "a number of requests, from 1"),
    "max_cost": ((int, float), 0.0, "an amount of money, from 0"),
    "prompt": (str, None, "text"),
    "system": (str, None, 'text; "" for no system message'),
    "device": (str, None, "cpu, cuda, cuda:1, ..."),
}


# ---------------------------------------------------------------- before a model is run


ModelLike = str | ModelSpec | Adapter
"""A model: a name or YAML file, a resolved spec, or a model in memory, which has a `name` too."""
TaskLike = str | TaskSpec
"""A task: a name or YAML file, or a resolved task."""


def editions_of(
    catalog: Catalog, models: Sequence[ModelLike], tasks: Sequence[TaskLike], settings: Settings, progress: Progress
) -> Editions:
    """The editions for the settings."""
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
    """Every (model, task) pair as a Job, for every prompt variant and audio condition: specs valid, scorers built, data
    checked, model and task compatible.

    Args:
        command: How the run was started, for the run record.
        resolved: Specs of models that the catalog cannot resolve because their weights are not on this machine.
        editions: The editions, if they were chosen before.
    """
    data_folder(settings.data_dir)  # raises even if no task reads it
    controls = dict.fromkeys(perturbations.parse(text) for text in settings.audio)
    conditions: list[perturbations.Control | None] = [*controls] or [None]
    selection = editions or editions_of(catalog, models, tasks, settings, progress)
    candidates = _candidates(catalog, models, selection, settings, resolved or {})
    catalog.budget = Budget(settings.max_requests, settings.max_cost)
    for spec, _, _ in candidates:
        for server in spec.servers:
            catalog.budget.check(server, spec.name)
    record = provenance.collect(command)
    jobs: list[Job] = []
    only_writes: dict[str, dict[str, None]] = {}
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
            if (refuses := getattr(made, "refuses", None)) and (reason := refuses(variant, spec)):
                raise UserError(f"{reason} Leave the model or the task out.")
            if not getattr(made, "reads_prompt", True) and "wer" not in variant.scorers:
                only_writes.setdefault(spec.name, {})[variant.name] = None
    for name, asked in only_writes.items():
        progress.note(
            f"{name} has no language model: it writes what is said, and cannot translate, answer or classify. The prompts of "
            f"{', '.join(asked)} do not reach it. It is meant for tasks that are scored by word error rate (wer)."
        )
    return jobs


def _tasks(catalog: Catalog, tasks: Sequence[TaskLike], selection: Editions, progress: Progress) -> list[TaskSpec]:
    """The tasks behind names, and those given as specs. Raises UserError if two have the same name."""
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
    """The task with a primary metric that its scorers return; if it names none, the first one."""
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
    """Every model as (spec, the model itself if it is in memory, its training record). Raises UserError if two have the
    same name."""
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
    """The spec of a model in memory. Its name and version are its identity. Raises SpecError if the name cannot be that of
    a folder."""
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
    """The data of a task, checked to have everything for its prompts; left-out samples are announced."""
    dataset = data.load(
        task, assets.cache_folder(), progress, data_dir=settings.data_dir, allow_partial=settings.allow_partial
    )
    _announce(task.name, dataset, progress)
    prompt.check(task, dataset.samples)
    return dataset


def _announce(task: str, dataset: data.Dataset, progress: Progress) -> None:
    """Announce left-out samples with reasons, at most the first few; all are in run.json."""
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
    """The part of a training.json that a run stores: settings and compute, as far as they are recorded."""
    return {key: record[key] for key in ("config", "compute") if isinstance(record.get(key), dict)}


def with_settings(model: ModelSpec, settings: Settings) -> ModelSpec:
    """The spec with device, dtype and batches from the settings."""
    changes: dict[str, Any] = {}
    if settings.device is not None:
        changes["device"] = settings.device
    if settings.dtype is not None and model.weights:  # a baseline has no dtype
        changes["dtype"] = settings.dtype
    if settings.batch_seconds is not None:
        changes["batch_seconds"] = settings.batch_seconds
    if settings.batch_rows is not None:
        changes["batch_rows"] = settings.batch_rows
    return model.model_copy(update={"runtime": Runtime(**{**model.runtime.model_dump(), **changes})})


def framed(catalog: Catalog, jobs: Sequence[Job]) -> list[Job]:
    """The jobs, with the chat frame if the weights are on this machine. Raises AssetError if a chat template does not fit
    a task."""
    return [_framed(catalog, job) for job in jobs]


def _framed(catalog: Catalog, job: Job) -> Job:
    job = replace(job, model=catalog.known(job.model))
    if job.chat is None:
        return job
    asset = job.model.weights[job.chat]
    folder = assets.locate(asset, catalog.home(asset))
    if folder is None:
        return job
    layout, system = str(job.model.args.get("layout", "clean")), bool(job.task.system)
    if layout in layouts.LAYOUTS[1:] and job.model.adapter == "diva":
        return replace(job, frame=layouts.frame(layout, chat.tokenizer_of(folder), system))
    return replace(job, frame=chat.kept_frame(folder, system, assets.cache_folder()))


def ready(catalog: Catalog, jobs: Sequence[Job], output: Path, progress: Progress) -> list[Job]:
    """Make jobs ready to run: make folders, download weights, and render the chat frames, which are part of their
    identity.

    Raises:
        StoreError: A folder cannot be written. Nothing was downloaded.
        UserError: A device or the key of a server is not available. Nothing was downloaded.
    """
    for job in jobs:
        job.check_former(output)
        job.reserve(output)
    left = [job for job in framed(catalog, jobs) if not job.named or _unfinished(job, RunFolder(job.path(output)))]
    _check_devices(catalog, [job.model for job in left if job.model.weights])
    for job in left:
        for server in job.model.servers:
            key_of(server, job.model.name)
    catalog.fetch([job.model for job in jobs], progress)
    ready_jobs = [job.settled(output) for job in framed(catalog, jobs)]
    for job in ready_jobs:
        job.folder(output)
    return ready_jobs


def _check_devices(catalog: Catalog, models: Sequence[ModelSpec]) -> None:
    """Raises UserError if a device is not available, a model does not fit on it, or a spread model shares it with other
    processes."""
    shards = shard_of_process(os.environ).count
    for model in {model.name: model for model in models}.values():
        if model.runtime.device_map and shards > 1:
            raise UserError(
                f"model {model.name}: device_map: {model.runtime.device_map} spreads it over all GPUs, and {shards} processes "
                "would all do so. Start one process, or leave device_map out."
            )
        if text := catalog.too_large(model, provenance.device(model.runtime.device)):
            raise UserError(text)


# ---------------------------------------------------------------- running


def run_jobs(
    catalog: Catalog, jobs: Sequence[Job], output: Path, progress: Progress, shard: Shard | None = None
) -> list[Run] | None:
    """Run samples without an answer, then score. `jobs`: from `ready`. None if another process scores."""
    shard = shard or Shard()
    finished: list[Run] = []
    with keeping(lambda: stored_answers(jobs, output)), contextlib.ExitStack() as stack:

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
    """Run all jobs of one model. It is loaded once, and only if something is left to run. Each job is scored after it was
    run, unless other processes still run their share. After a Stop the model is asked nothing more."""
    model = jobs[0].model
    loaded: Adapter | None = None
    stop: Stop | None = None
    finished: list[Run] = []
    try:
        for job in jobs:
            with job.folder(output, shard) as folder:
                if _unfinished(job, folder):
                    loaded = job.adapter or loaded or load(model)
                    try:
                        runner.ask(job, loaded, folder, progress, shard)
                    except Stop as err:
                        stop = err
                        progress.note(f"{job.title}: stopped: {err}. {stored_answers([job], output)}")
                else:
                    progress.note(f"{job.title}: all {len(job.samples)} answered before in {folder.path}")
                    if job.adapter is not None:
                        _warn_of_stored(job, folder)
            if shard.count == 1:
                finished.append(_score(job, output, shard, progress))
            if stop is not None:
                break
    finally:
        if loaded is not None and jobs[0].adapter is None:  # a model in memory belongs to the caller
            loaded.close()
    return finished


def _warn_of_stored(job: Job, folder: RunFolder) -> None:
    """Warn that stored answers of a model in memory are used: only its name and version are known, so a changed model is
    not detected."""
    logging.getLogger("diva_bench").warning(
        "%s: model %s was not run: a model of this name and version (%r) has given all %d answers before, in %s. If you have "
        "changed the model, give it another `version`, or delete that folder.",
        job.task.name,
        job.model.name,
        job.adapter_version,
        len(job.samples),
        folder.path,
    )


def _unfinished(job: Job, folder: RunFolder) -> bool:
    answered = folder.answered()
    return any(answered.status(s.id) not in ("ok", "unsupported") for s in job.samples)


def _score(job: Job, output: Path, shard: Shard, progress: Progress) -> Run:
    with job.folder(output, shard) as folder:
        return Run.of(folder.path, scoring.score(job, folder, progress), job)


def _meet() -> None:
    """Wait until every process has run its share. If one dies, torchrun ends all; the same command then resumes."""
    import torch.distributed as processes

    processes.init_process_group("gloo", timeout=timedelta(days=30))
    processes.barrier()
    processes.destroy_process_group()


def stored_answers(jobs: Sequence[Job], results: Path) -> str:
    """A message with the number of stored answers, and how to get the others."""
    samples = sum(len(job.samples) for job in jobs)
    answers = sum(len(RunFolder(job.path(results)).statuses()) for job in jobs)
    where = str(jobs[0].path(results)) if len(jobs) == 1 else str(results)
    return f"{answers} of {samples} answers are kept in {where}: run the same command again to continue"


@contextlib.contextmanager
def keeping(report: Callable[[], str]) -> Iterator[None]:
    """Context that adds a note when a signal stops the block: `report` says what is kept, "" for nothing."""
    try:
        yield
    except KeyboardInterrupt as err:
        with contextlib.suppress(Exception):  # a second error must not hide the signal
            if note := report():
                err.add_note(note)
        raise


# ---------------------------------------------------------------- several processes


def shard_of_process(environment: Mapping[str, str]) -> Shard:
    """The share of this process. torchrun and `accelerate launch --multi_gpu` set RANK and WORLD_SIZE, and the address of
    the master.

    Raises:
        UserError: They are set without an address; this would otherwise show only at the end of the run.
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
