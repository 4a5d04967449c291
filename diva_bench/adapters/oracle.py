"""Oracle: the LLM answers the gold transcript. This is what a cascade with a perfect recogniser would score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from diva_bench.adapters import declared
from diva_bench.decoding.answer import answer, in_order
from diva_bench.decoding.llm import LLM
from diva_bench.decoding.phases import Clock
from diva_bench.specs import ModelSpec
from diva_bench.types import Request, Response


class Oracle(declared.Oracle):
    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str) -> None:
        self._llm = LLM.of(paths["llm"], device, spec.runtime)

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        return in_order(requests, lambda r: "this sample has no transcript" if r.transcript is None else "", self._ask)

    def _ask(self, requests: list[Request]) -> list[Response]:
        clock = Clock(self._llm.device)
        contents = [self._llm.embed(self._llm.tokens(r.transcript or "")) for r in requests]
        return answer(self._llm, requests, contents, clock)

    def close(self) -> None:
        vars(self).clear()
