"""How many requests are sent at a time, and when a refused one is sent again.

The number in flight to an address begins at 32, doubles while all goes well up to the largest number allowed, and is halved
when the server refuses a request (429) or does not answer in time; after that it grows by one per round, as in TCP.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from diva_bench.errors import Stop

_FIRST: Final = 32
_FIRST_PAUSE: Final = 0.5  # seconds
_JITTER: Final = 0.25  # of a pause that the server names
_REST: Final = 5.0  # seconds without requests for an address that cannot be reached, if there are others


class Address:
    """One base URL and its requests in flight."""

    def __init__(self, url: str, most: int) -> None:
        self.url = url
        self.most = most
        self.limit = float(min(_FIRST, most))
        self.flying = 0
        self.highest = 0
        """Largest number in flight so far."""
        self.rests_until = 0.0
        self._doubles = True
        self._cut_at = 0.0

    @property
    def room(self) -> int:
        return int(self.limit) - self.flying

    def answered(self) -> None:
        """An answer came: allow more, if what is allowed is used."""
        if self.flying >= int(self.limit) - 1:
            self.limit = min(float(self.most), self.limit + (1.0 if self._doubles else 1.0 / self.limit))

    def refused(self, sent_at: float) -> None:
        """A request was refused or not answered in time: allow half. Requests that were sent before the last cut say
        nothing new."""
        if sent_at < self._cut_at:
            return
        self._doubles, self._cut_at = False, time.monotonic()
        self.limit = max(1.0, self.limit / 2)

    def rest(self, seconds: float) -> None:
        """Send nothing for some seconds."""
        self.rests_until = max(self.rests_until, time.monotonic() + seconds)


class Pool:
    """The addresses of one model. The one with most room gets the next request."""

    def __init__(self, urls: tuple[str, ...], most: int) -> None:
        self.addresses = [Address(url, most) for url in urls]
        self.stopping: Stop | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def capacity(self) -> int:
        """Number of requests that may be in flight now."""
        capacity, now = 0, time.monotonic()
        for address in self.addresses:
            if address.rests_until <= now:
                capacity += int(address.limit)
        return capacity

    @property
    def most(self) -> int:
        """Number of requests that may be in flight at best."""
        return sum(a.most for a in self.addresses)

    async def acquire(self) -> Address:
        """An address with room, which counts one more request in flight. Raises Stop after `stop`."""
        while (address := self._free()) is None:
            if self.stopping is not None:
                raise self.stopping
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            now = time.monotonic()
            rests = [a.rests_until - now for a in self.addresses if a.room > 0]
            try:
                await asyncio.wait_for(future, max(0.001, min(rests)) if rests else None)
            except TimeoutError:
                pass
            finally:
                if future in self._waiting:
                    self._waiting.remove(future)
        address.flying += 1
        address.highest = max(address.highest, address.flying)
        return address

    def release(self, address: Address) -> None:
        address.flying -= 1
        self.wake()

    def stop(self, reason: Stop) -> None:
        """End all waiting with `reason`."""
        self.stopping = self.stopping or reason
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)

    def wake(self) -> None:
        """Let as many wait no longer as there is room for."""
        if not self._waiting:
            return
        room = sum(max(0, a.room) for a in self.addresses)
        while self._waiting and room > 0:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                room -= 1

    def cannot_reach(self, address: Address) -> None:
        """Prefer other addresses for a while."""
        if len(self.addresses) > 1:
            address.rest(_REST)

    def _free(self) -> Address | None:
        best: Address | None = None
        most, now = 0, time.monotonic()
        for address in self.addresses:  # plain, because it is done for every request
            room = int(address.limit) - address.flying
            if room > most and address.rests_until <= now:
                best, most = address, room
        return best


def pause(tries: int, longest: float, named: float | None = None) -> float:
    """Seconds until a request is sent again: at least what the server names, else doubling with every try; at random, so
    that refused requests do not come back together.

    Args:
        tries: How often it was sent.
        longest: Largest pause without a named one.
    """
    if named is not None:
        return named + random.uniform(0, _JITTER * max(named, _FIRST_PAUSE))
    return random.uniform(0.5, 1.0) * min(longest, _FIRST_PAUSE * float(2 ** min(tries - 1, 20)))


def named_pause(header: str | None) -> float | None:
    """Seconds of a Retry-After header: a number or a date; None if it is missing, not positive, or neither."""
    text = (header or "").strip()[:64]
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = parsedate_to_datetime(text)
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (when - datetime.now(UTC)).total_seconds()
    return seconds if 0 < seconds < 10**9 else None
