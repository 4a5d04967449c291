"""A recogniser alone: the answer is the transcript. For tasks whose references are the spoken words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from diva_bench.adapters import declared
from diva_bench.decoding.answer import in_order
from diva_bench.decoding.memo import ENCODED
from diva_bench.decoding.parakeet import load_recogniser
from diva_bench.decoding.phases import Clock
from diva_bench.decoding.recognise import transcripts
from diva_bench.decoding.response import unheard
from diva_bench.specs import ModelSpec
from diva_bench.types import Request, Response


class Asr(declared.Asr):
    """A recogniser without a language model. It reads the audio only; prompt, system message and length limit do not
    change its answers."""

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str) -> None:
        self._asr = load_recogniser(paths["asr"], device, spec.runtime.dtype)
        self.max_seconds = self._asr.max_seconds

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        """The transcript as `text` and as `heard`."""
        return in_order(requests, unheard(self.max_seconds), self._ask)

    def _ask(self, requests: list[Request]) -> list[Response]:
        clock, hits = Clock(self._asr.device), ENCODED.hits
        texts = transcripts(self._asr, requests)
        clock.lap("reuse" if ENCODED.hits > hits else "transcribe")
        share = {stage: seconds / len(requests) for stage, seconds in clock.seconds.items()}
        return [
            Response(r.id, text, heard=text, seconds=share) if isinstance(text, str) else text
            for r, text in zip(requests, texts, strict=True)
        ]

    def close(self) -> None:
        vars(self).clear()
