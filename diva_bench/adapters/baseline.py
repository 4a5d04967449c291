"""Answers that hear nothing: the most common reference, or one drawn by how common each is."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from diva_bench.errors import unknown
from diva_bench.specs import ModelSpec
from diva_bench.types import LabelScore, Request, Response

_NEVER = 1e-9  # share given to a label that is never the answer: its logarithm has to be finite


class Baseline:
    """args: kind: majority (ties: the first in sorted order) or prior (seeded by the request's seed and id)."""

    accepts = frozenset({"prior", "choices"})
    version = "1"

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str) -> None:
        self._kind = str(spec.args.get("kind", "majority"))
        if self._kind not in ("majority", "prior"):
            raise unknown("kind", self._kind, ("majority", "prior"), f"args of model {spec.name}")

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        return [self._one(r) for r in requests]

    def _one(self, request: Request) -> Response:
        prior = request.prior or {}
        names = sorted(prior)
        if not names:
            return Response(request.id, status="unsupported", detail="this task has no references to draw from")
        if self._kind == "majority":
            text = min(names, key=lambda n: (-prior[n], n))
        else:
            chosen = random.Random(f"{request.seed}:{request.id}")
            text = chosen.choices(names, [prior[n] for n in names])[0]
        choices = None
        if request.choices:
            # on the answer alone, so that labels picked by score are the ones drawn
            share = {c: (1.0 if c == text else _NEVER) for c in request.choices}
            choices = {c: LabelScore(math.log(p), 1, math.log(p)) for c, p in share.items()}
        return Response(request.id, text=text, choices=choices)

    def close(self) -> None:
        return None
