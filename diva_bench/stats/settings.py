"""Settings that all intervals and tests share, and the smallest difference that a test can detect. No library is loaded."""

from __future__ import annotations

import math
from statistics import NormalDist

RESAMPLES = 10_000
SEED = 12345  # the default of sacreBLEU, see its README
LEVEL = 0.95
POWER = 0.8
FEW_CLUSTERS = 20  # with fewer, intervals are too narrow (Cameron, Gelbach and Miller 2008)
FEW_NOTE = f"fewer than {FEW_CLUSTERS} clusters: intervals are too narrow"
"""A note for tables that have such intervals."""
P_NOTE = f"where fewer than {FEW_CLUSTERS} clusters differ, p is the larger one of bootstrap and swap test"
"""A note for tables with p-values."""


def detectable(standard_error: float, power: float = POWER) -> float:
    """Minimum detectable difference in points: the smallest true difference that a two-sided 5 % test finds with this
    power, from the standard error of the paired difference: (z_0.975 + z_power) SE (Miller 2024, section 5)."""
    z = NormalDist().inv_cdf
    return (z((1 + LEVEL) / 2) + z(power)) * standard_error


def planned(standard_error: float) -> float:
    """The minimum detectable difference before there is a second system. It is assumed to have the same standard error and
    independent questions, which is the worst case."""
    return detectable(standard_error * math.sqrt(2))
