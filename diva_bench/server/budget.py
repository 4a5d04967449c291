"""Requests and money: what a command may spend on servers, and estimates before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from diva_bench.errors import Stop, UserError
from diva_bench.specs import ModelSpec, Prices, ServedAsr, Server
from diva_bench.types import Request

_CHARACTERS: Final = 3  # of a token, in estimates: fewer than English has, so that an estimate is rather too high
_FRAME: Final = 16  # tokens that a chat template adds, in estimates
_WRITTEN: Final = 10  # tokens of a transcript for each second of speech, in estimates
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token counts of one request. `input` includes `audio`."""

    input: int = 0
    audio: int = 0
    output: int = 0


def expected(server: Server, request: Request, seconds: float, content: str | None) -> Tokens:
    """An estimate of the tokens of a request, rather too high: its answer has the largest allowed length.

    Args:
        seconds: Of audio.
        content: What is spoken, if it is sent as text.
    """
    characters = sum(len(text or "") for text in (request.prompt, request.system, content))
    audio = round(seconds * server.audio_tokens_per_second)
    return Tokens(characters // _CHARACTERS + _FRAME + audio, audio, request.max_new_tokens)


def expected_to_hear(asr: ServedAsr, seconds: float) -> Tokens:
    """An estimate of the tokens of a transcript, rather too high."""
    audio = math.ceil(seconds * asr.server.audio_tokens_per_second)
    return Tokens(audio, audio, _FRAME + math.ceil(seconds * _WRITTEN))


def used(usage: object, estimate: Tokens) -> Tokens:
    """The tokens that an answer reports. What it does not report, or reports as nonsense, is taken from the estimate."""
    counts = reported(usage)
    total = counts.get("prompt", estimate.input)
    return Tokens(total, min(counts.get("audio", estimate.audio), total), counts.get("new", estimate.output))


def reported(usage: object) -> dict[str, int]:
    """Token counts of an answer for its row: prompt, of these audio, and new ones, as far as the server reports them. A
    transcript calls them input and output tokens."""
    whole = usage if isinstance(usage, Mapping) else {}
    details = whole.get("prompt_tokens_details", whole.get("input_token_details"))
    audio = _count(details.get("audio_tokens")) if isinstance(details, Mapping) else None
    counts = {
        "prompt": _count(whole.get("prompt_tokens", whole.get("input_tokens"))),
        "audio": audio,
        "new": _count(whole.get("completion_tokens", whole.get("output_tokens"))),
    }
    return {kind: count for kind, count in counts.items() if count is not None}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def cost(prices: Prices | None, tokens: Tokens) -> float:
    """The price of some tokens; 0 without prices."""
    if prices is None:
        return 0.0
    audio = prices.input if prices.audio is None else prices.audio
    text = tokens.input - tokens.audio
    return (text * prices.input + tokens.audio * audio + tokens.output * prices.output) / _MILLION


class Budget:
    """What one command may spend on servers, shared by all models and judges. Tries that fail count as requests."""

    def __init__(self, max_requests: int | None = None, max_cost: float | None = None) -> None:
        self._most, self._dearest = max_requests, max_cost
        self.requests, self.cost = 0, 0.0
        self._open = 0.0  # estimated cost of requests without an answer yet

    def check(self, server: Server, name: str) -> None:
        """Raises UserError if the cost of a model is limited and the prices of its server are not known."""
        if self._dearest is not None and server.prices is None:
            raise UserError(
                f"--max-cost: model {name} has no prices. Add them to its YAML, per million tokens: "
                "server: {prices: {input: 2.5, output: 10.0}}."
            )

    def take(self, price: float) -> None:
        """Count one request before it is sent. `price`: an estimate, rather too high. Raises Stop if the budget is used up."""
        if self._most is not None and self.requests >= self._most:
            raise Stop(f"{self.requests:,} requests were sent, as many as --max-requests allows")
        if self._dearest is not None and self.cost + self._open + price > self._dearest:
            raise Stop(
                f"{self.cost:.4f} was spent on {self.requests:,} requests, and another one could exceed --max-cost "
                f"{self._dearest:g}"
            )
        self.requests += 1
        self._open += price

    def settle(self, price: float, paid: float) -> None:
        """Replace the estimate of a request by its cost."""
        self._open = max(0.0, self._open - price)
        self.cost += paid


def estimated(model: ModelSpec, requests: Iterable[tuple[Request, float]]) -> str:
    """The number of requests and their largest cost in words, before anything is sent; "" for a model without a server.

    Args:
        requests: Each with its seconds of audio.
    """
    if not model.servers:
        return ""
    count, prices = 0, dict.fromkeys((s.prices.currency for s in model.servers if s.prices), 0.0)
    for request, seconds in requests:
        labels = 1 + len(request.choices) if request.choices and model.args.get("labels") == "exact" else 0
        count += len(model.servers) + labels
        if model.server is not None and model.server.prices:
            used = expected(model.server, request, 0.0 if model.asr else seconds, request.transcript)
            prices[model.server.prices.currency] += (1 + labels) * cost(model.server.prices, used)
        if model.asr is not None and model.asr.server.prices:
            heard = expected_to_hear(model.asr, seconds)
            prices[model.asr.server.prices.currency] += cost(model.asr.server.prices, heard)
    noun = "request" if count == 1 else "requests"
    text = f"{count:,} {noun}, and a few to check the server"
    if any(server.prices is None for server in model.servers):
        return f"{text}; cost unknown (the model's YAML has no prices)"
    return f"{text}; cost: about {' and '.join(f'{p:.4f} {currency}' for currency, p in prices.items())} at most"
