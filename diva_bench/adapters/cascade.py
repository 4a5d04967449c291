"""Cascade: Whisper transcribes, and the LLM answers the transcript. End-to-end models are compared with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from diva_bench.adapters import declared
from diva_bench.decoding.answer import answer, in_order
from diva_bench.decoding.llm import LLM
from diva_bench.decoding.memo import ENCODED
from diva_bench.decoding.parakeet import load_recogniser
from diva_bench.decoding.phases import Clock
from diva_bench.decoding.response import unheard
from diva_bench.specs import ModelSpec
from diva_bench.types import Request, Response


class Cascade(declared.Cascade):
    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str) -> None:
        self._asr = load_recogniser(paths["asr"], device, spec.runtime.dtype)
        self.max_seconds = self._asr.max_seconds
        self._llm = LLM.of(paths["llm"], device, spec.runtime)

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        return in_order(requests, unheard(self.max_seconds), self._ask)

    def _ask(self, requests: list[Request]) -> list[Response]:
        clock, hits = Clock(self._llm.device), ENCODED.hits
        waves = [r.audio.samples for r in requests if r.audio is not None]
        transcripts = ENCODED.transcribe(self._asr, waves)
        clock.lap("reuse" if ENCODED.hits > hits else "transcribe")
        contents = [self._llm.embed(self._llm.tokens(text)) for text in transcripts]
        answers = answer(self._llm, requests, contents, clock)
        return [replace(a, heard=text) for a, text in zip(answers, transcripts, strict=True)]

    def close(self) -> None:
        vars(self).clear()
