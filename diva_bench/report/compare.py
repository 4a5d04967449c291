"""`compare`: two or more runs of one task, sample by sample: differences, their uncertainty, groups, and single answers.

All tables are made from stored rows: scores, differences, tests (with other assumptions than the interval), differences
by group, gaps between groups, and the samples with the largest differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from diva_bench.errors import UserError, unknown
from diva_bench.report.ablation import SIGN, SURE
from diva_bench.report.aggregate import write_rank
from diva_bench.report.leaderboard import caption
from diva_bench.runs.aligned import Sheet
from diva_bench.runs.records import failures, flag
from diva_bench.scorers import DIAGNOSTIC, PREDICTED
from diva_bench.scorers.labels import UNPARSED, Labels, scorer_of
from diva_bench.scorers.source_score import METRIC
from diva_bench.stats import (
    FEW_CLUSTERS,
    FEW_NOTE,
    P_NOTE,
    RESAMPLES,
    SEED,
    Difference,
    Estimate,
    Interval,
    holm,
    significance,
)
from diva_bench.stats.differences import Randomised, randomisation
from diva_bench.stats.settings import detectable
from diva_bench.stats.significance import Lineup, McNemar
from diva_bench.tables import Cell, Column, Score, Table, cut_to
from diva_bench.types import Floats, Response

_MOST_VALUES = 24  # a group with more values gets no table
_FEWEST = 5  # with fewer clusters a group's score has no interval, which would be far too narrow


@dataclass(frozen=True, slots=True)
class Pair:
    """One metric of two runs, given by their places in the sheet."""

    metric: str
    first: int
    second: int
    clustered: Difference
    alone: Difference
    """With every sample resampled by itself (iid)."""
    standard_error: float
    few: Interval | None
    """The jackknife interval, if there are few clusters."""
    mcnemar: McNemar | None
    by_cluster: Randomised
    by_sample: Randomised
    sacrebleu: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All results. `scores` and `alone`: (metric, run) -> the score with its interval."""

    sheet: Sheet
    metrics: Sequence[str]
    scores: Mapping[tuple[str, int], Estimate]
    alone: Mapping[tuple[str, int], Estimate]
    ranks: Mapping[tuple[str, int], tuple[int, int]]
    pairs: Sequence[Pair]
    adjusted: Sequence[float]
    """p-values after Holm over all pairs and metrics."""


def chosen(sheet: Sheet, names: Sequence[str]) -> list[str]:
    """The metrics to compare: those named; otherwise for two runs all quality metrics, and for more the primary one, which
    is first.

    Raises:
        UnknownName: A run does not have a metric.
    """
    there = [name for name in sheet.metrics if not name.startswith(PREDICTED)]
    for name in names:
        if name == METRIC and sheet.unlike:
            raise UserError(f"{sheet.unlike}. Compare by a metric that is measured here.")
        if name not in there:
            raise unknown("metric", name, there, f"the runs of {sheet.task_id}")
    first = [sheet.task.primary] if sheet.task.primary in there else there[:1]
    good = [name for name in there if name not in DIAGNOSTIC]
    return list(dict.fromkeys(names or (first + good if len(sheet.runs) == 2 else first)))


def compare(sheet: Sheet, metrics: Sequence[str]) -> Comparison:
    """Score, pair and test every two runs by every metric."""
    owners = sheet.metrics
    scores: dict[tuple[str, int], Estimate] = {}
    alone: dict[tuple[str, int], Estimate] = {}
    ranks: dict[tuple[str, int], tuple[int, int]] = {}
    pairs: dict[tuple[str, int, int], Pair] = {}
    for scorer in dict.fromkeys(owners[metric] for metric in metrics):
        rows, reduce = [rows[scorer] for rows in sheet.rows], sheet.reduce(scorer)
        clustered = significance.line_up(rows, sheet.clusters, reduce)
        single = clustered if _same_draws(sheet) else significance.line_up(rows, sheet.ids, reduce)
        mine = [metric for metric in metrics if owners[metric] == scorer]
        for metric in mine:
            order = clustered.ranks(metric, higher_is_better=sheet.rises(metric))
            for i in range(len(sheet.runs)):
                scores[metric, i], alone[metric, i] = clustered.score(metric, i), single.score(metric, i)
                ranks[metric, i] = order[i]
        for first, second in combinations(range(len(sheet.runs)), 2):
            for pair in _pairs(sheet, scorer, mine, (first, second), clustered, single):
                pairs[pair.metric, first, second] = pair
    ordered = [pairs[m, i, j] for m in metrics for i, j in combinations(range(len(sheet.runs)), 2)]
    return Comparison(sheet, metrics, scores, alone, ranks, ordered, holm([pair.clustered.p for pair in ordered]))


