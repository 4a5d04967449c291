"""What stands in place of a scorer that cannot be built on this machine, so that a stored run is judged by its others."""

from __future__ import annotations

from collections.abc import Mapping

from diva_bench.scorers import NOT_SCORED
from diva_bench.types import Floats, Response, Sample


class Absent:
    """Measures nothing. `lacks`: what is missing and how to have it; the judge then keeps what an earlier judging of the
    same answers found, if there was one."""

    higher_is_better = True
    reads_answers = False

    def __init__(self, name: str, lacks: str) -> None:
        self.lacks = lacks
        self.signature = f"{name}: {NOT_SCORED}it lacks something on this machine"

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        return {}

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        return {}
