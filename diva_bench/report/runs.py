"""The table that `run` and `score` print at the end, its notes, and the reasons for answers that failed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from diva_bench.runs.agreement import in_words
from diva_bench.runs.records import flag, synthetic_notes
from diva_bench.runs.run import Run
from diva_bench.runs.store import RunFolder
from diva_bench.tables import Cell, Column, Table, cut_to

_NAMED = 5  # most ids in a note
_SHOWN = 3  # most data faults of one kind in a note
_LONGEST = 200  # width of a reason in columns of a terminal
_NUMBER = re.compile(r"\d+")


def results_table(runs: Sequence[Run]) -> Table:
    """The results of runs, one row per run. The speed is that of all batches of the run; RTFx is seconds of audio per second of
    wall time."""
    columns = [
        Column("task"),
        Column("model"),
        Column("metric"),
        Column("score [95 %]"),
        Column("n"),
        Column("failed"),
        Column("remarks"),
        Column("unsupported", optional=True),
        Column("unparsed", optional=True),
        Column("samples/s", optional=True),
        Column("RTFx", optional=True),
    ]
    return Table("results", columns, [_row(run) for run in runs], _notes(runs))


def unreadable_table(problems: Sequence[str]) -> list[Table]:
    """A table of the runs that cannot be read, each problem once; an empty list if all runs can be read."""
    rows: list[list[Cell]] = [[problem] for problem in dict.fromkeys(problems)]
    return (
        [Table("runs that cannot be read and are left out of all tables", [Column("what is wrong")], rows)]
        if rows
        else []
    )


def _row(finished: Run) -> list[Cell]:
    run, speed = finished.summary, finished.speed
    main = run.metrics.get(run.primary)
    remarks = [f"incomplete: {run.reason}" if not run.complete else "", flag(run)]
    remarks += [f"{', '.join(run.lost)} dropped: of other answers" if run.lost else ""]
    remarks += ["" if main or not run.scored else f"no value for {run.primary}: not ranked"]
    return [
        run.title,
        run.label,
        run.primary,
        main.score if main else None,
        run.scored,
        run.errors,
        ", ".join(r for r in remarks if r),
        run.unsupported,
        run.unparsed,
        speed.samples if speed else None,
        speed.audio if speed else None,
    ]


def _notes(runs: Sequence[Run]) -> list[str]:
    every = [run.summary for run in runs]
    notes = synthetic_notes((s.edition, s.speech == "synthetic") for s in every)
    notes += dict.fromkeys(signature for s in every for signature in s.signature.values())
    for run in runs:
        notes += _left_out(run)
        if excluded := run.summary.excluded:
            notes.append(f"{run.task}: {len(excluded)} left out by the task itself: {_reasons(excluded)}")
    notes += dict.fromkeys(f"{s.task}: {note}" for s in every for note in s.data_notes)
    notes += dict.fromkeys(f"{s.task}: no baseline: {s.no_baseline}" for s in every if s.no_baseline)
    for run in runs:
        s = run.summary
        notes += [f"{s.title}, {s.label}: {in_words(s.agreement)}"] if s.agreement else []
        if run.reused:
            notes.append(
                f"{s.title}, {s.label}: no speed, because its clips were encoded for another run of this command"
            )
        why = reasons(run.path) if s.errors or s.unsupported else {}
        if s.errors:
            again = "" if s.imported else ", run again by the same command"
            notes.append(f"{s.errors} failed in {run.path}: not scored{again}{_commonest(why.get('error'))}")
        if s.unsupported:
            reason = _commonest(why.get("unsupported"))
            notes.append(f"{s.unsupported} unsupported in {run.path}: scored as empty answers{reason}")
    return [*dict.fromkeys(notes), *(str(run.path) for run in runs)]


def failures(runs: Sequence[Run]) -> list[str]:
    """What failed in runs, as lines: for each run the number of failed answers with the most common reason, and the number
    of clips that cannot be used with the reason for the first one."""
    lines = []
    for run in runs:
        summary = run.summary
        if summary.errors:
            why = _commonest(reasons(run.path).get("error"))
            lines.append(
                f"{run.path}: {summary.errors} of {summary.n} answers failed and are not scored{why}. "
                "The same call runs them again."
            )
        if summary.data_faults:
            fault = summary.data_faults[0]
            reason = f"{fault['id']}: {cut_to(fault['reason'], _LONGEST)}"
            lines.append(
                f"{run.path}: {len(summary.data_faults)} clips cannot be used and are left out for every model, the first: "
                f"{reason}"
            )
    return lines


def _left_out(run: Run) -> list[str]:
    """Notes on the clips that cannot be used: one for each reason, with the number of clips and the first few of them."""
    alike: dict[str, list[str]] = {}
    for fault in run.summary.data_faults:
        ident, reason = fault["id"], fault["reason"]
        line = reason if ident in reason else f"{ident}: {reason}"  # most reasons begin with the name of the clip
        alike.setdefault(_NUMBER.sub("#", line.partition(": ")[2] or line), []).append(cut_to(line, _LONGEST))
    notes = []
    for faults in alike.values():
        count = f"{len(faults):,} samples, the first: " if len(faults) > 1 else ""
        more = "" if len(faults) <= _SHOWN else f"; all in {run.path / 'run.json'} under `faults`"
        notes.append(f"left out for every model: {count}{'; '.join(faults[:_SHOWN])}{more}")
    return notes


def reasons(run: Path) -> dict[str, Counter[str]]:
    """Status -> reason -> number of answers, for answers with another status than `ok`. Reasons that differ only in ids or
    numbers are counted as one."""
    counts: dict[str, Counter[str]] = {}
    words: dict[tuple[str, str], str] = {}
    for response in RunFolder(run).responses():
        if response.status != "ok":
            alike = _NUMBER.sub("#", response.detail.replace(response.id, "#"))
            first = words.setdefault((response.status, alike), response.detail or "no reason is given")
            counts.setdefault(response.status, Counter())[first] += 1
    return counts


def _commonest(counts: Counter[str] | None) -> str:
    """The most common reason with its count, and the number of other reasons, as text; "" if there is no reason."""
    if not counts:
        return ""
    (reason, count), *others = counts.most_common()
    more = f", and {len(others)} other reason{'s' if len(others) > 1 else ''}" if others else ""
    return f". {count} of them: {cut_to(reason, _LONGEST)}{more}"


def _reasons(faults: Sequence[Mapping[str, str]]) -> str:
    """The ids for each reason, as text."""
    ids: dict[str, list[str]] = {}
    for fault in faults:
        ids.setdefault(fault["reason"], []).append(fault["id"])
    return "; ".join(
        f"{', '.join(some[:_NAMED])}{', ...' if len(some) > _NAMED else ''} ({why})" for why, some in ids.items()
    )
