"""Compare the scores that came with imported answers with a metric of the task, answer by answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diva_bench import stats
from diva_bench.runs.schemas import Agreement
from diva_bench.scorers.source_score import METRIC
from diva_bench.scorers.source_score import NAME as GIVEN
from diva_bench.specs import Json
from diva_bench.types import Floats, Row, Scorer

_ALIKE = 1e-9
_NAMED, _LISTED = 20, 5  # ids of differing answers in a summary, and in a message


def agreement(
    scorers: Mapping[str, Scorer], primary: str, ids: Sequence[str], rows: Mapping[str, Sequence[Row]]
) -> Json | None:
    """How the scores that came with the answers agree with a metric of the task.

    The metric is the one that equals most of the scores up to 1e-9 (of 100); of equal ones the primary metric.

    Args:
        scorers: The scorers of the task.
        primary: The primary metric.
        ids: Ids of the answers.
        rows: Scorer -> the statistics of every answer, in the order of `ids`.

    Returns:
        See `schemas.Agreement`; None if no scores came with the answers, or no other metric was measured.
    """
    places = [i for i, row in enumerate(rows.get(GIVEN, ())) if row]
    if not places:
        return None
    came = _one_by_one(scorers[GIVEN], [rows[GIVEN][i] for i in places])[METRIC]
    ours: dict[str, Floats] = {}
    for name, mine in rows.items():
        if name not in (GIVEN, "adherence") and all(mine[i] for i in places):
            ours |= _one_by_one(scorers[name], [mine[i] for i in places])
    if not ours:
        return None
    apart = {metric: abs(values - came) for metric, values in ours.items()}
    alike = {metric: int((gap <= _ALIKE).sum()) for metric, gap in apart.items()}
    best = max(alike, key=lambda metric: (alike[metric], metric == primary))
    differ = [ids[i] for i, gap in zip(places, apart[best], strict=True) if gap > _ALIKE]
    return {
        "metric": best,
        "alike": alike[best],
        "of": len(places),
        "most": round(float(apart[best].max()) / 100, 12),
        "released": round(float(came.mean()), 9),
        "ours": round(float(ours[best].mean()), 9),
        "apart": differ[:_NAMED],
    }


def in_words(agreement: Agreement) -> str:
    """An agreement as text."""
    if agreement.whole:
        return (
            f"the scores in the file are {agreement.metric}, answer by answer ({agreement.of:,} answers, at most "
            f"{agreement.most:.1e} of 1 "
            "apart)"
        )
    named = agreement.apart[:_LISTED]
    more = ", ..." if agreement.of - agreement.alike > len(named) else ""
    return (
        f"the scores in the file ({METRIC}) match no metric of this task: {agreement.alike:,} of {agreement.of:,} answers "
        f"have the same "
        f"{agreement.metric}; their means are {agreement.released:.2f} and {agreement.ours:.2f}. They come from another "
        f"metric, other weights or another version. They differ on {', '.join(named)}{more}"
    )


def _one_by_one(scorer: Scorer, rows: Sequence[Mapping[str, float]]) -> dict[str, Floats]:
    """Metric -> score of every answer alone, shape (N,); only metrics that are means over answers."""
    whole = scorer.reduce(stats.totals(rows))
    alone = stats.row_by_row(*stats.stack(rows), scorer.reduce)
    return {metric: values for metric, values in alone.items() if abs(values.mean() - whole[metric]) <= 1e-6}
