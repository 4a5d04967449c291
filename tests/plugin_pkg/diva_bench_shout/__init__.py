"""A plugin: an adapter that answers in capitals, and a scorer that counts them. The YAML files lie beside this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diva_bench.specs import ModelSpec, TaskSpec
from diva_bench.types import Floats, Request, Response, Sample


class Shout:
    accepts = frozenset({"audio", "text"})
    version = "1"

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str) -> None:
        self._end = str(spec.args.get("end", "!"))

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        return [Response(r.id, text=(r.transcript or "").upper() + self._end) for r in requests]

    def close(self) -> None:
        return None


class Capitals:
    """Share of the letters that are capitals, 0 to 100."""

    higher_is_better = True

    def __init__(self, task: TaskSpec, **args: Any) -> None:
        self.signature = "capitals|v:1"

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        letters = [c for c in response.text if c.isalpha()]
        return {"letters": float(len(letters)), "capitals": float(sum(c.isupper() for c in letters))}

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        return {"capitals": np.asarray(100 * totals["capitals"] / np.maximum(totals["letters"], 1))}
