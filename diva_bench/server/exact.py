"""Log-likelihoods of whole labels from servers that give those of prompt tokens (`prompt_logprobs` of vLLM).

A label is put into the conversation as the beginning of the answer (`continue_final_message`), and the server tells the
log-likelihood of every token of that prompt. The label's tokens are those behind the prompt without it. One request for every
label and one without a label are sent for each question; the server has the prompt in its cache after the first one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from diva_bench.errors import one_line
from diva_bench.server.budget import expected
from diva_bench.server.client import Client, Failed, Unsupported
from diva_bench.server.completions import TOP, Filtered, Form, Malformed, payload, tops
from diva_bench.specs import Server
from diva_bench.types import LabelScore, Request

_NEAR: Final = 0.2  # nats: one log-likelihood told in two ways; servers compute prompts and answers in other batches
_TRIES: Final = 3  # words of which one must agree
_LOG: Final = logging.getLogger("diva_bench")


@dataclass(frozen=True, slots=True)
class _Token:
    """A token of a prompt. `value`: its log-likelihood in nats; None for the first token."""

    id: str
    value: float | None


async def scores(
    client: Client,
    server: Server,
    form: Form,
    request: Request,
    seconds: float,
    clip: bytes | None,
    content: str | None,
) -> dict[str, LabelScore]:
    """Label -> log-likelihood of all its tokens.

    Args:
        seconds: Of the clip, for the budget.
        clip, content: As for `completions.payload`.

    Raises:
        Failed: The server does not tell them.
        Unsupported: The model cannot take the question.
        Stop: Nothing more can be answered.
    """

    async def prompt(label: str | None) -> list[_Token]:
        one = replace(request, max_new_tokens=1, temperature=0.0)
        return await client.ask(
            _payload(form, one, clip, content, label), expected(server, one, seconds, content), prompt_tokens
        )

    before = await prompt(None)
    return {label: _score(before, await prompt(label), label) for label in request.choices or ()}


def _payload(form: Form, request: Request, clip: bytes | None, content: str | None, label: str | None) -> bytes:
    more = {"prompt_logprobs": 0, "add_generation_prompt": label is None, "continue_final_message": label is not None}
    asked = replace(form, body={**dict(form.body), **more})
    return payload(asked, request, clip=clip, content=content, begun=label)


def prompt_tokens(answer: Mapping[str, Any]) -> list[_Token]:
    """The tokens of the prompt with their log-likelihoods. Raises Failed if the server does not tell them."""
    listed = answer.get("prompt_logprobs")
    if not isinstance(listed, list) or len(listed) < 2:
        raise Failed("the server gives no log-likelihoods of prompt tokens (prompt_logprobs)")
    return [_token(place, entry) for place, entry in enumerate(listed)]


def _token(place: int, entry: object) -> _Token:
    if entry is None and place == 0:  # nothing comes before it
        return _Token("", None)
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise Malformed(f"has no log-likelihood of token {place} of the prompt alone")
    [(ident, told)] = entry.items()
    value = told.get("logprob") if isinstance(told, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value > 1e-3:
        raise Malformed(f"has no log-likelihood of token {place} of the prompt")
    return _Token(str(ident), float(value))


def _score(before: Sequence[_Token], whole: Sequence[_Token], label: str) -> LabelScore:
    if [t.id for t in whole[: len(before)]] != [t.id for t in before]:
        raise Failed(f"the prompt with the label {label!r} does not begin with the prompt without it")
    own = whole[len(before) :]
    values = [token.value for token in own if token.value is not None]
    if not own or len(values) < len(own):
        raise Failed(f"the label {label!r} has no tokens in the prompt")
    return LabelScore(sum(values), len(values), values[0])


async def proved(
    client: Client, server: Server, form: Form, question: Request, clip: bytes | None, seconds: float
) -> bool:
    """Whether the server tells log-likelihoods of labels that agree with those of the answers that it writes itself: a likely
    first token of an answer must have the same log-likelihood when it is a label."""
    try:
        await _prove(client, server, form, question, clip, seconds)
    except (Failed, Unsupported, Filtered) as err:
        _LOG.warning(
            "labels: exact: this server gives no scores of whole labels: %s. First tokens are used.", one_line(err)
        )
        return False
    return True


async def _prove(
    client: Client, server: Server, form: Form, question: Request, clip: bytes | None, seconds: float
) -> None:
    """Raises Failed if it does not."""
    first = replace(question, max_new_tokens=1)
    body = payload(form, first, clip=clip, content=None, top=TOP)
    listed = await client.ask(body, expected(server, first, seconds, None), tops)
    # a token may be written in another way as a label: half a character, or with a space before it
    words = {text: value for text, value in listed if text.isascii() and text.isalpha()}
    if not words:
        raise Failed("it gives no probabilities of words that may begin an answer")
    asked = replace(question, choices=tuple(words)[:_TRIES])
    told = await scores(client, server, form, asked, seconds, clip, None)
    if all(abs(one.first - words[word]) > _NEAR for word, one in told.items()):
        raise Failed(
            "; ".join(
                f"{w!r} has {one.first:.2f} nats as a label, and {words[w]:.2f} as an answer" for w, one in told.items()
            )
        )
