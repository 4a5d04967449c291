"""Runs from imported answers: their task, their model record, and their samples for scoring again.

Such a run folder differs from others in this: the adapter is "imported", which cannot be run; its args have the sha256
of the files and how they were read, so that other files are another run; `imported` in run.json names the files. Scores
that came with the answers get the scorer `given`. Without gold labels ("scores only") that is the only scorer, and the
task is <task>-scores-only, with the ids of the file as samples.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diva_bench import data
from diva_bench.catalog import Catalog
from diva_bench.data import Dataset
from diva_bench.errors import PredictionError, UnreadableRun, UserError
from diva_bench.predictions import AnswerFile, Prediction, ReadOptions
from diva_bench.predictions.match import listed
from diva_bench.scorers import METRICS
from diva_bench.scorers.source_score import METRIC, ROUNDING
from diva_bench.scorers.source_score import NAME as GIVEN
from diva_bench.specs import ModelSpec, Runtime, TaskSpec, digest
from diva_bench.specs.problems import words
from diva_bench.types import Progress, Response, Sample
from diva_bench.weights import assets

ADAPTER = "imported"
VERSION = "1"
"""Bump it when the same file gives other answers."""
ERRORS = {
    "wrong": "scored as an empty answer, and its released score as 0",
    "drop": "left out of the scores",
}
"""What can be done with answers that failed at their source; without a rule the run is not ranked."""
_NO_GOLD = "scores only"
_ALONE = "-scores-only"  # suffix of the name of a task without gold labels
_TOPS = {"diva-eval": {"labels": 1, "qa": 1, "pedants": 1, "bleu": 100, "chrf": 100, "sentence_bleu": 100}}
"""Format -> scorer of the task's primary metric -> score of a perfect answer in such a file."""


