"""Runs on disk -> leaderboard tables. Reads run.json and summary.json of every run; computes no score.

Only runs in one task folder answered the same questions, so a table is a task folder: editions, trials with --limit and
changed prompts never share one. A run that is not complete is listed below the ranked ones, with the reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from diva_bench.errors import StoreError
from diva_bench.report.tables import Cell, Column, Score, Table
from diva_bench.scorers import METRICS, higher_is_better
from diva_bench.stats import FEW_CLUSTERS

MINI = "mini: synthetic speech, shows that the pipeline works, not how good a model is"
_EDITIONS = ("full", "mini", "nano")


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class MetricSummary(_File):
    """One metric of one run: its value, the 95 % interval, the number of answers it is about."""

    value: float
    low: float
    high: float
    n: int


class RunSummary(_File):
    """summary.json of one run, as written by the judge, and what of run.json a table needs. Unknown keys are errors."""

    task: str
    task_id: str
    model: str
    edition: str
    run_id: str
    complete: bool
    reason: str
    n: int
    clusters: int
    scored: int
    errors: int
    unsupported: int
    unparsed: int | None
    data_faults: list[Any]
    limit: int | None
    primary: str
    metrics: dict[str, MetricSummary]
    groups: dict[str, dict[str, dict[str, float | None]]]
    at_chance: bool | None
    baseline: float | None
    signature: dict[str, str]
    scorers: dict[str, Any]
    dtype: str
    repeatable: bool
    task_edition: str
    """From run.json: the edition of the task; a nano model is asked the mini task."""
    model_edition: str | None
    """From run.json."""

    @classmethod
    def from_json(cls, folder: Path) -> RunSummary:
        """Read one run folder. Raises StoreError naming file and key where anything is missing, unknown or of a wrong
        type, or where the folder is not the one the run was written to."""
        file = folder / "summary.json"
        run = _Run.read(folder)
        raw = _read(file)
        try:
            summary = cls.model_validate({**raw, **run.editions()})
        except ValidationError as err:
            raise _malformed(file, err) from err
        for key, found, wanted in (
            ("task_id", summary.task_id, folder.parent.name),
            ("run_id", summary.run_id, folder.name),
            ("task", summary.task, run.task.name),
            ("model", summary.model, run.model.name),
        ):
            if found != wanted:
                raise StoreError(f"{file}: {key}: {found!r} does not belong here, expected {wanted!r}. {_REMEDY}")
        return summary

    @classmethod
    def unjudged(cls, folder: Path) -> RunSummary:
        """A run without summary.json: still being asked, or killed."""
        run = _Run.read(folder)
        known: dict[str, Any] = {
            "task": run.task.name,
            "task_id": folder.parent.name,
            "model": run.model.name,
            "edition": run.task.edition,
            "run_id": folder.name,
            "complete": False,
            "reason": "no summary.json yet",
            "limit": run.limit,
            "primary": run.task.primary,
            "dtype": run.model.runtime.dtype,
            "data_faults": [],
            "repeatable": True,
        }
        known |= dict.fromkeys(("n", "clusters", "scored", "errors", "unsupported"), 0)
        known |= {key: {} for key in ("metrics", "groups", "signature", "scorers")}
        known |= dict.fromkeys(("unparsed", "at_chance", "baseline"))
        return cls.model_validate(known | run.editions())

    @property
    def ranked(self) -> bool:
        return self.complete and self.primary in self.metrics

    @property
    def label(self) -> str:
        """The model's name, with its edition where that is not the task's."""
        other = self.model_edition not in (None, self.task_edition)
        return f"{self.model} ({self.model_edition})" if other else self.model


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Runtime(_Part):
    dtype: str


class _Task(_Part):
    name: str
    edition: str
    primary: str


class _Model(_Part):
    name: str
    edition: str | None
    runtime: _Runtime


class _Run(_Part):
    """What a leaderboard needs of run.json, which has much more."""

    task: _Task
    model: _Model
    limit: int | None

    @classmethod
    def read(cls, folder: Path) -> _Run:
        try:
            return cls.model_validate(_read(folder / "run.json"))
        except ValidationError as err:
            raise _malformed(folder / "run.json", err) from err

    def editions(self) -> dict[str, Any]:
        return {"task_edition": self.task.edition, "model_edition": self.model.edition}


_REMEDY = "Delete it and run `diva-bench score` on the folder to have it written again."


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise StoreError(f"{path}: cannot be read as JSON ({err}).") from err
    if not isinstance(raw, dict):
        raise StoreError(f"{path}: expected an object, found {type(raw).__name__}.")
    return raw


def _malformed(path: Path, err: ValidationError) -> StoreError:
    """The first problem in words; summary.json is derived and can be had again, run.json cannot."""
    problem = err.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    what = {"missing": "is missing", "extra_forbidden": "is not a known key"}
    message = what.get(problem["type"]) or f"{problem['msg']} (found {problem['input']!r})"
    remedy = f" {_REMEDY}" if path.name == "summary.json" else ""
    return StoreError(f"{path}: {key}: {message}.{remedy}")


def collect(results: Path) -> list[RunSummary]:
    """Every run under <results>/<task id>/<run id>/, in the order of the paths. A folder without run.json is no run."""
    folders = [path.parent for path in sorted(results.glob("*/*/run.json"))]
    return [
        RunSummary.from_json(folder) if (folder / "summary.json").exists() else RunSummary.unjudged(folder)
        for folder in folders
    ]


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
    kept.sort(key=lambda s: (s.limit is not None, _order(s.task_edition), s.task, s.task_id, s.run_id))
    tables = []
    for name in dict.fromkeys(s.task_edition for s in kept):
        runs = [s for s in kept if s.task_edition == name and s.limit is None]
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
    sign = -1 if higher_is_better(primary) else 1
    ranked.sort(key=lambda s: (sign * s.metrics[primary].value, s.run_id))
    others = _other_metrics(ranked, primary)
    labels = Counter(s.label for s in runs)
    names = {s.run_id: s.label if labels[s.label] == 1 else s.run_id for s in runs}
    rows: list[list[Cell]] = []
    for s in ranked:
        # Equal values share a rank.
        rank = 1 + sum(sign * r.metrics[primary].value < sign * s.metrics[primary].value for r in ranked)
        main = s.metrics[primary]
        score = Score(main.value, main.low, main.high)
        more: list[Cell] = [s.metrics[m].value if m in s.metrics else None for m in others]
        rows.append([rank, names[s.run_id], score, main.n, _flags(s), *_counts(s), *more, s.run_id])
    for s in runs:
        if s not in ranked:
            gap: list[Cell] = [None] * len(others)
            rows.append([None, names[s.run_id], None, s.scored, _why_not(s, primary), *_counts(s), *gap, s.run_id])
    columns = [Column(name) for name in ("#", "model", primary, "n", "remarks")]
    columns += [Column(name, optional=True) for name in ("errors", "unsupported", "unparsed", *others, "run")]
    return Table(f"{first.task_id}{_caption(first)}", columns, rows, _notes(ranked, primary))


def _caption(run: RunSummary) -> str:
    """What must stand beside every number of an edition, and of a trial."""
    labels = [MINI] if run.task_edition != "full" else []
    labels += [f"trial on {run.limit} items, not a result"] if run.limit is not None else []
    return f" ({'; '.join(labels)})" if labels else ""


def _other_metrics(runs: Sequence[RunSummary], primary: str) -> list[str]:
    """The metrics beside the primary one, in the order of `list metrics`; unparsed answers have a column of counts."""
    found = {name for s in runs for name in s.metrics} - {primary, "unparsed"}
    known = [m.name for m in METRICS if m.name in found]
    return [*dict.fromkeys(known), *sorted(found - set(known))]


def _counts(run: RunSummary) -> list[Cell]:
    return [run.errors, run.unsupported, run.unparsed]


def _flags(run: RunSummary) -> str:
    flags = [
        (bool(run.at_chance), "at chance"),
        (run.clusters < FEW_CLUSTERS, f"{run.clusters} clusters"),
        (not run.repeatable, "not repeatable"),
        (bool(run.data_faults), f"{len(run.data_faults)} data faults"),
    ]
    return ", ".join(text for holds, text in flags if holds)


def _why_not(run: RunSummary, primary: str) -> str:
    if not run.complete:
        return f"not ranked: {run.reason or 'incomplete'}"
    return f"not ranked: no value for {primary}; its primary metric is {run.primary}"


def _notes(ranked: Sequence[RunSummary], primary: str) -> list[str]:
    if not ranked:
        return []
    notes = [f"{primary} [95 % interval, cluster bootstrap]; {_better(primary)} is better"]
    if any(s.at_chance for s in ranked):
        notes.append("at chance: the interval of the difference to a constant answer reaches 0")
    baselines = sorted({s.baseline for s in ranked if s.baseline is not None})
    notes += [f"{primary} of a constant answer: {' or '.join(f'{b:.1f}' for b in baselines)}"] if baselines else []
    if any(s.clusters < FEW_CLUSTERS for s in ranked):
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


def _better(metric: str) -> str:
    return "higher" if higher_is_better(metric) else "lower"


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
    scores = [Score(s.metrics[s.primary].value, mark=" *" if s.at_chance else "") for s in runs]
    if len(scores) > 1:
        return " / ".join(f"{score.value:.1f}{score.mark}" for score in scores)
    return scores[0] if scores else None
