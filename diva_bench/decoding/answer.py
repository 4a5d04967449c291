"""What oracle, cascade and DiVA share: spoken content, as text tokens or virtual tokens, in; responses out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from diva_bench.decoding.labels import score_labels
from diva_bench.decoding.llm import LLM
from diva_bench.decoding.phases import Clock
from diva_bench.types import Request, Response


@dataclass(frozen=True, slots=True)
class Framed:
    """One prompt. `before`: token ids ahead of the content; `whole`: all of it as embeddings (n, E)."""

    request: Request
    before: tuple[int, ...]
    whole: Tensor
    content: int
    """How many of the n positions are spoken content."""


def frame(llm: LLM, request: Request, content: Tensor) -> Framed:
    """Framing ids, content (m, E), framing ids."""
    before, after = llm.frame(request.prompt, request.system)
    whole = torch.cat([llm.embed(before), content.to(llm.embeddings), llm.embed(after)])
    return Framed(request, tuple(before), whole, len(content))


def answer(
    llm: LLM, requests: Sequence[Request], contents: Sequence[Tensor], clock: Clock, kind: str = "text"
) -> list[Response]:
    """Label scores where a request has choices, and a free answer for every request, from one reading of the prompts.

    contents: per request (m, E) embeddings; `kind` names them in the token counts. `clock` holds the seconds spent on
    the batch so far; what each response gets of all of them is an equal share.
    """
    responses: dict[int, Response] = {}
    framed = [(k, frame(llm, r, c)) for k, (r, c) in enumerate(zip(requests, contents, strict=True))]
    for k, one in framed:
        room = llm.context - one.request.max_new_tokens
        if len(one.whole) > room:
            detail = f"the prompt has {len(one.whole)} tokens; this model has room for {room} and an answer"
            responses[k] = Response(one.request.id, status="unsupported", detail=detail)
    can = [(k, one) for k, one in framed if k not in responses]
    for _, same in groupby(can, key=lambda pair: _settings(pair[1].request)):
        group = list(same)
        answers = _ask(llm, [one for _, one in group], clock, kind)
        responses |= {k: response for (k, _), response in zip(group, answers, strict=True)}
    share = {stage: seconds / max(len(requests), 1) for stage, seconds in clock.seconds.items()}
    return [replace(responses[k], seconds=share) for k in range(len(requests))]


def _settings(request: Request) -> tuple[tuple[str, ...] | None, int, float]:
    """What a batch has to have in common."""
    return request.choices, request.max_new_tokens, request.temperature


def _ask(llm: LLM, group: Sequence[Framed], clock: Clock, kind: str) -> list[Response]:
    choices, max_new, temperature = _settings(group[0].request)
    start = llm.prefill([one.whole for one in group], _shared([one.before for one in group]))
    clock.lap("prefill")
    scores = score_labels(llm, start, choices) if choices else None
    if choices:
        clock.lap("labels")
    ids = llm.generate(start, max_new, temperature, [_seed(one.request) for one in group])
    clock.lap("decode")
    return [
        Response(
            one.request.id,
            text=llm.text(ids[row]),
            choices=scores[row] if scores else None,
            tokens={"prompt": len(one.whole), kind: one.content, "new": len(ids[row])},
        )
        for row, one in enumerate(group)
    ]


def _shared(befores: Sequence[tuple[int, ...]]) -> int:
    """How many ids all of them begin with."""
    low, high = min(befores), max(befores)  # whatever these two share, all that sort between them share
    return next((k for k, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def _seed(request: Request) -> int:
    """A stream of its own for every request, whatever batch it is in."""
    return int.from_bytes(hashlib.sha256(f"{request.seed}:{request.id}".encode()).digest()[:8], "big") >> 1


def in_order(
    requests: Sequence[Request], refuse: Callable[[Request], str], ask: Callable[[list[Request]], list[Response]]
) -> list[Response]:
    """`ask` for all requests but those that `refuse` gives a reason for: they are `unsupported`, never silently cut."""
    reasons = [refuse(r) for r in requests]
    can = [r for r, reason in zip(requests, reasons, strict=True) if not reason]
    answers = iter(ask(can) if can else [])
    return [
        Response(r.id, status="unsupported", detail=reason) if reason else next(answers)
        for r, reason in zip(requests, reasons, strict=True)
    ]


def unheard(limit: float) -> Callable[[Request], str]:
    """Why a model that hears `limit` seconds cannot take a request's audio; "" if it can."""

    def reason(request: Request) -> str:
        if request.audio is None:
            return "this sample has no audio"
        if request.audio.seconds > limit:
            return f"audio is {request.audio.seconds:.1f} s; this model takes at most {limit:.0f} s"
        return ""

    return reason
