"""The one class of torchaudio that Granite Speech's feature extractor uses, for machines whose torch has no torchaudio.

From its documentation: power spectra of a periodic Hann window, centred with reflection, times HTK mel filters without
normalisation.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from importlib.machinery import ModuleSpec

import numpy as np
import pytest
import torch
from torch import Tensor, nn


class MelSpectrogram(nn.Module):
    def __init__(self, sample_rate: int, n_fft: int, win_length: int, hop_length: int, n_mels: int) -> None:
        super().__init__()
        self.sizes = (n_fft, hop_length, win_length)
        self.register_buffer("window", torch.hann_window(win_length))
        top = 2595 * np.log10(1 + sample_rate / 2 / 700)
        edges = 700 * (10 ** (np.linspace(0, top, n_mels + 2) / 2595) - 1)
        bins = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
        slopes = edges[:, None] - bins
        width = np.diff(edges)
        filters = np.maximum(0, np.minimum(-slopes[:-2] / width[:-1, None], slopes[2:] / width[1:, None]))
        self.register_buffer("filters", torch.from_numpy(filters).float())

    def forward(self, wave: Tensor) -> Tensor:
        fft, hop, window = self.sizes
        spectrum = torch.stft(wave, fft, hop, window, self.window, center=True, pad_mode="reflect", return_complex=True)
        return self.filters @ spectrum.abs().square()


def install(patch: pytest.MonkeyPatch) -> None:
    """Put it where transformers looks, unless torchaudio is here."""
    if importlib.util.find_spec("torchaudio"):
        return
    import transformers.models.granite_speech.feature_extraction_granite_speech as extractor

    made = types.ModuleType("torchaudio")
    made.__spec__ = ModuleSpec("torchaudio", None)
    made.transforms = types.SimpleNamespace(MelSpectrogram=MelSpectrogram)  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "torchaudio", made)
    patch.setattr(extractor, "torchaudio", made, raising=False)
    patch.setattr(extractor, "requires_backends", lambda *_: None)
