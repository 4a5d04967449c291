"""Audio-blind baselines: the most common reference, a random one, or the usual label of the speaker."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from diva_bench.errors import unknown
from diva_bench.specs import ModelSpec
from diva_bench.stats import priors
from diva_bench.types import LabelScore, Request, Response

_NEVER = 1e-9  # share given to a label that is never the answer: its logarithm has to be finite


class Baseline:
    """args: kind: majority (ties: the first in sorted order) or prior (seeded by the request's seed and id)."""

    accepts = frozenset({"prior", "choices"})
    version = "1"
    settings: Mapping[str, Any] = {"kind": "majority"}

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str) -> None:
        self._kind = str(spec.args.get("kind", "majority"))
        if self._kind not in ("majority", "prior"):
            raise unknown("kind", self._kind, ("majority", "prior"), f"args of model {spec.name}")
        self._told = _Told({})

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        return [self._one(r) for r in requests]

    def _one(self, request: Request) -> Response:
        if request.prior is not self._told.prior:  # one for all samples of a task: 15,531 sentences are sorted once
            self._told = _Told(request.prior or {})
        distribution = self._told
        if not distribution.names:
            return Response(request.id, status="unsupported", detail="this task has no references to draw from")
        if self._kind == "majority":
            return _sure(request, distribution.first)
        draws = random.Random(f"{request.seed}:{request.id}").choices(
            distribution.names, cum_weights=distribution.up_to
        )
        return _sure(request, draws[0])

    def close(self) -> None:
        return None


class _Told:
    """A prior as it is drawn from: its answers in the order of their names, how common all up to each are together, and
    the most common one."""

    def __init__(self, prior: Mapping[str, float]) -> None:
        self.prior = prior
        self.names = sorted(prior)
        self.up_to = list(accumulate(prior[name] for name in self.names))
        self.first = min(self.names, key=lambda name: (-prior[name], name), default="")


class SpeakerPrior:
    """What the same speaker says most often in the other samples (leave-one-out), by label; see `priors.of_speakers`. Takes
    no args. What is right here can be known without the clip: on MUStARD 63.9 % accuracy, for Chandler is mostly
    sarcastic."""

    accepts = frozenset({"speaker", "choices"})
    version = "1"
    settings: Mapping[str, Any] = {}

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str) -> None:
        return None

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        return [_sure(r, priors.most_common(r.prior or {}, r.choices or ())) for r in requests]

    def close(self) -> None:
        return None


def _sure(request: Request, text: str) -> Response:
    """The answer, with its label as good as certain, so that labels picked by score are the ones meant."""
    choices = None
    if request.choices:
        share = {c: (1.0 if c == text else _NEVER) for c in request.choices}
        choices = {c: LabelScore(math.log(p), 1, math.log(p)) for c, p in share.items()}
    return Response(request.id, text=text, choices=choices)
