"""How much a score depends on the wording: runs of one model that differ in nothing but the prompt and the label order.

Read from what lies on disk (task.json, run.json, summary.json): a spread is of all wordings that were asked, complete
ones only, and says how many there were.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diva_bench.runs.records import RunSummary, comparable, flag, summary_of, synthetic_notes
from diva_bench.runs.store import Json, RunFolder, read_json
from diva_bench.specs import ModelSpec, digest
from diva_bench.tables import Cell, Column, Score, Table

_OF_THE_WORDING = (
    "id",
    "hash",
    "prompt",
    "choices",
    "variant",
    "questions",
)  # keys of task.json in which wordings may differ


@dataclass(frozen=True, slots=True)
class Wording:
    """One run of a family: number 0 is the main prompt. `summary` is None while it is not scored."""

    number: int
    prompt: str
    choices: tuple[str, ...]
    summary: RunSummary | None


@dataclass(frozen=True, slots=True)
class Family:
    """One model's runs of one task in several wordings, by number."""

    task: str
    edition: str
    wordings: tuple[Wording, ...]

    @property
    def judged(self) -> list[RunSummary]:
        """The runs that have a value of the metric that most of them are ranked by."""
        summaries = [w.summary for w in self.wordings if w.summary is not None]
        return comparable([run.admitted() for run in summaries])[0] if summaries else []


def families(folders: Iterable[Path], summaries: Mapping[Path, RunSummary] | None = None) -> list[Family]:
    """Run folders (results/<task>/<run>) grouped by what they have in common; only groups of more than one wording.
    `summaries`: summaries that need not be read again, by folder.

    Raises StoreError where a record cannot be read.
    """
    families_of_table: dict[tuple[str, str], list[tuple[Json, Path]]] = {}
    for folder in sorted(folders):
        task, run = RunFolder(folder).task_record(), read_json(folder / "run.json")
        if "prompt" in run.get("overrides", {}):  # another prompt than the task's is no wording of it
            continue
        rest = digest({key: value for key, value in task.items() if key not in _OF_THE_WORDING})
        families_of_table.setdefault((rest, _model(run)), []).append((task, folder))
    groups = [g for g in families_of_table.values() if len({task.get("variant", 0) for task, _ in g}) > 1]
    return sorted((_family(g, summaries or {}) for g in groups), key=lambda f: (f.edition != "full", f.task))


def _model(record: Json) -> str:
    """The identity of who was asked, as a run's own."""
    raw = record.get("model")
    try:
        identity: Any = ModelSpec.model_validate(raw).asked()
    except ValidationError:  # another version's: it is then only like itself
        identity = raw
    return digest([identity, record.get("adapter_version"), record.get("frame")])


def _family(group: Sequence[tuple[Json, Path]], summaries: Mapping[Path, RunSummary]) -> Family:
    wordings = []
    for task, folder in sorted(group, key=lambda pair: (pair[0].get("variant", 0), str(pair[1]))):
        file = folder / "summary.json"
        summary = summaries.get(folder)
        if summary is None and file.is_file():
            summary = summary_of(RunFolder(folder).summary(), file)
        wordings.append(Wording(task.get("variant", 0), task["prompt"], tuple(task["choices"] or ()), summary))
    first = group[0][0]
    audio = first.get("audio")
    name = first["name"] + (f" ({audio['condition']})" if audio else "")
    name += f" (trial on {first['limit']} items)" if first["limit"] is not None else ""
    return Family(name, first["edition"], tuple(wordings))


# ---------------------------------------------------------------- tables


def wordings_table(families_of_table: Sequence[Family]) -> Table:
    """One row per wording: its score, what was asked, the labels in their order."""
    rows: list[list[Cell]] = []
    for family in families_of_table:
        for wording in family.wordings:
            run = wording.summary
            main = run.metrics[run.primary] if run and run.measured else None
            remark = "not scored yet" if run is None else flag(run) if run.complete else f"incomplete: {run.reason}"
            lines = [wording.prompt.strip(), *([f"[{', '.join(wording.choices)}]"] if wording.choices else [])]
            label, n = (run.label, run.scored) if run else ("", None)
            rows.append([family.task, label, wording.number, main.score if main else None, n, remark, " ".join(lines)])
    columns = [Column(name) for name in ("task", "model", "prompt", "score [95 %]", "n", "remarks")]
    notes = ["prompt 0 is the task's own; after a prompt, its labels in the order in which they were offered"]
    return Table(f"wordings{_caption(families_of_table)}", [*columns, Column("wording", optional=True)], rows, notes)


def spread_table(families_of_table: Sequence[Family]) -> Table:
    """One row per task and model: the main prompt's score beside mean and spread over the wordings."""
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
    runs = family.judged
    missing = len(family.wordings) - len(runs)
    remark = f"{missing} of {len(family.wordings)} without a score" if missing else ""
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
    notes = synthetic_notes((family.edition, run.synthetic) for family in families_of_table for run in family.judged)
    return f" ({'; '.join(notes)})" if notes else ""
