"""How many votes a study needs to find a preference, by the exact binomial test that `study report` uses.

The power of an exact test rises in a sawtooth. The number here is the smallest from which on the power is never again below
the target.
Votes of one rater are alike: with m votes of each rater and intraclass correlation r, 1 + (m - 1) r times as many are needed
(Kish 1965).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from diva_bench.stats.settings import LEVEL, POWER
from diva_bench.tables import Cell, Column, Table
from diva_bench.types import Floats


def powers(n: Floats, preference: float) -> Floats:
    """Power of the two-sided exact test at 5 % with n decided votes, (N,), for a true share `preference`, 0 to 1."""
    from scipy.stats import binom

    critical = n - binom.ppf((1 - LEVEL) / 2, n, 0.5) + 1  # the smallest count that may reject
    critical = np.where(binom.sf(critical - 2, n, 0.5) <= (1 - LEVEL) / 2, critical - 1, critical)
    return np.asarray(binom.sf(critical - 1, n, preference) + binom.cdf(n - critical, n, preference))


def decided_votes(preference: float, power: float = POWER) -> int:
    """Decided, independent votes that find a true share `preference` (above 0.5, below 1) with this power."""
    z = NormalDist().inv_cdf
    about = ((z((1 + LEVEL) / 2) * 0.5 + z(power) * math.sqrt(preference * (1 - preference))) / (preference - 0.5)) ** 2
    n = np.arange(1.0, 2 * about + 200)
    below = np.flatnonzero(powers(n, preference) < power)
    return int(n[below[-1]]) + 1


def power_table(
    preferences: Sequence[float], power: float = POWER, ties: float = 0.0, per_rater: int = 1, correlation: float = 0.0
) -> Table:
    """Votes and raters for several preferences, all in per cent.

    Args:
        preferences: True shares of decided votes, above 50 and below 100.
        power: Probability to find it, 0 to 1.
        ties: Expected share of votes for no system, in per cent, below 100.
        per_rater: Votes of one rater.
        correlation: Intraclass correlation of the votes of one rater, 0 to 1.
    """
    effect = 1 + (per_rater - 1) * correlation
    rows: list[list[Cell]] = []
    for preference in preferences:
        decided = decided_votes(preference / 100, power)
        votes = math.ceil(decided * effect / (1 - ties / 100))
        rows.append([preference, decided, votes, math.ceil(votes / per_rater)])
    notes = [
        f"exact binomial test, two-sided, 5 %; with these votes or more the power is at least {power:g}; preference: true share "
        "of decided votes, in per cent",
        f"votes: with {ties:g} % ties, {per_rater} vote{'s' * (per_rater != 1)} of one rater and an intraclass correlation of "
        f"{correlation:g}: design effect {effect:.2f}",
    ]
    columns = [Column("preference"), Column("decided votes"), Column("votes"), Column("raters")]
    return Table("votes that a study needs", columns, rows, notes)
