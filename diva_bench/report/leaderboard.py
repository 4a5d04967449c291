"""Runs on disk -> leaderboard tables. Reads summary.json of every run; computes no score.

Only runs in one task folder answered the same questions, so a table is a task folder: editions, trials with --limit and
changed prompts never share one. A run that is not complete is listed below the ranked ones, with the reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from diva_bench.errors import StoreError
from diva_bench.report.tables import Cell, Column, Score, Table, write
from diva_bench.scorers import METRICS
from diva_bench.stats import FEW_CLUSTERS, RESAMPLES, SEED

MINI = "mini: synthetic speech, shows that the pipeline works, not how good a model is"
_EDITIONS = ("full", "mini", "nano")


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class MetricSummary(_File):
    """One metric of one run: its value, the 95 % interval, and the answers and clusters it is about."""

    value: float
    low: float
    high: float
    n: int
    clusters: int
    few_clusters: bool
    higher_is_better: bool

    @property
    def score(self) -> Score:
        return Score(self.value, self.low, self.high)


class RunSummary(_File):
    """summary.json of one run, as the judge writes it. Missing and unknown keys are errors."""

    task: str
    task_id: str
    model: str
    run_id: str
    edition: str
    """Of the task."""
    model_edition: str | None
    """A nano model is asked the mini task; a model without weights has no edition."""
    dtype: str | None
    limit: int | None
    seed: int
    primary: str
    repeatable: bool
    n: int
    scored: int
    clusters: int
    errors: int
    unsupported: int
    unparsed: int | None
    complete: bool
    reason: str
    data_faults: list[dict[str, str]]
    signature: dict[str, str]
    metrics: dict[str, MetricSummary]
    groups: dict[str, dict[str, dict[str, float]]]
    baseline: float | None
    at_chance: bool | None

    @property
    def ranked(self) -> bool:
        return self.complete and self.primary in self.metrics

    @property
    def label(self) -> str:
        """The model's name, with its edition where that is not the task's."""
        other = self.model_edition not in (None, self.edition)
        return f"{self.model} ({self.model_edition})" if other else self.model


_REMEDY = "Delete it and run `diva-bench score` on the folder to have it written again."


def summary_of(raw: dict[str, Any], file: Path) -> RunSummary:
    """The content of the summary.json `file`, checked. Raises StoreError naming file and key where something is
    missing, unknown or of a wrong type, or where the file does not lie in the folder its run was written to."""
    summary = _checked(RunSummary, raw, file, _REMEDY)
    for key, found, wanted in (
        ("task_id", summary.task_id, file.parent.parent.name),
        ("run_id", summary.run_id, file.parent.name),
    ):
        if found != wanted:
            raise StoreError(f"{file}: {key}: {found!r} does not belong here, expected {wanted!r}. {_REMEDY}")
    return summary


def collect(results: Path) -> list[RunSummary]:
    """Every run under <results>/<task id>/<run id>/, in the order of the paths.

    A folder without run.json is no run; one without summary.json is a run still being asked, or killed.
    """
    runs = []
    for folder in [path.parent for path in sorted(results.glob("*/*/run.json"))]:
        file = folder / "summary.json"
        runs.append(summary_of(_read(file), file) if file.exists() else _unjudged(folder / "run.json"))
    return runs


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Task(_Part):
    name: str
    edition: str
    primary: str


class _Model(_Part):
    name: str
    edition: str | None


class _Run(_Part):
    """What a leaderboard needs of run.json, which has much more."""

    task: _Task
    model: _Model
    limit: int | None
    seed: int


def _unjudged(file: Path) -> RunSummary:
    """What run.json says of a run that has no summary."""
    run = _checked(_Run, _read(file), file)
    known: dict[str, Any] = {
        "task": run.task.name,
        "task_id": file.parent.parent.name,
        "model": run.model.name,
        "run_id": file.parent.name,
        "edition": run.task.edition,
        "model_edition": run.model.edition,
        "limit": run.limit,
        "seed": run.seed,
        "primary": run.task.primary,
        "repeatable": True,
        "complete": False,
        "reason": "no summary.json yet",
        "data_faults": [],
    }
    known |= dict.fromkeys(("n", "scored", "clusters", "errors", "unsupported"), 0)
    known |= dict.fromkeys(("dtype", "unparsed", "baseline", "at_chance"))
    return RunSummary.model_validate(known | {key: {} for key in ("signature", "metrics", "groups")})


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise StoreError(f"{path}: cannot be read as JSON ({err}).") from err
    if not isinstance(raw, dict):
        raise StoreError(f"{path}: expected an object, found {type(raw).__name__}.")
    return raw


M = TypeVar("M", bound=BaseModel)


def _checked(schema: type[M], raw: dict[str, Any], file: Path, remedy: str = "") -> M:
    """`raw` as `schema`; StoreError tells the first problem in words."""
    try:
        return schema.model_validate(raw)
    except ValidationError as err:
        problem = err.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        what = {"missing": "is missing", "extra_forbidden": "is not a known key"}
        message = what.get(problem["type"]) or f"{problem['msg']} (found {problem['input']!r})"
        raise StoreError(f"{file}: {key}: {message}. {remedy}".rstrip()) from err


# ---------------------------------------------------------------- tables


def leaderboard(summaries: Iterable[RunSummary], edition: str | None = None, task: str | None = None) -> list[Table]:
    """One table per task id, before them an overview of every edition that has more than one task.

    `edition` and `task` (a task's name, its name without the subset, or its id) keep only what they name.
    """
    kept = [
        s
        for s in summaries
        if edition in (None, s.edition) and (task in (None, s.task, s.task_id) or s.task.startswith(f"{task}-"))
    ]
    kept.sort(key=lambda s: (s.limit is not None, _order(s.edition), s.task, s.task_id, s.run_id))
    tables = []
    for name in dict.fromkeys(s.edition for s in kept):
        runs = [s for s in kept if s.edition == name and s.limit is None]
        if len({s.task_id for s in runs}) > 1:
            tables.append(_overview(name, runs))
    return tables + [_task_table([s for s in kept if s.task_id == id]) for id in dict.fromkeys(s.task_id for s in kept)]


def page(tables: Sequence[Table]) -> str:
    """LEADERBOARD.md: the tables, and who wrote them. The same runs give the same bytes."""
    head = "<!-- Generated by `diva-bench leaderboard --format md`. Do not edit. -->\n\n# Leaderboard\n"
    return "\n".join([head, *(table.to_markdown() for table in tables)])


def _order(edition: str) -> int:
    return _EDITIONS.index(edition) if edition in _EDITIONS else len(_EDITIONS)


def _task_table(runs: Sequence[RunSummary]) -> Table:
    first = runs[0]
    # The scorers are not in the task's identity, so runs of one folder may have been judged for different metrics.
    primaries = Counter(s.primary for s in runs if s.complete) or Counter(s.primary for s in runs)
    primary = primaries.most_common(1)[0][0]
    ranked = [s for s in runs if s.ranked and s.primary == primary]
    sign = -1 if ranked and ranked[0].metrics[primary].higher_is_better else 1
    ranked.sort(key=lambda s: (sign * s.metrics[primary].value, s.run_id))
    others = _other_metrics(ranked, primary)
    labels = Counter(s.label for s in runs)
    names = {s.run_id: s.label if labels[s.label] == 1 else s.run_id for s in runs}
    rows: list[list[Cell]] = []
    for s in ranked:
        # Equal values share a rank.
        rank = 1 + sum(sign * r.metrics[primary].value < sign * s.metrics[primary].value for r in ranked)
        main = s.metrics[primary]
        more: list[Cell] = [s.metrics[m].value if m in s.metrics else None for m in others]
        rows.append([rank, names[s.run_id], main.score, main.n, flag(s), *_counts(s), *more, s.run_id])
    for s in runs:
        if s not in ranked:
            gap: list[Cell] = [None] * len(others)
            rows.append([None, names[s.run_id], None, s.scored, _why_not(s, primary), *_counts(s), *gap, s.run_id])
    columns = [Column(name) for name in ("#", "model", primary, "n", "remarks")]
    columns += [Column(name, optional=True) for name in ("errors", "unsupported", "unparsed", *others, "run")]
    return Table(f"{first.task_id}{_caption(first)}", columns, rows, _notes(ranked, primary))


def _caption(run: RunSummary) -> str:
    """What must stand beside every number of an edition, and of a trial."""
    labels = [MINI] if run.edition != "full" else []
    labels += [f"trial on {run.limit} items, not a result"] if run.limit is not None else []
    return f" ({'; '.join(labels)})" if labels else ""


def _other_metrics(runs: Sequence[RunSummary], primary: str) -> list[str]:
    """The metrics beside the primary one, in the order of `list metrics`; unparsed answers have a column of counts."""
    found = {name for s in runs for name in s.metrics} - {primary, "unparsed"}
    known = [m.name for m in METRICS if m.name in found]
    return [*dict.fromkeys(known), *sorted(found - set(known))]


def _counts(run: RunSummary) -> list[Cell]:
    return [run.errors, run.unsupported, run.unparsed]


def number(metric: MetricSummary | None) -> str:
    """A metric with its interval: "22.4 [19.1, 25.7]"."""
    return write(metric.score if metric else None)


def flag(run: RunSummary) -> str:
    """What speaks against taking a run's number at its face."""
    main = run.metrics.get(run.primary)
    flags = [
        "at chance" if run.at_chance else "",
        f"{main.clusters} clusters" if main and main.few_clusters else "",
        "" if run.repeatable else "not repeatable",
        f"data faults: {len(run.data_faults)}" if run.data_faults else "",
    ]
    return ", ".join(text for text in flags if text)


def _why_not(run: RunSummary, primary: str) -> str:
    if not run.complete:
        return f"not ranked: {run.reason or 'incomplete'}"
    return f"not ranked: no value for {primary}; its primary metric is {run.primary}"


def _notes(ranked: Sequence[RunSummary], primary: str) -> list[str]:
    if not ranked:
        return []
    main = [s.metrics[primary] for s in ranked]
    better = "higher" if main[0].higher_is_better else "lower"
    notes = [f"{primary} [95 % interval: cluster bootstrap, {RESAMPLES} resamples, seed {SEED}]; {better} is better"]
    if any(s.at_chance for s in ranked):
        notes.append("at chance: the interval of the difference to a constant answer reaches 0")
    baselines = sorted({s.baseline for s in ranked if s.baseline is not None})
    notes += [f"{primary} of a constant answer: {' or '.join(f'{b:.1f}' for b in baselines)}"] if baselines else []
    if any(m.few_clusters for m in main):
        notes.append(f"fewer than {FEW_CLUSTERS} clusters: the interval is too narrow")
    if any(not s.repeatable for s in ranked):
        notes.append("not repeatable: a batch had to be cut, and outside float32 answers depend on the batch")
    for scorer in dict.fromkeys(name for s in ranked for name in sorted(s.signature)):
        signed: dict[str, list[str]] = {}
        for s in ranked:
            signed.setdefault(s.signature.get(scorer, "unsigned"), []).append(s.run_id)
        if len(signed) == 1:
            notes += signed
        else:  # settings or versions differ: the rows cannot simply be compared
            notes += [f"{signature} ({scorer} of {', '.join(who)} only)" for signature, who in signed.items()]
    return notes


def _overview(edition: str, runs: Sequence[RunSummary]) -> Table:
    """Tasks by models, the primary metric of each; no average, for the metrics are not on one scale."""
    models = sorted({s.label for s in runs})
    ids = list(dict.fromkeys(s.task_id for s in runs))
    tasks = Counter(next(s.task for s in runs if s.task_id == id) for id in ids)
    rows: list[list[Cell]] = []
    for id in ids:
        here = [s for s in runs if s.task_id == id]
        name = here[0].task if tasks[here[0].task] == 1 else id
        cells: list[Cell] = [_cell([s for s in here if s.label == model and s.ranked]) for model in models]
        rows.append([name, here[0].primary, *cells])
    columns = [Column("task"), Column("metric"), *(Column(model, optional=True) for model in models)]
    marked = any(s.at_chance for s in runs if s.ranked)
    notes = ["primary metrics; details and intervals in the table of each task"]
    notes += ["* at chance: not to be told from a constant answer"] if marked else []
    return Table(f"overview, {MINI if edition != 'full' else edition}", columns, rows, notes)


def _cell(runs: Sequence[RunSummary]) -> Cell:
    """The value of one model at one task; all values where it ran in several ways (dtype, settings): none is picked."""
    scores = [Score(s.metrics[s.primary].value, mark="* " if s.at_chance else "") for s in runs]
    if len(scores) > 1:
        return " / ".join(write(score) for score in scores)
    return scores[0] if scores else None
