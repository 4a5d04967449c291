"""Find the metrics that the scorers of a task return, before a model is run, by scoring a made-up answer that has every
field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diva_bench import stats
from diva_bench.errors import SpecError, UserError, unknown
from diva_bench.scorers import DIAGNOSTIC, METRICS, NOT_SCORED
from diva_bench.scorers.source_score import NAME as GIVEN
from diva_bench.specs import TaskSpec
from diva_bench.types import LabelScore, Response, Row, Sample, Scorer, WholeScorer

ENOUGH = 20
"""Number of samples that are scored for it."""


def check_primary(task: TaskSpec, scorers: Mapping[str, Scorer], samples: Sequence[Sample]) -> None:
    """Check that a scorer of the task returns its `primary` metric. A scorer with unknown metrics (of another package,
    which uses a model) may return any.

    Raises:
        UnknownName: No scorer returns it.
        UserError: A scorer refuses a sample.
    """
    offers: set[str] = set()
    for name, scorer in scorers.items():
        listed = _listed(name)
        # what describes answers looks at no reference, so it refuses no sample; its model of languages takes 0.5 s to load
        describes = listed is not None and task.primary not in listed and listed <= {*DIAGNOSTIC}
        metrics = listed if describes or _silent(scorer) else _measured(name, scorer, task, samples)
        if metrics is None:
            return
        offers |= metrics
    if task.primary not in offers:
        raise unknown("metric", task.primary, offers, f"`primary` of task {task.name}")


def first_metric(task: TaskSpec, scorers: Mapping[str, Scorer], samples: Sequence[Sample]) -> str:
    """The primary metric of a task that names none: the first metric of its first scorer, in the order of METRICS. Raises
    SpecError if that is unknown."""
    name, scorer = next(iter(scorers.items()), ("", None))
    metrics = set()
    if scorer is not None:
        metrics = (_listed(name) if _silent(scorer) else _measured(name, scorer, task, samples)) or set()
    listed = [metric.name for metric in METRICS if metric.scorer == name and metric.name in metrics]
    if not metrics:
        raise SpecError(f"task {task.name}: name the metric that ranks (primary); its scorers do not tell.")
    return (listed or sorted(metrics))[0]


def _silent(scorer: Scorer) -> bool:
    """Whether a made-up answer shows nothing, because another model or missing weights would be needed."""
    return isinstance(scorer, WholeScorer) or scorer.signature.find(NOT_SCORED) >= 0


def _listed(name: str) -> set[str] | None:
    """The metrics of a built-in scorer by METRICS; None for other scorers."""
    return {metric.name for metric in METRICS if metric.scorer == name} or None


def _measured(name: str, scorer: Scorer, task: TaskSpec, samples: Sequence[Sample]) -> set[str] | None:
    try:
        rows: list[Row] = [row for sample in samples if (row := scorer.measure(sample, _made_up(task, sample)))]
        return set(scorer.reduce(stats.totals(rows))) if rows else _listed(name)
    except UserError:
        raise
    except Exception:  # a foreign scorer may fail at a made-up answer; a real answer will show its metrics
        return None


def _made_up(task: TaskSpec, sample: Sample) -> Response:
    """A response with text, label scores, transcript, token counts, and a score from a source."""
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