def model(
    name: str,
    sources: Sequence[AnswerFile],
    format: str,
    options: ReadOptions,
    labels: Mapping[str, str],
    *,
    subsets: Sequence[str] = (),
    errors: str | None = None,
) -> ModelSpec:
    """The model record of imported answers. Its identity has everything that decides how the files were read, and no path.

    Args:
        subsets: The subset of each file, if each is of one subset.
        errors: One of ERRORS.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UserError(
            f"--model-name {name!r}: a name has at most 64 letters, digits, '.', '_' and '-', and begins with a letter or digit."
        )
    args: dict[str, Any] = {"format": format, "sha256": [source.sha256 for source in sources]}
    args |= {"columns": dict(options.columns)} if options.columns else {}
    args |= {"only": options.only} if options.only else {}
    args |= {"labels": dict(labels)} if labels else {}
    args |= {"subsets": list(subsets)} if subsets else {}
    args |= {"errors": errors} if errors else {}
    return ModelSpec(
        name=name,
        edition=None,
        adapter=ADAPTER,
        description=f"Answers imported from {', '.join(source.path.name for source in sources)} ({format}).",
        citation="",
        licence="",
        args=args,
        weights={},
        runtime=Runtime(dtype="float32"),
        training=None,
    )


def record(sources: Sequence[AnswerFile], format: str, rows: int, matched: str) -> dict[str, Any]:
    """The entry `imported` of run.json."""
    files = [{"name": source.path.name, "sha256": source.sha256, "bytes": len(source.data)} for source in sources]
    return {"files": files, "format": format, "rows": rows, "matched": matched}


def with_names(task: TaskSpec, labels: Mapping[str, str]) -> TaskSpec:
    """The task with the source's names of its choices, for the label parser. A name without a letter, such as "+", is only
    compared with whole answers during the import."""
    from diva_bench.scorers.label_tokens import key_of  # the tables of the parser take long to load

    return task.model_copy(update={"names": {name: choice for name, choice in labels.items() if key_of(name)}})


def with_source_score(task: TaskSpec, responses: Iterable[Response], top: int | None) -> TaskSpec:
    """The task with the scorer of the scores that came with the answers, if there are any.

    Args:
        top: The score of a perfect answer at the source, see `scale`.

    Raises:
        PredictionError: The scale of the scores is unknown, or scores are outside it.
    """
    scores = [r.scores[GIVEN] for r in responses if GIVEN in r.scores]
    if not scores:
        return task
    least, most = min(scores), max(scores)
    if top is None:
        raise PredictionError(
            f"scores came with the answers, from {least:g} to {most:g}, and the score of a perfect answer is not known: give "
            "--top 1 (probabilities; right or wrong) or --top 100 (BLEU; per cent), or write `given: {top: 1}` among the "
            f"scorers of task {task.name}. Without scores: leave score= out of --columns."
        )
    if least < 0 or most > top * (1 + ROUNDING):
        raise PredictionError(
            f"the scores that came with the answers go from {least:g} to {most:g}; here they are read as 0 to {top}. "
            "--top 1 or --top 100 sets the score of a perfect answer."
        )
    return task.model_copy(update={"scorers": {**task.scorers, GIVEN: {"top": top}}})


def scale(task: TaskSpec, format: str, top: int | None) -> int | None:
    """The score of a perfect answer at the source: `top`, else by the task (`given: {top: 1}` among its scorers), else by
    the format; None if unknown. It is never guessed from the scores, because a system without right answers would then
    have another scale."""
    written: int | None = (task.scorers.get(GIVEN) or {}).get("top")
    if top is not None or written is not None:
        return top if top is not None else written
    scorer = next((metric.scorer for metric in METRICS if metric.name == task.primary), "")
    return _TOPS.get(format, {}).get(scorer)


# ---------------------------------------------------------------- without gold labels


def without_gold(task: TaskSpec) -> TaskSpec:
    """The task of runs that have only the scores from their source."""
    changes: dict[str, Any] = {
        "name": f"{task.name}{_ALONE}",
        "choices": None,
        "groups": (),
        "scorers": {},
        "primary": METRIC,
    }
    return task.model_copy(update=changes)


def ids_as_data(predictions: Sequence[Prediction], clusters: Mapping[str, str] | None, task: TaskSpec) -> Dataset:
    """The ids of a file as samples; partial data if the task has another number of rows.

    Args:
        clusters: id -> cluster; None: each id is its own cluster.

    Raises:
        PredictionError: An id occurs twice or has no cluster.
    """
    ids = [str(p.id) for p in predictions]
    if any(p.id is None for p in predictions):
        raise PredictionError("--no-gold needs a file with ids: without them two runs cannot be compared.")
    twice = [ident for ident, count in Counter(ids).items() if count > 1]
    if twice:
        raise PredictionError(f"more than once: {len(twice)}: {listed(twice)}. Nothing was written.")
    missing = [i for i in ids if clusters is not None and i not in clusters]
    if missing:
        raise PredictionError(f"--clusters has no cluster for {len(missing)} ids: {listed(missing)}.")
    return _dataset({i: clusters[i] if clusters else i for i in ids}, task)


def _dataset(clusters: Mapping[str, str], task: TaskSpec) -> Dataset:
    """Sorted by id, so that the order of a file does not change the task."""
    samples = tuple(Sample(ident, (_NO_GOLD,), cluster) for ident, cluster in sorted(clusters.items()))
    most, name = task.data.rows, task.name.removesuffix(_ALONE)
    partial = ""
    if most is None:
        partial = f"{len(samples):,} ids in the file, and task {name} does not say how many rows there are (`rows`)"
    elif not most - len(task.data.exclude) <= len(samples) <= most:
        partial = f"{len(samples):,} ids in the file, but task {name} says there are {most:,} rows"
    fingerprint = digest([_NO_GOLD, [[s.id, s.cluster] for s in samples]])
    return Dataset(samples, (), fingerprint, partial=partial, former=fingerprint, questions=False)


# ---------------------------------------------------------------- scoring again


def rule(spec: ModelSpec) -> str | None:
    """What a run does with answers that failed at their source, one of ERRORS; None: it is not ranked."""
    return spec.args.get("errors") if spec.adapter == ADAPTER else None


def is_imported(record: Mapping[str, Any]) -> bool:
    """Whether a run.json is of an imported run."""
    return bool(record["model"]["adapter"] == ADAPTER)


def needs_data(record: Mapping[str, Any]) -> bool:
    """Whether the run needs gold labels from outside its folder."""
    return "clusters" not in record.get("imported", {})


def task_of(catalog: Catalog, record: Mapping[str, Any]) -> TaskSpec:
    """The task of an imported run by the catalog, with the scorer of its own scores."""
    stored = record["task"]
    if not needs_data(record):
        try:
            return TaskSpec.model_validate({**stored, "home": Path()})
        except ValidationError as err:
            raise UnreadableRun(f"run.json of {record['id']}: task.{words(err)}. Import the file again.") from err
    task = catalog.task(stored["name"], stored["edition"])
    task = with_names(task, record["model"]["args"].get("labels", {}))
    settings = stored["scorers"].get(GIVEN)
    return task.model_copy(update={"scorers": {**task.scorers, GIVEN: settings}}) if settings else task


def whole_task(catalog: Catalog, record: Mapping[str, Any], task: TaskSpec) -> TaskSpec:
    """The task for which scores without gold labels were imported, with its choices and scorers; `task` itself if the
    catalog no longer has it. `record`: run.json."""
    try:
        whole = catalog.task(task.name.removesuffix(_ALONE), task.edition)
    except UserError:
        return task
    return with_names(whole, record["model"]["args"].get("labels", {}))


def dataset_of(
    record: Mapping[str, Any],
    responses: Callable[[], Iterable[Response]],
    task: TaskSpec,
    progress: Progress,
    data_dir: Path | None = None,
) -> Dataset:
    """The samples of an imported run; clips are not needed. Without gold labels they come from the run's own `responses`.

    Args:
        record: run.json. It does not have `data_dir`, which must be given again.
    """
    if needs_data(record):
        return data.load(task, assets.cache_folder(), progress, data_dir=data_dir, need_audio=False)
    clusters = record["imported"]["clusters"] or {}
    return _dataset({response.id: clusters.get(response.id, response.id) for response in responses()}, task)
