"""DiVA: Whisper encoder, connector, frozen LLM (arXiv 2410.02678)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from diva_bench.adapters import declared
from diva_bench.decoding.answer import Framing, answer, in_order
from diva_bench.decoding.llm import LLM
from diva_bench.decoding.memo import ENCODED
from diva_bench.decoding.parts import even
from diva_bench.decoding.phases import Clock
from diva_bench.decoding.response import unheard
from diva_bench.decoding.whisper import RATE, WINDOW_SECONDS, Wave, Whisper
from diva_bench.diva import checkpoint, layouts, published
from diva_bench.diva.model import AnyConnector
from diva_bench.diva.reading import contents
from diva_bench.errors import AssetError
from diva_bench.specs import ModelSpec, Runtime
from diva_bench.types import Request, Response

Encode = Callable[[Whisper, Sequence[Wave], bool], tuple[Tensor, Tensor]]


class Diva(declared.Diva):
    max_seconds = WINDOW_SECONDS

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str) -> None:
        layout = str(spec.args.get("layout", "clean"))
        layouts.check(layout, spec.name)
        ours = (paths["connector"] / checkpoint.WEIGHTS).is_file()
        if not ours:
            published.check_references(paths["connector"], spec.name, _references(spec))
        self._encoder = Whisper.load(paths["encoder"], device, spec.runtime.dtype, decoder=False)
        self._llm = LLM.of(paths["llm"], device, spec.runtime)
        self._framing = _framing(layout, self._llm)
        connector: AnyConnector
        if ours:
            connector = checkpoint.load(paths["connector"])
        else:
            heads, llm = self._encoder.config["decoder_attention_heads"], self._llm
            connector = published.from_published(
                paths["connector"], heads=heads, device=llm.device, dtype=self._encoder.dtype
            )
        width, wide = self._encoder.config["d_model"], self._llm.weight.shape[1]
        if (connector.config.width, connector.config.llm_width) != (width, wide):
            raise AssetError(
                f"{paths['connector']}: made for widths {connector.config.width} and {connector.config.llm_width}, "
                f"but the encoder has {width} and the LLM {wide}."
            )
        # the reference code pads every clip
        self._full = checkpoint.fits(paths["connector"], self._encoder, self._llm.weight) if ours else True
        checkpoint.load_encoder(paths["connector"], self._encoder)
        self._connector = connector.to(self._llm.device, self._encoder.dtype)
        self._encode: Encode = ENCODED.encode
        self._seconds = spec.runtime.batch_seconds

    @classmethod
    def of(cls, encoder: Whisper, llm: LLM, connector: AnyConnector, *, full: bool) -> Diva:
        """An adapter of models that are already in memory and may still change, as in training.

        Encoder states are not cached, and the connector keeps its number format.

        Args:
            encoder: The speech encoder.
            llm: The frozen LLM.
            connector: The connector between both.
            full: Whether the encoder always gets a window of 30 s.
        """
        adapter = cls.__new__(cls)
        adapter._encoder, adapter._llm, adapter._connector, adapter._full = encoder, llm, connector, full
        adapter._encode, adapter._seconds, adapter._framing = Whisper.encode, Runtime().batch_seconds, llm.frame
        return adapter

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        return in_order(requests, unheard(self.max_seconds), self._ask)

    @torch.inference_mode()
    def _ask(self, requests: list[Request]) -> list[Response]:
        clock, hits = Clock(self._llm.device), ENCODED.hits
        waves = [r.audio.samples for r in requests if r.audio is not None]
        seconds = [WINDOW_SECONDS if self._full else max(len(wave) / RATE, 1.0) for wave in waves]
        inputs: list[Tensor] = []  # per request (K, E)
        tokens: list[list[int]] = []
        for part in even(seconds, self._seconds):
            states, mask = self._encode(self._encoder, waves[part], self._full)
            virtual, counts = self._connector(states, mask)
            some, read = contents(self._connector, virtual, counts, self._llm.embeddings)
            inputs += some
            tokens += read or []
        clock.lap("reuse" if ENCODED.hits > hits else "encode")
        answers = answer(self._llm, requests, inputs, clock, kind="virtual", framing=self._framing)
        if not tokens:
            return answers
        return [replace(a, heard=self._llm.text(ids)) for a, ids in zip(answers, tokens, strict=True)]

    def close(self) -> None:
        vars(self).clear()


def _framing(layout: str, llm: LLM) -> Framing:
    """How a layout frames a question; the authors' layouts also end answers as their code does."""
    if layout == "clean":
        return llm.frame
    llm.stop_only_at(layouts.END)

    def framed(prompt: str, system: str | None) -> tuple[list[int], list[int]]:
        before, after = layouts.pieces(layout, llm.tokenizer, prompt, system)
        return [i for text in before for i in llm.tokens(text)], [i for text in after for i in llm.tokens(text)]

    return framed


def _references(spec: ModelSpec) -> dict[str, str | None]:
    """The repositories of encoder and LLM, or what the model says that the checkpoint names."""
    roles = {"reference_encoder": "encoder", "reference_decoder": "llm"}
    return {key: str(spec.args.get(key, "")) or spec.weights[role].hub for key, role in roles.items()}
