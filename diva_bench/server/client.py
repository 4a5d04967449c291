"""Send one request until it is answered: which errors are sent again, which are final, and which stop the run.

answered                                    200 with a JSON object
sent again                                  429, 408, 5xx, no connection, no answer in time, half an answer, no JSON
final, an `error` row                       other 4xx, 5xx with a text that is known to be permanent, redirects, too much data
final, `unsupported`                        the prompt is longer than the model's context; a content filter
the run stops (errors.Stop)                 401, 402, 403, no quota, the budget of the command, no server any more
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiohttp

from diva_bench.errors import Stop, one_line
from diva_bench.server.budget import Budget, Tokens, cost, used
from diva_bench.server.completions import Malformed, parsed
from diva_bench.server.key import key_of
from diva_bench.server.pace import Address, Pool, named_pause, pause
from diva_bench.specs import Server

CHAT: Final = "/chat/completions"
Payload = bytes | Callable[[], aiohttp.FormData]
_JSON: Final = "application/json"
LARGEST: Final = 1 << 23
"""Bytes of the largest answer that is read: 4,096 tokens with 20 alternatives each have about 6 MB."""
_REASON: Final = 300  # characters of a server's own words in a message
_CONNECT: Final = 30.0  # seconds
_LONGEST_REST: Final = 900.0  # seconds: a server that names a longer pause stops the run
_THROTTLED: Final = 10  # a request may be refused by 429 so many times as often as it may fail
_LOST: Final = 5  # requests in a row that could not be sent at all, after all tries, until the run stops
_PERMANENT: Final = ("mmproj", "audio input is not supported", "image input is not supported", "does not support audio")
_QUOTA: Final = ("insufficient_quota", "exceeded your current quota", "billing", "insufficient balance", "no credit")
_TOO_LONG: Final = (
    "context_length_exceeded",
    "maximum context",
    "context length",
    "context size",
    "exceed_context_size",
)
_FILTERED: Final = ("content_filter", "content management policy", "responsibleaipolicyviolation")


_T = TypeVar("_T")


class Failed(Exception):
    """A request cannot be answered; the message says why. It becomes an `error` row."""


class Unsupported(Exception):
    """The model cannot take this request; the message says why."""


@dataclass(eq=False)
class _Again(Exception):
    """Another try may succeed."""

    reason: str
    throttled: bool = False
    late: bool = False
    """Not answered in time: the server may have too much to do, and may have charged for it."""
    unreachable: bool = False
    after: float | None = None
    """Seconds that the server names."""


class Client:
    """Sends requests to the servers of one model. Everything happens in one event loop."""

    def __init__(self, server: Server, name: str, budget: Budget) -> None:
        """`name`: of the model, for messages."""
        self._server = server
        self._key = key_of(server, name)
        budget.check(server, name)
        self._budget = budget
        self.pool = Pool(server.urls, server.in_flight)
        self.sent = self.again = 0
        self.pausing = 0
        """Number of requests that wait for another try."""
        self._stop_event: asyncio.Event | None = None
        self._session: aiohttp.ClientSession | None = None
        self._lost = 0

    # ---- opening and closing

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
            if self._key is not None:
                bearer = self._server.key_header.lower() == "authorization"
                headers[self._server.key_header] = f"Bearer {self._key}" if bearer else self._key
            secure = all(url.startswith("https:") for url in self._server.urls)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=0),
                timeout=aiohttp.ClientTimeout(total=self._server.timeout, sock_connect=_CONNECT),
                headers=headers,
                auto_decompress=False,  # nothing compressed was asked for, and a small body could become a large one
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=secure,  # proxies, for servers on the internet
            )
            self._stop_event = asyncio.Event()
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def stopping(self) -> Stop | None:
        """Why nothing more is sent."""
        return self.pool.stopping

    def stop(self, reason: Stop) -> None:
        """Send nothing more; requests that wait for another try end with `reason`."""
        self.pool.stop(reason)
        if self._stop_event is not None:
            self._stop_event.set()

    def counted(self) -> dict[str, Any]:
        """Addresses; and since the last call, requests, how many were sent again, and the most in flight at an address."""
        addresses = self.pool.addresses
        counts = {"sent": self.sent, "again": self.again, "in_flight": max((a.highest for a in addresses), default=0)}
        self.sent = self.again = 0
        for address in addresses:
            address.highest = address.flying
        return {"urls": [address.url for address in addresses], **counts}

    # ---- one request

    async def ask(
        self,
        payload: Payload,
        estimate: Tokens,
        read: Callable[[dict[str, Any]], _T],
        only: Address | None = None,
        path: str = CHAT,
    ) -> _T:
        """What `read` takes from the answer to a request.

        Args:
            payload: JSON, or a function that makes a form; it is called for every try.
            estimate: Its tokens, rather too many, for the budget.
            read: Raises Malformed for an answer that is not one; the request is sent again.
            only: Send it to this address; None: to the one with most room.
            path: What follows the base URL.

        Raises:
            Failed: It cannot be answered.
            Unsupported: The model cannot take it.
            Stop: Nothing more can be answered.
        """
        failures = refusals = 0
        while True:
            try:
                return await self._try(payload, estimate, read, only, path)
            except _Again as again:
                failures, refusals = failures + (not again.throttled), refusals + again.throttled
                if failures >= self._server.tries or refusals >= self._server.tries * _THROTTLED:
                    self._note_lost(again)
                    raise Failed(f"{again.reason}; sent {failures + refusals} times") from None
                self.again += 1
                longest = self._server.longest_wait
                await self._wait(pause(failures + refusals, longest, again.after))

    def _note_lost(self, again: _Again) -> None:
        """Stop if no server can be reached any more."""
        self._lost = self._lost + 1 if again.unreachable else 0
        if self._lost >= _LOST:
            stop = Stop(f"the server cannot be reached any more: {again.reason}")
            self.stop(stop)
            raise stop

    async def _wait(self, seconds: float) -> None:
        self._open()
        assert self._stop_event is not None
        self.pausing += 1
        try:
            await asyncio.wait_for(self._stop_event.wait(), seconds)
        except TimeoutError:
            return
        finally:
            self.pausing -= 1
        assert self.stopping is not None
        raise self.stopping

    async def _try(
        self, payload: Payload, estimate: Tokens, read: Callable[[dict[str, Any]], _T], only: Address | None, path: str
    ) -> _T:
        if only is None:
            address = await self.pool.acquire()
        else:
            address, only.flying = only, only.flying + 1
        price = cost(self._server.prices, estimate)
        paid: float | None = None
        try:
            if self.stopping is not None:
                raise self.stopping
            try:
                self._budget.take(price)
            except Stop as stop:
                self.stop(stop)
                raise
            paid = 0.0
            self.sent += 1
            answer = await self._once(address, payload, path)
            paid = cost(self._server.prices, used(answer.get("usage"), estimate)) if price else 0.0
            self._lost = 0
            address.answered()
            try:
                return read(answer)
            except Malformed as err:
                raise _Again(f"the answer {err}") from err
        except _Again as again:
            paid = price if again.late else paid
            raise
        finally:
            if paid is not None:
                self._budget.settle(price, paid)
            self.pool.release(address)

    async def _once(self, address: Address, payload: Payload, path: str) -> dict[str, Any]:
        """Send it once. Raises _Again, Failed, Unsupported or Stop."""
        sent_at = time.monotonic()
        try:
            status, after, raw = await self._post(f"{address.url.rstrip('/')}{path}", payload)
        except aiohttp.ConnectionTimeoutError as err:
            self.pool.cannot_reach(address)
            raise _Again("no connection in time", unreachable=True) from err
        except TimeoutError as err:  # also those of aiohttp
            address.refused(sent_at)
            raise _Again(f"no answer within {self._server.timeout:g} s", late=True) from err
        except (aiohttp.ClientConnectionError, OSError) as err:
            self.pool.cannot_reach(address)
            reason = one_line(err).replace(" ssl:default", "")
            raise _Again(self._clean(f"no connection ({reason})"), unreachable=True) from err
        except (aiohttp.ClientError, ValueError) as err:  # half an answer, or something that is not HTTP
            raise _Again(self._clean(f"the answer was cut off or is not HTTP ({one_line(err)})")) from err
        if status == 200:
            try:
                return parsed(raw)
            except Malformed as err:
                raise _Again(f"the answer {err}") from err
        text = self._words(raw)
        if status == 429 or (status == 503 and after is not None):
            if any(word in text.lower() for word in _QUOTA):
                raise self._final_stop(f"the quota is used up ({status}: {text})")
            self._slow(address, sent_at, after)
            raise _Again(f"the server refuses ({status}: {text})", throttled=True, after=after)
        raise self._refusal(status, text)

    def _refusal(self, status: int, text: str) -> Exception:
        """The exception for a status other than 200 and 429."""
        words = text.lower()
        said = f"the server answers {status}: {text}"
        if status in (401, 403):
            where = f" The key is that of the variable {self._server.key}." if self._server.key else ""
            return self._final_stop(f"the server refuses access ({status}: {text}).{where}")
        if status == 402 or any(word in words for word in _QUOTA[:2]):
            return self._final_stop(f"the quota is used up ({status}: {text})")
        if any(word in words for word in _FILTERED):
            return Unsupported(f"the content filter of the server refuses it ({status}: {text})")
        if status in (400, 413, 422) and any(word in words for word in _TOO_LONG):
            return Unsupported(f"too long for the model ({status}: {text})")
        if status >= 500 and any(word in words for word in _PERMANENT):
            return Failed(said)
        if status >= 500 or status in (408, 425):
            return _Again(said)
        if 300 <= status < 400:
            return Failed(f"the server redirects to another address ({status}); give that one in `urls`")
        return Failed(said)

    def _final_stop(self, reason: str) -> Stop:
        stop = Stop(reason)
        self.stop(stop)
        return stop

    def _slow(self, address: Address, sent_at: float, after: float | None) -> None:
        if after is not None and after > _LONGEST_REST:
            raise self._final_stop(f"the server asks for a pause of {after:,.0f} s")
        address.refused(sent_at)
        if after is not None:
            address.rest(after)

    async def _post(self, url: str, payload: Payload) -> tuple[int, float | None, bytes]:
        """(status, seconds of Retry-After, body)."""
        query = f"?api-version={self._server.api_version}" if self._server.api_version else ""
        data = aiohttp.BytesPayload(payload, content_type=_JSON) if isinstance(payload, bytes) else payload()
        async with self._open().post(f"{url}{query}", data=data, allow_redirects=False) as response:
            parts, size = [], 0
            while chunk := await response.content.readany():
                size += len(chunk)
                if size > LARGEST:
                    response.close()
                    raise Failed(f"the answer has more than {LARGEST:,} bytes; no more is read")
                parts.append(chunk)
            after = None if response.status == 200 else named_pause(response.headers.get("Retry-After"))
            return response.status, after, b"".join(parts)

    # ---- a server's words

    def _words(self, raw: bytes) -> str:
        """What a server says about an error, on one line."""
        try:
            value: Any = json.loads(raw)
        except (ValueError, RecursionError):
            value = raw.decode("utf-8", "replace")
        if isinstance(value, list) and value:  # Gemini puts its error into a list
            value = value[0]
        error = value.get("error", value) if isinstance(value, Mapping) else value
        if isinstance(error, Mapping):
            named = [error.get(k) for k in ("code", "type", "message", "detail")]
            error = " ".join(self.without_key(str(part)) for part in named if isinstance(part, str | int))
        return self._clean(str(error)) or "no reason"

    def _clean(self, text: str) -> str:
        return " ".join(self.without_key(text).split())[:_REASON].rstrip(". ")

    def without_key(self, text: str) -> str:
        """A text of a server without the key, which it may repeat."""
        return text.replace(self._key, "[key]") if self._key is not None and self._key in text else text
