"""What oracle, cascade and DiVA share: spoken content, as text tokens or virtual tokens, in; responses out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from diva_bench.decoding.llm import LLM, Clock
from diva_bench.types import Request, Response


def assemble(llm: LLM, request: Request, content: Tensor) -> Tensor:
    """The whole prompt as embeddings (n, E): framing ids, content (m, E), framing ids."""
    before, after = llm.frame(request.prompt, request.system)
    return torch.cat([llm.embed(before), content.to(llm.embeddings.dtype), llm.embed(after)])


def answer(
    llm: LLM, requests: Sequence[Request], contents: Sequence[Tensor], clock: Clock, kind: str = "text"
) -> list[Response]:
    """Label scores where a request has choices, and a free answer for every request, from one reading of the prompts.

    contents: per request (m, E) embeddings; `kind` names them in the token counts. `clock` has the seconds spent so far.
    """
    responses: list[Response] = []
    settings = groupby(
        zip(requests, contents, strict=True),
        key=lambda pair: (pair[0].choices, pair[0].max_new_tokens, pair[0].temperature),
    )
    for (choices, max_new, temperature), pairs in settings:
        group = list(pairs)
        prompts = [assemble(llm, request, content) for request, content in group]
        start = llm.prefill(prompts)
        clock.lap("prefill")
        scores = llm.score_labels(start, choices) if choices else None
        clock.lap("labels")
        ids = llm.generate(start, max_new, temperature, [r.seed for r, _ in group])
        clock.lap("decode")
        for row, (request, content) in enumerate(group):
            responses.append(
                Response(
                    request.id,
                    text=llm.text(ids[row]),
                    choices=scores[row] if scores else None,
                    tokens={"prompt": len(prompts[row]), kind: len(content), "new": len(ids[row])},
                )
            )
    return responses


def too_long(request: Request, limit: float) -> Response | None:
    """`unsupported` for a clip over `limit` seconds: it is counted, never silently cut."""
    if request.audio is None or request.audio.seconds <= limit:
        return None
    detail = f"audio is {request.audio.seconds:.1f} s, this model hears {limit:.0f} s"
    return Response(request.id, status="unsupported", detail=detail)


def spread(responses: Sequence[Response], clock: Clock) -> list[Response]:
    """The batch's seconds, shared equally among its responses."""
    from dataclasses import replace

    share = {k: v / max(len(responses), 1) for k, v in clock.seconds.items()}
    return [replace(r, seconds=share) for r in responses]
