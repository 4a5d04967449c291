"""A model behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp, transformers serve, OpenAI, Azure, Gemini.

What is spoken goes to the server as audio (`input: audio`), as the gold transcript (`input: text`), or, if the model has
weights of the role `asr`, as the transcript that this recogniser writes: then the server is the LLM of a cascade.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from diva_bench.decoding.response import unheard
from diva_bench.errors import SpecError, Stop, one_line
from diva_bench.provenance import without_folders
from diva_bench.server import completions
from diva_bench.server.budget import Budget, Tokens, expected, reported
from diva_bench.server.check import alternatives, reachable
from diva_bench.server.client import Client, Failed, Unsupported
from diva_bench.specs import ModelSpec
from diva_bench.types import Request, Response

if TYPE_CHECKING:
    from diva_bench.decoding.whisper import Whisper

_T = TypeVar("_T")
_SETTINGS: Final[Mapping[str, Any]] = {
    "model": "",
    "input": "audio",
    "audio": "input_audio",
    "audio_first": False,
    "labels": "auto",
    "tokens_key": "max_tokens",
    "max_seconds": 30.0,
    "min_seconds": 0.1,
    "check": True,
    "body": {},
}
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "input": ("audio", "text"),
    "audio": ("input_audio", "audio_url"),
    "labels": ("auto", "text"),
    "tokens_key": ("max_tokens", "max_completion_tokens"),
}
_HEARD_TOGETHER: Final = 16  # clips that a recogniser gets at once, so that the server soon has something to do
_LONGEST: Final = 500  # characters of a reason
_OURS: Final = ("model", "messages", "n", "stream")  # keys of a request that `body` cannot change


class OpenAIChat:
    """Asks a server. Args of the model spec:

    - `model`: its name on the server.
    - `input`: what is sent of a sample, "audio" or "text" (the gold transcript).
    - `audio`: how a clip is sent, "input_audio" or "audio_url".
    - `audio_first`: the clip comes before the prompt.
    - `labels`: "auto": label scores from the probabilities of the first token, where the server gives them; "text": none.
    - `tokens_key`: "max_tokens" or "max_completion_tokens", whichever the server knows.
    - `max_seconds`: longer clips are `unsupported`. `min_seconds`: shorter clips end with silence.
    - `check`: before the first question, check that the server counts more tokens for a longer clip.
    - `body`: more keys of every request; null removes a key.
    """

    accepts: frozenset[str] = frozenset({"audio", "text", "choices"})
    version = "1"
    settings = _SETTINGS
    takes_budget = True

    @classmethod
    def for_model(cls, model: ModelSpec) -> type[OpenAIChat]:
        """This class with what one model accepts. Raises SpecError if a setting is wrong."""
        where, args = f"model {model.name}: adapter openai_chat", {**_SETTINGS, **model.args}
        if model.server is None or not model.server.urls:
            raise SpecError(
                f"{where} needs the address of a server: server: {{urls: [http://localhost:8000/v1]}}. A model of yours "
                "that `extends: server` needs this and `args: {model: NAME}`."
            )
        if not args["model"]:
            raise SpecError(f"{where} needs the name that the model has on its server: args: {{model: NAME}}.")
        for name, allowed in _CHOICES.items():
            if args[name] not in allowed:
                raise SpecError(f"{where}: {name} is {args[name]!r}. Allowed: {', '.join(allowed)}.")
        if not 0 <= args["min_seconds"] <= args["max_seconds"] < float("inf"):
            raise SpecError(
                f"{where}: min_seconds and max_seconds must be finite, from 0, the first not above the second."
            )
        if strange := [key for key in args["body"] if key in _OURS or not isinstance(key, str)]:
            raise SpecError(f"{where}: body cannot have the key {strange[0]!r}; diva-bench sets it.")
        hears = args["input"] == "audio" or "asr" in model.weights
        return type("OpenAIChat", (cls,), {"accepts": frozenset({"audio" if hears else "text", "choices"})})

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str, budget: Budget | None = None) -> None:
        args = {**_SETTINGS, **spec.args}
        self.accepts = self.for_model(spec).accepts
        self._spec, self._args = spec, args
        self._form = completions.Form(
            args["model"], args["audio"], args["audio_first"], args["tokens_key"], args["body"]
        )
        self._client = Client(spec, budget or Budget())
        self.max_seconds: float = args["max_seconds"]
        self._checked = False
        self._tops: asyncio.Future[int] | None = None
        self._asr: Whisper | None = None
        if "asr" in paths:
            from diva_bench.decoding.whisper import WINDOW_SECONDS, Whisper  # torch

            self.max_seconds = min(self.max_seconds, WINDOW_SECONDS)
            self._asr = Whisper.load(paths["asr"], device, spec.runtime.dtype)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._helper: ThreadPoolExecutor | None = None

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
        hear = self._hear if self._asr is not None else None
        feed = _Feed(iter(requests), hear, min(_HEARD_TOGETHER, self._spec.runtime.batch_rows))
        done: deque[Response] = deque()
        workers: set[asyncio.Task[None]] = set()
        try:
            while True:
                self._run(self._step(feed, workers, done))
                while done:
                    yield done.popleft()
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

        if not self._checked:
            await self._check()
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
                done.append(await self._one(*item))
            except Stop as stop:
                self._client.stop(stop)
            feed.wake()

    def _has_room(self, begun: int) -> bool:
        """Whether another question can be begun. Those that wait for another try leave room for others, within a limit."""
        pool = self._client.pool
        return begun == 0 or (begun - self._client.pausing < pool.capacity and begun < 2 * pool.most)

    async def _check(self) -> None:
        """Ask the server before the first sample. Stop, if it cannot answer, also stops all later questions."""
        assert self._spec.server is not None
        hears = self._args["input"] == "audio" and self._asr is None and self._args["check"]
        try:
            await reachable(self._client, self._spec.server, self._form, audio=hears)
        except Stop as stop:
            self._client.stop(stop)
        self._checked = True

    async def _one(self, request: Request, content: str | Exception | None) -> Response:
        """The response to one request. Raises Stop."""
        assert self._spec.server is not None
        if isinstance(content, Exception):
            detail = without_folders(f"the recogniser failed: {type(content).__name__}: {one_line(content)}")
            return Response(request.id, status="error", detail=detail[:_LONGEST])
        if reason := self._refuses(request):
            return Response(request.id, status="unsupported", detail=reason)
        heard = content
        clip, seconds = None, 0.0
        if self._args["input"] == "text":
            content = request.transcript
        elif content is None and request.audio is not None:
            clip, seconds = completions.wav(request.audio, self._args["min_seconds"]), request.audio.seconds

        def read(answer: dict[str, Any]) -> Response:
            text = self._client.without_key(completions.text_of(answer, request.max_new_tokens))
            return Response(request.id, text, heard=heard, tokens=reported(answer.get("usage")), **labels(answer))

        def labels(answer: dict[str, Any]) -> dict[str, Any]:
            if not request.choices:
                return {}
            choices, detail = completions.first_scores(completions.tops(answer), request.choices)
            return {"choices": choices, "detail": detail}

        try:
            top = await self._alternatives() if request.choices else 0
            payload = completions.payload(self._form, request, clip=clip, content=content, top=top)
            server = self._spec.server
            estimate = expected(server, request, seconds, content) if server.prices else Tokens()
            return await self._client.ask(payload, estimate, read)
        except (Unsupported, completions.Filtered) as err:
            return Response(request.id, status="unsupported", detail=str(err)[:_LONGEST], heard=heard)
        except Failed as err:
            return Response(request.id, status="error", detail=str(err)[:_LONGEST])

    def _refuses(self, request: Request) -> str:
        """Why a request cannot be sent; "" if it can."""
        if "text" in self.accepts:
            return "" if request.transcript is not None else "this sample has no transcript"
        return unheard(self.max_seconds)(request)

    async def _alternatives(self) -> int:
        """Number of alternatives to ask for at a token, found out at the first question with labels."""
        assert self._spec.server is not None
        if self._args["labels"] == "text":
            return 0
        if self._tops is None:
            self._tops = asyncio.ensure_future(alternatives(self._client, self._spec.server, self._form))
        return await asyncio.shield(self._tops)

    def _hear(self, requests: Sequence[Request]) -> list[str | Exception | None]:
        """The transcripts of some requests, in a thread. A clip on which the recogniser fails has the exception."""
        assert self._asr is not None
        from diva_bench.decoding.memo import ENCODED  # torch

        fits = [not self._refuses(r) for r in requests]
        waves = [r.audio.samples for r, fit in zip(requests, fits, strict=True) if fit and r.audio is not None]
        try:
            texts = iter(ENCODED.transcribe(self._asr, waves))
        except Exception as err:  # as in decoding/generate.py: one clip must not take others with it
            return [err] if len(requests) == 1 else [text for r in requests for text in self._hear([r])]
        return [next(texts) if fit else None for fit in fits]

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
            self._run(self._client.close())
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
        hear: Callable[[Sequence[Request]], list[str | Exception | None]] | None,
        rows: int,
    ) -> None:
        self._requests, self._hear, self._rows = requests, hear, rows
        self._ready: deque[tuple[Request, str | Exception | None]] = deque()
        self._filling: asyncio.Future[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._exhausted = False
        self.failures: list[asyncio.Task[None]] = []
        """Workers that raised what is no Stop: the requests themselves failed, or a fault of ours."""

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

    def take(self) -> tuple[Request, str | Exception | None] | None:
        """The next request; None if there is none now."""
        if self._hear is not None:
            return self._ready.popleft() if self.ready() else None
        request = None if self._exhausted else next(self._requests, None)
        self._exhausted = request is None
        return None if request is None else (request, None)

    def _fill(self) -> None:
        assert self._hear is not None
        some = list(islice(self._requests, self._rows))
        self._exhausted = len(some) < self._rows
        self._ready.extend(zip(some, self._hear(some) if some else [], strict=True))

    def _filled(self, _: asyncio.Future[None]) -> None:
        self._filling = None
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
