"""The ablation table: the difference of every variant of a model at every task, and the compute of its training.

Runs are passed in; nothing is read or run here. Two runs are compared sample by sample (stats.paired), and all
comparisons of a table are one family for Holm, because of twenty differences one is below 0.05 by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diva_bench.runs.records import RunSummary, flag, synthetic_notes
from diva_bench.stats import FEW_NOTE, P_NOTE, RESAMPLES, SEED, Difference, Reduce, holm, paired
from diva_bench.tables import Cell, Column, Score, Table
from diva_bench.types import Row

SURE = 0.05
"""A p-value below it, adjusted for the whole table, is marked."""
SIGN = "† "
"""The mark of such a difference. It is not that of a score at chance, `*`."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A model and its training record: `config` and `compute` of `training` in run.json or of training.json; None if there
    is no record."""

    name: str
    description: str
    config: Mapping[str, Any] | None = None
    compute: Mapping[str, Any] | None = None
    edition: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A variant's run of one task.

    Attributes:
        rows: Statistics behind `metric`, by sample id.
        gap: Why it cannot be compared, else "": then it has a summary and rows.
    """

    variant: Variant
    gap: str = ""
    summary: RunSummary | None = None
    rows: Mapping[str, Row] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """One task: the runs of the base and of the variants, in the order of the table.

    Attributes:
        clusters: Sample id -> cluster.
        reduce: Of the scorer that has `metric`.
    """

    task: str
    metric: str
    clusters: Mapping[str, str]
    reduce: Reduce
    base: Outcome
    against: Sequence[Outcome]
    scorer: str = ""
    """Which one that is; "": any of those of the runs, all of which must then be alike."""
    edition: str = "mini"
    synthetic: bool = False
    limit: int | None = None

    @property
    def gaps(self) -> list[str]:
        """For every variant why it is not compared with the base, else ""."""
        ours = f"{self.base.variant.name}: {self.base.gap}" if self.base.gap else ""
        return [ours or other.gap or self._mismatch(other) for other in self.against]

    def _mismatch(self, other: Outcome) -> str:
        if other.rows.keys() != self.base.rows.keys():
            return "its samples differ from those of the base"
        signed = [
            run.summary.signature.get(self.scorer) if self.scorer else run.summary.signature
            for run in (self.base, other)
            if run.summary
        ]
        return "scored with other settings than the base" if signed[0] != signed[1] else ""

    def differences(self) -> list[Difference | None]:
        """Variant minus base in `metric`, for every variant; None if it is not compared."""
        ids = sorted(self.base.rows)
        clusters, base = [self.clusters[i] for i in ids], [self.base.rows[i] for i in ids]
        return [
            None if gap else paired([other.rows[i] for i in ids], base, clusters, self.reduce)[self.metric]
            for other, gap in zip(self.against, self.gaps, strict=True)
        ]


def changed(base: Variant, other: Variant) -> str:
    """The training settings in which two connectors differ: "distill 1 -> 0, align_steps 2200 -> 0".

    A setting that is missing in an older record is ignored; the seed is named only if nothing else differs. Without two
    records, or without a difference, the description of the variant.
    """
    if base.config is None or other.config is None:
        return other.description
    ours, theirs = base.config, other.config
    keys = [key for key in ours if key in theirs and ours[key] != theirs[key]]
    named = [key for key in keys if key != "seed"] or keys
    return ", ".join(f"{key} {_setting(ours[key])} -> {_setting(theirs[key])}" for key in named) or other.description