def _same_draws(sheet: Sheet) -> bool:
    """Whether resampling clusters equals resampling samples in the same order, so that the draws are equal."""
    by_cluster, by_id = (sorted(range(len(sheet.ids)), key=names.__getitem__) for names in (sheet.clusters, sheet.ids))
    return sheet.single_clusters and by_cluster == by_id


def _pairs(
    sheet: Sheet, scorer: str, metrics: Sequence[str], who: tuple[int, int], clustered: Lineup, single: Lineup
) -> list[Pair]:
    first, second = who
    ours, theirs = sheet.rows[first][scorer], sheet.rows[second][scorer]
    reduce = sheet.reduce(scorer)
    keep = [i for i, both in enumerate(zip(ours, theirs, strict=True)) if all(both)]
    pair_rows = [ours[i] for i in keep], [theirs[i] for i in keep]
    swapped = randomisation(ours, theirs, sheet.clusters, reduce)
    singly = swapped if sheet.single_clusters else randomisation(ours, theirs, sheet.ids, reduce)
    few = significance.jackknife(ours, theirs, sheet.clusters, reduce) if clustered.clusters < FEW_CLUSTERS else {}
    koehn = significance.sacrebleu_bootstrap(*pair_rows, reduce) if scorer in ("bleu", "chrf") else {}
    items = [significance.by_item(rows, reduce) for rows in pair_rows]
    pairs = []
    for metric in metrics:
        values = [clustered.point[metric][i] for i in who]
        binary = all(significance.is_binary(one[metric], float(v)) for one, v in zip(items, values, strict=True))
        pairs.append(
            Pair(
                metric,
                first,
                second,
                clustered.difference(metric, first, second),
                single.difference(metric, first, second),
                clustered.standard_error(metric, first, second),
                few[metric][1] if metric in few else None,
                significance.mcnemar(items[0][metric], items[1][metric]) if binary else None,
                swapped[metric],
                singly[metric],
                koehn.get(metric),
            )
        )
    return pairs


# ---------------------------------------------------------------- tables


def scores_table(comparison: Comparison) -> Table:
    """One row per metric and run."""
    sheet, many = comparison.sheet, len(comparison.sheet.runs) > 2
    named = list(zip(sheet.names, sheet.runs, strict=True))
    rows: list[list[Cell]] = []
    for metric in comparison.metrics:
        for i, (name, run) in enumerate(named):
            score, alone = comparison.scores[metric, i], comparison.alone[metric, i]
            rank = write_rank(comparison.ranks[metric, i])
            doubts = flag(run.summary) if metric == run.summary.primary else ""
            rows.append([metric, name, _score(score), *([rank] if many else []), _score(alone), doubts])
    columns = [Column("metric"), Column("model"), Column("score")]
    columns += [Column("rank", number=True)] if many else []
    columns += [Column("iid", optional=True), Column("remarks", optional=True)]
    size = next(iter(comparison.scores.values()))
    share = significance.largest_share(sheet.clusters)
    notes = [
        f"{size.n} samples in {size.clusters} clusters, the largest has {100 * share:.2g} % of them",
        f"score [95 % interval: cluster bootstrap, {RESAMPLES} resamples, seed {SEED}]; "
        "iid: the same with every sample resampled by itself, which is too narrow if samples depend on each other",
    ]
    notes += ["rank: 95 % interval of the rank among these runs, over the same resamples"] if many else []
    notes += [f"{name}: {failures(run.summary)}" for name, run in named if failures(run.summary)]
    if any(run.summary.dropped for run in sheet.runs):
        notes.append(
            f"{len(sheet.ids) - size.n} of {len(sheet.ids)} samples are in no score here, because some run has no value for them"
        )
    notes += [f"fewer than {FEW_CLUSTERS} clusters: intervals are too narrow"] if size.few_clusters else []
    notes += [f"{m}: lower is better" for m in comparison.metrics if not sheet.rises(m)]
    notes += [f"{name}: {run.path}" for name, run in named]
    notes += [sheet.runs[0].summary.signature[name] for name in sheet.scorers]
    notes += [f"left out: {sheet.unlike}"] if sheet.unlike else []
    if (
        not sheet.unlike
        and METRIC in comparison.metrics
        and any(run.summary.made_by == "another" for run in sheet.runs)
    ):
        notes.append(
            f"{METRIC}: from a metric, or weights of one, that are not here; whether they are the same for all runs is unknown"
        )
    if sheet.left_out:
        notes.append(
            f"left out: {', '.join(sheet.left_out)}, scored by another version or setting of the scorer, or by something "
            f"that is not on this machine; run `diva-bench score` on the runs"
        )
    return Table(f"{sheet.task_id}{caption(sheet.runs[0].summary)}", columns, rows, notes)


