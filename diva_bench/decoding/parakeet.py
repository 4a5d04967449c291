"""Parakeet of NVIDIA: a recogniser whose encoder takes clips of any length (transformers: CTC, RNN-T, TDT).

A clip is read alone, so that its transcript does not depend on its batch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from diva_bench.decoding import loading
from diva_bench.decoding.whisper import RATE, SHORTEST, Recogniser, Wave, Whisper
from diva_bench.errors import AssetError, one_line
from diva_bench.types import ENGLISH

ARCHITECTURES = ("ParakeetForCTC", "ParakeetForRNNT", "ParakeetForTDT")
_MAX_SECONDS = 600.0  # its attention is over the whole clip: 7,500 positions of 80 ms


class Parakeet:
    """A recogniser. Immutable once loaded; same input, same output."""

    max_seconds = _MAX_SECONDS

    def __init__(self, folder: Path, architecture: str, device: str, dtype: str) -> None:
        import transformers

        self.device, self.dtype = torch.device(device), getattr(torch, dtype)
        try:
            self._processor: Any = transformers.AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
            self._model = loading.from_folder(getattr(transformers, architecture), folder, device, dtype)
        except torch.OutOfMemoryError:
            raise  # a RuntimeError too, but not the folder's fault
        except Exception as err:  # processors and safetensors raise their own kinds
            raise AssetError(
                f"{folder}: this {architecture} cannot be loaded ({one_line(err)}). Remove the folder and pull it again."
            ) from err
        self._model.requires_grad_(False)
        self.config: dict[str, Any] = self._model.config.to_dict()

    @property
    def parts(self) -> list[nn.Module]:
        return [self._model]

    def knows(self, language: str) -> bool:
        """It is not told the language, and its folder does not say which ones it knows."""
        return True

    @torch.inference_mode()
    def transcribe(self, waves: Sequence[Wave], language: str = ENGLISH) -> list[str]:
        """Transcripts of clips of at most `max_seconds`."""
        return [self._one(wave) for wave in waves]

    def _one(self, wave: Wave) -> str:
        if len(wave) > self.max_seconds * RATE:
            raise ValueError(f"a clip is over {self.max_seconds:.0f} s")
        clip = np.pad(wave, (0, max(SHORTEST - len(wave), 0)))
        inputs = self._processor([clip], sampling_rate=RATE)
        features = inputs["input_features"].to(self.device, self.dtype)
        symbols = getattr(self._model.config, "max_symbols_per_step", None)  # of RNN-T and TDT, for each 80 ms
        most = {"max_new_tokens": symbols * (features.shape[1] // 8 + 2)} if symbols else {}
        mask = inputs["attention_mask"].to(self.device)
        written = self._model.generate(input_features=features, attention_mask=mask, **most)
        ids = getattr(written, "sequences", written)
        return str(self._processor.batch_decode(ids, skip_special_tokens=True)[0]).strip()


def load_recogniser(folder: Path, device: str, dtype: str) -> Recogniser:
    """The recogniser in a folder, by the architecture that its config.json names. Raises AssetError for any other."""
    try:
        architecture = str(
            (json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"] or [""])[0]
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        architecture = ""
    if architecture in ARCHITECTURES:
        return Parakeet(folder, architecture, device, dtype)
    if architecture not in ("", "WhisperForConditionalGeneration"):
        allowed = ", ".join(("WhisperForConditionalGeneration", *ARCHITECTURES))
        raise AssetError(f"{folder}: {architecture[:80]} is no recogniser that is known here. Allowed: {allowed}.")
    return Whisper.load(folder, device, dtype)
