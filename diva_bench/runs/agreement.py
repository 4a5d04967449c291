"""Whose scores those are that came with imported answers: how they agree with a metric of the task, answer by answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from diva_bench import stats
from diva_bench.runs.schemas import Agreement
from diva_bench.scorers.source_score import METRIC
from diva_bench.scorers.source_score import NAME as GIVEN
from diva_bench.specs import Json
from diva_bench.types import Floats, Row, Scorer

_ALIKE = 1e-9
_NAMED, _SAID = 20, 5  # ids of answers that a summary lists, and of those that are told


def agreement(
    scorers: Mapping[str, Scorer], primary: str, ids: Sequence[str], rows: Mapping[str, Sequence[Row]]
) -> Json | None:
    """How the scores that came with the answers agree with a metric of the task, answer by answer (`schemas.Agreement`);
    None where none came, or no other metric was measured. `rows`: scorer -> the statistics of every answer, of `ids`.

    Of the metrics it is the one that gives most of the scores to 1e-9 (of 100), of equals the primary one.
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
    apart = {metric: np.abs(values - came) for metric, values in ours.items()}
    alike = {metric: int(np.count_nonzero(gap <= _ALIKE)) for metric, gap in apart.items()}
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
    """What an agreement says."""
    if agreement.whole:
        return (
            f"the scores in the file are {agreement.metric}, answer by answer ({agreement.of:,} answers, at most "
            f"{agreement.most:.1e} of 1 "
            "apart)"
        )
    named = agreement.apart[:_SAID]
    more = ", ..." if agreement.of - agreement.alike > len(named) else ""
    return (
        f"the scores in the file ({METRIC}) match no metric of this task: {agreement.alike:,} of {agreement.of:,} answers "
        f"have the same "
        f"{agreement.metric}; their means are {agreement.released:.2f} and {agreement.ours:.2f}. They come from another "
        f"metric, other weights or another version. They differ on {', '.join(named)}{more}"
    )


def _one_by_one(scorer: Scorer, rows: Sequence[Mapping[str, float]]) -> dict[str, Floats]:
    """What every answer scores by itself: metric -> array of shape (N,); of the metrics that are means of that."""
    whole = scorer.reduce(stats.totals(rows))
    alone = stats.row_by_row(*stats.stack(rows), scorer.reduce)
    return {metric: values for metric, values in alone.items() if abs(values.mean() - whole[metric]) <= 1e-6}
