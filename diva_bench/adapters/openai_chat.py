"""A model behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp, transformers serve, OpenAI, Azure, Gemini.

What is spoken goes to the server as audio (`input: audio`), as the gold transcript (`input: text`), or, if the model has a
recogniser (weights of the role `asr` on this machine, or `asr:` behind a server), as the transcript that it writes: then the
server is the LLM of a cascade.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from diva_bench.adapters.asr_server import AsrServer
from diva_bench.decoding.generate import LONGEST
from diva_bench.decoding.response import unheard
from diva_bench.errors import SpecError, Stop, one_line
from diva_bench.provenance import without_folders
from diva_bench.server import check, completions, exact
from diva_bench.server.budget import Budget, Tokens, expected, reported
from diva_bench.server.check import alternatives, probe, reachable
from diva_bench.server.client import Client, Failed, Unsupported
from diva_bench.server.flow import Flow, Heard
from diva_bench.specs import ModelSpec
from diva_bench.types import LabelScore, Request, Response

if TYPE_CHECKING:
    from diva_bench.decoding.whisper import Recogniser

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
    "labels": ("auto", "exact", "text"),
    "tokens_key": ("max_tokens", "max_completion_tokens"),
}
_OURS: Final = ("model", "messages", "n", "stream")  # keys of a request that `body` cannot change


class OpenAIChat(Flow):
    """Asks a server. Args of the model spec:

    - `model`: its name on the server.
    - `input`: what is sent of a sample, "audio" or "text" (the gold transcript).
    - `audio`: how a clip is sent, "input_audio" or "audio_url".
    - `audio_first`: the clip comes before the prompt.
    - `labels`: "auto": label scores from the probabilities of the first token, where the server gives them; "exact": of all
      tokens of every label, with a request for each, where the server proves that it can; else as "auto". "text": none.
    - `tokens_key`: "max_tokens" or "max_completion_tokens", whichever the server knows.
    - `max_seconds`: longer clips are `unsupported`. `min_seconds`: shorter clips end with silence.
    - `check`: before the first question, check that the server counts more tokens for a longer clip.
    - `body`: more keys of every request; null removes a key.
    """

    accepts: frozenset[str] = frozenset({"audio", "text", "choices"})
    version = "1"
    settings = _SETTINGS
    takes_budget = True
    optional_roles = ("asr",)

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
        listens = bool(model.asr) or "asr" in model.weights
        if listens and args["input"] == "text":
            raise SpecError(
                f"{where}: input: text sends the gold transcript, so that its recogniser gets no clip. Remove one."
            )
        hears = args["input"] == "audio"
        return type("OpenAIChat", (cls,), {"accepts": frozenset({"audio" if hears else "text", "choices"})})

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str, budget: Budget | None = None) -> None:
        args = {**_SETTINGS, **spec.args}
        self.accepts = self.for_model(spec).accepts
        self._args = args
        self._form = completions.Form(
            args["model"], args["audio"], args["audio_first"], args["tokens_key"], args["body"]
        )
        assert spec.server is not None
        self._server = spec.server
        budget = budget or Budget()
        super().__init__(Client(spec.server, spec.name, budget))
        self.max_seconds: float = args["max_seconds"]
        self._tops: asyncio.Future[int] | None = None
        self._proof: asyncio.Future[bool] | None = None
        self._ears = AsrServer(spec, {}, device, budget) if spec.asr else None
        if self._ears is not None:
            self.max_seconds = self._ears.max_seconds
        if "asr" in paths:
            from diva_bench.decoding.parakeet import load_recogniser  # torch

            self._asr: Recogniser = load_recogniser(paths["asr"], device, spec.runtime.dtype)
            self.max_seconds = self._asr.max_seconds
            self.hear, self.rows = self._transcripts, min(self.rows, spec.runtime.batch_rows)

    async def check(self) -> None:
        if self._ears is not None:
            await self._ears.check()
        sends_clips = self._args["input"] == "audio" and self._ears is None and self.hear is None
        await reachable(self._client, self._server, self._form, audio=sends_clips and self._args["check"])

    def halt(self, reason: Stop) -> None:
        super().halt(reason)
        if self._ears is not None:
            self._ears.halt(reason)

    async def disconnect(self) -> None:
        await super().disconnect()
        if self._ears is not None:
            await self._ears.disconnect()

    def served(self) -> dict[str, Any]:
        return super().served() | ({"asr": self._ears.served()} if self._ears else {})

    async def one(self, request: Request, heard: Heard) -> Response:
        if isinstance(heard, Exception):
            detail = without_folders(f"the recogniser failed: {type(heard).__name__}: {one_line(heard)}")
            return Response(request.id, status="error", detail=detail[:LONGEST])
        if reason := self._refuses(request):
            return Response(request.id, status="unsupported", detail=reason)
        if self._ears is not None:
            transcript = await self._ears.one(request, None)
            if transcript.status != "ok":
                return transcript
            heard = transcript.text
        return await self._answered(request, heard)

    async def _answered(self, request: Request, heard: str | None) -> Response:
        clip, seconds, content = None, 0.0, heard
        if self._args["input"] == "text":
            content = request.transcript
        elif heard is None and request.audio is not None:
            clip, seconds = completions.wav(request.audio, self._args["min_seconds"]), request.audio.seconds

        def read(answer: dict[str, Any]) -> Response:
            text = self._client.without_key(completions.text_of(answer, request.max_new_tokens))
            return Response(request.id, text, heard=heard, tokens=reported(answer.get("usage")), **labels(answer))

        def labels(answer: dict[str, Any]) -> dict[str, Any]:
            if not request.choices or whole:
                return {"choices": whole}
            choices, detail = completions.first_scores(completions.tops(answer), request.choices)
            return {"choices": choices, "detail": detail}

        try:
            whole = await self._whole_labels(request, seconds, clip, content) if request.choices else None
            top = await self._alternatives() if request.choices and not whole else 0
            payload = completions.payload(self._form, request, clip=clip, content=content, top=top)
            estimate = expected(self._server, request, seconds, content) if self._server.prices else Tokens()
            return await self._client.ask(payload, estimate, read)
        except (Unsupported, completions.Filtered) as err:
            return Response(request.id, status="unsupported", detail=str(err)[:LONGEST], heard=heard)
        except Failed as err:
            return Response(request.id, status="error", detail=str(err)[:LONGEST])

    async def _whole_labels(
        self, request: Request, seconds: float, clip: bytes | None, content: str | None
    ) -> dict[str, LabelScore] | None:
        """Log-likelihoods of whole labels; None if they are not wanted, or the server does not prove that it tells them."""
        if self._args["labels"] != "exact":
            return None
        if self._proof is None:
            sample, length = probe() if clip is not None else (None, 0.0)
            self._proof = asyncio.ensure_future(
                exact.proved(self._client, self._server, self._form, check.QUESTION, sample, length)
            )
        if not await asyncio.shield(self._proof):
            return None
        return await exact.scores(self._client, self._server, self._form, request, seconds, clip, content)

    def _refuses(self, request: Request) -> str:
        """Why a request cannot be sent; "" if it can."""
        if "text" in self.accepts:
            return "" if request.transcript is not None else "this sample has no transcript"
        if reason := unheard(self.max_seconds)(request):
            return reason
        if self.hear is None:
            return ""
        from diva_bench.decoding.recognise import unknown_language  # torch

        return unknown_language(self._asr, request)

    async def _alternatives(self) -> int:
        """Number of alternatives to ask for at a token, found out at the first question with labels."""
        if self._args["labels"] == "text":
            return 0
        if self._tops is None:
            self._tops = asyncio.ensure_future(alternatives(self._client, self._server, self._form))
        return await asyncio.shield(self._tops)

    def _transcripts(self, requests: Sequence[Request]) -> list[Heard]:
        """The transcripts of some requests, in a thread. A clip on which the recogniser fails has the exception."""
        from diva_bench.decoding.recognise import transcripts  # torch

        fits = [not self._refuses(r) for r in requests]
        try:
            # what `_refuses` lets through has a language that the recogniser knows
            texts = (
                str(text) for text in transcripts(self._asr, [r for r, fit in zip(requests, fits, strict=True) if fit])
            )
        except Exception as err:  # as in decoding/generate.py: one clip must not take others with it
            return [err] if len(requests) == 1 else [text for r in requests for text in self._transcripts([r])]
        return [next(texts) if fit else None for fit in fits]
