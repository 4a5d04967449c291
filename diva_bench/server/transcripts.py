"""Questions and answers in the form of POST /audio/transcriptions: a clip goes out, a transcript comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from diva_bench.server.completions import Malformed
from diva_bench.specs import ServedAsr

PATH: Final = "/audio/transcriptions"
_TEXT: Final = 4096  # characters that a transcript may have in any case
_CHARACTERS: Final = 100  # of a transcript for each second of speech: several times as fast as anybody speaks


def form(asr: ServedAsr, clip: bytes, language: str) -> aiohttp.FormData:
    """The form of a question. One is sent once: aiohttp makes a new body for every try.

    Args:
        clip: A WAV file.
        language: Code of the language of the clip; "": the server detects it.
    """
    fields: dict[str, Any] = {"response_format": "json", "temperature": 0, "language": language or None, **asr.body}
    data = aiohttp.FormData({"model": asr.model})
    for name, value in fields.items():
        if value is not None:
            data.add_field(name, str(value).lower() if isinstance(value, bool) else str(value))
    data.add_field("file", clip, filename="clip.wav", content_type="audio/wav")
    return data


def text_of(answer: Mapping[str, Any], seconds: float) -> str:
    """The transcript.

    Args:
        seconds: Of the clip.

    Raises:
        Malformed: There is no text, or it is longer than anybody speaks in that time.
    """
    text = answer.get("text")
    if not isinstance(text, str):
        raise Malformed("has no text")
    if len(text) > _TEXT + _CHARACTERS * seconds:
        raise Malformed(f"has {len(text):,} characters, more than anybody says in {seconds:.1f} s")
    return text.strip()
