"""How often the 95 % interval holds the truth: cluster bootstrap, iid bootstrap and jackknife, on data made for it.

    python benchmarks/coverage.py [--draws 2000]

Generator (PCG64, seed 2026, one stream per draw). C clusters; cluster c has 1 + Poisson(9) samples and effects of its own,
drawn from Beta distributions, which all of its samples share. Four statistics, reduced by the shipped scorers:

    accuracy     a sample is right with probability p_c, p_c ~ Beta(3, 2). Truth: 60
    difference   accuracy of two systems, paired: the second is right with probability q_c, q_c ~ Beta(3, 3), independent of
                 p_c, on the same samples. Truth: 60 - 50 = 10
    BLEU         a hypothesis has 8 + Poisson(6) words and its reference Poisson(1) more; of its n-grams each matches with
                 probability u_c^n, u_c ~ Beta(8, 4), for n = 1 to 4. Truth: BLEU of the expected counts
    macro F1     four labels, gold with probability .5, .25, .15, .10; predicted right with probability a_c, a_c ~ Beta(3, 2),
                 else one of the others, by the same proportions. Truth: macro F1 of the expected confusion counts

A draw makes one such data set and asks whether each interval (2,000 resamples) holds the truth. With 2,000 draws, the rate
of an interval that is right 95 % of the time lies between 94.0 and 96.0 (two standard errors). With 10 clusters the
bootstrap holds it too rarely, as it says of itself below 20; the jackknife with Student's t is what `compare` has for that.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from bootstrap import LABELS, task

from diva_bench.scorers.labels import Labels
from diva_bench.scorers.translation import Bleu
from diva_bench.stats import resampling, significance
from diva_bench.types import Floats

SEED = 2026
RESAMPLES = 2_000
ORDERS = np.arange(1, 5)
SHARES = np.array([0.5, 0.25, 0.15, 0.10])
NAMES = LABELS[:4]

Scores = Callable[[Floats], Floats]  # sums (..., K) -> one score (...)


@dataclass(frozen=True)
class Statistic:
    """`sample`: (generator, cluster of every sample, C) -> statistics (N, K). `score`: of sums of them."""

    name: str
    sample: Callable[[np.random.Generator, np.ndarray, int], Floats]
    score: Scores
    truth: float


def reducing(reduce: Callable[[Mapping[str, Floats]], Mapping[str, Floats]], keys: list[str], metric: str) -> Scores:
    """One metric of a shipped scorer as a function of sums; `[None]`: its formula for arrays, also of a single sum."""
    return lambda sums: reduce(resampling.unstack(keys, sums[None] if sums.ndim == 1 else sums))[metric].reshape(
        sums.shape[:-1]
    )


def moment(a: float, b: float, n: int) -> float:
    """E[x^n] of Beta(a, b)."""
    return float(np.prod([(a + i) / (a + b + i) for i in range(n)]))


def accuracy() -> Statistic:
    def sample(rng: np.random.Generator, member: np.ndarray, clusters: int) -> Floats:
        right = rng.random(len(member)) < rng.beta(3, 2, clusters)[member]
        return np.stack([np.ones(len(member)), right], axis=1)

    return Statistic("accuracy", sample, lambda sums: 100 * sums[..., 1] / sums[..., 0], 60.0)


def difference() -> Statistic:
    def sample(rng: np.random.Generator, member: np.ndarray, clusters: int) -> Floats:
        first = rng.random(len(member)) < rng.beta(3, 2, clusters)[member]
        second = rng.random(len(member)) < rng.beta(3, 3, clusters)[member]
        return np.stack([np.ones(len(member)), first, second], axis=1).astype(np.float64)

    return Statistic("difference", sample, lambda s: 100 * (s[..., 1] - s[..., 2]) / s[..., 0], 10.0)


def bleu() -> Statistic:
    def sample(rng: np.random.Generator, member: np.ndarray, clusters: int) -> Floats:
        words = 8 + rng.poisson(6, len(member))
        possible = words[:, None] - ORDERS + 1
        matched = rng.binomial(possible, rng.beta(8, 4, clusters)[member][:, None] ** ORDERS)
        return np.column_stack([matched, possible, words, words + rng.poisson(1, len(member))]).astype(np.float64)

    keys = [*(f"bleu.c{n}" for n in ORDERS), *(f"bleu.t{n}" for n in ORDERS), "bleu.sys", "bleu.ref"]
    score = reducing(Bleu(task()).reduce, keys, "bleu")
    possible = 14.0 - ORDERS + 1
    expected = np.array([*(possible * [moment(8, 4, n) for n in ORDERS]), *possible, 14, 15])
    return Statistic("BLEU", sample, score, float(score(expected)))


def macro_f1() -> Statistic:
    wrong = np.tile(SHARES, (4, 1)) * (1 - np.eye(4))
    wrong /= wrong.sum(axis=1, keepdims=True)

    def sample(rng: np.random.Generator, member: np.ndarray, clusters: int) -> Floats:
        gold = rng.choice(4, len(member), p=SHARES)
        other = (rng.random((len(member), 1)) > wrong.cumsum(axis=1)[gold]).sum(axis=1)
        right = rng.random(len(member)) < rng.beta(3, 2, clusters)[member]
        counts = np.zeros((len(member), 16))
        counts[np.arange(len(member)), 4 * gold + np.where(right, gold, other)] = 1
        return counts

    keys = [f"label:{gold}>{said}" for gold in NAMES for said in NAMES]
    scorer = Labels(task().model_copy(update={"choices": NAMES}))
    score = reducing(scorer.reduce, keys, "macro_f1")
    expected = SHARES[:, None] * (0.6 * np.eye(4) + 0.4 * wrong)
    return Statistic("macro F1", sample, score, float(score(expected.ravel())))


def holds(statistic: Statistic, clusters: int, draw: int) -> tuple[bool, bool, bool]:
    """Whether the cluster interval, the iid interval and the jackknife interval of one data set hold the truth."""
    rng = np.random.default_rng([SEED, clusters, draw])
    member = np.repeat(np.arange(clusters), 1 + rng.poisson(9, clusters))
    rows = statistic.sample(rng, member, clusters)
    sums = resampling.cluster_sums(rows, [f"{c:03}" for c in member])
    found = [resampling.interval(statistic.score(resampling.resample(table, RESAMPLES))) for table in (sums, rows)]
    total = sums.sum(axis=0)
    found.append(significance.left_out(float(statistic.score(total)), statistic.score(total - sums))[1])
    clustered, alone, left = (interval.low <= statistic.truth <= interval.high for interval in found)
    return clustered, alone, left


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=2000)
    draws = parser.parse_args().draws
    print(
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {os.cpu_count()} CPU cores, {platform.machine()}; "
        f"benchmarks/coverage.py, {draws} draws, {RESAMPLES} resamples, seed {SEED}"
    )
    print("share of 95 % intervals that hold the truth, in percent\n")
    print(f"{'statistic':<12}{'clusters':>9}{'truth':>8}{'cluster':>10}{'iid':>8}{'jackknife':>11}")
    for clusters in (100, 10):
        for statistic in (accuracy(), difference(), bleu(), macro_f1()):
            rates = 100 * np.mean([holds(statistic, clusters, draw) for draw in range(draws)], axis=0)
            cells = "".join(f"{rate:>{width}.1f}" for rate, width in zip(rates, (10, 8, 11), strict=True))
            print(f"{statistic.name:<12}{clusters:>9}{statistic.truth:>8.2f}{cells}", flush=True)


if __name__ == "__main__":
    main()
