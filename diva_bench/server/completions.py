"""Questions and answers in the form of POST /chat/completions, and label scores from the probabilities of a first token.

What a server sends is checked here before it is used: types, lengths, finite numbers.
"""

from __future__ import annotations

import base64
import json
import math
import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from diva_bench.types import FIRST_TOKEN, Audio, LabelScore, Request

TOP: Final = 20
"""Largest number of alternatives for a token that the interface offers."""
_MARK: Final = secrets.token_hex(16)  # where the audio goes: base64 needs no escapes, and a clip is long
_FULL_SCALE: Final = 32767
_LETTERS: Final = 3  # of a label that a first token must have to be taken for it, if it is not a whole word
_CHARACTERS: Final = 256  # longest token of known vocabularies
_TEXT: Final = 4096  # characters that an answer may have in any case


class Malformed(Exception):
    """An answer does not have the form of a chat completion."""


class Filtered(Exception):
    """The content filter of the server withheld the answer."""


@dataclass(frozen=True, slots=True)
class Form:
    """How questions are put: the part of a model's `args` that concerns the wire.

    Attributes:
        model: Name of the model on the server.
        part: "input_audio" or "audio_url", the two ways to send a clip.
        audio_first: The clip comes before the prompt.
        tokens_key: Key of the largest number of answer tokens.
        body: More keys of every request; null removes a key.
    """

    model: str
    part: str = "input_audio"
    audio_first: bool = False
    tokens_key: str = "max_tokens"
    body: Mapping[str, Any] = ()  # type: ignore[assignment]  # an empty one is never changed


def wav(audio: Audio, least: float = 0.0) -> bytes:
    """A clip as a WAV file: 16 bit, mono. One shorter than `least` seconds ends with silence."""
    samples = np.clip(audio.samples, -1.0, 1.0)  # a copy, which is then changed: a run of clips spends its time here
    samples *= _FULL_SCALE
    data = np.rint(samples, out=samples).astype("<i2").tobytes()
    data += bytes(2 * max(0, math.ceil(least * audio.rate) - len(samples)))
    sizes = (36 + len(data), 16, 1, 1, audio.rate, 2 * audio.rate, 2, 16)
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", sizes[0], b"WAVE", b"fmt ", *sizes[1:], b"data", len(data)) + data


def payload(
    form: Form,
    request: Request,
    *,
    clip: bytes | None,
    content: str | None,
    top: int = 0,
    begun: str | None = None,
) -> bytes:
    """The JSON of a question.

    Args:
        clip: A WAV file.
        content: What is spoken, as text; it follows the prompt after an empty line, as in every chat frame of diva-bench.
        top: Number of alternatives to ask for at each token; 0: none.
        begun: How the answer begins, for servers that continue it.
    """
    text = "\n\n".join(part for part in (request.prompt, content) if part)
    user: Any = text
    if clip is not None:
        parts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
        user = [_audio(form.part), *parts] if form.audio_first else [*parts, _audio(form.part)]
    system = [{"role": "system", "content": request.system}] if request.system else []
    answer = [] if begun is None else [{"role": "assistant", "content": begun}]
    body: dict[str, Any] = {
        "model": form.model,
        "messages": [*system, {"role": "user", "content": user}, *answer],
        form.tokens_key: request.max_new_tokens,
        "temperature": request.temperature,
    }
    if request.temperature > 0:
        body["seed"] = request.seed
    if top:
        body |= {"logprobs": True, "top_logprobs": top}
    body |= dict(form.body)
    encoded = json.dumps({k: v for k, v in body.items() if v is not None}).encode()
    if clip is None:
        return encoded
    before, _, after = encoded.partition(_MARK.encode())
    return b"".join((before, base64.b64encode(clip), after))


def _audio(part: str) -> dict[str, Any]:
    if part == "audio_url":
        return {"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{_MARK}"}}
    return {"type": "input_audio", "input_audio": {"data": _MARK, "format": "wav"}}


# ---------------------------------------------------------------- answers


def parsed(raw: bytes) -> dict[str, Any]:
    """A JSON object. Raises Malformed."""
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as err:  # also text that is not UTF-8, and numbers of too many digits
        raise Malformed("is not JSON") from err
    if not isinstance(value, dict):
        raise Malformed("is not a JSON object")
    return value


def text_of(answer: Mapping[str, Any], longest: int) -> str:
    """The text of an answer; that of a refusal is an answer too.

    Args:
        longest: Largest number of tokens that were asked for.

    Raises:
        Malformed: There is no text, or it is longer than so many tokens can be.
        Filtered: A content filter withheld it.
    """
    choice = _choice(answer)
    message, ended = choice.get("message"), choice.get("finish_reason")
    if not isinstance(message, Mapping):
        raise Malformed("has no message")
    if ended == "content_filter":
        raise Filtered("the content filter of the server withheld the answer")
    content = message.get("content")
    if content is None:
        refusal = message.get("refusal")
        # an empty answer only if the tokens went elsewhere: into reasoning, or into a limit that was reached first
        reasoned = any(message.get(key) for key in ("reasoning", "reasoning_content"))
        content = refusal if isinstance(refusal, str) else "" if reasoned or ended == "length" else None
    elif isinstance(content, list):
        parts = [p.get("text") for p in content if isinstance(p, Mapping) and p.get("type") in ("text", "output_text")]
        content = "".join(p for p in parts if isinstance(p, str)) if parts else None
    if not isinstance(content, str):
        raise Malformed("has a message without text")
    if len(content) > _TEXT + _CHARACTERS * longest:
        raise Malformed(f"has {len(content):,} characters, more than {longest} tokens can have")
    return content.strip()


def _choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise Malformed("has no choices")
    return choices[0]


def tops(answer: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The most likely first tokens of an answer with their log-likelihoods in nats; empty if the server gave none."""
    logprobs = _choice(answer).get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    first = content[0] if isinstance(content, list) and content else None
    listed = first.get("top_logprobs") if isinstance(first, Mapping) else None
    if not isinstance(listed, list):
        return []
    pairs = [(t.get("token"), t.get("logprob")) for t in listed[:TOP] if isinstance(t, Mapping)]
    return [
        (token, float(value))
        for token, value in pairs
        if isinstance(token, str)
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value <= 1e-3
    ]


def first_scores(top: Sequence[tuple[str, float]], labels: Sequence[str]) -> tuple[dict[str, LabelScore] | None, str]:
    """(label -> log-likelihood of its first token, "first token only"); (None, reason) if they cannot be told.

    A label's first token is taken to be the longest of the listed tokens with which the label begins; it must be a whole
    word of the label or have three letters. The tokens of all labels must be listed, and be different ones.
    """
    if not top:
        return None, "no label scores: the server gives no probabilities of tokens"
    clean = [(token.replace("\u2581", " ").strip(), value) for token, value in top]
    scores: dict[str, LabelScore] = {}
    firsts: set[str] = set()
    for label in labels:
        fits = [(len(token), value, token) for token, value in clean if token and label.startswith(token)]
        length, value, token = max(fits, default=(0, 0.0, ""))
        if not (token == label or (token and (length >= _LETTERS or label[length].isspace()))):
            return (
                None,
                f"no label scores: {label!r} does not begin with one of the {len(top)} most likely first tokens",
            )
        if token in firsts:
            return None, f"no label scores: {label!r} and another label have the first token {token!r}"
        firsts.add(token)
        scores[label] = LabelScore(value, 1, value)
    return scores, FIRST_TOKEN