def differences_table(comparison: Comparison) -> Table:
    """One row per metric and pair: the difference, its two intervals, p, and the minimum detectable difference."""
    rows: list[list[Cell]] = []
    for pair, adjusted in zip(comparison.pairs, comparison.adjusted, strict=True):
        mark = SIGN if adjusted < SURE else ""
        smallest = detectable(pair.standard_error) if pair.standard_error else None
        difference: list[Cell] = [_score(pair.clustered, mark), pair.clustered.p, adjusted, smallest]
        rows.append([pair.metric, *_who(comparison, pair), *difference, _score(pair.alone), pair.alone.p])
    columns = [Column("metric"), *_who_columns(comparison), Column("difference"), Column("p", digits=4)]
    columns += [
        Column("p (Holm)", digits=4),
        Column("detectable"),
        Column("iid"),
        Column("p (iid)", optional=True, digits=4),
    ]
    size = comparison.pairs[0].clustered
    notes = [
        "difference: paired by sample [95 % interval: cluster bootstrap]; iid: every sample resampled by itself",
        f"p: two-sided, of the cluster resamples, at least {2 / (RESAMPLES + 1):.4f}; p (Holm): adjusted for the "
        f"{len(comparison.pairs)} of this table; {SIGN}p (Holm) below {SURE}; {P_NOTE}",
        "detectable: minimum detectable difference (80 % power, p < 0.05); none if the two runs never differ",
        *([FEW_NOTE] if size.few_clusters else []),
    ]
    return Table(_title(comparison, "differences"), columns, rows, notes)


def tests_table(comparison: Comparison) -> Table:
    """One row per metric and pair: tests with other assumptions than the interval."""
    rows: list[list[Cell]] = []
    for pair in comparison.pairs:
        exact = pair.mcnemar
        split: list[Cell] = [exact.first, exact.second, exact.p] if exact else [None, None, None]
        row: list[Cell] = [
            pair.metric,
            *_who(comparison, pair),
            *split,
            pair.by_cluster.p,
            pair.by_sample.p,
            pair.sacrebleu,
        ]
        few = Score(pair.clustered.value, pair.few.low, pair.few.high) if pair.few else None
        rows.append([*row, few])
    columns = [Column("metric"), *_who_columns(comparison), Column("only first"), Column("only second")]
    columns += [Column(name, digits=4) for name in ("McNemar", "swaps", "swaps (iid)", "sacreBLEU")]
    columns.append(Column("jackknife"))
    keep = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    all_swaps = any(pair.by_cluster.exact for pair in comparison.pairs)
    notes = ["only first, only second: samples that one run has right and the other wrong"]
    notes += ["McNemar: exact, two-sided, assumes independent samples"]
    notes += [
        f"swaps: p of approximate randomisation, {RESAMPLES} trials that swap the answers of whole clusters between the "
        "two" + (" (all possible swaps, where few clusters differ)" if all_swaps else "") + "; (iid): of single samples"
    ]
    if any(pair.sacrebleu is not None for pair in comparison.pairs):
        notes.append(
            f"sacreBLEU: p of its paired bootstrap (--paired-bs, 1000 resamples, seed {SEED}), iid by segment; 1 for equal "
            "scores, where its own formula gives 0.0010 for two identical systems"
        )
    if any(pair.few for pair in comparison.pairs):
        notes.append(
            "jackknife: the difference [95 % interval by leaving out one cluster at a time, Student's t]: for few clusters"
        )
    if not any(pair.mcnemar for pair in comparison.pairs):
        notes = notes[2:]
    shown = [[row[i] for i in keep] for row in rows]
    return Table(_title(comparison, "tests"), [columns[i] for i in keep], shown, notes)


