"""Audio LLMs of transformers: Qwen2-Audio, Qwen2.5-Omni and Qwen3-Omni, Voxtral, Audio Flamingo 3, GLM-ASR, Granite Speech,
Phi-4-multimodal. One adapter, and one YAML file each in `models/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from diva_bench.adapters import declared
from diva_bench.decoding.answer import answer_prompts, in_order
from diva_bench.decoding.audio_llm import AudioLLM
from diva_bench.decoding.phases import Clock
from diva_bench.decoding.response import unheard
from diva_bench.decoding.whisper import RATE
from diva_bench.errors import SpecError, unknown
from diva_bench.specs import ModelSpec
from diva_bench.types import Audio, Request, Response

ORDERS, WAYS = ("audio first", "text first"), ("batch", "one")


class HfAudio(declared.HfAudio):
    """The args of the model are `declared.HfAudio.settings`."""

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str) -> None:
        args = {**self.settings, **spec.args}
        where = f"args of model {spec.name}"
        for name, allowed in (("order", ORDERS), ("encode", WAYS)):
            if args[name] not in allowed:
                raise unknown(name, str(args[name]), allowed, where)
        self.max_seconds, self._shortest = float(args["max_seconds"]), float(args["min_seconds"])
        if not 0 < self._shortest <= self.max_seconds:
            raise SpecError(
                f"{where}: min_seconds {self._shortest:g} and max_seconds {self.max_seconds:g} must be 0 < min <= max."
            )
        self._system, self._seconds = str(args["system"]) or None, spec.runtime.batch_seconds
        self._model = AudioLLM(
            paths["model"],
            device,
            spec.runtime,
            audio_first=args["order"] == "audio first",
            together=args["encode"] == "batch",
            adapter=str(args["lora"]),
        )
        self._model.check_length(self.max_seconds)

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        return in_order(requests, unheard(self.max_seconds), self._ask)

    def _ask(self, requests: list[Request]) -> list[Response]:
        clock = Clock(self._model.llm.device)
        prompts = self._model.prompts([self._complete(r) for r in requests], self._seconds)
        clock.lap("encode")
        return answer_prompts(self._model.llm, prompts, clock, kind="audio")

    def _complete(self, request: Request) -> Request:
        """The request with a clip of the least length, and a system message if the model has one of its own."""
        assert request.audio is not None
        samples = request.audio.samples
        short = int(self._shortest * RATE) - len(samples)
        audio = Audio(np.pad(samples, (0, short)), request.audio.rate) if short > 0 else request.audio
        return replace(request, audio=audio, system=request.system or self._system)

    def close(self) -> None:
        vars(self).clear()
