"""Runs made of imported answers: their task, their model record, and their samples again when they are scored anew.

A run folder like any other, but for this: the model's adapter is "imported", which nobody can ask; its args say of what
file (sha256) and how it was read, so that another file is another run; `imported` in run.json names the files. The scores
that came with the answers are one more scorer, `given`. Without gold labels ("scores only") that is the only one, and the
task is one of its own: named <task>-scores-only, its samples the ids of the file.
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
from diva_bench.scorers.label_tokens import key_of
from diva_bench.scorers.source_score import METRIC, ROUNDING
from diva_bench.scorers.source_score import NAME as GIVEN
from diva_bench.specs import ModelSpec, Runtime, TaskSpec, digest
from diva_bench.specs.problems import words
from diva_bench.types import Progress, Response, Sample
from diva_bench.weights import assets

ADAPTER = "imported"
VERSION = "1"
"""Bump when the same file would be read into other answers."""
ERRORS = {
    "wrong": "scored as an empty answer, and its released score as 0",
    "drop": "left out of the scores",
}
"""What may be done with an answer that failed at its source, in place of keeping the run out of every ranking."""
_NO_GOLD = "scores only"
_ALONE = "-scores-only"  # behind the name of a task without gold labels
_TOPS = {"diva-eval": {"labels": 1, "qa": 1, "pedants": 1, "bleu": 100, "chrf": 100, "sentence_bleu": 100}}
"""Format -> scorer of the task's primary metric -> what a perfect answer gets in such a file."""


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
    """Who gave the answers: all that decides what was read is in its identity, no path is.

    `subsets`: of what each file is, where each is of one. `errors`: one of ERRORS, where answers failed at their source.
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
    """`imported` of run.json."""
    files = [{"name": source.path.name, "sha256": source.sha256, "bytes": len(source.data)} for source in sources]
    return {"files": files, "format": format, "rows": rows, "matched": matched}


def with_names(task: TaskSpec, labels: Mapping[str, str]) -> TaskSpec:
    """The task with what the answers' source calls its choices, for the label parser; a name without a letter, such as "+",
    is compared with whole answers alone, when they are imported."""
    return task.model_copy(update={"names": {name: choice for name, choice in labels.items() if key_of(name)}})


def with_source_score(task: TaskSpec, responses: Iterable[Response], top: int | None) -> TaskSpec:
    """The task with the scorer of the scores that came with the answers, if any came.

    `top`: the score of a perfect answer at the source, see `scale`. Raises PredictionError where scores came whose scale is
    not known, and for scores below 0 or above it.
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
    """What a perfect answer gets at the source of its score: as `top`, else as the task says (`given: {top: 1}` among its
    scorers), else as is known of the format's own harness; None where nothing is known. Never by the scores themselves:
    a system that is right in nothing would have a scale of its own."""
    written: int | None = (task.scorers.get(GIVEN) or {}).get("top")
    if top is not None or written is not None:
        return top if top is not None else written
    scorer = next((metric.scorer for metric in METRICS if metric.name == task.primary), "")
    return _TOPS.get(format, {}).get(scorer)


# ---------------------------------------------------------------- without gold labels


def without_gold(task: TaskSpec) -> TaskSpec:
    """The task of runs that have nothing but the scores they came with."""
    changes: dict[str, Any] = {
        "name": f"{task.name}{_ALONE}",
        "choices": None,
        "groups": (),
        "scorers": {},
        "primary": METRIC,
    }
    return task.model_copy(update=changes)


def ids_as_data(predictions: Sequence[Prediction], clusters: Mapping[str, str] | None, task: TaskSpec) -> Dataset:
    """The ids of a file as samples: partial data, where the task says that there are more or fewer.

    `clusters`: id -> unit of resampling; None: each id is its own.

    Raises PredictionError for an id that stands twice or has no cluster.
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
    """Sorted by id, so that the order of a file makes no other task."""
    samples = tuple(Sample(ident, (_NO_GOLD,), cluster) for ident, cluster in sorted(clusters.items()))
    most, name = task.data.rows, task.name.removesuffix(_ALONE)
    partial = ""
    if most is None:
        partial = f"{len(samples):,} ids in the file, and task {name} does not say how many rows there are (`rows`)"
    elif not most - len(task.data.exclude) <= len(samples) <= most:
        partial = f"{len(samples):,} ids in the file, but task {name} says there are {most:,} rows"
    fingerprint = digest([_NO_GOLD, [[s.id, s.cluster] for s in samples]])
    return Dataset(samples, (), fingerprint, partial=partial, former=fingerprint, questions=False)


# ---------------------------------------------------------------- again


def rule(spec: ModelSpec) -> str | None:
    """What a run does with answers that failed at their source, one of ERRORS; None: it is not ranked then."""
    return spec.args.get("errors") if spec.adapter == ADAPTER else None


def is_imported(record: Mapping[str, Any]) -> bool:
    """Whether a run.json is of an imported run."""
    return bool(record["model"]["adapter"] == ADAPTER)


def needs_data(record: Mapping[str, Any]) -> bool:
    """Whether the run has gold labels beyond what is in its own folder."""
    return "clusters" not in record.get("imported", {})


def task_of(catalog: Catalog, record: Mapping[str, Any]) -> TaskSpec:
    """The task of an imported run as the catalog has it now, with the scorer of its own scores."""
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
    """The task that scores without gold labels were imported for, with its choices and scorers; `task` itself where the
    catalog has it no more. `record`: run.json."""
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
    """The samples of an imported run: no clip is needed. `record`: run.json; `data_dir` is not in it, so it is given again.
    Without gold labels the samples are those of the run's own `responses`."""
    if needs_data(record):
        return data.load(task, assets.cache_folder(), progress, data_dir=data_dir, need_audio=False)
    clusters = record["imported"]["clusters"] or {}
    return _dataset({response.id: clusters.get(response.id, response.id) for response in responses()}, task)
