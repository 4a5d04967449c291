"""The functions of `import diva_bench`: they check their arguments and call the modules that do the work.

A mistake of the caller is a UserError. Notes go to the logger "diva_bench", and bars to a Progress if one is given.
Nothing is printed, and the process never ends.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from diva_bench import provenance
from diva_bench.catalog import Catalog
from diva_bench.data.place import data_folder
from diva_bench.errors import UserError, nearest
from diva_bench.evaluation import importing, jobs, rescoring
from diva_bench.evaluation.jobs import Settings
from diva_bench.predictions import FORMATS, imported
from diva_bench.report import leaderboard as boards
from diva_bench.report import published as cited
from diva_bench.report.compare import chosen, differences_table, groups_tables, scores_table, tests_table
from diva_bench.report.compare import compare as compared
from diva_bench.report.runs import failures, unreadable_table
from diva_bench.runs import aligned
from diva_bench.runs.records import of_tasks
from diva_bench.runs.run import Run, Runs, no_changes
from diva_bench.runs.run import load_runs as loaded
from diva_bench.specs import Json, ModelSpec, TaskSpec
from diva_bench.tables import Tables
from diva_bench.types import Adapter, Logged, Progress

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _public(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Wrap a public function: a missing or unknown argument is a UserError, and messages name Python arguments instead of
    options of the command line."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as err:
            names = ", ".join(signature.parameters)
            strange = next((name for name in kwargs if name not in signature.parameters), "")
            near = nearest(strange, signature.parameters) if strange else ""
            raise UserError(f"{function.__name__}: {err}.{near} Its arguments: {names}.") from err
        try:
            return function(*args, **kwargs)
        except UserError as err:
            err.args = (in_python(str(err)), *err.args[1:])
            raise

    return checked


_OPTION = re.compile(
    r"`(?:diva-bench|pip|inspect|git) [^`]*`"
    r"|\bdiva-bench(?: [^\s`;,()]+)+"
    r"|--(?P<name>[a-z][a-z-]*)(?:[ =](?P<value>'[^']*'|[A-Z]{2,}[A-Z=,.]*[A-Z]|full|mini|nano|wrong|drop|float32|\d+)\b)?"
)
"""Matches commands, which stay as they are, and options of the command line with their values."""
_ARGUMENTS = {"path": "paths", "model": "models", "task": "tasks", "scorer": "scorers", "batch-budget": "batch_seconds"}
_ARGUMENTS |= {"allow-partial": "allow_partial=True", "in-memory": "in_memory=True", "no-gold": "gold=False"}


def in_python(message: str) -> str:
    """A message with Python arguments instead of options of the command line: "data_dir=DIR" for "--data-dir DIR"."""

    def argument(match: re.Match[str]) -> str:
        if match["name"] is None:
            return match[0]
        name = _ARGUMENTS.get(match["name"], match["name"].replace("-", "_"))
        value = match["value"] or ""
        if value and not value.isdigit() and value == value.lower() and value[0] != "'":
            value = repr(value)
        return f"{name}={value}" if value and "=" not in name else name + (f" {value}" if value else "")

    return _OPTION.sub(argument, message)


class _Notes(Logged):
    """Writes notes to the log for callers from Python."""

    def note(self, message: str) -> None:
        super().note(in_python(message))


PathLike = str | os.PathLike[str]
ModelLike = PathLike | ModelSpec | Adapter
TaskLike = PathLike | TaskSpec


@_public
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
    batch_rows: int | None = None,
    allow_partial: bool = False,
    max_requests: int | None = None,
    max_cost: float | None = None,
    paths: PathLike | Iterable[PathLike] = (),
) -> Runs:
    """Run models on tasks, and score the answers. The same call continues where an earlier one stopped.

    Args:
        models: Names, paths of YAML files, ModelSpecs, or models in memory: objects with `name`, `version`, `accepts`
            and
            `generate(requests) -> responses` (see Adapter). Runs of a model in memory are marked, because its weights are
            not hashed.
        tasks: Names of tasks, subsets or suites, paths of YAML files, or Tasks, such as `Task.from_rows` makes.
        edition: Edition of the data: "auto", "full", "mini", "mini-v1" or "nano" (mini data and nano models).
        limit: Number of samples; such a run is a trial.
        dtype: "float32", "bfloat16" or "float16"; None: the model's own.
        device: "cpu", "cuda", "cuda:1"; "auto": the model's own setting, else a GPU if there is one.
        audio: Audio conditions, one run for each: "silence", "noise", "shuffled", "10" (dB), "speed=0.9",
            "codec=opus-16k".
        prompts: Number of prompt variants of every task.
        output: Folder of runs.
        data_dir: Folder with the corpora of the full tasks; None: DIVA_BENCH_DATA.
        progress: Shows bars; None: no bars, and notes go to the logger "diva_bench".
        prompt: Replaces the prompt of the task. Like `system` and `max_new_tokens` it changes the task id.
        system: Replaces the system message; "" for none.
        max_new_tokens: Replaces the limit of tokens of an answer.
        model_edition: Edition of the models; None: that of the data, if the models have it.
        seed: Seed of sampling, of `limit`, and of the random baseline.
        batch_seconds: Seconds of audio, with padding, that the encoder reads at once; None: the model's own.
        batch_rows: Samples that are answered together; None: the model's own.
        allow_partial: Run although rows of the data are missing; such a run is left out of all tables.
        max_requests: Largest number of requests to servers; then the run stops, and the same call continues it.
        max_cost: Largest cost of these requests, by the prices in the models' YAML.
        paths: Folders of task and model YAML files.

    Returns:
        The runs, one for every model, task, prompt variant and condition. A run with failed answers is incomplete: its
        `summary.errors` is their number, and a warning in the log gives the number and the most common reason.

    Raises:
        UserError: An argument is wrong. No model was loaded.
    """
    specs = _models(models), _tasks(tasks)
    settings = Settings(
        edition=edition,
        model_edition=model_edition,
        output=_path(output, "output"),
        limit=_number(limit),
        seed=_number(seed),
        batch_seconds=_number(batch_seconds),
        batch_rows=batch_rows,
        device=None if device == "auto" else device,
        dtype=dtype,
        audio=tuple(_listed(audio, "audio", "a condition, such as 'silence'", (str,))),
        prompts=_number(prompts),
        data_dir=_data_folder(data_dir),
        allow_partial=_truth(allow_partial, "allow_partial"),
        prompt=prompt,
        system=system,
        max_new_tokens=_number(max_new_tokens),
        max_requests=_number(max_requests),
        max_cost=_number(max_cost),
    )
    reporter, catalog = _progress(progress), Catalog(_paths(paths))
    command = provenance.without_folders(f"diva_bench.run({_names(specs[0])}, {_names(specs[1])}{settings.changed()})")
    planned = jobs.prepare(catalog, *specs, settings, reporter, command=command)
    planned = jobs.ready(catalog, planned, settings.output, reporter)
    runs = Runs(jobs.run_jobs(catalog, planned, settings.output, reporter) or ())
    for text in failures(runs):
        logging.getLogger("diva_bench").warning("%s", in_python(text))
    return runs


@_public
def load_runs(path: PathLike | Iterable[PathLike] = "results") -> Runs:
    """Runs on disk.

    Args:
        path: The folder of a run, of a task, or of runs, such as "results"; or several of them.

    Returns:
        The runs. Runs that cannot be read are left out: a warning in the log names each, and `unreadable` of the result
            has path and
        reason.

    Raises:
        UserError: There is no such folder, or `path` is a run that cannot be read.
    """
    return loaded(_paths(path, "path"))


@_public
def score(
    runs: Run | PathLike | Iterable[Run | PathLike],
    *,
    scorers: str | Iterable[str] | Mapping[str, Mapping[str, Any] | None] | None = None,
    tasks: TaskSpec | Iterable[TaskSpec] = (),
    data_dir: PathLike | None = None,
    share_rows: bool = False,
    paths: PathLike | Iterable[PathLike] = (),
    progress: Progress | None = None,
) -> Runs:
    """Score stored answers again, with the scorers of this version. No model is run.

    The rows that are stored with a run are used. Where the data at hand differ from them, a note in the log says how.

    Args:
        runs: Runs, or folders as `load_runs` takes them.
        scorers: More scorers, for this call: a name, names, or name -> settings.
        tasks: The tasks of the runs, if they were made in Python, for new settings and groups.
        data_dir: Folder with the corpora of the full tasks; None: DIVA_BENCH_DATA.
        share_rows: Store references and transcripts among the results even if the data of the task is licensed.
        paths: Folders of task and model YAML files.
        progress: Shows bars; None: no bars, and notes go to the logger "diva_bench".

    Returns:
        The runs with their new scores.

    Raises:
        UserError: A run cannot be read; or it has no stored rows, and its task or data have changed since the model was
            run.
    """
    memory_tasks = [_only(task, TaskSpec, "tasks", "a Task, or a list of them") for task in _several(tasks, TaskSpec)]
    catalog, reporter = Catalog(_paths(paths), memory_tasks), _progress(progress)
    where, more, share = _data_folder(data_dir), _scorers(scorers), _truth(share_rows, "share_rows")
    stored = _runs(runs)
    scored = (rescoring.score(catalog, one.path, reporter, more, where, share=share) for one in stored)
    return Runs(scored, stored.unreadable, every=True)


@_public
def compare(
    *runs: Run | PathLike | Iterable[Run | PathLike],
    metrics: str | Iterable[str] = (),
    references: Mapping[str, str] | None = None,
    paths: PathLike | Iterable[PathLike] = (),
    progress: Progress | None = None,
) -> Tables:
    """Compare two or more runs of one task, sample by sample: scores, paired differences with intervals, tests, groups.

    Args:
        runs: Runs, or their folders; or one list of them.
        metrics: Names of metrics; none: all metrics for two runs, the primary metric for more.
        references: Group -> the value with which its other values are compared.
        paths: Folders of task and model YAML files.
        progress: Shows bars; None: no bars, and notes go to the logger "diva_bench".

    Raises:
        UserError: The runs had different questions, or are not complete.
    """
    flat = _runs(runs[0] if len(runs) == 1 else runs) if runs else Runs()
    if len(flat) < 2:
        left_out = "".join(f" Left out: {problem}" for problem in flat.unreadable)
        raise UserError(f"compare needs two runs or more, and got {len(flat)}: compare(run, other).{left_out}")
    names = _listed(metrics, "metrics", "the name of a metric", (str,))
    values = _texts(references, "references", "group -> value")
    lineup = aligned.sheet(flat, Catalog(_paths(paths)), _progress(progress))
    comparison = compared(lineup, chosen(lineup, names))
    tables = [scores_table(comparison), differences_table(comparison), tests_table(comparison)]
    return Tables([*tables, *groups_tables(comparison, values)])


@_public
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
    """Rank the runs of every task by its primary metric: one table per task id.

    Args:
        runs: Runs, or folders as `load_runs` takes them.
        tasks: Only these tasks: names, with or without the subset, or ids.
        overview: Only the tables of tasks by models.
        in_memory: Also rank runs of models in memory, whose weights are not hashed.
        ranks: Also compute the interval of every rank; this reads all rows.
        paths: Folders of task and model YAML files.
        progress: Shows bars; None: no bars, and notes go to the logger "diva_bench".

    Raises:
        UserError: No run is of a task in `tasks`.
    """
    names = _listed(tasks, "tasks", "the name of a task", (str,))
    overview, in_memory = _truth(overview, "overview"), _truth(in_memory, "in_memory")
    ranks = _truth(ranks, "ranks")
    stored = no_changes(_runs(runs))
    summaries = of_tasks([one.summary for one in stored], names)
    if in_memory:
        summaries = [summary.admitted() for summary in summaries]
    drawn = aligned.drawn(summaries, Catalog(_paths(paths)), _progress(progress)) if ranks else {}
    tables = boards.overviews(summaries) if overview else boards.leaderboard(summaries, drawn=drawn)
    tables += [] if overview else cited.block(summaries)
    if overview and not tables:
        logging.getLogger("diva_bench").warning("%s", in_python(boards.no_overview(summaries)))
    return Tables([*tables, *unreadable_table(stored.unreadable)])


@_public
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
    """Make runs from the answers of another system, to score, rank and compare them; see `diva-bench import`.

    Args:
        files: One set of answers; "{subset}" in a name stands for every subset of the task.
        task: Name of a task.
        model_name: Name of the system.
        format: "auto", or a format in the documentation of `diva-bench import`.
        columns: Role ("id", "text", "score") -> column, for jsonl and csv.
        labels: Text in the files -> label of the task.
        only: The filter (lm-eval, lmms-eval) or the epoch (inspect) to import, if there are several.
        top: The score of a perfect answer in the files, 1 or 100; None: as the format defines it.
        errors: What happens to answers that failed at their source: "wrong" scores them as empty answers, "drop" leaves
            them out; None: the run is not ranked.
        edition: Edition of the data: "full", "mini" or "mini-v1".
        data_dir: Folder with the corpora of the full tasks; None: DIVA_BENCH_DATA.
        gold: False keeps the scores in the files and needs no data of the task.
        clusters: With gold=False, a table of ids and clusters.
        output: Folder of runs.
        paths: Folders of task and model YAML files.
        progress: Shows bars.

    Raises:
        UserError: A file cannot be read or does not fit the task. Nothing was written.
    """
    options = importing.Import(
        files=_paths(files, "files"),
        task=_only(task, str, "task", "the name of a task"),
        model_name=_only(model_name, str, "model_name", "a name"),
        format=_one_of(format, "format", ("auto", *FORMATS)),
        columns=_texts(columns, "columns", "role -> column"),
        labels=_texts(labels, "labels", "text -> label"),
        only=None if only is None else _only(only, str, "only", "text, or None"),
        top=_one_of(top, "top", (None, 1, 100)),
        errors=_one_of(errors, "errors", (None, *imported.ERRORS)),
        edition=_one_of(edition, "edition", ("full", "mini", "mini-v1")),
        data_dir=_data_folder(data_dir),
        gold=_truth(gold, "gold"),
        clusters=None if clusters is None else _path(clusters, "clusters"),
        output=_path(output, "output"),
    )
    reporter = _progress(progress)
    command = provenance.without_folders(f"diva_bench.import_predictions({task!r}, {model_name!r})")
    runs, _ = importing.import_entries([("", options)], Catalog(_paths(paths)), reporter, command)
    return Runs(runs)


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


def _models(value: Any) -> list[jobs.ModelLike]:
    one = isinstance(value, str | os.PathLike | ModelSpec) or any(
        hasattr(value, part) for part in ("generate", "accepts")
    )
    every = [value] if one else _iterated(value, "models", _MODEL)
    return [_model(model) for model in every]


def _model(model: Any) -> jobs.ModelLike:
    if isinstance(model, str | os.PathLike):
        return os.fspath(model)
    if isinstance(model, ModelSpec):
        return model
    if isinstance(model, type) or not hasattr(model, "generate"):
        hint = (
            f"; {model.__name__} is a class: give an object of it, {model.__name__}(...)"
            if isinstance(model, type)
            else ""
        )
        raise _wrong("models", model, _MODEL, hint)
    if missing := [part for part in _PARTS if not hasattr(model, part)]:
        raise UserError(
            f"models: a {type(model).__name__} has no {', '.join(missing)}. A model in memory has `name` and `version` (text: "
            'they identify it), `accepts` (such as {"audio"}) and `generate(requests) -> responses`.'
        )
    _only(model.name, str, "models: its `name`", "text")
    _only(model.version, str, "models: its `version`", "text")
    accepts = model.accepts
    if isinstance(accepts, str) or not isinstance(accepts, Iterable) or not set(accepts) <= set(_ACCEPTS):
        raise _wrong("models: its `accepts`", accepts, f"a set of {', '.join(map(repr, _ACCEPTS))}")
    if not callable(model.generate):
        raise _wrong("models: its `generate`", model.generate, "a method: generate(requests) -> a list of Response")
    return cast(Adapter, model)


def _tasks(value: Any) -> list[jobs.TaskLike]:
    tasks: list[jobs.TaskLike] = []
    every = [value] if isinstance(value, str | os.PathLike | TaskSpec) else _iterated(value, "tasks", _TASK)
    for task in every:
        if not isinstance(task, str | os.PathLike | TaskSpec):
            raise _wrong("tasks", task, _TASK)
        tasks.append(task if isinstance(task, TaskSpec) else os.fspath(task))
    return tasks


def _progress(value: Any) -> Progress:
    """The given Progress; without one, notes go to the log."""
    if value is None:
        return _Notes()
    if missing := [part for part in ("track", "bar", "note") if not callable(getattr(value, part, None))]:
        raise _wrong("progress", value, "None, or a Progress", f"; it has no {', '.join(missing)}")
    return cast(Progress, value)


def _iterated(value: Any, what: str, allowed: str) -> list[Any]:
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise _wrong(what, value, allowed)
    every = list(value)
    if not every:
        raise UserError(f"{what}: the list is empty. Allowed: {allowed}.")
    return every


def _runs(value: Any) -> Runs:
    """Runs, or those in folders."""
    every = [value] if isinstance(value, Run | str | os.PathLike) else value
    if isinstance(every, Runs):
        return every
    if isinstance(every, bytes | Mapping) or not isinstance(every, Iterable):
        raise _wrong("runs", value, "a Run, a folder, or a list of them")
    every = list(every)
    if not every:
        raise UserError("runs: the list is empty. Allowed: a Run, a folder, or a list of them.")
    runs = Runs()
    for one in every:
        runs = runs + (
            one if isinstance(one, Runs) else [one] if isinstance(one, Run) else loaded([_path(one, "runs")])
        )
    return runs


def _paths(value: Any, what: str = "paths") -> list[Path]:
    every = [value] if isinstance(value, str | os.PathLike) else value
    if isinstance(every, bytes) or not isinstance(every, Iterable):
        raise _wrong(what, value, "a path, or a list of them")
    return [_path(one, what) for one in every]


def _data_folder(value: Any) -> Path | None:
    return None if value is None else data_folder(_path(value, "data_dir"))


def _path(value: Any, what: str) -> Path:
    text = os.fspath(_only(value, (str, os.PathLike), what, "a path"))
    if not isinstance(text, str) or not text.strip():  # Python reads an empty path as the current folder
        raise _wrong(what, text, "a path")
    return Path(text)


def _listed(value: Any, what: str, allowed: str, kinds: tuple[type, ...]) -> list[Any]:
    return [_only(one, kinds, what, f"{allowed}; or a list of them") for one in _several(value, kinds)]


def _several(value: Any, kinds: type | tuple[type, ...]) -> Iterable[Any]:
    one = (str, bytes, Mapping, *(kinds if isinstance(kinds, tuple) else (kinds,)))
    return [value] if isinstance(value, one) or not isinstance(value, Iterable) else value


def _only(value: Any, kinds: type | tuple[type, ...], what: str, allowed: str) -> Any:
    if not isinstance(value, kinds):
        raise _wrong(what, value, allowed)
    return value


def _number(value: Any) -> Any:
    """A number of numpy as one of Python; any other value as it is."""
    return value.item() if isinstance(value, np.number) else value


def _truth(value: Any, what: str) -> bool:
    return bool(_only(value, bool, what, "True or False"))


def _one_of(value: Any, what: str, allowed: Sequence[Any]) -> Any:
    if isinstance(value, bool) or value not in allowed:
        near = nearest(value, [one for one in allowed if isinstance(one, str)]) if isinstance(value, str) else ""
        raise _wrong(what, value, ", ".join(map(repr, allowed)), near and f".{near}")
    return value


def _texts(value: Any, what: str, how: str) -> dict[str, str]:
    """A mapping of text to text; None is an empty one."""
    table = {} if value is None else value
    if not isinstance(table, Mapping) or not all(isinstance(side, str) for pair in table.items() for side in pair):
        raise _wrong(what, value, f"a mapping of text, {how}")
    return dict(table)


def _scorers(value: Any) -> dict[str, Json]:
    """Scorer -> its settings, of a name, of names, or of such a mapping."""
    table = {value: None} if isinstance(value, str) else {} if value is None else value
    if isinstance(table, Iterable) and not isinstance(table, Mapping | bytes):
        names = list(table)
        table = dict.fromkeys(names) if all(isinstance(name, str) for name in names) else None
    if not isinstance(table, Mapping) or not all(
        isinstance(name, str) and isinstance(settings, Mapping | None) for name, settings in table.items()
    ):
        raise _wrong("scorers", value, "the name of a scorer, a list of names, or a mapping, name -> settings")
    return {name: dict(settings or {}) for name, settings in table.items()}


def _wrong(what: str, value: Any, allowed: str, more: str = "") -> UserError:
    text = repr(value)
    description = f"{text} ({type(value).__name__})" if len(text) < 60 else f"a {type(value).__name__}"
    stop = "" if more.endswith("?") else "."
    return UserError(f"{what}: {description} is not allowed{more}{stop} Allowed: {allowed}.")


def _names(value: Sequence[Any]) -> str:
    """Models or tasks as the record of a run has them."""
    return "[" + ", ".join(repr(one if isinstance(one, str) else one.name) for one in value) + "]"
