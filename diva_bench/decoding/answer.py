"""Shared by all adapters with an LLM: from spoken content, as text tokens or virtual tokens, to responses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from diva_bench.decoding import news
from diva_bench.decoding.labels import score_labels
from diva_bench.decoding.llm import LLM
from diva_bench.decoding.phases import Clock
from diva_bench.types import Request, Response


@dataclass(frozen=True, slots=True)
class Framed:
    """One prompt. `before`: token ids before the content; `whole`: the prompt as embeddings (n, E)."""

    request: Request
    before: tuple[int, ...]
    whole: Tensor
    content: int
    """Number of positions of spoken content."""


Framing = Callable[[str, str | None], tuple[list[int], list[int]]]
"""(prompt, system message) -> (token ids before, token ids after the spoken content)."""


def frame(llm: LLM, request: Request, content: Tensor, framing: Framing | None = None) -> Framed:
    """The prompt: template ids, content (m, E), template ids. `framing`: None: by the chat template."""
    before, after = (framing or llm.frame)(request.prompt, request.system)
    whole = torch.cat([llm.embed(before), content.to(llm.weight), llm.embed(after)])
    return Framed(request, tuple(before), whole, len(content))


def answer(
    llm: LLM,
    requests: Sequence[Request],
    contents: Sequence[Tensor],
    clock: Clock,
    kind: str = "text",
    framing: Framing | None = None,
) -> list[Response]:
    """Label scores for requests with choices, and an answer for every request, from one pass over the prompts.

    Args:
        contents: Per request (m, E) embeddings.
        clock: Has the seconds of the batch so far; every response gets an equal share of all of them.
        kind: Name of the content in the token counts.
        framing: As for `frame`.
    """
    return answer_prompts(
        llm, [frame(llm, r, c, framing) for r, c in zip(requests, contents, strict=True)], clock, kind
    )


def answer_prompts(llm: LLM, prompts: Sequence[Framed], clock: Clock, kind: str) -> list[Response]:
    """`answer` for prompts that are whole."""
    responses: dict[int, Response] = {}
    framed = list(enumerate(prompts))
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
    share = {stage: seconds / max(len(prompts), 1) for stage, seconds in clock.seconds.items()}
    return [replace(responses[k], seconds=share) for k in range(len(prompts))]


def _settings(request: Request) -> tuple[tuple[str, ...] | None, int, float]:
    """The settings that all requests of a batch share."""
    return request.choices, request.max_new_tokens, request.temperature


def _ask(llm: LLM, group: Sequence[Framed], clock: Clock, kind: str) -> list[Response]:
    choices, max_new, temperature = _settings(group[0].request)
    news.report("prefill")
    start = llm.prefill([one.whole for one in group], _shared([one.before for one in group]))
    clock.lap("prefill")
    scores = None
    if choices:
        news.report("labels")
        scores = score_labels(llm, start, choices)
        clock.lap("labels")
    news.report(news.DECODE)
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
    """Number of ids with which all of them begin."""
    low, high = min(befores), max(befores)  # all that sort between these two share their common prefix
    return next((k for k, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def _seed(request: Request) -> int:
    """The seed of a request, independent of its batch."""
    return int.from_bytes(hashlib.sha256(f"{request.seed}:{request.id}".encode()).digest()[:8], "big") >> 1


def in_order(
    requests: Sequence[Request], refuse: Callable[[Request], str], ask: Callable[[list[Request]], list[Response]]
) -> list[Response]:
    """`ask` for all requests, except those for which `refuse` gives a reason: these are `unsupported`, and never cut."""
    reasons = [refuse(r) for r in requests]
    can = [r for r, reason in zip(requests, reasons, strict=True) if not reason]
    answers = iter(ask(can) if can else [])
    return [
        Response(r.id, status="unsupported", detail=reason) if reason else next(answers)
        for r, reason in zip(requests, reasons, strict=True)
    ]
