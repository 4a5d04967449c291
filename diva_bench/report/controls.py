"""Does the model use the audio? Every run under an audio condition beside the run of the same model on the unchanged
clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from diva_bench.errors import StoreError
from diva_bench.runs.records import synthetic_notes
from diva_bench.runs.run import Run
from diva_bench.runs.runner import Job
from diva_bench.stats import FEW_NOTE, P_NOTE, RESAMPLES, SEED, Difference, Reduce, paired, totals
from diva_bench.tables import Cell, Column, Score, Table
from diva_bench.types import Row


@dataclass(frozen=True, slots=True)
class Measured:
    """A run by its primary metric.

    Attributes:
        rows: Sample id -> statistics.
        reduce: Of the scorer that has the metric.
        gap: Why it cannot be compared, else "".
    """

    run: Run | None = None
    gap: str = ""
    rows: Mapping[str, Row] = field(default_factory=dict)
    reduce: Reduce | None = None


def listening_table(jobs: Sequence[Job], results: Path) -> Table:
    """One row per job with a condition; all were run. Their runs without a condition are searched in `results`."""
    controlled = [job for job in jobs if job.control is not None]
    rows: list[list[Cell]] = []
    differences: list[Difference] = []
    gaps: list[str] = []
    for job in controlled:
        ours, plain = _measured(job, results), _measured(replace(job, control=None), results)
        gap = ours.gap or plain.gap
        difference = None if gap else _difference(job, ours, plain)
        differences += [difference] if difference else []
        gaps += [f"not compared: {job.title}: {gap}"] if gap else []
        rows.append(_row(job, ours, plain, difference, gap))
    columns = [
        Column("task"),
        Column("model"),
        Column("audio"),
        Column("score"),
        Column("as it is"),
        Column("difference [95 %]"),
        Column("n"),
        Column("remarks"),
        Column("p", optional=True, digits=4),
        Column("metric", optional=True),
    ]
    captions = synthetic_notes((job.task.edition, job.task.data.speech == "synthetic") for job in controlled)
    caption = f" ({'; '.join(captions)})" if captions else ""
    return Table(f"does the model listen{caption}", columns, rows, [*_notes(controlled, differences), *gaps])


def _row(job: Job, ours: Measured, plain: Measured, difference: Difference | None, gap: str) -> list[Cell]:
    variant = f" (prompt {job.task.variant})" if job.task.variant else ""
    metric = job.task.primary
    scores = [one.run.summary.metrics[metric].value if one.run and not one.gap else None for one in (ours, plain)]
    return [
        job.task.name + variant,
        ours.run.summary.label if ours.run else job.model.name,
        job.control.name if job.control else None,
        *scores,
        Score(difference.value, difference.low, difference.high) if difference else None,
        difference.n if difference else None,
        "not compared" if gap else _verdict(job, ours, difference),
        difference.p if difference else None,
        metric,
    ]


def _verdict(job: Job, ours: Measured, difference: Difference | None) -> str:
    """The meaning of the difference in a few words."""
    if difference is None or job.control is None or ours.run is None:
        return ""
    worse = -difference.value if ours.run.summary.metrics[job.task.primary].higher_is_better else difference.value
    sure = difference.sure
    direction = ("worse" if worse > 0 else "better") if sure else "no difference seen"
    if job.control.wordless and not (sure and worse > 0):
        direction = "no sign of listening"
    elif job.control.kind == "shuffled":
        direction = "it listens"
    return direction + (f", {difference.clusters} clusters" if difference.few_clusters else "")


def _measured(job: Job, results: Path) -> Measured:
    """A job's stored run, or why it cannot be compared."""
    path = job.path(results)
    if not (path / "run.json").is_file():
        none = "no run without --audio in this folder; the same command without it makes one"
        return Measured(gap=none if job.control is None else "never asked")
    run, again = Run.open(path), f"run `diva-bench score {path}`"
    if not (path / "summary.json").is_file() or not (path / "scores.jsonl").is_file():
        return Measured(gap=f"not scored: the run is not finished, or {again}")
    if not run.summary.complete:
        how = "the run without --audio is " if job.control is None else ""
        return Measured(run, f"{how}incomplete, {run.summary.reason}")
    try:
        rows = run.scores()
    except StoreError as err:  # a fault of an earlier run must not end this command
        return Measured(run, str(err))
    if rows.keys() == {s.id for s in job.samples}:
        for name, scorer in job.scorers.items():
            if run.summary.signature.get(name) != scorer.signature:
                continue  # scored by another version, so not comparable with a new run
            mine = {ident: row[name] for ident, row in rows.items()}
            if job.task.primary in scorer.reduce(totals([row for row in mine.values() if row])):
                return Measured(run, "", mine, scorer.reduce)
    return Measured(run, f"no {job.task.primary} of today's scorers for all samples: {again}")


def _difference(job: Job, ours: Measured, plain: Measured) -> Difference:
    """Score under the condition minus score on the unchanged clips, paired by sample."""
    assert ours.reduce is not None
    pairs = [(ours.rows[s.id], plain.rows[s.id], s.cluster) for s in job.samples]
    first, second, clusters = zip(*pairs, strict=True)
    return paired(first, second, clusters, ours.reduce)[job.task.primary]


def _notes(jobs: Sequence[Job], differences: Sequence[Difference]) -> list[str]:
    notes = [
        "score: under the audio condition; as it is: the same model's run on the clips as they are; difference: the first "
        f"minus the second, paired by sample [95 % interval: cluster bootstrap, {RESAMPLES} resamples, seed {SEED}]; p: "
        f"two-sided, of the single comparison; {P_NOTE}",
    ]
    if any(job.control and job.control.wordless for job in jobs):
        notes.append(
            "silence, noise and shuffled clips have no words of the question, so a score on them does not come from the "
            "audio; no sign of listening: the interval includes 0 or is on the wrong side of 0"
        )
        notes.append(
            "only shuffled can show that a model listens, because its clips are the same and only the pairing changes: "
            "for silence or noise a model may give one answer to every sample, which alone lowers an F1"
        )
    if any(d.few_clusters for d in differences):
        notes.append(FEW_NOTE)
    return notes
