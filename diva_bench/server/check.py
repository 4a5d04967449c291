"""Questions to a server before the first sample: is it there, does it know the model, does it hear audio, does it give
probabilities of tokens?

A server that drops audio answers with status 200, as if nothing had been sent; then the number of prompt tokens does not
depend on the clip.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import numpy as np

from diva_bench.errors import Stop
from diva_bench.server.budget import expected
from diva_bench.server.client import Client, Failed, Unsupported
from diva_bench.server.completions import TOP, Filtered, Form, payload, text_of, tops, wav
from diva_bench.server.pace import Address
from diva_bench.specs import Server
from diva_bench.types import Audio, Request

_SECONDS: Final = (1.0, 5.0)
_RATE: Final = 16_000  # Hz
_ANSWER: Final = 16  # tokens
_FIXED: Final = 8
"""Tokens that a clip must add at least where every clip has the same number, as with encoders of a fixed window; a place
holder for a dropped clip has fewer."""
_ASKED: Final = "Answer with one word: yes or no?"
QUESTION: Final = Request("check", prompt=_ASKED, max_new_tokens=_ANSWER)
_LOG: Final = logging.getLogger("diva_bench")


def _clip(seconds: float) -> bytes:
    """A quiet tone with noise, always the same."""
    count = int(seconds * _RATE)
    noise = np.random.default_rng(0).standard_normal(count)
    wave = 0.1 * np.sin(2 * np.pi * 220 * np.arange(count) / _RATE) + 0.02 * noise
    return wav(Audio(wave.astype(np.float32), _RATE))


def probe() -> tuple[bytes, float]:
    """A short clip and its seconds, for a question to a recogniser."""
    return _clip(_SECONDS[0]), _SECONDS[0]


async def usable(client: Client, question: Callable[[Address], Awaitable[None]]) -> None:
    """Ask every address, and leave those out that cannot be reached.

    Raises:
        Stop: No address can be used.
    """
    for address in list(client.pool.addresses):
        try:
            await question(address)
        except (Failed, Unsupported, Filtered) as err:
            if len(client.pool.addresses) == 1:
                raise Stop(f"{address.url}: the first question failed: {err}") from err
            _LOG.warning("%s is left out, because the first question to it failed: %s", address.url, err)
            client.pool.addresses.remove(address)


async def reachable(client: Client, server: Server, form: Form, *, audio: bool) -> None:
    """`usable` for a server that answers questions.

    Args:
        audio: Also check that clips are heard.

    Raises:
        Stop: No address can be used, or one of them does not hear clips.
    """

    async def question(address: Address) -> None:
        if audio:
            await _hears(client, server, form, address)
        else:
            await _ask(client, server, form, address, None)

    await usable(client, question)


async def _hears(client: Client, server: Server, form: Form, address: Address) -> None:
    short, long = [await _tokens(client, server, form, address, seconds) for seconds in _SECONDS]
    if short is None or long is None:
        _LOG.warning(
            "%s does not report usage.prompt_tokens, so that nobody can check whether it hears the clips", address.url
        )
        return
    if short != long:
        return
    silent = await _tokens(client, server, form, address, None)
    if silent is None or long - silent < _FIXED:
        raise Stop(
            f"{address.url}: the server does not hear audio: it counts {short} prompt tokens with a clip of "
            f"{_SECONDS[0]:g} s and {long} with one of {_SECONDS[1]:g} s ({silent} without one). Serve a model that takes "
            "audio, or set args.audio of the model to the other of input_audio and audio_url."
        )


async def _tokens(client: Client, server: Server, form: Form, address: Address, seconds: float | None) -> int | None:
    answer = await _ask(client, server, form, address, seconds)
    usage = answer.get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    return count if isinstance(count, int) and not isinstance(count, bool) else None


async def _ask(
    client: Client, server: Server, form: Form, address: Address | None, seconds: float | None, top: int = 0
) -> dict[str, Any]:
    question = QUESTION
    clip = None if seconds is None else _clip(seconds)
    body = payload(form, question, clip=clip, content=None, top=top)

    def read(answer: dict[str, Any]) -> dict[str, Any]:
        text_of(answer, _ANSWER)
        return answer

    return await client.ask(body, expected(server, question, seconds or 0.0, None), read, address)


async def alternatives(client: Client, server: Server, form: Form) -> int:
    """The number of alternatives for a token that the servers give; 0 if they give none, or refuse the question."""
    try:
        listed = tops(await _ask(client, server, form, None, None, TOP))
    except (Failed, Unsupported, Filtered):
        listed = []
    if not listed:
        _LOG.info("the server gives no probabilities of tokens: labels are read from the answers")
    return TOP if listed else 0