def _setting(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def ablation_table(blocks: Sequence[Block]) -> Table:
    """A group of rows per task: the base, then every variant with its difference."""
    differences = [block.differences() for block in blocks]
    adjusted = iter(holm([d.p for row_differences in differences for d in row_differences if d]))
    rows: list[list[Cell]] = []
    for block, row_differences in zip(blocks, differences, strict=True):
        rows.append(_row(block, block.base, "the base", remark=f"no score: {block.base.gap}"))
        for other, difference, gap in zip(block.against, row_differences, block.gaps, strict=True):
            label = changed(block.base.variant, other.variant)
            p = next(adjusted) if difference else None
            rows.append(_row(block, other, label, difference, p, f"not compared: {gap}"))
    columns = [
        Column("task"),
        Column("metric", optional=True),
        Column("model"),
        Column("changed"),
        Column("n"),
        Column("score"),
        Column("difference"),
        Column("p", optional=True, digits=4),
        Column("p (Holm)", digits=4),
        Column("remarks", optional=True),
        Column("examples", optional=True),
        Column("PFLOP", optional=True, digits=2),
        Column("device s", optional=True, digits=0),
    ]
    return Table(title(blocks), columns, rows, _notes(blocks, differences))


def _row(
    block: Block,
    outcome: Outcome,
    label: str,
    difference: Difference | None = None,
    adjusted: float | None = None,
    remark: str = "",
) -> list[Cell]:
    """`remark`: the reason for a missing score or difference."""
    main = outcome.summary.metrics[block.metric] if outcome.summary and not outcome.gap else None
    absent = main is None or (outcome is not block.base and difference is None)
    doubts = flag(outcome.summary) if outcome.summary and not absent else ""
    mark = SIGN if adjusted is not None and adjusted < SURE else ""
    return [
        block.task,
        block.metric,
        outcome.variant.name,
        label,
        difference.n if difference else main.n if main else None,
        main.score if main else None,
        Score(difference.value, difference.low, difference.high, mark) if difference else None,
        difference.p if difference else None,
        adjusted,
        remark if absent else doubts,
        *_compute(outcome.variant),
    ]


def _compute(variant: Variant) -> list[Cell]:
    """(clips seen, floating-point operations in 1e15, device-seconds); None for missing values."""
    record = variant.compute or {}
    flops = record.get("flops")
    total = sum(flops.values()) if isinstance(flops, Mapping) else flops
    seconds = record.get("device_seconds")
    return [
        record.get("examples"),
        None if total is None else total / 1e15,
        None if seconds is None else float(seconds),
    ]


def title(blocks: Sequence[Block]) -> str:
    """The compared models, and the captions that belong to all numbers."""
    base = blocks[0].base.variant
    captions = [f"{base.edition} models"] if base.edition else []
    captions += synthetic_notes((block.edition, block.synthetic) for block in blocks)
    captions += [f"trial on {blocks[0].limit} items, not a result"] if blocks[0].limit is not None else []
    return f"ablations of {base.name}" + (f" ({'; '.join(captions)})" if captions else "")


def _notes(blocks: Sequence[Block], differences: Sequence[Sequence[Difference | None]]) -> list[str]:
    base = blocks[0].base.variant.name
    compared = [d for row_differences in differences for d in row_differences if d]
    notes = [
        f"score: the model's own; difference: the model minus {base}, paired by sample "
        f"[95 % interval: cluster bootstrap, {RESAMPLES} resamples, seed {SEED}]",
    ]
    if compared:
        notes += [
            f"p: two-sided, from the same resamples, at least {2 / (RESAMPLES + 1):.4f}; p (Holm): adjusted for all "
            f"{len(compared)} comparisons of this table; {SIGN}p (Holm) below {SURE}; {P_NOTE}",
        ]
    notes += _better(blocks)
    if any(c.few_clusters for c in compared):
        notes.append(FEW_NOTE)
    if any(v.compute for b in blocks for v in (b.base.variant, *(o.variant for o in b.against))):
        notes.append(
            "training of the connector: examples: clips seen; PFLOP: 1e15 operations; device s: device-seconds"
        )
    missing: dict[tuple[str, str], list[str]] = {}
    for block in blocks:
        for other, gap in zip(block.against, block.gaps, strict=True):
            if gap:
                missing.setdefault((other.variant.name, gap), []).append(block.task)
    notes += [f"not compared: {name} at {', '.join(tasks)}: {gap}" for (name, gap), tasks in missing.items()]
    scored = [run for block in blocks for run in (block.base, *block.against) if not run.gap]
    signatures = [run.summary.signature for run in scored if run.summary]
    return notes + sorted({text for signature in signatures for text in signature.values()})


def _better(blocks: Sequence[Block]) -> list[str]:
    """Whether higher or lower is better, for every metric with its tasks."""
    ways: dict[tuple[str, str], list[str]] = {}
    for block in blocks:
        for run in (block.base, *block.against):
            if run.summary and block.metric in run.summary.metrics:
                way = "higher" if run.summary.metrics[block.metric].higher_is_better else "lower"
                ways.setdefault((block.metric, way), []).append(block.task)
                break
    return [f"{metric} ({', '.join(tasks)}): {way} is better" for (metric, way), tasks in ways.items()]
