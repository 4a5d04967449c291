"""The transcripts that a recogniser on this machine writes for requests, each in the language of its clip."""

from __future__ import annotations

from collections.abc import Sequence

from diva_bench.decoding.memo import ENCODED
from diva_bench.decoding.whisper import Recogniser, Wave
from diva_bench.types import Request, Response


def unknown_language(recogniser: Recogniser, request: Request) -> str:
    """Why the recogniser cannot transcribe a request; "" if it can."""
    language = request.speech_language
    return "" if recogniser.knows(language) else f"the recogniser does not know the language of the clip, {language!r}"


def transcripts(recogniser: Recogniser, requests: Sequence[Request]) -> list[str | Response]:
    """The transcripts of requests with audio, in their order. In place of one in a language that the recogniser does not
    know: an `unsupported` response. Clips of one language are transcribed together."""
    results: list[str | Response] = []
    groups: dict[str, list[tuple[int, Wave]]] = {}
    for k, request in enumerate(requests):
        assert request.audio is not None
        reason = unknown_language(recogniser, request)
        results.append(Response(request.id, status="unsupported", detail=reason) if reason else "")
        if not reason:
            groups.setdefault(request.speech_language, []).append((k, request.audio.samples))
    for language, clips in groups.items():
        texts = ENCODED.transcribe(recogniser, [wave for _, wave in clips], language)
        for (k, _), text in zip(clips, texts, strict=True):
            results[k] = text
    return results
