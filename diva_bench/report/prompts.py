"""How much a score depends on the prompt variant: runs of one model that differ only in prompt and label order.

Read from stored records (task.json, run.json, summary.json). A spread is over all complete variants, and their number
is shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from diva_bench.runs.records import RunSummary, comparable, flag, synthetic_notes
from diva_bench.runs.run import Run
from diva_bench.runs.store import Json
from diva_bench.specs import ModelSpec, digest
from diva_bench.tables import Cell, Column, Score, Table

_OF_THE_WORDING = (
    "id",
    "hash",
    "prompt",
    "choices",
    "variant",
    "questions",
)  # keys of task.json in which prompt variants may differ


@dataclass(frozen=True, slots=True)
class Family:
    """One model's runs of one task in several prompt variants, by number."""

    task: str
    edition: str
    runs: tuple[Run, ...]

    @property
    def scored_runs(self) -> list[RunSummary]:
        """The runs with a value of the most frequent primary metric."""
        summaries = [run.summary for run in self.runs]
        return comparable([run.admitted() for run in summaries])[0] if summaries else []


def families(runs: Iterable[Run]) -> list[Family]:
    """Runs grouped by what they have in common; only groups with more than one prompt variant.

    Raises:
        UnreadableRun: A record cannot be read.
    """
    runs = list(runs)
    if not any(run.summary.variant for run in runs):
        return []
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.path):
        task, record = run.folder.task_record(), run.folder.record()
        if "prompt" in record.get("overrides", {}):  # a changed prompt is not a variant of the task's prompt
            continue
        rest = digest({key: value for key, value in task.items() if key not in _OF_THE_WORDING})
        groups.setdefault((rest, _model(record)), []).append(run)
    several = [group for group in groups.values() if len({run.summary.variant for run in group}) > 1]
    return sorted((_family(group) for group in several), key=lambda f: (f.edition != "full", f.task))


def _model(record: Json) -> str:
    """The identity of a run's model."""
    raw = record.get("model")
    try:
        identity: Any = ModelSpec.model_validate(raw).identity()
    except ValidationError:  # of another version, so it equals only itself
        identity = raw
    return digest([identity, record.get("adapter_version"), record.get("frame")])


def _family(group: Sequence[Run]) -> Family:
    first = group[0].folder.task_record()
    audio = first.get("audio")
    name = first["name"] + (f" ({audio['condition']})" if audio else "")
    name += f" (trial on {first['limit']} items)" if first["limit"] is not None else ""
    return Family(name, first["edition"], tuple(sorted(group, key=lambda run: (run.summary.variant, str(run.path)))))


# ---------------------------------------------------------------- tables


def wordings_table(families_of_table: Sequence[Family]) -> Table:
    """One row per prompt variant: its score, the prompt, and the labels in their order."""
    rows: list[list[Cell]] = []
    for family in families_of_table:
        for run in family.runs:
            summary, task = run.summary, run.folder.task_record()
            main = summary.metrics[summary.primary] if summary.measured else None
            remark = flag(summary) if summary.complete else f"incomplete: {summary.reason}"
            if not (run.path / "summary.json").is_file():
                remark = "not scored yet"
            lines = [task["prompt"].strip(), *([f"[{', '.join(task['choices'])}]"] if task["choices"] else [])]
            score = main.score if main else None
            rows.append([family.task, summary.label, summary.variant, score, summary.scored, remark, " ".join(lines)])
    columns = [Column(name) for name in ("task", "model", "prompt", "score [95 %]", "n", "remarks")]
    notes = ["prompt 0 is the task's own; the labels follow the prompt, in their order"]
    return Table(
        f"prompt variants{_caption(families_of_table)}", [*columns, Column("text", optional=True)], rows, notes
    )


def spread_table(families_of_table: Sequence[Family]) -> Table:
    """One row per task and model: the score of the main prompt beside mean and spread over the variants."""
    rows = [_spread(family) for family in families_of_table]
    columns = [
        Column("task"),
        Column("model"),
        Column("metric"),
        Column("prompt 0"),
        Column("mean"),
        Column("sd"),
        Column("min"),
        Column("max"),
        Column("prompts"),
        Column("n"),
        Column("remarks"),
    ]
    notes = [
        "mean, sd (of a sample, n - 1), min and max: over the prompt variants, including prompt 0; the variants are few "
        "and chosen by hand, so sd shows how much the choice matters and is not an interval",
    ]
    return Table(f"spread over prompts{_caption(families_of_table)}", columns, rows, notes)


def _spread(family: Family) -> list[Cell]:
    runs = family.scored_runs
    missing = len(family.runs) - len(runs)
    remark = f"{missing} of {len(family.runs)} without a score" if missing else ""
    if not runs:
        return [family.task, "", None, None, None, None, None, None, 0, None, remark]
    metric = runs[0].primary
    values = [run.metrics[metric].value for run in runs]
    main = next((run.metrics[metric] for run in runs if run.variant == 0), None)
    return [
        family.task,
        runs[0].label,
        metric,
        Score(main.value, main.low, main.high) if main else None,
        statistics.fmean(values),
        statistics.stdev(values) if len(values) > 1 else None,
        min(values),
        max(values),
        len(values),
        runs[0].scored,
        remark,
    ]


def _caption(families_of_table: Sequence[Family]) -> str:
    notes = synthetic_notes(
        (family.edition, run.synthetic) for family in families_of_table for run in family.scored_runs
    )
    return f" ({'; '.join(notes)})" if notes else ""
