"""At chance or not: a run's primary metric against the best of the answers that hear nothing.

Three baselines are measured on the same samples by the same scorer:

    constant        each label of the task, or the most common reference of an open task; the best of them
    prior           an answer drawn by how common each is: with labels the expected score of such draws; of an open task as
                    many seeded draws as make some 2,000 answers, for one draw of few samples is luck
    speaker prior   what the same speaker says most often elsewhere (leave-one-out), where the data names speakers

A model that cannot be told from the best of these has not been shown to hear anything.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from diva_bench import priors, stats
from diva_bench.data import Dataset
from diva_bench.specs import TaskSpec
from diva_bench.types import LabelScore, Response, Row, Sample, Scorer

_DRAWN = 2000  # answers
_NEVER = -1e9  # nats: what a constant answer gives every other label


@dataclass(frozen=True, slots=True)
class Chance:
    """`scores`: baseline -> the primary metric; `best`: the baseline with the best of them; `at_chance`: whether the paired
    95 % interval of (model - best baseline) reaches 0 or lies on its wrong side."""

    scores: Mapping[str, float]
    best: str
    at_chance: bool

    def record(self) -> dict[str, object]:
        """For summary.json."""
        return {
            "baseline": self.scores[self.best],
            "baseline_of": self.best,
            "baselines": dict(self.scores),
            "at_chance": self.at_chance,
        }


def verdict(
    task: TaskSpec,
    dataset: Dataset,
    samples: Sequence[Sample],
    rows: Sequence[Row],
    scorer: Scorer,
    higher_is_better: bool,
    seed: int,
) -> Chance:
    """Hold the rows of a model, of `samples`, against the baselines; `dataset`: what these may know."""
    sign = 1 if higher_is_better else -1

    def value(measured: Sequence[Row]) -> float:
        return float(scorer.reduce(stats.totals(measured))[task.primary])

    known = baselines(task, dataset, samples, scorer, value, sign, seed)
    scores = {name: round(value(measured), 9) for name, measured in known.items()}
    best = max(scores, key=lambda name: sign * scores[name])
    at_chance = stats.at_chance(
        rows,
        known[best],
        [s.cluster for s in samples],
        scorer.reduce,
        task.primary,
        higher_is_better=higher_is_better,
    )
    return Chance(scores, best, bool(at_chance))


def baselines(
    task: TaskSpec,
    dataset: Dataset,
    samples: Sequence[Sample],
    scorer: Scorer,
    value: Callable[[Sequence[Row]], float],
    sign: int,
    seed: int,
) -> dict[str, list[Row]]:
    """Baseline -> its row for every sample."""
    prior = dataset.prior()
    labels = task.choices or ()
    constants = list(labels or [max(prior, key=lambda k: prior[k])])
    always: dict[str, list[Row]] = {c: [scorer.measure(s, said(c, labels, s)) for s in samples] for c in constants}
    found = {"constant": max(always.values(), key=lambda measured: sign * value(measured))}
    if labels:
        shares = [prior.get(label, 0.0) for label in labels]
        columns = [always[label] for label in labels]
        found["prior"] = [_weighted(cells, shares) for cells in zip(*columns, strict=True)]
    else:
        names = sorted(prior)
        weights = [prior[name] for name in names]
        draws = max(1, _DRAWN // len(samples))
        found["prior"] = []
        for sample in samples:
            drawn = random.Random(f"{seed}:{sample.id}").choices(
                names, weights, k=draws
            )  # the first as `prior` draws it
            found["prior"].append(
                _weighted([scorer.measure(sample, said(d, (), sample)) for d in drawn], [1.0] * draws)
            )
    speakers = priors.of_speakers(dataset.samples, task.speaker, task.choices)
    if speakers:
        picked = [priors.most_common(speakers[s.id], labels) for s in samples]
        found["speaker prior"] = [always[label][i] for i, label in enumerate(picked)]
    return found


def _weighted(cells: Sequence[Row], shares: Sequence[float]) -> Row:
    """A sample's statistics for several answers, added up with these weights."""
    row: dict[str, float] = {}
    for cell, share in zip(cells, shares, strict=True):
        for key, amount in cell.items():
            row[key] = row.get(key, 0.0) + share * amount
    return row


def said(answer: str, labels: Sequence[str], sample: Sample) -> Response:
    """A response that is sure of one label, or says these words."""
    scores = {c: LabelScore(0.0 if c == answer else _NEVER, 1, 0.0 if c == answer else _NEVER) for c in labels}
    return Response(sample.id, text=answer, choices=scores or None)
