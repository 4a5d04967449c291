"""Cascade: a recogniser transcribes, here or behind a server, and the LLM answers the transcript. End-to-end models are
compared with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diva_bench.adapters import declared
from diva_bench.decoding.answer import answer, in_order
from diva_bench.decoding.llm import LLM
from diva_bench.decoding.memo import ENCODED
from diva_bench.decoding.parakeet import load_recogniser
from diva_bench.decoding.phases import Clock
from diva_bench.decoding.recognise import transcripts
from diva_bench.decoding.response import unheard
from diva_bench.server.budget import Budget
from diva_bench.specs import ModelSpec
from diva_bench.types import Request, Response

if TYPE_CHECKING:
    from diva_bench.adapters.asr_server import AsrServer


class Ears:
    """The recogniser of a cascade: on this machine (weights of the role `asr`), or behind a server (`asr:` of the model)."""

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str, budget: Budget | None = None) -> None:
        self._far: AsrServer | None = None
        self.served: Callable[[], dict[str, Any]] | None = None
        """What a run records of the server; None: there is none."""
        if spec.asr is not None:
            from diva_bench.adapters.asr_server import AsrServer  # the libraries of the network

            self._far = AsrServer(spec, {}, device, budget)
            self.served = self._far.served
        else:
            self._near = load_recogniser(paths["asr"], device, spec.runtime.dtype)
        self.max_seconds = (self._far or self._near).max_seconds

    def hear(self, requests: Sequence[Request]) -> list[str | Response]:
        """The transcripts. In place of one, the response of a server that has none, or to a language that is not known."""
        if self._far is not None:
            return [r.text if r.status == "ok" else r for r in self._far.generate(requests)]
        return transcripts(self._near, requests)

    def close(self) -> None:
        if self._far is not None:
            self._far.close()


class Cascade(declared.Cascade):
    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str, budget: Budget | None = None) -> None:
        self._ears = Ears(spec, paths, device, budget)
        self.max_seconds = self._ears.max_seconds
        self.served = self._ears.served
        self._llm = LLM.of(paths["llm"], device, spec.runtime)

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        return in_order(requests, unheard(self.max_seconds), self._ask)

    def _ask(self, requests: list[Request]) -> list[Response]:
        clock, hits = Clock(self._llm.device), ENCODED.hits
        texts = self._ears.hear(requests)
        clock.lap("reuse" if ENCODED.hits > hits else "transcribe")
        heard = [(r, text) for r, text in zip(requests, texts, strict=True) if isinstance(text, str)]
        contents = [self._llm.embed(self._llm.tokens(text)) for _, text in heard]
        answers = iter(answer(self._llm, [r for r, _ in heard], contents, clock))
        return [replace(next(answers), heard=t) if isinstance(t, str) else t for t in texts]

    def close(self) -> None:
        if "_ears" in vars(self):
            self._ears.close()
        vars(self).clear()
