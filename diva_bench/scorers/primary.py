"""Which metrics the scorers of a task can give, found out before a model is run: from a made-up answer that has all that
an answer can have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diva_bench import stats
from diva_bench.errors import SpecError, UserError, unknown
from diva_bench.scorers import METRICS, NOT_SCORED
from diva_bench.scorers.source_score import NAME as GIVEN
from diva_bench.specs import TaskSpec
from diva_bench.types import LabelScore, Response, Row, Sample, Scorer, WholeScorer

ENOUGH = 20
"""Samples that show what a scorer gives."""


def check_primary(task: TaskSpec, scorers: Mapping[str, Scorer], samples: Sequence[Sample]) -> None:
    """Raises UnknownName where no scorer of the task can give its `primary`, and what a scorer says of a sample that it
    cannot judge. A scorer whose metrics cannot be known (another package's, which asks a model) may give any."""
    offers: set[str] = set()
    for name, scorer in scorers.items():
        metrics = _listed(name) if _silent(scorer) else _measured(name, scorer, task, samples)
        if metrics is None:
            return
        offers |= metrics
    if task.primary not in offers:
        raise unknown("metric", task.primary, offers, f"`primary` of task {task.name}")


def first_metric(task: TaskSpec, scorers: Mapping[str, Scorer], samples: Sequence[Sample]) -> str:
    """The metric that ranks where a task names none: the first one that its first scorer gives, in the order of METRICS.
    SpecError where that cannot be known."""
    name, scorer = next(iter(scorers.items()), ("", None))
    metrics = set()
    if scorer is not None:
        metrics = (_listed(name) if _silent(scorer) else _measured(name, scorer, task, samples)) or set()
    listed = [metric.name for metric in METRICS if metric.scorer == name and metric.name in metrics]
    if not metrics:
        raise SpecError(f"task {task.name}: name the metric that ranks (primary); its scorers do not tell.")
    return (listed or sorted(metrics))[0]


def _silent(scorer: Scorer) -> bool:
    """Whether a made-up answer tells nothing: another model would have to be asked, or weights are missing."""
    return isinstance(scorer, WholeScorer) or scorer.signature.find(NOT_SCORED) >= 0


def _listed(name: str) -> set[str] | None:
    """The metrics of a built-in scorer, by the table of metrics; None for any other's."""
    return {metric.name for metric in METRICS if metric.scorer == name} or None


def _measured(name: str, scorer: Scorer, task: TaskSpec, samples: Sequence[Sample]) -> set[str] | None:
    try:
        rows: list[Row] = [row for sample in samples if (row := scorer.measure(sample, _made_up(task, sample)))]
        return set(scorer.reduce(stats.totals(rows))) if rows else _listed(name)
    except UserError:
        raise
    except Exception:  # another package's code, which need not understand a made-up answer: a real one tells
        return None


def _made_up(task: TaskSpec, sample: Sample) -> Response:
    """An answer with words, scores of the labels, what was heard, counts of tokens, and a score that came with it."""
    text = sample.references[0]
    scores = {c: LabelScore(-1.0 if c == text else -2.0, 1, -1.0 if c == text else -2.0) for c in task.choices or ()}
    return Response(
        sample.id,
        text=text,
        choices=scores or None,
        heard=sample.transcript or text,
        tokens={"new": 1},
        scores={GIVEN: 1.0},
    )
