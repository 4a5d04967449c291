"""The functions of `import diva_bench`: arguments are checked here, in words, and all else is done below.

A mistake of the caller is a UserError. News goes to the logger "diva_bench", and bars to a Progress where one is given.
Nothing is printed, and the process is never ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from diva_bench import assets, evaluation, importing, provenance
from diva_bench.catalog import Catalog
from diva_bench.errors import UserError
from diva_bench.evaluation import Settings
from diva_bench.report import leaderboard as boards
from diva_bench.report.compare import chosen, differences_table, groups_tables, scores_table, tests_table
from diva_bench.report.compare import compare as compared
from diva_bench.report.runs import unreadable_table
from diva_bench.report.tables import Tables
from diva_bench.runs import aligned, unchanged
from diva_bench.runs.records import of_tasks
from diva_bench.runs.run import Run, Runs
from diva_bench.runs.run import load_runs as loaded
from diva_bench.specs import Json, ModelSpec, TaskSpec
from diva_bench.types import Adapter, Logged, Progress

PathLike = str | os.PathLike[str]
ModelLike = PathLike | ModelSpec | Adapter
TaskLike = PathLike | TaskSpec


def run(
    models: ModelLike | Iterable[ModelLike],
    tasks: TaskLike | Iterable[TaskLike],
    *,
    edition: str = "auto",
    limit: int | None = None,
    dtype: str | None = None,
    device: str = "auto",
    audio: str | Iterable[str] = (),
    prompts: int = 1,
    output: PathLike = "results",
    data_dir: PathLike | None = None,
    progress: Progress | None = None,
    prompt: str | None = None,
    system: str | None = None,
    max_new_tokens: int | None = None,
    model_edition: str | None = None,
    seed: int = 0,
    batch_seconds: float | None = None,
    allow_partial: bool = False,
    paths: PathLike | Iterable[PathLike] = (),
) -> Runs:
    """Ask models the questions of tasks, and score the answers. The same call goes on where an earlier one stopped.

    Args:
        models: names, paths of YAML files, ModelSpecs, or models in memory: objects with `name`, `version`, `accepts` and
            `generate(requests) -> responses` (see Adapter). Runs of a model in memory are marked: its weights are not hashed.
        tasks: names of tasks, subsets or suites, paths of YAML files, or Tasks, such as `Task.from_rows` makes.
        edition: of the data: "auto", "full", "mini" or "nano" (mini data and nano models).
        limit: number of samples; such a run is a trial.
        dtype: "float32", "bfloat16" or "float16"; None: the model's own.
        device: "cpu", "cuda", "cuda:1"; "auto": the model's own setting, else a GPU where there is one.
        audio: conditions that the clips are changed by, each a run of its own: "silence", "noise", "shuffled", "10" (dB),
            "speed=0.9", "codec=opus-16k".
        prompts: number of wordings that a task is asked in.
        output: folder of runs.
        data_dir: folder of the full tasks' corpora; None: DIVA_BENCH_DATA.
        progress: shows bars; None: none, and news goes to the logger "diva_bench".
        prompt: in place of the task's own, as are the next two; such runs are of another task id.
        system: message; "" for none.
        max_new_tokens: longest answer.
        model_edition: of the models; None: that of the data where they have it.
        seed: of sampling, of `limit`, and of the random baseline.
        batch_seconds: padded audio seconds of a batch; None: the model's own.
        allow_partial: ask though rows of the data are missing; such a run is in no table.
        paths: folders of task and model YAML files.

    Returns the runs, one for every model, task, wording and condition; a run whose questions failed is incomplete, and says
    so. Raises UserError for a mistake, before anything is asked.
    """
    known = _models(models), _tasks(tasks)
    settings = Settings(
        edition=edition,
        model_edition=model_edition,
        output=_path(output, "output"),
        limit=limit,
        seed=seed,
        batch_seconds=batch_seconds,
        device=None if device == "auto" else device,
        dtype=dtype,
        audio=tuple(_listed(audio, "audio", "a condition, such as 'silence'", (str,))),
        prompts=prompts,
        data_dir=None if data_dir is None else _path(data_dir, "data_dir"),
        allow_partial=allow_partial,
        prompt=prompt,
        system=system,
        max_new_tokens=max_new_tokens,
    )
    shown, catalog = _shown(progress), Catalog(_paths(paths))
    command = provenance.without_folders(f"diva_bench.run({_names(known[0])}, {_names(known[1])}{settings.changed()})")
    jobs = evaluation.prepare(catalog, *known, settings, shown, command=command)
    jobs = evaluation.ready(catalog, jobs, settings.output, shown)
    return Runs(evaluation.run_jobs(catalog, jobs, settings.output, shown) or ())


def load_runs(path: PathLike | Iterable[PathLike] = "results") -> Runs:
    """The runs on disk: `path` is a run's folder, a task's, a folder of runs such as "results", or several of them.

    Raises UserError where there is no such folder; runs that cannot be read are left out, and named in the log.
    """
    return loaded(_paths(path))


def score(
    runs: Run | PathLike | Iterable[Run | PathLike],
    *,
    scorers: str | Mapping[str, Mapping[str, Any] | None] | None = None,
    tasks: TaskSpec | Iterable[TaskSpec] = (),
    data_dir: PathLike | None = None,
    paths: PathLike | Iterable[PathLike] = (),
    progress: Progress | None = None,
) -> Runs:
    """Score stored answers again, with today's scorers; the runs' models are not asked.

    Args:
        runs: Runs, or folders as `load_runs` takes them.
        scorers: more of them, this time: a name, or name -> settings.
        tasks: those of the runs that were made in Python.

    Raises UserError where a run cannot be read, or its task or data have changed since it was asked.
    """
    given = [_only(task, TaskSpec, "tasks", "a Task") for task in _several(tasks, TaskSpec)]
    more: dict[str, Json] = {}
    if scorers is not None:
        table = {scorers: None} if isinstance(scorers, str) else scorers
        if not isinstance(table, Mapping):
            raise _wrong("scorers", scorers, "a name, or a mapping, name -> settings")
        more = {str(name): dict(settings or {}) for name, settings in table.items()}
    catalog, shown = Catalog(_paths(paths), given), _shown(progress)
    where = None if data_dir is None else _path(data_dir, "data_dir")
    return Runs(evaluation.score(catalog, one.path, shown, more, where) for one in _runs(runs))


def compare(
    *runs: Run | PathLike,
    metrics: str | Iterable[str] = (),
    references: Mapping[str, str] | None = None,
    paths: PathLike | Iterable[PathLike] = (),
    progress: Progress | None = None,
) -> Tables:
    """Two or more runs of one task, sample by sample: scores, paired differences with intervals, tests, groups.

    `metrics`: which; none: all of two runs, the primary one of more. `references`: group -> the value that its other
    values are compared with. Raises UserError for runs that were not asked the same, or are not complete.
    """
    flat = list(_runs(runs))
    if len(flat) < 2:
        raise UserError(f"compare needs two runs or more, and got {len(flat)}: compare(run, other).")
    wanted = _listed(metrics, "metrics", "the name of a metric", (str,))
    lined = aligned.sheet([one.path for one in flat], Catalog(_paths(paths)), _shown(progress))
    found = compared(lined, chosen(lined, wanted))
    tables = [scores_table(found), differences_table(found), tests_table(found)]
    return Tables([*tables, *groups_tables(found, dict(references or {}))])


def leaderboard(
    runs: Run | PathLike | Iterable[Run | PathLike] = "results",
    *,
    tasks: str | Iterable[str] = (),
    overview: bool = False,
    in_memory: bool = False,
    ranks: bool = False,
    paths: PathLike | Iterable[PathLike] = (),
    progress: Progress | None = None,
) -> Tables:
    """The runs of every task, ranked by its primary metric: one table for every task id.

    Args:
        runs: Runs, or folders as `load_runs` takes them.
        tasks: only these.
        overview: only the tables of tasks by models.
        in_memory: rank runs of models in memory too, whose weights are not hashed.
        ranks: also the interval of every rank; reads all rows.
    """
    names = _listed(tasks, "tasks", "the name of a task", (str,))
    found = of_tasks([one.summary for one in _runs(runs)], names)
    unreadable: list[str] = []
    place = found[0].folder.parent.parent if found else Path()
    summaries, _ = unchanged.checked(found, place, assets.cache_folder(), unreadable)
    if in_memory:
        summaries = [summary.admitted() for summary in summaries]
    between = aligned.ranks(summaries, Catalog(_paths(paths)), _shown(progress)) if ranks else {}
    tables = boards.overviews(summaries) if overview else boards.leaderboard(summaries, ranks=between)
    return Tables([*tables, *unreadable_table(unreadable)])


def import_predictions(
    files: PathLike | Iterable[PathLike],
    task: str,
    model_name: str,
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    only: str | None = None,
    top: int | None = None,
    errors: str | None = None,
    edition: str = "full",
    data_dir: PathLike | None = None,
    gold: bool = True,
    clusters: PathLike | None = None,
    output: PathLike = "results",
    paths: PathLike | Iterable[PathLike] = (),
    progress: Progress | None = None,
) -> Runs:
    """Make runs of answers that another system gave, to score, rank and compare them as any; see `diva-bench import`.

    Raises UserError where a file cannot be read or does not fit the task; nothing is written then.
    """
    given = importing.Options(
        files=_paths(files),
        task=_only(task, str, "task", "the name of a task"),
        model_name=_only(model_name, str, "model_name", "a name"),
        format=format,
        columns=columns,
        labels=labels,
        only=only,
        top=top,
        errors=errors,
        edition=edition,
        data_dir=None if data_dir is None else _path(data_dir, "data_dir"),
        gold=gold,
        clusters=None if clusters is None else _path(clusters, "clusters"),
        output=_path(output, "output"),
    )
    shown = _shown(progress)
    command = provenance.without_folders(f"diva_bench.import_predictions({task!r}, {model_name!r})")
    made, _ = importing.import_entries([("", given)], Catalog(_paths(paths)), shown, command)
    return Runs(made)


# ---------------------------------------------------------------- arguments

_MODEL = (
    "a name (see `diva-bench list models`), the path of a YAML file, a ModelSpec, or a model in memory: an object with "
    "`name`, `version`, `accepts` and `generate`; or a list of them"
)
_TASK = (
    "a name (see `diva-bench list tasks`), the path of a YAML file, or a Task, such as Task.from_rows makes; or a list of "
    "them"
)
_PARTS = ("name", "version", "accepts", "generate")
_ACCEPTS = ("audio", "text", "choices", "prior", "speaker")


def _models(given: Any) -> list[evaluation.ModelLike]:
    one = isinstance(given, str | os.PathLike | ModelSpec) or any(
        hasattr(given, part) for part in ("generate", "accepts")
    )
    every = [given] if one else _iterated(given, "models", _MODEL)
    return [_model(model) for model in every]


def _model(model: Any) -> evaluation.ModelLike:
    if isinstance(model, str | os.PathLike):
        return os.fspath(model)
    if isinstance(model, ModelSpec):
        return model
    if isinstance(model, type) or not hasattr(model, "generate"):
        made = (
            f"; {model.__name__} is a class: give an object of it, {model.__name__}(...)"
            if isinstance(model, type)
            else ""
        )
        raise _wrong("models", model, _MODEL, made)
    if lacking := [part for part in _PARTS if not hasattr(model, part)]:
        raise UserError(
            f"models: a {type(model).__name__} has no {', '.join(lacking)}. A model in memory has `name` and `version` (text: "
            'with them it is told from others), `accepts` (such as {"audio"}) and `generate(requests) -> responses`.'
        )
    _only(model.name, str, "models: its `name`", "text")
    _only(model.version, str, "models: its `version`", "text")
    accepts = model.accepts
    if isinstance(accepts, str) or not isinstance(accepts, Iterable) or not set(accepts) <= set(_ACCEPTS):
        raise _wrong("models: its `accepts`", accepts, f"a set of {', '.join(map(repr, _ACCEPTS))}")
    if not callable(model.generate):
        raise _wrong("models: its `generate`", model.generate, "a method: generate(requests) -> a list of Response")
    return cast(Adapter, model)


def _tasks(given: Any) -> list[evaluation.TaskLike]:
    found: list[evaluation.TaskLike] = []
    every = [given] if isinstance(given, str | os.PathLike | TaskSpec) else _iterated(given, "tasks", _TASK)
    for task in every:
        if not isinstance(task, str | os.PathLike | TaskSpec):
            raise _wrong("tasks", task, _TASK)
        found.append(task if isinstance(task, TaskSpec) else os.fspath(task))
    return found


def _shown(given: Any) -> Progress:
    """The Progress that was given; without one, notes go to the log."""
    if given is None:
        return Logged()
    if lacking := [part for part in ("track", "bar", "note") if not callable(getattr(given, part, None))]:
        raise _wrong("progress", given, "None, or a Progress", f"; it has no {', '.join(lacking)}")
    return cast(Progress, given)


def _iterated(given: Any, what: str, allowed: str) -> list[Any]:
    if isinstance(given, bytes | Mapping) or not isinstance(given, Iterable):
        raise _wrong(what, given, allowed)
    every = list(given)
    if not every:
        raise UserError(f"{what}: the list is empty. Allowed: {allowed}.")
    return every


def _runs(given: Any) -> Runs:
    """Runs, or those in folders."""
    every = [given] if isinstance(given, Run | str | os.PathLike) else given
    if isinstance(every, Runs):
        return every
    if isinstance(every, bytes | Mapping) or not isinstance(every, Iterable):
        raise _wrong("runs", given, "a Run, a folder, or a list of them")
    found: list[Run] = []
    for one in every:
        if isinstance(one, Run):
            found.append(one)
        elif isinstance(one, Runs):
            found += one
        else:
            found += loaded([_path(one, "runs")])
    return Runs(found)


def _paths(given: Any) -> list[Path]:
    every = [given] if isinstance(given, str | os.PathLike) else given
    if isinstance(every, bytes) or not isinstance(every, Iterable):
        raise _wrong("paths", given, "a path, or a list of them")
    return [_path(one, "paths") for one in every]


def _path(given: Any, what: str) -> Path:
    return Path(os.fspath(_only(given, (str, os.PathLike), what, "a path")))


def _listed(given: Any, what: str, allowed: str, kinds: tuple[type, ...]) -> list[Any]:
    return [_only(one, kinds, what, f"{allowed}; or a list of them") for one in _several(given, kinds)]


def _several(given: Any, kinds: type | tuple[type, ...]) -> Iterable[Any]:
    return given if isinstance(given, Iterable) and not isinstance(given, kinds) else [given]


def _only(given: Any, kinds: type | tuple[type, ...], what: str, allowed: str) -> Any:
    if not isinstance(given, kinds):
        raise _wrong(what, given, allowed)
    return given


def _wrong(what: str, given: Any, allowed: str, more: str = "") -> UserError:
    said = repr(given)
    shown = f"{said} ({type(given).__name__})" if len(said) < 60 else f"a {type(given).__name__}"
    return UserError(f"{what}: {shown} is not allowed{more}. Allowed: {allowed}.")


def _names(given: Sequence[Any]) -> str:
    """Models or tasks as the record of a run has them."""
    return "[" + ", ".join(repr(one if isinstance(one, str) else one.name) for one in given) + "]"
