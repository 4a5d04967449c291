"""The gold transcript to the LLM: what a perfect recogniser in front of this LLM would score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from diva_bench.decoding.answer import answer, spread
from diva_bench.decoding.llm import LLM, Clock
from diva_bench.specs import ModelSpec
from diva_bench.types import Request, Response


class Oracle:
    accepts = frozenset({"text", "choices"})
    version = "1"

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str) -> None:
        self._llm = LLM.load(paths["llm"], device, spec.runtime.dtype)

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        clock = Clock()
        can = [r for r in requests if r.transcript]
        contents = [self._llm.embed(self._llm.tokens(r.transcript or "")) for r in can]
        done = {r.id: r for r in spread(answer(self._llm, can, contents, clock), clock)}
        none = "this sample has no transcript"
        return [done.get(r.id) or Response(r.id, status="unsupported", detail=none) for r in requests]

    def close(self) -> None:
        del self._llm
