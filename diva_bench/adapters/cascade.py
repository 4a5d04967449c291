"""Cascade: a recogniser transcribes, here or behind a server, and the LLM answers the transcript. End-to-end models are
compared with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from diva_bench.adapters import declared
from diva_bench.decoding.answer import answer, in_order
from diva_bench.decoding.llm import LLM
from diva_bench.decoding.memo import ENCODED
from diva_bench.decoding.parakeet import load_recogniser
from diva_bench.decoding.phases import Clock
from diva_bench.decoding.response import unheard
from diva_bench.server.budget import Budget
from diva_bench.specs import ModelSpec
from diva_bench.types import Request, Response

if TYPE_CHECKING:
    from diva_bench.adapters.asr_server import AsrServer


class Cascade(declared.Cascade):
    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str, budget: Budget | None = None) -> None:
        self._ears: AsrServer | None = None
        if spec.asr is not None:
            from diva_bench.adapters.asr_server import AsrServer  # the libraries of the network

            self._ears = AsrServer(spec, {}, device, budget)
            self.served = self._ears.served
        else:
            self._asr = load_recogniser(paths["asr"], device, spec.runtime.dtype)
        self.max_seconds = (self._ears or self._asr).max_seconds
        self._llm = LLM.of(paths["llm"], device, spec.runtime)

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        return in_order(requests, unheard(self.max_seconds), self._ask)

    def _ask(self, requests: list[Request]) -> list[Response]:
        clock, hits = Clock(self._llm.device), ENCODED.hits
        transcripts = self._hear(requests)
        clock.lap("reuse" if ENCODED.hits > hits else "transcribe")
        heard = {r.id: text for r, text in zip(requests, transcripts, strict=True) if isinstance(text, str)}
        contents = [self._llm.embed(self._llm.tokens(text)) for text in heard.values()]
        answers = iter(answer(self._llm, [r for r in requests if r.id in heard], contents, clock))
        return [replace(next(answers), heard=t) if isinstance(t, str) else t for t in transcripts]

    def _hear(self, requests: list[Request]) -> list[str | Response]:
        """The transcripts. In place of one, the response of a server that has none."""
        if self._ears is not None:
            return [r.text if r.status == "ok" else r for r in self._ears.generate(requests)]
        return [*ENCODED.transcribe(self._asr, [r.audio.samples for r in requests if r.audio is not None])]

    def close(self) -> None:
        if (ears := vars(self).get("_ears")) is not None:
            ears.close()
        vars(self).clear()
