"""`trio`: for every task one row with the oracle (gold transcript), the cascade (recogniser) and an end-to-end model
around the same LLM, and the parts of the gap: the loss of the recogniser, and the difference of the end-to-end model to
the cascade.

All differences are on the same samples, so they add up: total = end to end - recogniser loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from diva_bench.errors import UserError
from diva_bench.report.ablation import SIGN, SURE
from diva_bench.runs.aligned import Sheet
from diva_bench.runs.records import failures, synthetic_notes
from diva_bench.runs.run import Run
from diva_bench.stats import FEW_NOTE, P_NOTE, RESAMPLES, SEED, Difference, holm, significance
from diva_bench.tables import Cell, Column, Score, Table
from diva_bench.types import Floats


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of samples, by the metric of each sample alone. For right or wrong answers, better means right where the
    other is wrong."""

    lost: int
    """The oracle is better than the cascade."""
    back: int
    """Of these, the model is better than the cascade."""
    helped: int
    """The cascade is better than the oracle."""
    gained: int
    """The model is better than the cascade."""
    worse: int
    """The cascade is better than the model."""
    right: int | None
    """All three are right; None if answers are not right or wrong."""
    wrong: int | None


@dataclass(frozen=True, slots=True)
class GapAttribution:
    """One task and one end-to-end model. The sign of differences is such that above 0 is better for the first run."""

    task: str
    edition: str
    synthetic: bool
    metric: str
    model: str
    scores: tuple[float, float, float]
    """Oracle, cascade, model."""
    lost: Difference
    """Oracle - cascade."""
    gained: Difference
    """Model - cascade."""
    total: Difference
    """Model - oracle."""
    counts: Counts
    rises: bool
    signatures: Sequence[str]
    failures: Sequence[str] = ()
    """What was done with imported answers that failed at their source, by run."""
    group: str = ""
    value: str = ""
    """The samples are those with this value of this group; "": all samples."""


def find(runs: Sequence[Run], name: str) -> Run | None:
    """The complete run of a model among the runs of one task, by its name, its name with edition ("diva (nano)") or its
    run id; None if there is none.

    Raises:
        UserError: There are several.
    """
    matches = [r for r in runs if name in (r.model, r.summary.label, r.summary.run_id) and r.summary.ranked]
    if len({r.summary.run_id for r in matches}) > 1:
        raise UserError(
            f"{matches[0].path.parent}: several runs are called {name}: {', '.join(r.summary.run_id for r in matches)}. "
            "Name one of these instead."
        )
    return matches[0] if matches else None


def by_group(sheet: Sheet, group: str) -> list[GapAttribution]:
    """The gap for every value of a group, in the order of the data. The samples of a value without a metric, or which only
    some of the runs have a score for, have no row."""
    values = sheet.groups[group]
    parts = {
        value: sheet.part([i for i, other in enumerate(values) if other == value]) for value in dict.fromkeys(values)
    }
    return [
        replace(attribute(part), group=group, value=value)
        for value, part in parts.items()
        if sheet.task.primary in part.metrics
    ]


def attribute(sheet: Sheet) -> GapAttribution:
    """Attribute the gap of one task. The runs of `sheet` are the oracle, the cascade and the model, in this order."""
    metric = sheet.task.primary
    owners = sheet.metrics
    if metric not in owners:
        raise UserError(f"{sheet.task_id}: not all three runs have {metric}, the primary metric of {sheet.task.name}.")
    scorer, up = owners[metric], sheet.rises(metric)
    rows, reduce = [rows_[scorer] for rows_ in sheet.rows], sheet.reduce(scorer)
    lineup = significance.line_up(rows, sheet.clusters, reduce)

    def better(first: int, second: int) -> Difference:
        return lineup.difference(metric, first, second) if up else lineup.difference(metric, second, first)

    point = [float(v) for v in lineup.point[metric]]
    # A label is right or wrong, whatever the corpus metric is; MCC of one answer is always 0.
    single = "accuracy" if scorer == "labels" else metric
    rows_in_all = [i for i in range(len(sheet.ids)) if all(system[i] for system in rows)]
    each = [significance.by_item([system[i] for i in rows_in_all], reduce)[single] for system in rows]
    binary = all(
        significance.is_binary(items, float(whole)) for items, whole in zip(each, lineup.point[single], strict=True)
    )
    return GapAttribution(
        task=sheet.task.name,
        edition=sheet.task.edition,
        synthetic=sheet.task.data.speech == "synthetic",
        metric=metric,
        model=sheet.names[2],
        scores=(point[0], point[1], point[2]),
        lost=better(0, 1),
        gained=better(2, 1),
        total=better(2, 0),
        counts=count([values if up else -values for values in each], binary),
        rises=up,
        signatures=[sheet.runs[0].summary.signature[scorer]],
        failures=[
            f"{name} at {sheet.task.name}: {failures(run.summary)}"
            for name, run in zip(sheet.names, sheet.runs, strict=True)
            if failures(run.summary)
        ],
    )


