"""A recogniser behind a server with the endpoint /audio/transcriptions: vLLM, transformers serve, OpenAI and others.

Alone it answers with the transcript. `cascade` and `openai_chat` ask it for theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diva_bench.adapters import declared
from diva_bench.decoding.generate import LONGEST
from diva_bench.decoding.response import unheard
from diva_bench.server.budget import Budget, Tokens, expected_to_hear, reported
from diva_bench.server.check import probe, usable
from diva_bench.server.client import Client, Failed, Unsupported
from diva_bench.server.completions import wav
from diva_bench.server.flow import Flow, Heard
from diva_bench.server.pace import Address
from diva_bench.server.transcripts import PATH, form, text_of
from diva_bench.specs import ModelSpec
from diva_bench.types import SPEECH_LANGUAGE, Request, Response


class AsrServer(Flow, declared.Asr):
    """A recogniser without a language model, as `Asr`. Its settings are `asr:` of the model."""

    takes_budget = True

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str, budget: Budget | None = None) -> None:
        assert spec.asr is not None
        self._asr = spec.asr
        self.max_seconds = spec.asr.max_seconds
        super().__init__(Client(spec.asr.server, spec.name, budget or Budget()))
        self._known: dict[tuple[str, bytes], Response] = {}
        """Language and hash of a clip -> its answer: the clips of a task come again for other target languages and prompts,
        and cost again."""

    async def check(self) -> None:
        clip, seconds = probe()

        async def question(address: Address) -> None:
            await self._transcript(clip, seconds, self._asr.language, address)

        await usable(self._client, question)

    async def one(self, request: Request, heard: Heard = None) -> Response:
        """The transcript as `text` and as `heard`."""
        if reason := unheard(self.max_seconds)(request):
            return Response(request.id, status="unsupported", detail=reason)
        assert request.audio is not None
        clip = wav(request.audio, self._asr.min_seconds)
        language = self._language(request)
        name = (language, hashlib.sha256(clip).digest())
        if name not in self._known:
            try:
                self._known[name] = await self._transcript(clip, request.audio.seconds, language)
            except Unsupported as err:
                return Response(request.id, status="unsupported", detail=_told(err))
            except Failed as err:
                return Response(request.id, status="error", detail=_told(err))
        return replace(self._known[name], id=request.id)

    def _language(self, request: Request) -> str:
        """Code of the language that the server is told, which takes those of ISO 639-1; "": it detects the language."""
        code = request.fields.get(SPEECH_LANGUAGE, self._asr.language) if self._asr.language else ""
        return code.partition("-")[0]

    async def _transcript(self, clip: bytes, seconds: float, language: str, only: Address | None = None) -> Response:
        """Raises Failed, Unsupported or Stop."""

        def read(answer: dict[str, Any]) -> Response:
            text = self._client.without_key(text_of(answer, seconds))
            return Response("", text, heard=text, tokens=reported(answer.get("usage")))

        estimate = expected_to_hear(self._asr, seconds) if self._asr.server.prices else Tokens()
        return await self._client.ask(lambda: form(self._asr, clip, language), estimate, read, only, PATH)


def _told(err: Exception) -> str:
    return f"the recogniser's server: {err}"[:LONGEST]
