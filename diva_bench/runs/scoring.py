"""Score a run folder: measure every answer, reduce, compute intervals, and write scores.jsonl and summary.json. No model
is run.

Both files are derived: the same answers and scorers give the same bytes, whether or not the run was killed and resumed.
They have no timings.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diva_bench import stats
from diva_bench.errors import AssetError, MissingMeans, ScorerError, SpecError
from diva_bench.packed import chosen, mapped
from diva_bench.predictions import imported
from diva_bench.runs import chance, earlier_scores
from diva_bench.runs import rows as rows_
from diva_bench.runs.agreement import agreement
from diva_bench.runs.runner import Job
from diva_bench.runs.store import RunFolder
from diva_bench.scorers import Absent, check_row, checked_reduce, cleaned, rises
from diva_bench.scorers.source_score import NAME as GIVEN
from diva_bench.types import FIRST_TOKEN, CorpusScorer, Floats, Progress, Response, Sample, WholeScorer

if TYPE_CHECKING:
    from diva_bench.stats import RowTable


def score(job: Job, folder: RunFolder, progress: Progress) -> dict[str, Any]:
    """Measure, write scores.jsonl and summary.json, and return the summary.

    Answers with status `error` are not measured, and make the run incomplete, except for imported answers with a rule
    for them (see `imported.ERRORS`). An `unsupported` answer is measured as an empty one.
    """
    answers = folder.answered()
    statuses = Counter(answers.status(s.id) or "missing" for s in job.samples)
    rule = imported.rule(job.model) if statuses["error"] < statuses.total() - statuses["missing"] else None
    counted_statuses = {"ok", "unsupported", "error"} if rule == "wrong" else {"ok", "unsupported"}
    is_scored = [answers.status(s.id) in counted_statuses for s in job.samples]
    scored = chosen(job.samples, array("Q", (i for i, counts in enumerate(is_scored) if counts)))
    scored_responses = mapped(scored, lambda s: _as_scored(answers[s.id]))
    rows, missing = _measure(job, scored, scored_responses, folder, progress)
    about = answers.digest()
    counts = {"n": len(job.samples), "scored": len(scored), "errors": statuses["error"]}
    stored_values = _earlier_results(
        job, folder, missing, about, counts | {"unsupported": statuses["unsupported"]}, progress
    )
    stored_rows = {name: one for name, one in stored_values.items() if isinstance(one, earlier_scores.ScorerResult)}
    signatures = {
        n: stored_rows[n].signature if n in stored_rows else scorer.signature for n, scorer in job.scorers.items()
    }
    summary = {
        **_identity(job, folder),
        **_completeness(job, statuses, rule),
        "signature": signatures,
        "metrics": _metrics(job, scored, rows, scored_responses),
        "groups": _groups(job, scored, rows),
        **_chance(job, scored, rows),
    }
    unparsed = summary["metrics"].get("unparsed")
    summary["unparsed"] = round(unparsed["value"] * unparsed["n"] / 100) if unparsed else None
    if job.model.servers and (n := sum(r.detail == FIRST_TOKEN for r in scored_responses)):
        summary["first_token"] = n
    _count_unjudged(job, {name: mine for name, mine in rows.items() if name not in missing}, summary)
    summary |= {
        "answers": about,
        **({"lost": lost} if (lost := sorted(stored_values.keys() - stored_rows.keys())) else {}),
    }
    rows |= {
        name: stats.table_of(earlier_scores.rows_of(one, (s.id for s in scored))) for name, one in stored_rows.items()
    }
    _agreement(
        job,
        scored,
        scored_responses,
        {n: mine for n, mine in rows.items() if n not in missing or mine.filled.any()},
        summary,
    )
    _keep(job, stored_rows, summary)
    stored = rows_.path_of(folder.above, job.task_record["hash"])
    # with `drop`, failed answers are in no score but in the list, so that runs can be compared on all other samples
    following = {name: iter(mine) for name, mine in rows.items()}
    sheets = (
        {
            **({"id": s.id} if stored else _sheet(s)),
            **{name: next(mine) if counts else {} for name, mine in following.items()},
        }
        for s, counts in zip(job.samples, is_scored, strict=True)
        if counts or (rule == "drop" and s.id in answers)
    )
    of_rows = {"rows": rows_.digest(stored)} if stored else {}
    folder.write_scores({"signature": signatures, "answers": about, **of_rows}, sheets)
    folder.write_summary(summary)
    return summary


def _agreement(
    job: Job,
    scored: Sequence[Sample],
    responses: Sequence[Response],
    rows: Mapping[str, RowTable],
    summary: dict[str, Any],
) -> None:
    """Compare the scores that came with imported answers with the metrics, if possible."""
    if GIVEN not in rows:
        return
    answered = [i for i, answer in enumerate(responses) if answer.status == "ok"]
    ids = [scored[i].id for i in answered]
    if agreed := agreement(
        job.scorers, job.task.primary, ids, {name: [mine[i] for i in answered] for name, mine in rows.items()}
    ):
        summary["agreement"] = agreed


def _as_scored(answer: Response) -> Response:
    """An answer for the scorers: without text it is empty, and a failure that counts as wrong gets the lowest score."""
    if answer.status == "ok":
        return cleaned(answer)
    return Response(answer.id, status="unsupported", scores={GIVEN: 0.0} if answer.status == "error" else {})


def _sheet(sample: Sample) -> dict[str, Any]:
    """The part of a sample that comparisons need if its row is not stored with the task."""
    return {
        "id": sample.id,
        "cluster": sample.cluster,
        "groups": dict(sample.groups),
        "references": list(sample.references),
    }


def _measure(
    job: Job, scored: Sequence[Sample], responses: Sequence[Response], folder: RunFolder, progress: Progress
) -> tuple[dict[str, RowTable], dict[str, str]]:
    """(scorer -> its row for every answer, scorer -> what it lacks on this machine; its rows are then empty).

    Scorers that use another model get all answers at once, after the others.
    """
    rows = {name: stats.RowTable() for name in job.scorers}
    missing = {name: str(lacks) for name, scorer in job.scorers.items() if (lacks := getattr(scorer, "lacks", ""))}
    alone = {name: scorer for name, scorer in job.scorers.items() if not isinstance(scorer, WholeScorer)}
    pairs = zip(scored, responses, strict=True)
    for sample, response in progress.track(pairs, f"scoring {job.task.name}", total=len(scored)):
        for name, scorer in alone.items():
            rows[name].append(check_row(job.task.name, name, sample.id, scorer.measure(sample, response)))
    for name, scorer in job.scorers.items():
        if isinstance(scorer, WholeScorer):
            try:
                new_rows = scorer.measure_all(scored, responses, folder.path, progress)
            except AssetError as err:  # its weights cannot be downloaded
                missing[name], new_rows = str(err), [{}] * len(scored)
            if len(new_rows) != len(scored):
                raise ScorerError(
                    f"task {job.task.name}: scorer {name} gave {len(new_rows)} rows for {len(scored)} answers."
                )
            both = zip(scored, new_rows, strict=True)
            rows[name] = stats.RowTable(check_row(job.task.name, name, s.id, row) for s, row in both)
    return rows, missing


def _earlier_results(
    job: Job, folder: RunFolder, missing: Mapping[str, str], about: str, counts: Mapping[str, int], progress: Progress
) -> dict[str, earlier_scores.ScorerResult | str]:
    """Scorer that lacks something -> its earlier result, or why that is dropped; both are reported.

    Raises:
        MissingMeans: A scorer has no earlier result, and a run needs it.
    """
    before = earlier_scores.EarlierScores(folder) if missing else None
    values: dict[str, earlier_scores.ScorerResult | str] = {}
    for name, why in missing.items():
        one = before.of(name, job.scorers[name], about, counts) if before else None
        if one is not None:
            values[name] = one
            progress.note(f"{folder.path}: {earlier_scores.in_words(name, why, one)}")
        elif isinstance(job.scorers[name], Absent | WholeScorer):
            raise MissingMeans(why)
    return values


def _keep(job: Job, stored_rows: Mapping[str, earlier_scores.ScorerResult], summary: dict[str, Any]) -> None:
    """Put earlier results into a new summary."""
    if not stored_rows:
        return
    summary["kept"] = sorted(stored_rows)
    for one in stored_rows.values():
        summary["metrics"] |= one.metrics
        for group, values in summary["groups"].items():
            for value in values:
                values[value] |= one.groups.get(group, {}).get(value, {})
        if job.task.primary in one.metrics:
            summary |= one.chance
        if one.agreement and not one.rows:  # single answers cannot be checked any more
            summary["agreement"] = one.agreement


def _count_unjudged(job: Job, rows: Mapping[str, RowTable], summary: dict[str, Any]) -> None:
    """Count the answers for which the model of a scorer failed. If that scorer has the primary metric, the run is
    incomplete."""
    names = [name for name in rows if isinstance(job.scorers[name], WholeScorer)]
    failed = {name: n for name in names if (n := int((~rows[name].filled).sum()))}
    if not failed:
        return
    summary["unjudged"] = failed
    owner = _owner(job, rows)
    if owner is None or owner in failed:
        reasons = [summary["reason"], *(f"{n} not scored by {name}" for name, n in failed.items())]
        summary |= {"complete": False, "reason": ", ".join(r for r in reasons if r)}


def _identity(job: Job, folder: RunFolder) -> dict[str, Any]:
    events = folder.events()
    budgets = {(e["seconds"], e.get("rows")) for e in events if e["event"] == "budget"}
    changed = len(budgets) > 1 or any(e["event"] == "split" for e in events)
    return {
        "task": job.task.name,
        "task_id": folder.place.parent.name,
        "run_id": folder.place.name,
        "model": job.model.name,
        "edition": job.task.edition,
        "speech": job.task.data.speech,
        "model_edition": job.model.edition,
        **({"imported": True} if job.model.adapter == imported.ADAPTER else {}),
        **({} if job.model.hashed else {"weights_hashed": False}),
        "dtype": job.model.runtime.dtype if job.model.weights else None,
        "limit": job.task_record["limit"],
        "seed": job.seed,
        **job.condition,
        "primary": job.task.primary,
        # outside float32 an answer depends on its batch, so a run with changed batches is not reproducible; the batches of
        # a server, and the server itself, are not in our hands
        "repeatable": not job.model.servers
        and not (changed and job.model.weights and job.model.runtime.dtype != "float32"),
    }


def _completeness(job: Job, statuses: Mapping[str, int], rule: str | None) -> dict[str, Any]:
    """`rule`: what is done with failed answers; None if they make a run incomplete."""
    missing, errors = statuses.get("missing", 0), statuses.get("error", 0)
    unasked = "missing from the file" if job.model.adapter == imported.ADAPTER else "not answered yet"
    reasons = [f"{n} {what}" for n, what in ((missing, unasked), (0 if rule else errors, "failed")) if n]
    data = job.dataset
    if data.partial:
        reasons.append(f"partial data: {data.partial}")
    return {
        "n": len(job.samples),
        "scored": len(job.samples) - missing - (0 if rule == "wrong" else errors),
        "clusters": len({s.cluster for s in job.samples}),
        "errors": errors,
        **({"errors_as": rule} if rule and errors else {}),
        "unsupported": statuses.get("unsupported", 0),
        "complete": not reasons,
        "reason": ", ".join(reasons),
        "data_faults": [{"id": f.id, "reason": f.reason} for f in data.faults],
        **({"partial": data.partial} if data.partial else {}),
        **({"excluded": [{"id": f.id, "reason": f.reason} for f in data.excluded]} if data.excluded else {}),
        **({"data_notes": list(data.notes)} if data.notes else {}),
    }


def _metrics(
    job: Job, scored: Sequence[Sample], rows: Mapping[str, RowTable], responses: Sequence[Response]
) -> dict[str, dict[str, Any]]:
    """Every metric with interval, n and clusters; also `corpus` if the metric's own library gives another value for all
    answers together."""
    clusters = stats.numbered(s.cluster for s in scored)
    out: dict[str, dict[str, Any]] = {}
    for name, scorer in job.scorers.items():
        if not rows[name].filled.any():
            continue
        corpus = scorer.corpus(scored, responses) if isinstance(scorer, CorpusScorer) else {}
        counted: Mapping[str, Sequence[str]] = getattr(scorer, "counted", {})
        summed = stats.totals(rows[name]) if counted else {}
        for metric, got in stats.bootstrap(rows[name], clusters, checked_reduce(job.task.name, name, scorer)).items():
            if metric in out:
                raise SpecError(
                    f"task {job.task.name}: two of its scorers ({', '.join(job.scorers)}) give a metric {metric!r}. "
                    "Leave one of them out, or name it otherwise where its settings allow that."
                )
            out[metric] = {
                "value": got.value,
                "low": got.low,
                "high": got.high,
                "n": _counted(summed, counted[metric]) if metric in counted else got.n,
                "clusters": got.clusters,
                "few_clusters": got.few_clusters,
                "higher_is_better": rises(name, scorer, metric),
                "scorer": name,
                **({"corpus": round(corpus[metric], 9)} if metric in corpus else {}),
            }
    return out


def _counted(summed: Mapping[str, Floats], prefixes: Sequence[str]) -> int:
    """The sum of the statistics whose names have one of these prefixes."""
    return sum(int(value) for key, value in summed.items() if key.startswith(tuple(prefixes)))


def _groups(job: Job, scored: Sequence[Sample], rows: Mapping[str, RowTable]) -> dict[str, Any]:
    """group -> value -> {n, metric: score}: a breakdown reduces the sum over fewer rows."""
    out: dict[str, Any] = {}
    for group in job.task.groups:
        counts = Counter(sample.groups[group] for sample in scored)
        out[group] = {value: {"n": counts[value]} for value in sorted(counts)}
        member = stats.numbered(sample.groups[group] for sample in scored)
        for name, scorer in job.scorers.items():
            reduce = checked_reduce(job.task.name, name, scorer)
            for value, totals in zip(out[group], rows[name].totals_by(member, len(counts)), strict=True):
                out[group][value] |= {metric: round(float(score), 9) for metric, score in reduce(totals).items()}
    return out


def _chance(job: Job, scored: Sequence[Sample], rows: Mapping[str, RowTable]) -> dict[str, Any]:
    """The comparison with the audio-blind baselines."""
    owner = _owner(job, rows)
    if owner in (None, GIVEN) or isinstance(job.scorers[owner], WholeScorer):
        # scorers that use a model, and scores from a source, have no value for a constant
        return chance.none().record()
    scorer = job.scorers[owner]
    up = rises(owner, scorer, job.task.primary)
    return chance.verdict(job.task, job.dataset, scored, rows[owner], scorer, up, job.seed).record()


def _owner(job: Job, rows: Mapping[str, RowTable]) -> str | None:
    """The scorer of the primary metric."""
    for name, scorer in job.scorers.items():
        if rows[name].filled.any() and job.task.primary in scorer.reduce(stats.totals(rows[name])):
            return name
    return None
