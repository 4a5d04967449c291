"""One number for a model over all tasks of an edition: the mean of its rescaled scores, with interval and rank interval.

A score is rescaled so that 0 is the constant answer of the task and 100 the best possible score; below 0 is worse than the
constant answer. A model that lacks a task has no mean, because means over different tasks cannot be compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from diva_bench.runs.aligned import Drawn
from diva_bench.runs.records import RunSummary, comparable, synthetic_note
from diva_bench.tables import Cell, Column, Score, Table

NAME = "mean, rescaled"
_TOP = 100.0
NOTE = (
    f"{NAME}: mean over the tasks of 100 (score - constant) / (100 - constant), of an error rate 100 (constant - score) / "
    "constant; constant: the score of the best constant answer, taken as exact. Interval: from those of the tasks, tasks of "
    "one data set as if they erred together, data sets independent (MOVER, Zou and Donner 2008)"
)
BRIEF = (
    "mean: of scores rescaled from 0, the best constant answer, to 100, the best possible score; --details: its formula"
)
"""The same in one line."""
RANKED = (
    "rank: 95 % interval of the rank by this mean; every task is resampled by its clusters, with the same draws for all models "
    "and for all tasks of a data set, and the mean is taken in each draw"
)


@dataclass(frozen=True)
class Means:
    """The means of the models of one edition.

    Attributes:
        scores: Model -> its mean, with interval; only models with all tasks.
        tasks: The ids of the tasks in the mean.
        left_out: Tasks without a constant answer, which are in no mean.
        lacking: Model -> the tasks that it lacks.
    """

    scores: Mapping[str, Score]
    tasks: Sequence[str]
    left_out: Sequence[str]
    lacking: Mapping[str, Sequence[str]]


def means(runs: Sequence[RunSummary]) -> Means:
    """The means over the tasks of `runs`, which are plain runs of one edition."""
    cells, names = _cells(runs)
    tasks = [id for id in cells if all(_constant(s) is not None for s in cells[id].values())]
    models = sorted({label for some in cells.values() for label in some})
    lacking = {model: [names[id] for id in tasks if model not in cells[id]] for model in models}
    whole = [model for model in models if len(tasks) > 1 and not lacking[model]]
    scores = {model: _mean([cells[id][model] for id in tasks]) for model in whole}
    left = [names[id] for id in cells if id not in tasks]
    return Means(scores, tasks, left, {model: some for model, some in lacking.items() if some})


def _cells(runs: Sequence[RunSummary]) -> tuple[dict[str, dict[str, RunSummary]], dict[str, str]]:
    """(task id -> model -> its run, task id -> name). A model with several runs of a task (dtypes, settings) has none there:
    no rule says which one counts."""
    cells: dict[str, dict[str, RunSummary]] = {}
    for id in dict.fromkeys(s.task_id for s in runs):
        ranked, _ = comparable([s for s in runs if s.task_id == id])
        labels = [s.label for s in ranked]
        if ranked:
            cells[id] = {s.label: s for s in ranked if labels.count(s.label) == 1}
    return cells, {s.task_id: s.task for s in runs}


def _constant(run: RunSummary) -> float | None:
    """The primary score of the best constant answer, if scores can be rescaled by it."""
    known = run.baselines or (
        {} if run.baseline is None or run.baseline_of not in (None, "constant") else {"": run.baseline}
    )
    value = known.get("constant", known.get(""))
    rises = run.metrics[run.primary].higher_is_better
    return value if value is not None and (value < _TOP if rises else value > 0) else None


def rescaled(value: Any, constant: float, rises: bool) -> Any:
    """A score, or an array of scores, on the scale on which the constant answer has 0 and the best possible score 100."""
    return 100 * (value - constant) / (_TOP - constant) if rises else 100 * (constant - value) / constant


def _mean(runs: Sequence[RunSummary]) -> Score:
    """The mean, with the interval for a sum of estimates from their intervals: the distances from the values to the ends are
    added within a data set, and combined as a root of squares over data sets."""
    below: dict[str, float] = {}
    above: dict[str, float] = {}
    values = []
    for run in runs:
        metric, constant = run.metrics[run.primary], _constant(run) or 0.0
        value, *ends = (rescaled(v, constant, metric.higher_is_better) for v in (metric.value, metric.low, metric.high))
        low, high = sorted(ends)
        family = data_set(run.task)
        below[family] = below.get(family, 0.0) + max(0.0, value - low)
        above[family] = above.get(family, 0.0) + max(0.0, high - value)
        values.append(value)
    mean = math.fsum(values) / len(values)
    return Score(
        mean, mean - math.hypot(*below.values()) / len(values), mean + math.hypot(*above.values()) / len(values)
    )


def data_set(task: str) -> str:
    """What tasks on the same clips have in common: covost2 of covost2-de, heysquad of heysquad-open."""
    return task.removeprefix("paper-").partition("-")[0]


def ranks(runs: Sequence[RunSummary], drawn: Mapping[str, Drawn]) -> dict[str, tuple[int, int]]:
    """Model -> the 95 % interval of its rank by the mean; empty if a task could not be resampled."""
    import numpy as np

    from diva_bench.stats.significance import rank_intervals

    found, (cells, _) = means(runs), _cells(runs)
    if len(found.scores) < 2 or any(id not in drawn for id in found.tasks):
        return {}
    sums: Any = 0.0
    for id in found.tasks:
        some, here = drawn[id], [cells[id][model] for model in found.scores]
        # every task was drawn with the same seed: without another order, chance would tie data sets together
        order = np.random.default_rng(list(data_set(here[0].task).encode())).permutation(some.values.shape[1])
        rows = [some.values[some.run_ids.index(run.run_id)][order] for run in here]
        sums = sums + np.stack(
            [rescaled(row, _constant(run) or 0.0, some.rises) for run, row in zip(here, rows, strict=True)]
        )
    return dict(zip(found.scores, rank_intervals(sums), strict=True))


def notes(found: Means, explained: str = NOTE) -> list[str]:
    """What a reader must know of the means."""
    lines = [explained] if found.scores else []
    if found.left_out and found.scores:
        lines.append(
            f"not in the mean, because there is no constant answer to compare with: {', '.join(found.left_out)}"
        )
    if found.scores or not found.lacking:
        lines += [f"no mean for {model}: it lacks {', '.join(some)}" for model, some in found.lacking.items()]
    return lines


def tables(runs: Sequence[RunSummary], drawn: Mapping[str, Drawn]) -> list[Table]:
    """A table of the means for every edition in which a model has all tasks, the best first. `drawn`: for rank intervals."""
    made = []
    plain = [s for s in runs if s.plain]
    for edition, some in groupby(sorted(plain, key=lambda s: s.edition), key=lambda s: s.edition):
        here = list(some)
        found = means(here)
        if found.scores:
            made.append(_table(edition, here, found, ranks(here, drawn) if drawn else {}))
    return made


def _table(edition: str, runs: Sequence[RunSummary], found: Means, between: Mapping[str, tuple[int, int]]) -> Table:
    order = sorted(found.scores, key=lambda model: (-found.scores[model].value, model))
    rows: list[list[Cell]] = []
    for model in order:
        score = found.scores[model]
        rank = 1 + sum(other.value > score.value for other in found.scores.values())
        spans = [write_rank(between.get(model))] if between else []
        rows.append([rank, model, score, len(found.tasks), *spans])
    columns = [Column("#"), Column("model"), Column(NAME), Column("tasks")]
    columns += [Column("rank", number=True)] if between else []
    synthetic = all(s.synthetic for s in runs)
    title = synthetic_note(edition) if synthetic else edition
    return Table(f"mean over tasks, {title}", columns, rows, [*notes(found), *([RANKED] if between else [])])


def write_rank(ends: tuple[int, int] | None) -> str | None:
    """ "2", or "1 to 3"."""
    return None if ends is None else " to ".join(str(end) for end in dict.fromkeys(ends))
