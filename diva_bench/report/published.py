"""Scores that other sources report (`results/published.yaml`), in a block of their own.

Runs stand beside them only where data, split, prompt and metric are the same: runs of the full edition of the task that the
file names. Runs of other editions never do.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

from diva_bench.errors import unknown
from diva_bench.runs.records import RunSummary
from diva_bench.specs.published import CitedSet, Published, published
from diva_bench.tables import Cell, Column, Score, Table

TITLE = "reported elsewhere"
HERE = "(here)"
"""Behind the name of a model that was run here."""
_SILENT = "not given by the source"


def chosen(cited: Published, names: Sequence[str]) -> list[CitedSet]:
    """The sets of some data sets: a name with or without its subset, or of the task with the same protocol; without names
    all. Raises UnknownName for a name without a set."""
    for name in names:
        if not any(_is_of(one, name) for one in cited.sets):
            raise unknown("task", name, {one.data for one in cited.sets}, "the scores that other sources report")
    return [one for one in cited.sets if not names or any(_is_of(one, name) for name in names)]


def _is_of(one: CitedSet, name: str) -> bool:
    other = (one.same_as or "").removesuffix(f"-{one.subset}" if one.subset else "\0")
    return name.lower() in [text.lower() for text in (one.data, one.name, one.same_as, other) if text]


def related(cited: Published, tasks: Sequence[str]) -> list[CitedSet]:
    """The sets of the data of some tasks, with whatever split, prompt and metric."""
    names = {task.removeprefix("paper-") for task in tasks}
    return [one for one in cited.sets if names & {one.data, one.name}]


def block(summaries: Sequence[RunSummary]) -> list[Table]:
    """The tables of all sets that have runs with the same protocol; the file is read only if there can be any."""
    full = [s for s in summaries if s.edition == "full" and s.plain]
    if not full:
        return []
    known = published()
    names = {one.name for one in known.sets if _ours(one, full)}
    return tables(known, [one for one in known.sets if one.name in names], full)


def _ours(one: CitedSet, summaries: Sequence[RunSummary]) -> list[RunSummary]:
    """The runs with the data, split, prompt and metric of a set."""
    return [
        s
        for s in summaries
        if one.same_as == s.task and s.edition == "full" and s.plain and s.ranked and one.metric in s.metrics
    ]


def tables(cited: Published, sets: Sequence[CitedSet], summaries: Sequence[RunSummary]) -> list[Table]:
    """A table for every data set and subset: systems by sources. Systems that were run here come first, and have a score
    only in columns with the same protocol."""
    names = dict.fromkeys(one.name for one in sets)
    return [_table(name, cited, [one for one in sets if one.name == name], summaries) for name in names]


def contents(cited: Published, sets: Sequence[CitedSet]) -> Table:
    """What there is, one row for every data set: on a screen all tables have a thousand lines."""
    rows: list[list[Cell]] = []
    for data in dict.fromkeys(one.data for one in sets):
        its = [one for one in sets if one.data == data]
        metrics = ", ".join(dict.fromkeys(one.metric.partition(", ")[0] for one in its))
        systems = {system for one in its for system in one.scores}
        counts = (len({one.name for one in its}), len({one.source for one in its}), len(systems))
        rows.append([data, *counts, sum(len(one.scores) for one in its), metrics])
    columns = [Column(name) for name in ("task", "tables", "sources", "systems", "scores", "metrics")]
    return Table(
        TITLE, columns, rows, ["the scores of a task: --published --task TASK; of all tasks: --published --format md"]
    )


def _table(name: str, cited: Published, sets: Sequence[CitedSet], summaries: Sequence[RunSummary]) -> Table:
    here = [{f"{s.label} {HERE}": s.metrics[one.metric].score for s in _ours(one, summaries)} for one in sets]
    theirs = [{system: _score(value) for system, value in one.scores.items()} for one in sets]
    ours = sorted({system for cells in here for system in cells})
    others = list(dict.fromkeys(system for cells in theirs for system in _ordered(cells)))
    rows: list[list[Cell]] = [
        [system, *(own.get(system, other.get(system)) for own, other in zip(here, theirs, strict=True))]
        for system in [*ours, *others]
    ]
    facts = [_facts(cited, one) for one in sets]
    keys = {text: f"[{_key(i)}]" for i, text in enumerate(dict.fromkeys(facts))}
    both = zip(sets, facts, strict=True)
    columns = [Column(keys[text], number=True, digits=_digits(one), group=one.metric) for one, text in both]
    notes = [f"{key} {text}" for text, key in keys.items()]
    if ours:
        notes.append(f"{HERE}: runs of this folder, in columns with the same data, split, prompt and metric")
    return Table(f"{TITLE}: {name}", [Column("system"), *columns], rows, notes)


def _key(number: int) -> str:
    return ascii_lowercase[number] if number < len(ascii_lowercase) else str(number + 1)


def _score(value: float | None) -> Cell:
    return None if value is None else Score(value)


def _ordered(cells: dict[str, Cell]) -> list[str]:
    return sorted(cells, key=lambda system: -cell.value if isinstance(cell := cells[system], Score) else 0.0)


def _digits(one: CitedSet) -> int:
    """Digits after the decimal point, as many as the source has."""
    return max(1, *(len(str(value).partition(".")[2]) for value in one.scores.values() if value is not None))


def _facts(cited: Published, one: CitedSet) -> str:
    source = cited.sources[one.source]
    parts = [
        _title(cited, one.source),
        f"split: {one.split or _SILENT}",
        f"prompt: {one.prompt or _SILENT}",
        f"n {one.n:,}" if one.n else f"n {_SILENT}",
        f"same data, split, prompt and metric as {one.same_as}" if one.same_as else "",
        "lower is better" if one.lower_is_better else "",
        source.note,
        one.note,
    ]
    return "; ".join(part for part in parts if part)


def every_score(cited: Published, sets: Sequence[CitedSet]) -> Table:
    """One row for every score, with all that its source says, for other programs."""
    names = ("data", "subset", "system", "score", "metric", "n", "split", "prompt", "source", "date", "same as", "note")
    rows: list[list[Cell]] = [
        [
            one.data, one.subset, system, value, one.metric, one.n, one.split, one.prompt,
            (source := cited.sources[one.source]).title, source.date, one.same_as,
            "; ".join(text for text in (source.note, one.note) if text) or None,
        ]
        for one in sets
        for system, value in one.scores.items()
    ]  # fmt: skip
    return Table(TITLE, [Column(name) for name in names], rows)


def at_a_glance(summaries: Sequence[RunSummary]) -> list[Table]:
    """Tasks by systems, as the leaderboard: one table of the cited scores with data, split, prompt and primary metric of tasks
    that were run here; empty if there are none."""
    full = [s for s in summaries if s.edition == "full" and s.plain]
    known = published() if full else None
    sets = [one for one in known.sets if any(s.primary == one.metric for s in _ours(one, full))] if known else []
    if known is None or not sets:
        return []
    systems = list(dict.fromkeys(system for one in sets for system in one.scores))
    columns = [Column("task"), Column("metric"), Column("source"), *(Column("", group=system) for system in systems)]
    sources = dict.fromkeys(one.source for one in sets)
    keys = {name: f"[{_key(i)}]" for i, name in enumerate(sources)}
    rows: list[list[Cell]] = [
        [one.same_as, one.metric, keys[one.source], *(_score(one.scores.get(system)) for system in systems)]
        for one in sets
    ]
    notes = ["data, split, prompt and metric are those of the runs above; nothing here was measured by diva-bench"]
    notes += [f"{keys[name]} {_title(known, name)}" for name in sources]
    return [Table(TITLE, columns, rows, [*notes, "more: --published"])]


def _title(cited: Published, name: str) -> str:
    source = cited.sources[name]
    return f"{source.title} ({source.date or 'no date'})"