def count(each: Sequence[Floats], binary: bool) -> Counts:
    """`each`: the metric of every sample for the oracle, the cascade and the model, (N,); higher is better."""
    oracle, cascade, model = each
    missing, gained = oracle > cascade, model > cascade
    return Counts(
        lost=int(missing.sum()),
        back=int((missing & gained).sum()),
        helped=int((cascade > oracle).sum()),
        gained=int(gained.sum()),
        worse=int((cascade > model).sum()),
        right=int(((oracle > 0) & (cascade > 0) & (model > 0)).sum()) if binary else None,
        wrong=int(((oracle <= 0) & (cascade <= 0) & (model <= 0)).sum()) if binary else None,
    )


# ---------------------------------------------------------------- tables


def gap_tables(
    attributions: Sequence[GapAttribution],
    missing: Mapping[str, Sequence[str]] | None = None,
    notes: Sequence[str] = (),
) -> list[Table]:
    """The gaps, and the numbers of samples behind them. `missing`: models without a run -> the tasks; `notes`: more of them."""
    return [_gaps(attributions, missing or {}, notes), _samples(attributions)]


def _gaps(attributions: Sequence[GapAttribution], missing: Mapping[str, Sequence[str]], more: Sequence[str]) -> Table:
    whole = [d for t in attributions if not t.value for d in (t.lost, t.gained, t.total)]
    parted = [d for t in attributions if t.value for d in (t.lost, t.gained, t.total)]
    # the marks of whole tasks do not depend on which groups are shown
    sure, sure_parts = iter(holm([d.p for d in whole])), iter(holm([d.p for d in parted]))
    several = len({t.model for t in attributions}) > 1
    heads, parts = _parts(attributions)
    rows: list[list[Cell]] = []
    for t, part in zip(attributions, parts, strict=True):
        gaps: list[Cell] = [_gap(d, next(sure_parts if t.value else sure)) for d in (t.lost, t.gained, t.total)]
        rows.append(
            [t.task, *part, t.metric, *([t.model] if several else []), *t.scores, *gaps, t.lost.n, t.lost.clusters]
        )
    columns = [Column("task"), *heads, Column("metric", optional=True), *([Column("model")] if several else [])]
    columns += [Column("oracle"), Column("cascade"), Column("its" if several else attributions[0].model)]
    columns += [Column("recogniser loss"), Column("end to end"), Column("total", optional=several or bool(heads))]
    columns += [Column("n", optional=True), Column("clusters", optional=True)]
    notes = [
        "recogniser loss: oracle - cascade; end to end: model - cascade; total: model - oracle, which is end to end minus "
        "recogniser loss; paired by sample",
        f"[95 % interval: cluster bootstrap, {RESAMPLES} resamples, seed {SEED}]; {SIGN}p below {SURE} after Holm over the "
        f"{len(whole)} differences of whole tasks{f', and over the {len(parted)} of their parts' if parted else ''}; {P_NOTE}",
    ]
    notes += ["its: the score of the model"] if several else []
    downs = sorted({t.metric for t in attributions if not t.rises})
    notes += [
        f"{m}: lower is better; the sign of its differences is changed, so that above 0 is better here too"
        for m in downs
    ]
    few = sorted({f"{t.task} {t.value}".strip() for t in attributions if t.lost.few_clusters})
    if few:
        notes.append(f"{FEW_NOTE} ({', '.join(few)})")
    notes += dict.fromkeys(f for t in attributions for f in t.failures)
    notes += [f"no complete run of {who}: {', '.join(tasks)}" for who, tasks in missing.items()]
    notes += more
    notes += dict.fromkeys(s for t in attributions for s in t.signatures)
    captions = synthetic_notes((t.edition, t.synthetic) for t in attributions)
    caption = f" ({'; '.join(captions)})" if captions else ""
    return Table(f"oracle, cascade, end to end{caption}", columns, rows, notes)


def _parts(attributions: Sequence[GapAttribution]) -> tuple[list[Column], list[list[Cell]]]:
    """(the column of the group, the cells of every row); without a group neither."""
    groups = {t.group for t in attributions if t.group}
    return [Column(group) for group in groups], [[t.value or "all"] * len(groups) for t in attributions]


def _samples(attributions: Sequence[GapAttribution]) -> Table:
    rows: list[list[Cell]] = []
    heads, parts = _parts(attributions)
    for t, part in zip(attributions, parts, strict=True):
        c = t.counts
        rows.append([t.task, *part, t.model, t.lost.n, c.lost, c.back, c.helped, c.gained, c.worse, c.right, c.wrong])
    names = ("n", "lost", "won back", "helped", "better", "worse", "all right", "all wrong")
    columns = [Column("task"), *heads, Column("model"), *(Column(name) for name in names)]
    notes = [
        "samples, by the metric of each alone (label tasks: right or wrong). lost: the cascade is worse than the oracle; "
        "won back: of those, the model is better than the cascade; helped: the cascade is better than the oracle; better, "
        "worse: the model than the cascade",
    ]
    return Table("samples behind the gaps", columns, rows, notes)


def _gap(difference: Difference, adjusted: float) -> Score:
    return Score(difference.value, difference.low, difference.high, SIGN if adjusted < SURE else "")
