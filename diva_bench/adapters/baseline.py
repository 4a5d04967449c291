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

_NEVER = 1e-9  # share of a label that is never the answer; not 0, because its logarithm must be finite


class Baseline:
    """An answer that is made from the references of the task, without the clip.

    Args of the model spec: `kind`: "majority" (the most common reference; of equally common ones the first in sorted
    order) or "prior" (a random reference, seeded by the request's seed and id).
    """

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
        if request.prior is not self._told.prior:  # all samples of a task share one prior, so it is sorted once
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
    """A prior, prepared for drawing: answers in sorted order, their cumulative shares, and the most common answer."""

    def __init__(self, prior: Mapping[str, float]) -> None:
        self.prior = prior
        self.names = sorted(prior)
        self.up_to = list(accumulate(prior[name] for name in self.names))
        self.first = min(self.names, key=lambda name: (-prior[name], name), default="")


class SpeakerPrior:
    """The label that the same speaker has most often in the other samples (leave-one-out), see `priors.of_speakers`.

    It takes no args. It measures what can be guessed from the speaker alone: on MUStARD 63.9 % accuracy, because
    Chandler is mostly sarcastic.
    """

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
    """An answer whose label has almost all of the probability, so that choosing the label by score gives the same label."""
    choices = None
    if request.choices:
        share = {c: (1.0 if c == text else _NEVER) for c in request.choices}
        choices = {c: LabelScore(math.log(p), 1, math.log(p)) for c, p in share.items()}
    return Response(request.id, text=text, choices=choices)
