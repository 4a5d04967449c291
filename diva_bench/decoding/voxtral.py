"""The processor of Voxtral without Mistral's own library, which needs an older NumPy than ours on Python 3.11 and 3.12.

Token for token what that library (mistral-common 1.13.1) makes of a user's turn with one clip: its tokenizer file is read by
transformers, and the turn has a fixed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_WINDOW_SECONDS = 30  # a clip is padded to whole windows
_FRAMES = 3000  # mel frames of a window
_TOKENS = 375  # audio tokens of a window
_TEMPLATE = (  # without a system turn: the library refuses one beside audio
    "<s>{% for m in messages if m.role == 'user' %}[INST]{% for part in m.content %}"
    "{% if part.type == 'audio' %}[BEGIN_AUDIO][AUDIO]{% else %}{{ part.text }}{% endif %}{% endfor %}[/INST]{% endfor %}"
)


class VoxtralProcessor:
    """Text with one `audio_token` each, and clips at 16 kHz -> what the model's `forward` gets."""

    chat_template = _TEMPLATE
    audio_token = "[AUDIO]"

    def __init__(self, tokenizer: Any, extractor: Any) -> None:
        self.tokenizer, self._extractor = tokenizer, extractor
        self.audio_token_id = int(tokenizer.convert_tokens_to_ids(self.audio_token))

    @classmethod
    def from_pretrained(cls, folder: Path) -> VoxtralProcessor:
        from transformers import AutoFeatureExtractor, TokenizersBackend

        # by its class: AutoTokenizer gives another one where Mistral's library is installed
        tokenizer = TokenizersBackend.from_pretrained(folder, pad_token="<pad>", padding_side="left")
        loader: Any = AutoFeatureExtractor  # its own types do not fit its use
        return cls(tokenizer, loader.from_pretrained(folder))

    def __call__(self, text: Sequence[str], audio: Sequence[NDArray[np.float32]], sampling_rate: int, **_: Any) -> Any:
        windows, prompts = [], []
        for words, wave in zip(text, audio, strict=True):
            made = self._extractor(
                wave, sampling_rate=sampling_rate, padding=True, truncation=False,
                pad_to_multiple_of=_WINDOW_SECONDS * sampling_rate, return_tensors="pt",
            )["input_features"][0]  # fmt: skip
            parts = made.reshape(made.shape[0], -1, _FRAMES).transpose(0, 1)  # (windows, bins, frames)
            windows.append(parts)
            prompts.append(words.replace(self.audio_token, self.audio_token * (_TOKENS * len(parts))))
        ids = self.tokenizer(prompts, padding=True, add_special_tokens=False, return_tensors="pt")
        return {
            "input_ids": ids["input_ids"],
            "attention_mask": ids["attention_mask"],
            "input_features": torch.cat(windows),
        }
