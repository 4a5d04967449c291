"""Run folder -> scores.jsonl and summary.json: measure every answer, reduce, interval. Asks no model.

Both files are derived: the same answers and the same scorers give the same bytes, whether or not the run was killed
and resumed. Timings are not in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from diva_bench import stats
from diva_bench.runner import Job
from diva_bench.store import RunFolder
from diva_bench.types import LabelScore, Progress, Response, Row, Sample, Scorer

_NEVER = -1e9  # nats: what a constant answer gives every other label


def judge(job: Job, folder: RunFolder, progress: Progress) -> dict[str, Any]:
    """Measure, write scores.jsonl and summary.json, return the summary.

    `error` rows are not measured: the run is then incomplete. An `unsupported` one is measured as an empty answer.
    """
    answers = {r.id: r for r in folder.responses()}
    statuses = Counter(answers[s.id].status if s.id in answers else "missing" for s in job.samples)
    scored = [s for s in job.samples if s.id in answers and answers[s.id].status in ("ok", "unsupported")]
    rows: dict[str, list[Row]] = {name: [] for name in job.scorers}
    for sample in progress.track(scored, f"scoring {job.task.name}", total=len(scored)):
        answer = answers[sample.id]
        blank = answer if answer.status == "ok" else Response(sample.id, status="unsupported")
        for name, scorer in job.scorers.items():
            rows[name].append(scorer.measure(sample, blank))
    signatures = {name: scorer.signature for name, scorer in job.scorers.items()}
    folder.write_scores(
        {"signature": signatures},
        ({"id": s.id, **{name: rows[name][i] for name in rows}} for i, s in enumerate(scored)),
    )
    summary = {
        **_identity(job, folder),
        **_completeness(job, statuses),
        "signature": signatures,
        "metrics": _metrics(job, scored, rows),
        "groups": _groups(job, scored, rows),
        **_chance(job, scored, rows),
    }
    unparsed = summary["metrics"].get("unparsed")
    summary["unparsed"] = round(unparsed["value"] * len(scored) / 100) if unparsed else None
    folder.write_summary(summary)
    return summary


def _identity(job: Job, folder: RunFolder) -> dict[str, Any]:
    events = folder.events()
    changed = any(e["event"] == "split" for e in events) or sum(e["event"] == "budget" for e in events) > 1
    return {
        "task": job.task.name,
        "task_id": job.task_record["id"],
        "run_id": folder.path.name,
        "model": job.model.name,
        "edition": job.task.edition,
        "model_edition": job.model.edition,
        "dtype": job.model.runtime.dtype if job.model.weights else None,
        "limit": job.task_record["limit"],
        "seed": job.seed,
        "primary": job.task.primary,
        # outside float32 an answer depends on its batch: a run whose batches had to change cannot be had again
        "repeatable": not (changed and job.model.weights and job.model.runtime.dtype != "float32"),
    }


def _completeness(job: Job, statuses: Mapping[str, int]) -> dict[str, Any]:
    missing, errors = statuses.get("missing", 0), statuses.get("error", 0)
    reasons = [f"{n} {what}" for n, what in ((missing, "not asked"), (errors, "failed")) if n]
    return {
        "n": len(job.samples),
        "scored": len(job.samples) - missing - errors,
        "clusters": len({s.cluster for s in job.samples}),
        "errors": errors,
        "unsupported": statuses.get("unsupported", 0),
        "complete": not reasons,
        "reason": ", ".join(reasons),
        "data_faults": [{"id": f.id, "reason": f.reason} for f in job.dataset.faults],
    }


def _metrics(job: Job, scored: Sequence[Sample], rows: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, Any]]:
    """Every metric with its interval, n and clusters."""
    clusters = [s.cluster for s in scored]
    out: dict[str, dict[str, Any]] = {}
    for name, scorer in job.scorers.items():
        if not any(rows[name]):
            continue
        for metric, got in stats.bootstrap(rows[name], clusters, scorer.reduce).items():
            out[metric] = {
                "value": got.value,
                "low": got.low,
                "high": got.high,
                "n": got.n,
                "clusters": got.clusters,
                "few_clusters": got.few_clusters,
                "higher_is_better": scorer.higher_is_better and metric != "unparsed",
            }
    return out


def _groups(job: Job, scored: Sequence[Sample], rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """group -> value -> {n, metric: score}: every breakdown is the same sum over fewer rows."""
    out: dict[str, Any] = {}
    for group in job.task.groups:
        members: dict[str, list[int]] = {}
        for i, sample in enumerate(scored):
            members.setdefault(sample.groups[group], []).append(i)
        out[group] = {
            value: {"n": len(chosen), **_scores(job.scorers, rows, chosen)} for value, chosen in sorted(members.items())
        }
    return out


def _scores(
    scorers: Mapping[str, Scorer], rows: Mapping[str, Sequence[Row]], chosen: Sequence[int]
) -> dict[str, float]:
    return {
        metric: round(float(value), 9)
        for name, scorer in scorers.items()
        for metric, value in scorer.reduce(stats.totals([rows[name][i] for i in chosen])).items()
    }


def _chance(job: Job, scored: Sequence[Sample], rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """The best constant answer's primary score, and whether the model can be told apart from it: each label, or the most
    common reference of an open task, is measured on the same samples."""
    owner = _owner(job, rows)
    if owner is None:
        return {"baseline": None, "at_chance": None}
    scorer, sign = job.scorers[owner], 1 if job.scorers[owner].higher_is_better else -1
    prior = job.dataset.prior()
    constants = list(job.task.choices or [max(prior, key=lambda k: prior[k])])
    best_rows: list[Row] = []
    best = -float("inf")
    for constant in constants:
        said = [scorer.measure(s, _always(constant, job.task.choices, s)) for s in scored]
        value = sign * float(scorer.reduce(stats.totals(said))[job.task.primary])
        if value > best:
            best, best_rows = value, list(said)
    chance = stats.at_chance(
        rows[owner],
        best_rows,
        [s.cluster for s in scored],
        scorer.reduce,
        job.task.primary,
        higher_is_better=scorer.higher_is_better,
    )
    return {"baseline": round(sign * best, 9), "at_chance": bool(chance)}


def _owner(job: Job, rows: Mapping[str, Sequence[Row]]) -> str | None:
    """The scorer that has the primary metric."""
    for name, scorer in job.scorers.items():
        if any(rows[name]) and job.task.primary in scorer.reduce(stats.totals(rows[name])):
            return name
    return None


def _always(constant: str, choices: Sequence[str] | None, sample: Sample) -> Response:
    scores = {
        c: LabelScore(0.0 if c == constant else _NEVER, 1, 0.0 if c == constant else _NEVER) for c in choices or ()
    }
    return Response(sample.id, text=constant, choices=scores or None)
