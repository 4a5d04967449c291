"""Call the `stream` of an adapter: the error policy of `decoding.generate` for responses that come one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator

from diva_bench import provenance
from diva_bench.decoding.generate import LONGEST, checked_one
from diva_bench.errors import Stop
from diva_bench.types import Request, Response, Streaming


def stream(adapter: Streaming, requests: Iterable[Request], name: str) -> Generator[Response, None, None]:
    """One response per request, in the order of the adapter. `name`: of the adapter, for messages.

    After an exception the requests that the adapter took and did not answer are errors, and it is called again with the
    rest. `requests` may be read in another thread.

    Raises:
        Stop: Nothing more can be answered. The requests that were not answered are no errors.
    """
    source = _Source(requests)
    open_requests: dict[str, Request] = {}
    while not source.ended:
        taken, reason = source.taken, "gave no answer"
        responses = adapter.stream(source.each(open_requests))
        try:
            for response in responses:
                if not isinstance(response, Response) or response.id not in open_requests:
                    raise ValueError(f"answered {getattr(response, 'id', response)!r}, which is not open")
                yield checked_one(open_requests.pop(response.id), response, name)
        except Stop:
            raise
        except Exception as err:
            if source.failure is not None:
                raise source.failure from None
            reason = f"{type(err).__name__}: {err}".strip()
        finally:
            with contextlib.suppress(AttributeError):  # an iterator that is no generator has nothing to close
                responses.close()  # type: ignore[attr-defined]
        left = [open_requests.pop(ident) for ident in list(open_requests)]
        if not left and source.taken == taken and not source.ended:
            raise RuntimeError(f"adapter {name}: its `stream` took no request ({reason})")
        detail = provenance.without_folders(f"adapter {name}: {reason}")[:LONGEST]
        yield from (Response(request.id, status="error", detail=detail) for request in left)


class _Source:
    """The requests, of which an adapter may take some, fail, and take the rest."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._requests = iter(requests)
        self.taken = 0
        self.ended = False
        self.failure: Exception | None = None
        """What the requests themselves raised; it is not the adapter's."""

    def each(self, open_requests: dict[str, Request]) -> Iterator[Request]:
        while True:
            try:
                request = next(self._requests)
            except StopIteration:
                self.ended = True
                return
            except Exception as err:
                self.failure = err
                raise
            self.taken += 1
            open_requests[request.id] = request
            yield request