def groups_tables(comparison: Comparison, references: Mapping[str, str]) -> list[Table]:
    """By the first metric: differences for every value of every group, and gaps between values on the same clusters.

    Args:
        references: Group -> the value with which the others are compared.

    Raises:
        UnknownName: There is no such group or value.
    """
    sheet, metric = comparison.sheet, comparison.metrics[0]
    for group, value in references.items():
        if group not in sheet.groups:
            raise unknown("group", group, sheet.groups, f"task {sheet.task.name}")
        if value not in sheet.groups[group]:
            raise unknown(f"{group}", value, sheet.groups[group], f"task {sheet.task.name}")
    shown = {g: v for g, v in sheet.groups.items() if 1 < len(set(v)) <= _MOST_VALUES}
    if not shown:
        return []
    tables = [by_group(comparison, metric, shown)]
    gaps = _gaps(comparison, metric, shown, {**sheet.task.contrast, **references})
    return tables + ([gaps] if gaps.rows else [])


def by_group(comparison: Comparison, metric: str, groups: Mapping[str, Sequence[str]]) -> Table:
    """The scores for every value of every group, and with two runs their difference."""
    sheet, scorer = comparison.sheet, comparison.sheet.metrics[metric]
    two = len(sheet.runs) == 2
    rows: list[list[Cell]] = []
    for group, values in groups.items():
        for value in sorted(set(values)):
            at = [i for i, v in enumerate(values) if v == value]
            clusters = [sheet.clusters[i] for i in at]
            part = [[rows_[scorer][i] for i in at] for rows_ in sheet.rows]
            lineup = significance.line_up(part, clusters, sheet.reduce(scorer))
            if not lineup.n:  # a run failed on all of them
                rows.append([group, value, 0, 0, *[None] * (len(sheet.runs) + two)])
                continue
            scores_here = [lineup.score(metric, i) for i in range(len(sheet.runs))]
            scores_here += [lineup.difference(metric, 0, 1)] if two else []
            cells = [_score(e) if lineup.clusters >= _FEWEST else Score(e.value) for e in scores_here]
            rows.append([group, value, lineup.n, lineup.clusters, *cells])
    columns = [Column("group"), Column("value"), Column("n"), Column("clusters", optional=True)]
    columns += [Column(name) for name in sheet.names] + ([Column("difference")] if two else [])
    notes = [
        f"[95 % interval: cluster bootstrap; none for fewer than {_FEWEST} clusters, too narrow below {FEW_CLUSTERS}]; not "
        f"adjusted for multiple comparisons"
    ]
    return Table(_title(comparison, f"{metric} by group"), columns, rows, notes)


