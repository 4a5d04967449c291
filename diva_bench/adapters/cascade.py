"""Whisper transcribes, the LLM answers: the baseline that an end-to-end model has to be compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from diva_bench.decoding.answer import answer, spread, too_long
from diva_bench.decoding.llm import LLM, Clock
from diva_bench.decoding.whisper import WINDOW_SECONDS, Whisper
from diva_bench.specs import ModelSpec
from diva_bench.types import Request, Response

_ASR_ROWS = 8  # clips per 30 s-window batch: the encoder is the memory peak, and larger is not faster on a CPU


class Cascade:
    accepts = frozenset({"audio", "choices"})
    version = "1"

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str) -> None:
        self._asr = Whisper.load(paths["asr"], device, spec.runtime.dtype)
        self._llm = LLM.load(paths["llm"], device, spec.runtime.dtype)

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        refused = {r.id: no for r in requests if (no := too_long(r, WINDOW_SECONDS))}
        can = [r for r in requests if r.id not in refused and r.audio is not None]
        clock = Clock()
        waves = [r.audio.samples for r in can if r.audio is not None]
        heard = [t for i in range(0, len(waves), _ASR_ROWS) for t in self._asr.transcribe(waves[i : i + _ASR_ROWS])]
        clock.lap("encode")
        contents = [self._llm.embed(self._llm.tokens(text)) for text in heard]
        got = spread(answer(self._llm, can, contents, clock), clock)
        done = {r.id: replace(r, heard=text) for r, text in zip(got, heard, strict=True)}
        silent = "this sample has no audio"
        return [
            done.get(r.id) or refused.get(r.id) or Response(r.id, status="unsupported", detail=silent) for r in requests
        ]

    def close(self) -> None:
        del self._asr, self._llm
