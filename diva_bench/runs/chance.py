"""Compare the primary metric of a run with the best audio-blind baseline.

Three baselines are measured on the same samples with the same scorer:

    constant        each label of the task, or the most common reference of an open task; the best of them
    prior           a random answer with the frequencies of the references: for labels the expected score; for open tasks the
                    mean of so many seeded draws that there are about 2,000 answers, because one draw of few samples is noisy
    speaker prior   the most common answer in the other samples of the same speaker (leave-one-out), if the data has speakers

If a model is not significantly better than the best of them, nothing shows that it uses the audio.

For a task with more than MANY labels, only the TRIED most common ones are tried as constants, and the prior is drawn as
in an open task, because measuring all would cost labels times samples. There is no baseline for a metric without a
value for a made-up answer (the word error rate of a recogniser inside the model), and if a plugin's scorer fails at a
made-up answer. Then the run keeps its scores, and the summary gives the reason.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

from diva_bench import stats
from diva_bench.data import Dataset
from diva_bench.specs import TaskSpec
from diva_bench.stats import priors
from diva_bench.types import LabelScore, Response, Row, Sample, Scorer

if TYPE_CHECKING:
    from diva_bench.stats import RowTable

MANY, TRIED = 32, 8
"""Numbers of labels, see above."""
_SCORED = 256  # with more labels, a made-up answer has no label scores, which would cost labels times samples
_DRAWS = 2000  # answers
_SURE, _NEVER = (
    LabelScore(0.0, 1, 0.0),
    LabelScore(-1e9, 1, -1e9),
)  # nats: of the label in the answer, and of every other one


@dataclass(frozen=True, slots=True)
class Chance:
    """The comparison with the baselines.

    Attributes:
        scores: Baseline -> its primary metric.
        best: The baseline with the best score.
        at_chance: Whether the paired 95 % interval of (model - best baseline) includes 0 or is on its wrong side.
        why: Why there is no baseline, else ""; then the other attributes are {}, "" and None.
    """

    scores: Mapping[str, float]
    best: str
    at_chance: bool | None
    why: str = ""

    def record(self) -> dict[str, object]:
        """The entries for summary.json."""
        return {
            "baseline": self.scores[self.best] if self.best else None,
            "baseline_of": self.best or None,
            "baselines": dict(self.scores) if self.best else None,
            "at_chance": self.at_chance,
            **({"no_baseline": self.why} if self.why else {}),
        }


def none(why: str = "") -> Chance:
    """A result without a baseline; `why` is the reason."""
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
    """Compare the rows of a model with the baselines. `dataset`: the data from which the baselines are made."""
    metric, sign = task.primary, 1 if higher_is_better else -1

    def value(measured: Sequence[Row]) -> float:
        return float(scorer.reduce(stats.totals(measured)).get(metric, math.nan))

    try:
        baselines_ = baselines(task, dataset, samples, scorer, value, sign, seed)
        rounded = {name: round(value(measured), 9) for name, measured in baselines_.items()}
    except Exception as err:  # a plugin's scorer may fail at a made-up answer; the run keeps its own scores
        return none(f"the scorer of {metric} failed at a made-up answer ({type(err).__name__}: {err})"[:300])
    scores = {name: score for name, score in rounded.items() if math.isfinite(score)}
    if not scores:
        return none(f"{metric} has no value for an answer that is made up without the clip")
    best = max(scores, key=lambda name: sign * scores[name])
    better, worse = (rows, baselines_[best]) if higher_is_better else (baselines_[best], rows)
    gap = stats.paired(better, worse, stats.numbered(s.cluster for s in samples), scorer.reduce).get(metric)
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
) -> dict[str, RowTable]:
    """Baseline -> its row for every sample."""
    prior = dataset.prior()
    labels = task.choices or ()
    say = _sayer(labels)

    def worth(answer: str) -> float:
        score = sign * value(always[answer])
        return -math.inf if math.isnan(score) else score

    always = {constant: stats.RowTable() for constant in _constants(labels, prior)}
    for sample in samples:
        for constant, measured in always.items():
            measured.append(scorer.measure(sample, say(constant, sample)))
    chosen_baselines = {"constant": always[max(always, key=worth)]}
    if labels and len(labels) <= MANY:
        shares = [prior.get(label, 0.0) for label in labels]
        chosen_baselines["prior"] = stats.RowTable(
            _weighted(cells, shares) for cells in zip(*always.values(), strict=True)
        )
    else:
        names = sorted(prior)
        up_to = list(accumulate(prior[name] for name in names))
        draws = max(1, _DRAWS // len(samples))
        chosen_baselines["prior"] = stats.RowTable()
        for sample in samples:  # the first draw equals that of the model `prior`
            random_answers = random.Random(f"{seed}:{sample.id}").choices(names, cum_weights=up_to, k=draws)
            chosen_baselines["prior"].append(
                _weighted([scorer.measure(sample, say(d, sample)) for d in random_answers], [1.0] * draws)
            )
    speakers = priors.of_speakers(dataset.samples, task.speaker, task.choices)
    if speakers:
        picked = ((priors.most_common(speakers[s.id], labels), s) for s in samples)
        chosen_baselines["speaker prior"] = stats.RowTable(scorer.measure(s, say(label, s)) for label, s in picked)
    return chosen_baselines


def _constants(labels: Sequence[str], prior: Mapping[str, float]) -> list[str]:
    """The answers that are tried for all samples: the labels in the order of the task, or the most common of many labels;
    in an open task the most common reference."""
    if not labels:
        return [max(prior, key=lambda name: prior[name])]
    return sorted(labels, key=lambda label: -prior.get(label, 0.0))[:TRIED] if len(labels) > MANY else list(labels)


def _weighted(cells: Sequence[Row], shares: Sequence[float]) -> Row:
    """The weighted sum of a sample's statistics for several answers."""
    row: dict[str, float] = {}
    for cell, share in zip(cells, shares, strict=True):
        for key, amount in cell.items():
            row[key] = row.get(key, 0.0) + share * amount
    return row


def _sayer(labels: Sequence[str]) -> Callable[[str, Sample], Response]:
    """A function that makes the response with a given answer, and with certain label scores if the answer is a label."""
    scored = labels if len(labels) <= _SCORED else ()

    @cache
    def scores(answer: str) -> dict[str, LabelScore] | None:
        return {**dict.fromkeys(scored, _NEVER), answer: _SURE} if answer in scored else None

    return lambda answer, sample: Response(sample.id, text=answer, choices=scores(answer))