def _gaps(
    comparison: Comparison, metric: str, groups: Mapping[str, Sequence[str]], references: Mapping[str, str]
) -> Table:
    sheet, scorer = comparison.sheet, comparison.sheet.metrics[metric]
    rows: list[list[Cell]] = []
    for group, values in groups.items():
        reference = references.get(group, "")
        scored = [v for i, v in enumerate(values) if all(rows_[scorer][i] for rows_ in sheet.rows)]
        if reference not in scored:
            reference = max(sorted(set(scored)), key=scored.count, default="")
        if not reference:
            continue
        each = [
            significance.gaps(rows_[scorer], values, sheet.clusters, sheet.reduce(scorer), reference)
            for rows_ in sheet.rows
        ]
        for value in sorted(set.intersection(*(set(one) for one in each))):
            cells = [one[value][metric] for one in each]
            rows.append([group, f"{value} - {reference}", cells[0].clusters, *(_score(cell) for cell in cells)])
    columns = [Column("group"), Column("gap"), Column("shared clusters"), *(Column(name) for name in sheet.names)]
    notes = [
        "gap: the score of one value minus that of another, on the clusters (questions) that both have, paired by cluster "
        "[95 % interval: bootstrap]; with few speakers per value it may be a gap between speakers",
    ]
    return Table(f"{metric}: gaps between groups, within a run", columns, rows, notes)


def items_table(
    comparison: Comparison,
    parts: Floats,
    places: Sequence[int],
    answers: Sequence[Mapping[str, Response]],
    cut: int | None,
) -> Table:
    """The samples at `places`, with their contributions to the difference of the first two runs, `parts` (N,).

    Args:
        answers: For each run, sample id -> answer.
        cut: See `cut_to`.
    """
    sheet, metric = comparison.sheet, comparison.metrics[0]
    labels = scorer_of(sheet.task)
    rows: list[list[Cell]] = []
    for i in places:
        replies = [_answer_text(one.get(sheet.ids[i]), labels) for one in answers]
        texts = [cut_to(text, cut) for text in (" / ".join(sheet.references[i]), *replies)]
        rows.append([sheet.ids[i], float(parts[i]), *texts])
    names = list(sheet.names[:2])
    columns = [Column("id"), Column("adds", digits=2), Column("reference"), *(Column(name) for name in names)]
    notes = [f"adds: what the sample contributes to {names[0]} - {names[1]}, in points of {metric}"]
    return Table(_title(comparison, "samples that differ most"), columns, rows, notes)


def parts_of(comparison: Comparison) -> Floats:
    """The contribution of every sample to the difference of the first two runs by the first metric, (N,); 0 for samples
    that are left out."""
    sheet, metric = comparison.sheet, comparison.metrics[0]
    scorer = sheet.metrics[metric]
    ours, theirs = (rows_[scorer] for rows_ in sheet.rows[:2])
    keep = [i for i, both in enumerate(zip(ours, theirs, strict=True)) if all(both)]
    parts = np.zeros(len(sheet.ids))
    pair_rows = [ours[i] for i in keep], [theirs[i] for i in keep]
    parts[keep] = significance.influence(*pair_rows, sheet.reduce(scorer))[metric]
    return parts


def most(parts: Floats, count: int) -> list[int]:
    """Places of the largest contributions: half of them above 0, half below, more of one side if the other has too few;
    never those of 0."""
    order = np.argsort(-np.abs(parts), kind="stable")
    above = [int(i) for i in order if parts[i] > 0]
    below = [int(i) for i in order if parts[i] < 0]
    half = min(count - count // 2, len(above))
    lowest = below[: count - half]
    return [*above[: count - len(lowest)], *lowest]


def _answer_text(response: Response | None, labels: Labels | None) -> str:
    """An answer as it was scored: the predicted label, if the task has labels, and the text."""
    if response is None or response.status != "ok":
        return f"({response.status})" if response else "-"
    label = labels.decided(response)["label"] if labels else UNPARSED
    if label == UNPARSED:
        return response.text or "(nothing)"
    return label if response.text.strip() in ("", label) else f"{label}; text: {response.text}"


def _who(comparison: Comparison, pair: Pair) -> list[Cell]:
    names = comparison.sheet.names
    return [f"{names[pair.first]} - {names[pair.second]}"] if len(names) > 2 else []


def _who_columns(comparison: Comparison) -> list[Column]:
    return [Column("models")] if len(comparison.sheet.runs) > 2 else []


def _title(comparison: Comparison, what: str) -> str:
    names = comparison.sheet.names
    return f"{what}: {names[0]} - {names[1]}" if len(names) == 2 else what


def _score(estimate: Estimate, mark: str = "") -> Score:
    return Score(estimate.value, estimate.low, estimate.high, mark)
