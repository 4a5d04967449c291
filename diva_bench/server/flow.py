"""Many requests at a time to servers, for the adapters that ask them: a request is sent as soon as another one is answered.

An adapter gives one coroutine for each question; this keeps as many of them going as its client has room for, in an event
loop that runs only while the caller waits for a response.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any, Final, TypeVar

from diva_bench.errors import Stop
from diva_bench.server.client import Client
from diva_bench.types import Request, Response

_T = TypeVar("_T")
Heard = str | Exception | None
"""What a recogniser on this machine made of a clip: a transcript, its failure, or nothing."""
_HEARD_TOGETHER: Final = 16  # clips that a recogniser gets at once, so that the server soon has something to do


class Flow(ABC):
    """`generate` and `stream` of an adapter whose questions are answered by servers."""

    hear: Callable[[Sequence[Request]], list[Heard]] | None = None
    """A recogniser on this machine. It runs in a thread, ahead of the questions."""
    rows = _HEARD_TOGETHER
    """Most clips that it gets at once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._checked = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._helper: ThreadPoolExecutor | None = None
        self.arrived = 0

    @abstractmethod
    async def check(self) -> None:
        """Ask the server before the first sample. Raises Stop if it cannot be used."""

    @abstractmethod
    async def one(self, request: Request, heard: Heard) -> Response:
        """The response to one request. Raises Stop."""

    async def disconnect(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def ready(self) -> None:
        """`check`, once. A Stop also stops all later questions."""
        if self._checked:
            return
        try:
            await self.check()
        except Stop as stop:
            self.halt(stop)
        self._checked = True  # not after another exception: the next questions would go to a server that nobody checked

    def halt(self, reason: Stop) -> None:
        """Send nothing more."""
        self._client.stop(reason)

    # ---- asking

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        numbered = [replace(request, id=str(number)) for number, request in enumerate(requests)]
        answers = {response.id: response for response in self.stream(numbered)}
        return [replace(answers[str(number)], id=request.id) for number, request in enumerate(requests)]

    def stream(self, requests: Iterable[Request]) -> Iterator[Response]:
        """Responses in the order in which they arrive; while there is room, the next request is sent.

        Raises:
            Stop: Nothing more can be answered. Every response that came was given before.
        """
        feed = _Feed(iter(requests), self.hear, self.rows)
        done: deque[Response] = deque()
        workers: set[asyncio.Task[None]] = set()
        try:
            while True:
                self._run(self._step(feed, workers, done))
                while done:
                    response = done.popleft()
                    self.arrived = len(done)
                    yield response
                if not workers and not done and (feed.ended or self._client.stopping is not None):
                    break
        finally:
            self._run(_cancelled(workers, feed))
        if self._client.stopping is not None:
            raise self._client.stopping

    async def _step(self, feed: _Feed, workers: set[asyncio.Task[None]], done: deque[Response]) -> None:
        """Send as much as there is room for, and wait until something is answered."""
        loop, client = asyncio.get_running_loop(), self._client

        def finished(worker: asyncio.Task[None]) -> None:
            workers.discard(worker)
            if not worker.cancelled() and worker.exception() is not None:
                feed.failures.append(worker)
            feed.wake()

        await self.ready()
        while not done:
            waiter = feed.waiter(loop)
            while client.stopping is None and feed.ready() and self._has_room(len(workers)):
                worker = loop.create_task(self._work(feed, workers, done))
                workers.add(worker)
                worker.add_done_callback(finished)
            if not workers and (feed.ended or client.stopping is not None):
                return
            await waiter
            if feed.failures:
                feed.failures.pop().result()  # raises

    async def _work(self, feed: _Feed, workers: set[asyncio.Task[None]], done: deque[Response]) -> None:
        """Ask one question after the other, while there are some and there is room. The next one is sent in the same turn of
        the event loop in which an answer comes, so that the server works while rows are stored."""
        while self._client.stopping is None and self._has_room(len(workers) - 1):
            if (item := feed.take()) is None:
                return
            try:
                done.append(await self.one(*item))
            except Stop as stop:
                self.halt(stop)
            feed.wake()

    def _has_room(self, begun: int) -> bool:
        """Whether another question can be begun. Those that wait for another try leave room for others, within a limit."""
        pool = self._client.pool
        return begun == 0 or (begun - self._client.pausing < pool.capacity and begun < 2 * pool.most)

    # ---- the event loop

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run until `work` is done. In a notebook this thread has a loop of its own, so another thread is used."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._loop.run_until_complete(work)
        if self._helper is None:
            self._helper = ThreadPoolExecutor(1)
        return self._helper.submit(self._loop.run_until_complete, work).result()

    def served(self) -> dict[str, Any]:
        """What a run records of its server: since the last call, the requests, how many were sent again, most in flight."""
        return self._client.counted()

    def close(self) -> None:
        if self._loop is not None:
            self._run(self.disconnect())
            self._run(self._loop.shutdown_default_executor())
            self._loop.close()
        if self._helper is not None:
            self._helper.shutdown()
        self._loop = self._helper = None


class _Feed:
    """The requests that are still to be sent, with the transcript of a recogniser if there is one."""

    def __init__(
        self,
        requests: Iterator[Request],
        hear: Callable[[Sequence[Request]], list[Heard]] | None,
        rows: int,
    ) -> None:
        self._requests, self._hear, self._rows = requests, hear, rows
        self._next = 1  # then 2, 4, ...: the first question is asked when the first clip is heard
        self._ready: deque[tuple[Request, Heard]] = deque()
        self._filling: asyncio.Future[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._exhausted = False
        self.failures: list[asyncio.Future[None]] = []
        """Work that raised what is no Stop: the requests themselves failed, or a fault of ours."""

    @property
    def ended(self) -> bool:
        return self._exhausted and not self._ready and self._filling is None

    def waiter(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """A future that the next `wake` ends."""
        self._waiter = loop.create_future()
        return self._waiter

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def ready(self) -> bool:
        """Whether `take` may give a request now. Transcripts are written ahead in a thread."""
        if self._hear is None:
            return not self._exhausted
        if len(self._ready) < self._rows and not self._exhausted and self._filling is None:
            self._filling = asyncio.get_running_loop().run_in_executor(None, self._fill)
            self._filling.add_done_callback(self._filled)
        return bool(self._ready)

    def take(self) -> tuple[Request, Heard] | None:
        """The next request; None if there is none now."""
        if self._hear is not None:
            return self._ready.popleft() if self.ready() else None
        request = None if self._exhausted else next(self._requests, None)
        self._exhausted = request is None
        return None if request is None else (request, None)

    def _fill(self) -> None:
        assert self._hear is not None
        count, self._next = self._next, min(2 * self._next, self._rows)
        some = list(islice(self._requests, count))
        self._exhausted = len(some) < count
        self._ready.extend(zip(some, self._hear(some) if some else [], strict=True))

    def _filled(self, filling: asyncio.Future[None]) -> None:
        self._filling = None
        if not filling.cancelled() and filling.exception() is not None:
            self.failures.append(filling)
        self.wake()

    async def settled(self) -> None:
        """Wait until the thread has left the requests."""
        if self._filling is not None:
            with contextlib.suppress(Exception):
                await self._filling


async def _cancelled(workers: set[asyncio.Task[None]], feed: _Feed) -> None:
    """End all questions that are not answered."""
    left = list(workers)
    for worker in left:
        worker.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await feed.settled()
