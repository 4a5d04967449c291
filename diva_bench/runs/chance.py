"""At chance or not: the primary metric of a run against the best audio-blind baseline.

Three baselines are measured on the same samples by the same scorer:

    constant        each label of the task, or the most common reference of an open task; the best of them
    prior           an answer drawn by how common each is: with labels the expected score of such draws; of an open task as
                    many seeded draws as make some 2,000 answers, for one draw of few samples is luck
    speaker prior   what the same speaker says most often elsewhere (leave-one-out), where the data names speakers

A model that cannot be told from the best of these has not been shown to hear anything.

Of a task with more than MANY labels only the TRIED most common are tried as constants, and the prior is drawn as in an open
task: to measure all of them would cost labels times samples. A metric that has no value for an answer that nobody gave
(the word error rate of what a recogniser heard) has no baseline, and a scorer of a plugin that fails at such an answer
gives none either: the run keeps its scores, and the summary says why there is no baseline.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from diva_bench import stats
from diva_bench.data import Dataset
from diva_bench.specs import TaskSpec
from diva_bench.stats import priors
from diva_bench.types import LabelScore, Response, Row, Sample, Scorer

MANY, TRIED = 32, 8
"""Labels: see above."""
_SCORED = 256  # labels: of more, a made-up answer is words alone; scores of all labels would be labels times samples
_DRAWN = 2000  # answers
_SURE, _NEVER = LabelScore(0.0, 1, 0.0), LabelScore(-1e9, 1, -1e9)  # nats: of the label that is said, of every other


@dataclass(frozen=True, slots=True)
class Chance:
    """`scores`: baseline -> the primary metric; `best`: the baseline with the best of them; `at_chance`: whether the paired
    95 % interval of (model - best baseline) reaches 0 or lies on its wrong side. `why`: why there is no baseline, "" where
    there is one; then the others are {}, "" and None."""

    scores: Mapping[str, float]
    best: str
    at_chance: bool | None
    why: str = ""

    def record(self) -> dict[str, object]:
        """For summary.json."""
        return {
            "baseline": self.scores[self.best] if self.best else None,
            "baseline_of": self.best or None,
            "baselines": dict(self.scores) if self.best else None,
            "at_chance": self.at_chance,
            **({"no_baseline": self.why} if self.why else {}),
        }


def none(why: str = "") -> Chance:
    """No baseline; `why` in words."""
    return Chance({}, "", None, why)


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
    metric, sign = task.primary, 1 if higher_is_better else -1

    def value(measured: Sequence[Row]) -> float:
        return float(scorer.reduce(stats.totals(measured)).get(metric, math.nan))

    try:
        baselines_ = baselines(task, dataset, samples, scorer, value, sign, seed)
        rounded = {name: round(value(measured), 9) for name, measured in baselines_.items()}
    except (
        Exception
    ) as err:  # code of a plugin, at an answer that nobody gave: the run's own scores are not lost for it
        return none(f"the scorer of {metric} failed at a made-up answer ({type(err).__name__}: {err})"[:300])
    scores = {name: score for name, score in rounded.items() if math.isfinite(score)}
    if not scores:
        return none(f"{metric} has no value for an answer that is made up without hearing the clip")
    best = max(scores, key=lambda name: sign * scores[name])
    better, worse = (rows, baselines_[best]) if higher_is_better else (baselines_[best], rows)
    gap = stats.paired(better, worse, [s.cluster for s in samples], scorer.reduce).get(metric)
    if gap is None or not math.isfinite(gap.low):
        return none(f"{metric} has a value for the answer and for a made-up one on no sample together")
    return Chance(scores, best, gap.low <= 0)


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
    say = _sayer(labels)

    def worth(answer: str) -> float:
        score = sign * value(always[answer])
        return -math.inf if math.isnan(score) else score

    always: dict[str, list[Row]] = {
        c: [scorer.measure(s, say(c, s)) for s in samples] for c in _constants(labels, prior)
    }
    chosen_baselines = {"constant": always[max(always, key=worth)]}
    if labels and len(labels) <= MANY:
        shares = [prior.get(label, 0.0) for label in labels]
        chosen_baselines["prior"] = [_weighted(cells, shares) for cells in zip(*always.values(), strict=True)]
    else:
        names = sorted(prior)
        up_to = list(accumulate(prior[name] for name in names))
        draws = max(1, _DRAWN // len(samples))
        chosen_baselines["prior"] = []
        for sample in samples:  # the first draw is that of the model `prior`
            drawn = random.Random(f"{seed}:{sample.id}").choices(names, cum_weights=up_to, k=draws)
            chosen_baselines["prior"].append(
                _weighted([scorer.measure(sample, say(d, sample)) for d in drawn], [1.0] * draws)
            )
    speakers = priors.of_speakers(dataset.samples, task.speaker, task.choices)
    if speakers:
        picked = [priors.most_common(speakers[s.id], labels) for s in samples]
        chosen_baselines["speaker prior"] = [
            always[label][i] if label in always else scorer.measure(s, say(label, s))
            for i, (label, s) in enumerate(zip(picked, samples, strict=True))
        ]
    return chosen_baselines


def _constants(labels: Sequence[str], prior: Mapping[str, float]) -> list[str]:
    """The answers to try as the one answer to everything: the labels, in the order of the task; of many the most common
    ones; in an open task the most common reference."""
    if not labels:
        return [max(prior, key=lambda name: prior[name])]
    return sorted(labels, key=lambda label: -prior.get(label, 0.0))[:TRIED] if len(labels) > MANY else list(labels)


def _weighted(cells: Sequence[Row], shares: Sequence[float]) -> Row:
    """A sample's statistics for several answers, added up with these weights."""
    row: dict[str, float] = {}
    for cell, share in zip(cells, shares, strict=True):
        for key, amount in cell.items():
            row[key] = row.get(key, 0.0) + share * amount
    return row


def _sayer(labels: Sequence[str]) -> Callable[[str, Sample], Response]:
    """What makes a response to a sample that says these words, and is sure of them where they are a label."""
    scored = labels if len(labels) <= _SCORED else ()

    @cache
    def scores(answer: str) -> dict[str, LabelScore] | None:
        return {**dict.fromkeys(scored, _NEVER), answer: _SURE} if answer in scored else None

    return lambda answer, sample: Response(sample.id, text=answer, choices=scores(answer))
