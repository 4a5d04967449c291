"""The ablation table for a paper: a row per model, the base first, and for each task its score, the difference to the base
with interval, and p. It works on stored runs, also imported ones.

All differences of the table are one family for Holm, as in `ablation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from diva_bench.predictions.imported import ERRORS
from diva_bench.report.ablation import SIGN, SURE, Block, Outcome, changed, title
from diva_bench.runs.records import MetricSummary, flag
from diva_bench.stats import FEW_NOTE, P_NOTE, RESAMPLES, SEED, Difference, holm
from diva_bench.tables import Cell, Column, Score, Table


@dataclass(frozen=True, slots=True)
class Part:
    """One compared task: a block without its rows, and for every variant the difference, or why there is none."""

    block: Block
    differences: Sequence[Difference | None]
    gaps: Sequence[str]


def compared(block: Block) -> Part:
    """The differences of a block. Its rows, one per answer, are dropped."""
    bare = replace(
        block,
        base=replace(block.base, rows={}),
        against=[replace(outcome, rows={}) for outcome in block.against],
        clusters={},
    )
    return Part(bare, block.differences(), block.gaps)


def grid(parts: Sequence[Part]) -> Table:
    """One row per model. All blocks have the same models in the same order."""
    adjusted = iter(holm([d.p for part in parts for d in part.differences if d]))
    cells = [_cells(part, [next(adjusted) if d else None for d in part.differences]) for part in parts]
    base, *others = [outcome.variant.name for outcome in _outcomes(parts[0])]
    rows: list[list[Cell]] = [
        [name, *(cell for column in cells for cell in column[i])] for i, name in enumerate((base, *others))
    ]
    columns = [Column("model")]
    for part in parts:
        group = part.block.task
        columns += [Column(part.block.metric, group=group), Column("difference", group=group)]
        columns.append(Column("p (Holm)", optional=True, digits=4, group=group))
    return Table(title([part.block for part in parts]), columns, rows, _notes(parts))


def own_gaps(part: Part) -> list[tuple[Outcome, str]]:
    """(run, reason) for runs of a task that are not compared because of themselves. If the base cannot be compared, only
    the base is listed."""
    base = part.block.base
    if base.gap:
        return [(base, base.gap), *((other, other.gap) for other in part.block.against if other.gap)]
    return [(other, gap) for other, gap in zip(part.block.against, part.gaps, strict=True) if gap]


def _outcomes(part: Part) -> list[Outcome]:
    return [part.block.base, *part.block.against]


def _metric(outcome: Outcome, metric: str) -> MetricSummary | None:
    return outcome.summary.metrics.get(metric) if outcome.summary and not outcome.gap else None


def _cells(part: Part, adjusted: Sequence[float | None]) -> list[list[Cell]]:
    """For every model the score, the difference and p at one task."""
    cells: list[list[Cell]] = []
    beside = zip((None, *part.differences), (None, *adjusted), strict=True)
    for outcome, (difference, p) in zip(_outcomes(part), beside, strict=True):
        main = _metric(outcome, part.block.metric)
        mark = SIGN if p is not None and p < SURE else ""
        between = Score(difference.value, difference.low, difference.high, mark) if difference else None
        cells.append([main.value if main else None, between, p])
    return cells


def _notes(parts: Sequence[Part]) -> list[str]:
    base = parts[0].block.base.variant
    there = [d for part in parts for d in part.differences if d]
    notes = [
        f"difference: the model minus {base.name}, paired by sample [95 % interval: cluster bootstrap, {RESAMPLES} resamples, "
        f"seed {SEED}]",
    ]
    if there:
        notes.append(
            f"p (Holm): two-sided, from the same resamples, adjusted for all {len(there)} differences of this table; "
            f"{SIGN}below {SURE}; {P_NOTE}"
        )
    notes += [_task(part) for part in parts]
    few = [part.block.task for part in parts if any(d and d.few_clusters for d in part.differences)]
    if few:
        notes.append(f"{FEW_NOTE} ({', '.join(few)})")
    for other in (outcome.variant for outcome in parts[0].block.against):
        if base.config is not None and other.config is not None:
            notes.append(f"{other.name}: {changed(base, other)}")
    notes += _flags(parts)
    return notes + list(
        dict.fromkeys(
            text
            for part in parts
            for outcome in _outcomes(part)
            if outcome.summary and not outcome.gap
            for name, text in outcome.summary.signature.items()
            if name == part.block.scorer
        )
    )


def _task(part: Part) -> str:
    """The metric, the number of samples, and whether higher or lower is better."""
    block = part.block
    metrics = [main for outcome in _outcomes(part) if (main := _metric(outcome, block.metric))]
    if not metrics:
        return f"{block.task}: no run has a score"
    sizes = sorted({main.n for main in metrics})
    size = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    way = "higher" if metrics[0].higher_is_better else "lower"
    return f"{block.task}: {block.metric}, {way} is better; {size} samples in {max(m.clusters for m in metrics):,} clusters"


def _flags(parts: Sequence[Part]) -> list[str]:
    """Remarks on numbers, and reasons for missing ones: each once, with its models and tasks."""
    who_by_note: dict[str, dict[str, list[str]]] = {}
    rules = set()
    for part in parts:
        remarks = [(outcome, f"not compared: {gap}") for outcome, gap in own_gaps(part)]
        for outcome in _outcomes(part):
            if outcome.summary and not outcome.gap:
                remarks += [(outcome, text) for text in flag(outcome.summary).split(", ") if text]
                rules.add(outcome.summary.errors_as)
        for outcome, text in remarks:
            who_by_note.setdefault(text, {}).setdefault(outcome.variant.name, []).append(part.block.task)
    everywhere = [part.block.task for part in parts]
    notes = []
    for text, models in who_by_note.items():
        who = [
            name if tasks == everywhere and len(everywhere) > 1 else f"{name} at {', '.join(tasks)}"
            for name, tasks in models.items()
        ]
        notes.append(f"{text}: {'; '.join(who)}")
    notes += [
        f"errors {rule}: answers that failed in the other system are {text}"
        for rule, text in ERRORS.items()
        if rule in rules
    ]
    return notes
