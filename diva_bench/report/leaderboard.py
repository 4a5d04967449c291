"""Leaderboard tables from the summaries of stored runs; no score is computed.

Only runs in one task folder have the same questions, so each task folder is a table: editions, trials with --limit and
changed prompts are never in one table. An incomplete run is listed below the ranked ones, with the reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Literal, get_args

from diva_bench.predictions.imported import ERRORS
from diva_bench.report import aggregate
from diva_bench.report.aggregate import write_rank
from diva_bench.runs import aligned
from diva_bench.runs.agreement import in_words
from diva_bench.runs.aligned import Drawn
from diva_bench.runs.records import RunSummary, comparable, flag, synthetic_note
from diva_bench.scorers import DIAGNOSTIC, METRICS, NOT_SCORED, PREDICTED
from diva_bench.specs import Edition
from diva_bench.stats import FEW_CLUSTERS, RESAMPLES, SEED
from diva_bench.stats.settings import planned
from diva_bench.tables import Cell, Column, Table, cut_to, write

_EDITIONS = get_args(Edition)
_NAMED = 5  # runs without a rank whose reasons are on the screen
_HALF_WIDTHS = 2 * 1.96  # standard errors in a 95 % interval


# ---------------------------------------------------------------- tables


Ranks = Mapping[tuple[str, str], tuple[int, int]]
"""(task id, run id) -> the 95 % interval of its rank."""


def leaderboard(summaries: Iterable[RunSummary], drawn: Mapping[str, Drawn] | None = None) -> list[Table]:
    """One table per task id, after an overview and the means of every edition with more than one task. `drawn`: for rank
    intervals (`aligned.drawn`).

    Runs under an audio condition have their own tables, after the others and not in the overview; `report.prompts`
    reports other prompt variants in one line each.
    """
    main_runs = [s for s in summaries if not s.variant]
    main_runs.sort(
        key=lambda s: (
            s.limit is not None,
            bool(s.audio or s.overrides),
            _order(s.edition),
            s.task,
            s.audio or "",
            s.changes,
            s.task_id,
            s.run_id,
        )
    )
    ranks = aligned.ranks(drawn or {})
    tables = [*overviews(main_runs), *aggregate.tables(main_runs, drawn or {})]
    for id in dict.fromkeys(s.task_id for s in main_runs):
        runs = [s for s in main_runs if s.task_id == id]
        tables += [_task_table(runs, ranks), *_adherence_table(runs)]
    return tables


def overviews(summaries: Iterable[RunSummary]) -> list[Table]:
    """Tasks by models, a table for every edition with more than one task, from runs of unchanged tasks."""
    plain = sorted((s for s in summaries if s.plain), key=lambda s: (_order(s.edition), s.task, s.task_id, s.run_id))
    tables = []
    for name in dict.fromkeys(s.edition for s in plain):
        runs = [s for s in plain if s.edition == name]
        if len({s.task_id for s in runs}) > 1:
            tables.append(_overview(name, runs))
    return tables


Standing = Literal["best", "tied", "at chance", ""]
MARKS: Mapping[str, str] = {"best": "+ ", "tied": "= ", "at chance": "* ", "": ""}
"""Standing -> the mark before a score."""


def standings(runs: Sequence[RunSummary], ranks: Ranks | None = None) -> dict[str, Standing]:
    """Run id -> how it stands among the ranked runs of its task.

    Without `ranks`, two scores are tied if their difference is within 1.96 standard errors, which are taken from the
    intervals as if the runs had other samples. That is careful: a paired test (`compare`) finds more differences. With
    `ranks`, a run is tied with the best if its rank interval includes 1.
    """
    ranked, primary = comparable(runs)
    listed: dict[str, Standing] = {s.run_id: "at chance" for s in ranked if s.at_chance}
    others = [s for s in ranked if not s.at_chance]
    if not others:
        return listed
    sign = 1 if others[0].metrics[primary].higher_is_better else -1
    best = max(others, key=lambda s: sign * s.metrics[primary].value)
    for run in others:
        listed[run.run_id] = "tied" if _tied(run, best, ranks or {}) else ""
    return listed | {s.run_id: "best" for s in others if s.metrics[primary].value == best.metrics[primary].value}


def _tied(run: RunSummary, best: RunSummary, ranks: Ranks) -> bool:
    if between := ranks.get((run.task_id, run.run_id)):
        return between[0] == 1
    ours, theirs = run.metrics[run.primary], best.metrics[best.primary]
    errors = [(one.high - one.low) / _HALF_WIDTHS for one in (ours, theirs)]
    return abs(ours.value - theirs.value) <= 1.96 * math.hypot(*errors)


TIED = (
    "+ best score of the task; = tied with it: within 1.96 standard errors, taken from the intervals; paired tests "
    "(`compare`) find more differences"
)
AT_CHANCE = (
    "at chance: the 95 % interval of the paired difference from the best audio-blind baseline includes 0, or the model is "
    "worse; that interval can be wider than the model's own interval suggests"
)
"""Every legend says it in these words. The rule is in `runs.chance`."""


_TONES: Mapping[str, Literal["", "strong", "faint"]] = {"best": "strong", "tied": "strong", "at chance": "faint"}


def screen(summaries: Sequence[RunSummary], unreadable: int = 0) -> list[Table]:
    """The leaderboard at a glance: tasks by models with intervals, a table for every edition, from runs of unchanged tasks.
    The last one says what is left out, and how to see more. Empty without such runs."""
    plain = [s for s in summaries if s.plain]
    plain.sort(key=lambda s: (_order(s.edition), s.task, s.task_id, s.run_id))
    editions = [[s for s in plain if s.edition == name] for name in dict.fromkeys(s.edition for s in plain)]
    tables = [_screen(runs) for runs in editions if any(s.ranked for s in runs)]
    if not tables:
        return []
    more = "more: --task TASK or --details (a table for every task), --signatures, --speed, --ranks, --published, --compute"
    notes = [*tables[-1].notes, *left_out(summaries, unreadable), more]
    return [*tables[:-1], replace(tables[-1], notes=notes)]


def _screen(runs: Sequence[RunSummary]) -> Table:
    """The table of one edition."""
    models = sorted({s.label for s in runs if s.ranked})
    ids = list(dict.fromkeys(s.task_id for s in runs if s.ranked))
    names = Counter(next(s.task for s in runs if s.task_id == id) for id in ids)
    rows: list[list[Cell]] = []
    for id in ids:
        here = [s for s in runs if s.task_id == id]
        stand, (ranked, primary) = standings(here), comparable(here)
        cells = [_screen_cell([s for s in ranked if s.label == model], stand) for model in models]
        name = here[0].task if names[here[0].task] == 1 else id
        sizes = [s.metrics[primary].n for s in ranked]
        shares = [100 * max(0, s.scored - s.unsupported) / max(s.n, 1) for s in ranked]
        rows.append([name, primary, _range(sizes, "{:,}"), f"{_range(shares, '{:.3g}')} %", *cells])
    found = aggregate.means(runs)
    if found.scores:
        last = [replace(found.scores[model], tone="strong") if model in found.scores else None for model in models]
        rows.append([f"mean of {len(found.tasks)}", "rescaled", "", "", *last])
    columns = [Column("task"), Column("metric", optional=True), Column("n", number=True)]
    whole = all(row[3] in ("100 %", "") for row in rows)
    columns += [Column("answered", optional=whole, number=True), *(Column("", group=model) for model in models)]
    notes = _legend(runs)
    few = sorted({s.task for s in runs if s.ranked and s.metrics[s.primary].few_clusters})
    notes += [f"fewer than {FEW_CLUSTERS} clusters, the interval is too narrow: {', '.join(few)}"] if few else []
    notes += aggregate.notes(found, aggregate.BRIEF)
    falls = sorted({s.primary for s in runs if s.ranked and not s.metrics[s.primary].higher_is_better})
    notes += [f"{', '.join(falls)}: lower is better"] if falls else []
    edition = runs[0].edition
    synthetic = all(s.synthetic for s in runs)
    return Table(synthetic_note(edition) if synthetic else f"{edition} edition", columns, rows, notes)


def _legend(runs: Sequence[RunSummary]) -> list[str]:
    """What the intervals and the marks of a table of tasks by models mean."""
    ids = dict.fromkeys(s.task_id for s in runs)
    shown = [standing for id in ids for standing in standings([s for s in runs if s.task_id == id]).values()]
    notes = [f"primary metric [95 % interval: cluster bootstrap, {RESAMPLES} resamples, seed {SEED}]"]
    notes += [TIED] if "best" in shown else []
    return notes + ([f"* {AT_CHANCE}"] if "at chance" in shown else [])


def _screen_cell(runs: Sequence[RunSummary], stand: Mapping[str, Standing]) -> Cell:
    """The value of one model at one task; all values if there are several runs (dtype, settings)."""
    scores = [
        replace(
            s.metrics[s.primary].score,
            mark=MARKS[stand.get(s.run_id, "")],
            tone=_TONES.get(stand.get(s.run_id, ""), ""),
        )
        for s in runs
    ]
    if len(scores) > 1:
        return " / ".join(write(score) for score in scores)
    return scores[0] if scores else None


def _range(values: Sequence[float], form: str) -> str:
    """One value, or the lowest and the highest."""
    return " to ".join(dict.fromkeys(form.format(value) for value in (min(values), max(values))))


def left_out(summaries: Sequence[RunSummary], unreadable: int = 0) -> list[str]:
    """One line about the runs that are not on the screen, and the reasons of the first that are not ranked; empty if all
    are there."""
    counts = {
        "with --limit": sum(s.limit is not None for s in summaries),
        "with another audio condition": sum(s.limit is None and bool(s.audio) for s in summaries),
        "with another prompt or other settings": sum(
            s.limit is None and not s.audio and bool(s.variant or s.overrides) for s in summaries
        ),
        "not complete or without a score": sum(s.plain and not s.ranked for s in summaries),
        "of another primary metric": _other_primary([s for s in summaries if s.plain and s.ranked]),
        "that cannot be read": unreadable,
    }
    parts = [f"{n:,} {what}" for what, n in counts.items() if n]
    unranked = [s for s in summaries if s.plain and not s.ranked]
    lines = [f"{s.title}, {s.label}: {_why_not(s, s.primary)}" for s in unranked[:_NAMED]]
    lines += [f"{len(unranked) - _NAMED} more with --details"] if len(unranked) > _NAMED else []
    return [f"runs left out here: {', '.join(parts)}", *lines] if parts else []


def _other_primary(ranked: Sequence[RunSummary]) -> int:
    """Number of ranked runs that their task is not ranked by."""
    ids = dict.fromkeys(s.task_id for s in ranked)
    return len(ranked) - sum(len(comparable([s for s in ranked if s.task_id == id])[0]) for id in ids)


def signatures(summaries: Sequence[RunSummary]) -> Table:
    """The signature of every scorer, with the tasks and the number of runs that it scored."""
    found: dict[str, tuple[dict[str, None], int]] = {}
    for s in sorted(summaries, key=lambda s: (_order(s.edition), s.task, s.run_id)):
        for text in s.signature.values():
            tasks, count = found.setdefault(text, ({}, 0))
            found[text] = ({**tasks, s.task: None}, count + 1)
    rows: list[list[Cell]] = [[text, count, ", ".join(tasks)] for text, (tasks, count) in found.items()]
    return Table("signatures", [Column("signature"), Column("runs"), Column("tasks")], rows)


def no_overview(summaries: Sequence[RunSummary]) -> str:
    """Why there is no table of tasks by models."""
    others = sum(not summary.plain for summary in summaries)
    return (
        "no overview: it needs runs of at least two tasks of one edition. Runs with --limit, --audio, another prompt or other "
        f"settings do not count; {others:,} of these {len(summaries):,} runs are such runs."
    )


def page(tables: Sequence[Table]) -> str:
    """LEADERBOARD.md: the tables, with a line that names the command. The same runs give the same bytes."""
    head = "<!-- Generated by `diva-bench leaderboard --format md`. Do not edit. -->\n\n# Leaderboard\n"
    return "\n".join([head, *(table.to_markdown() for table in tables)])


def _order(edition: str) -> int:
    return _EDITIONS.index(edition) if edition in _EDITIONS else len(_EDITIONS)


def _task_table(runs: Sequence[RunSummary], ranks: Ranks) -> Table:
    first = runs[0]
    # The scorers are not in the task's identity, so runs of one folder may have different metrics.
    ranked, primary = comparable(runs)
    sign = -1 if ranked and ranked[0].metrics[primary].higher_is_better else 1
    ranked.sort(key=lambda s: (sign * s.metrics[primary].value, s.run_id))
    others = _other_metrics(ranked, primary)
    labels = Counter(s.label for s in runs)
    names = {s.run_id: s.label if labels[s.label] == 1 else s.run_id for s in runs}
    has_ranks = any((s.task_id, s.run_id) in ranks for s in ranked)

    def between(run: RunSummary) -> list[Cell]:
        return [write_rank(ranks.get((run.task_id, run.run_id)))] if has_ranks else []

    rows: list[list[Cell]] = []
    for s in ranked:
        # Equal values share a rank.
        rank = 1 + sum(sign * r.metrics[primary].value < sign * s.metrics[primary].value for r in ranked)
        main = s.metrics[primary]
        more: list[Cell] = [s.metrics[m].value if m in s.metrics else None for m in others]
        rows.append([rank, names[s.run_id], main.score, main.n, flag(s), *between(s), *_counts(s), *more, s.run_id])
    for s in runs:
        if s not in ranked:
            gap: list[Cell] = [None] * len(others)
            why = _why_not(s, primary)
            rows.append([None, names[s.run_id], None, s.scored, why, *between(s), *_counts(s), *gap, s.run_id])
    columns = [Column(name) for name in ("#", "model", primary, "n", "remarks")]
    columns += [Column("rank", optional=True, number=True)] if has_ranks else []
    columns += [Column(name, optional=True) for name in ("errors", "unsupported", "unparsed", *others, "run")]
    return Table(f"{first.task_id}{caption(first)}", columns, rows, _notes(ranked, primary, has_ranks))


def _adherence_table(runs: Sequence[RunSummary]) -> list[Table]:
    """Whether the answers of ranked runs follow the instruction; empty if this was not measured."""
    ranked, primary = comparable(runs)
    metrics = [m for m in DIAGNOSTIC if m != primary and any(m in s.metrics for s in ranked)]
    if not metrics:
        return []
    labels = Counter(s.label for s in runs)
    rows: list[list[Cell]] = [
        [
            s.label if labels[s.label] == 1 else s.run_id,
            *(s.metrics[m].score if m in s.metrics else None for m in metrics),
        ]
        for s in sorted(ranked, key=lambda s: s.run_id)
    ]
    columns = [Column("model"), *(Column(m, optional=k > 0) for k, m in enumerate(metrics))]
    note = (
        "properties of the answers, not their quality: `diva-bench list metrics` explains each, `diva-bench "
        "diagnose` interprets them"
    )
    return [Table(f"{runs[0].task_id}: does it follow the instruction?{caption(runs[0])}", columns, rows, [note])]


def caption(run: RunSummary) -> str:
    """The caption for synthetic speech, an audio condition, and a trial."""
    labels = [synthetic_note(run.edition)] if run.synthetic else []
    labels += [f"audio condition {run.audio}, not the unchanged clips"] if run.audio else []
    labels += [_changed(run)] if run.overrides else []
    labels += [f"trial on {run.limit} items, not a result"] if run.limit is not None else []
    return f" ({'; '.join(labels)})" if labels else ""


_SHOWN = 100  # characters of a changed prompt in a caption


def _changed(run: RunSummary) -> str:
    """The changed settings of the task, with their values."""
    changes = [
        f"{key} {cut_to(repr(value) if isinstance(value, str) else str(value), _SHOWN)}"
        for key, value in run.overrides.items()
    ]
    return f"changed: {', '.join(changes)}"


def _other_metrics(runs: Sequence[RunSummary], primary: str) -> list[str]:
    """The other metrics, in the order of `list metrics`, except unparsed answers (a column of counts), adherence (a table
    of its own), and the histogram of predicted labels (only in summary.json)."""
    names = {name for s in runs for name in s.metrics if not name.startswith(PREDICTED)}
    names -= {primary, "unparsed", *DIAGNOSTIC}
    ordered = [m.name for m in METRICS if m.name in names]
    return [*dict.fromkeys(ordered), *sorted(names - set(ordered))]


def _counts(run: RunSummary) -> list[Cell]:
    return [run.errors, run.unsupported, run.unparsed]


def unscored(run: RunSummary) -> str:
    """Why a run has no value for its primary metric: the signature of a scorer names missing weights."""
    signatures = [text for text in run.signature.values() if NOT_SCORED in text]
    return f"no value for {run.primary}" + "".join(f" ({text})" for text in signatures)


def _why_not(run: RunSummary, primary: str) -> str:
    if not run.complete:
        return f"not ranked: {run.reason or 'incomplete'}"
    if run.primary == primary and run.measured:
        return "not ranked: its weights are not hashed (--in-memory ranks it)"
    if run.primary == primary:
        return f"not ranked: {unscored(run)}"
    return f"not ranked: no value for {primary}; its primary metric is {run.primary}"


def _notes(ranked: Sequence[RunSummary], primary: str, with_ranks: bool) -> list[str]:
    if not ranked:
        return []
    main = [s.metrics[primary] for s in ranked]
    better = "higher" if main[0].higher_is_better else "lower"
    notes = [f"{primary} [95 % interval: cluster bootstrap, {RESAMPLES} resamples, seed {SEED}]; {better} is better"]
    notes += (
        ["rank: 95 % interval of the rank among these runs, from the same resamples for all runs"] if with_ranks else []
    )
    if any(s.at_chance for s in ranked):
        notes.append(AT_CHANCE)
    baseline_values: dict[str, set[str]] = {}
    for s in ranked:
        baselines = s.baselines or ({"constant": s.baseline} if s.baseline is not None else {})
        for name, value in baselines.items():
            baseline_values.setdefault(name, set()).add(f"{value:.1f}")
    notes += [
        f"{primary} of a {_ANSWERS[name]}: {' or '.join(sorted(values))}" for name, values in baseline_values.items()
    ]
    notes += dict.fromkeys(f"no baseline: {s.no_baseline}" for s in ranked if s.no_baseline)
    widths = [(m.high - m.low) / _HALF_WIDTHS for m in main if m.high > m.low]
    if len(ranked) > 1 and widths:
        notes.append(
            f"minimum detectable difference: about {planned(median(widths)):.1f} points (80 % power, p < 0.05, independent "
            "errors); paired tests (`compare`) detect smaller ones"
        )
    if any(m.few_clusters for m in main):
        notes.append(f"fewer than {FEW_CLUSTERS} clusters: the interval is too narrow")
    if any(s.imported for s in ranked):
        notes.append(
            "imported: answers of another system; whether its prompt and decoding are the task's cannot be checked"
        )
    notes += [
        f"errors {rule}: answers that failed in the other system are {ERRORS[rule]} (`import --errors {rule}`)"
        for rule in ERRORS
        if any(s.errors_as == rule for s in ranked)
    ]
    notes += [f"{s.run_id}: {in_words(s.agreement)}" for s in ranked if s.agreement]
    notes += [text for told, text in _MEANINGS if any(told(s) for s in ranked)]
    for scorer in dict.fromkeys(name for s in ranked for name in sorted(s.signature)):
        signed: dict[str, list[str]] = {}
        for s in ranked:
            signed.setdefault(s.signature.get(scorer, "unsigned"), []).append(s.run_id)
        if len(signed) == 1:
            notes += signed
        else:  # settings or versions differ: the rows cannot simply be compared
            notes += [f"{signature} ({scorer} of {', '.join(who)} only)" for signature, who in signed.items()]
    return notes


_MEANINGS: tuple[tuple[Callable[[RunSummary], bool], str], ...] = (
    (
        lambda s: not s.repeatable,
        "not repeatable: the model is behind a server, or a batch was split, and in other dtypes than float32 answers can depend "
        "on the batch",
    ),
    (
        lambda s: bool(s.first_token),
        "labels by first token: a server told only the probabilities of the first token, so that a label stands for all that "
        "begins like it; other rows compare whole labels",
    ),
)
"""Remark -> what it means, for the notes of a table."""
_ANSWERS = {
    "constant": "constant answer",
    "prior": "random answer, drawn in proportion to frequency",
    "speaker prior": "speaker's most common answer elsewhere",
}


def _overview(edition: str, runs: Sequence[RunSummary]) -> Table:
    """Tasks by models with the primary metric of each task. Their scales differ: `aggregate` rescales them for a mean."""
    models = sorted({s.label for s in runs})
    ids = list(dict.fromkeys(s.task_id for s in runs))
    tasks = Counter(next(s.task for s in runs if s.task_id == id) for id in ids)
    rows: list[list[Cell]] = []
    for id in ids:
        here = [s for s in runs if s.task_id == id]
        name = here[0].task if tasks[here[0].task] == 1 else id
        stand = standings(here)
        cells = [_screen_cell([s for s in here if s.label == model and s.ranked], stand) for model in models]
        sizes = sorted({s.metrics[s.primary].n for s in here if s.ranked})
        size = sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}" if sizes else None
        rows.append([name, here[0].primary, size, *cells])
    columns = [Column("task"), Column("metric"), Column("n", number=True)]
    columns += [Column("", group=model) for model in models]
    notes = _legend(runs)
    synthetic = sorted({s.task for s in runs if s.synthetic})
    every = len(synthetic) == len({s.task for s in runs})
    notes += [f"{synthetic_note(edition)}: {', '.join(synthetic)}"] if synthetic and not every else []
    return Table(f"overview, {synthetic_note(edition) if every else edition}", columns, rows, notes)
