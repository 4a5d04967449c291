"""Call an adapter: one error policy for all callers.

A batch that runs out of memory is halved. After any other failure of a batch its requests are run one by one, so that a
bad one does not affect others. A request that fails alone gets an `error` response with the reason, never an answer; so
does one with an invalid response.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diva_bench import provenance
from diva_bench.decoding import memory
from diva_bench.decoding.response import problem_of
from diva_bench.errors import Stop
from diva_bench.types import Adapter, Request, Response

_OOM_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory")
LONGEST = 500  # longest reason, in characters

Split = Callable[[int, int, str, str], None]
"""Called when a batch is split: (rows, rows of a part, first id, reason)."""


def generate(
    adapter: Adapter, requests: Sequence[Request], name: str, split: Split = lambda *_: None
) -> list[Response]:
    """One response per request, in their order. `name`: of the adapter, for messages. Raises Stop if nothing more can be
    answered."""
    if not requests:
        return []
    try:
        return _checked(requests, adapter.generate(requests), name)
    except Stop:
        raise  # not a failure of these requests
    except Exception as err:  # any exception of a model becomes an `error` row with its reason, never an answer
        too_large = isinstance(err, MemoryError) or any(word in str(err).lower() for word in _OOM_WORDS)
        reason = provenance.without_folders(f"{type(err).__name__}: {err}".strip())[:LONGEST]
    finally:
        memory.release()
    if len(requests) == 1:
        return [Response(requests[0].id, status="error", detail=reason)]
    size = len(requests) // 2 if too_large else 1
    split(len(requests), size, requests[0].id, reason)
    parts = [requests[start : start + size] for start in range(0, len(requests), size)]
    return [response for part in parts for response in generate(adapter, part, name, split)]


def _checked(requests: Sequence[Request], responses: Sequence[Response], name: str) -> list[Response]:
    """Check the adapter's contract: one response per request, in order, with types and values that can be stored."""
    if not isinstance(responses, list | tuple) or not all(isinstance(r, Response) for r in responses):
        kinds = ", ".join(sorted({type(r).__name__ for r in responses})) if isinstance(responses, list | tuple) else ""
        raise TypeError(
            f"adapter {name} gave {type(responses).__name__} of {kinds or 'nothing'}, not a list of Response"
        )
    got = [r.id for r in responses]
    expected = [r.id for r in requests]
    if got != expected:
        raise ValueError(f"adapter {name} answered {got[:5]} ({len(got)}) to {expected[:5]} ({len(expected)})")
    return [checked_one(q, r, name) for q, r in zip(requests, responses, strict=True)]


def checked_one(request: Request, response: Response, name: str) -> Response:
    """The response, or an error that says what is wrong with it. One without label scores says why in its `detail`."""
    problem = problem_of(response)
    unscored = response.choices is None and bool(response.detail)
    if not problem and response.status == "ok" and request.choices is not None and not unscored:
        scores = response.choices or {}
        if set(scores) != set(request.choices):
            problem = f"choices: there are label scores for {sorted(scores)}, not for {sorted(request.choices)}"
    if not problem:
        return response
    detail = f"adapter {name}: its response to {request.id}: {problem}"
    return Response(request.id, status="error", detail=detail[:LONGEST])
