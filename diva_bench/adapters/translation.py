"""Models that can only translate: SeamlessM4T v2, and a recogniser with NLLB. Every other task is refused before it is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from diva_bench.adapters import declared
from diva_bench.adapters.cascade import Ears
from diva_bench.adapters.declared import code_of
from diva_bench.decoding.answer import in_order
from diva_bench.decoding.phases import Clock
from diva_bench.decoding.response import unheard
from diva_bench.decoding.translators import SpeechTranslator, TextTranslator, Translation, audible
from diva_bench.errors import AssetError
from diva_bench.server.budget import Budget
from diva_bench.specs import ModelSpec
from diva_bench.types import Request, Response

_T = TypeVar("_T")
_L = TypeVar("_L")


class _Translates(ABC):
    """`generate` of both: what is too long, or has a language that the model does not know, is unsupported."""

    max_seconds: float
    _languages: Mapping[str, str]

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        def refuse(request: Request) -> str:
            return unheard(self.max_seconds)(request) or self._untranslatable(request)

        return in_order(requests, refuse, self._ask)

    def _untranslatable(self, request: Request) -> str:
        """Why a request cannot be translated; "" if it can."""
        return untranslatable(request, self._languages)

    @abstractmethod
    def _ask(self, requests: list[Request]) -> list[Response]:
        """The responses to requests that the model can take."""

    def close(self) -> None:
        vars(self).clear()


class Seamless(_Translates, declared.Seamless):
    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str) -> None:
        args = {**self.settings, **spec.args}
        self._languages: Mapping[str, str] = args["languages"]
        self.max_seconds, self._least = float(args["max_seconds"]), float(args["min_seconds"])
        self._model = SpeechTranslator(paths["model"], device, spec.runtime.dtype)
        _check(spec, self._model, self._languages, paths["model"])

    def _ask(self, requests: list[Request]) -> list[Response]:
        clock = Clock(self._model.device)
        waves = [audible(r.audio.samples, self._least) for r in requests if r.audio is not None]
        targets = [self._languages[r.fields["language_code"]] for r in requests]
        written = _together(requests, waves, targets, self._model.translate)
        clock.lap("translate")
        share = {stage: seconds / len(requests) for stage, seconds in clock.seconds.items()}
        return [_response(r, t, share) for r, t in zip(requests, written, strict=True)]


class TranslationCascade(_Translates, declared.TranslationCascade):
    """The translator gets the transcript of a recogniser, on this machine or behind a server."""

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str, budget: Budget | None = None) -> None:
        args = {**self.settings, **spec.args}
        self._languages: Mapping[str, str] = args["languages"]
        self._ears = Ears(spec, paths, device, budget)
        self.max_seconds = self._ears.max_seconds
        self.served = self._ears.served
        self._model = TextTranslator(paths["mt"], device, spec.runtime.dtype)
        _check(spec, self._model, self._languages, paths["mt"])

    def _ask(self, requests: list[Request]) -> list[Response]:
        clock = Clock(self._model.device)
        heard = self._ears.hear(requests)
        clock.lap("transcribe")
        responses = dict(enumerate(heard))
        can: list[tuple[int, Request, str]] = []
        for k, text in enumerate(heard):
            if isinstance(text, str) and (reason := self._too_long(text)):
                responses[k] = Response(requests[k].id, status="unsupported", detail=reason, heard=text)
            elif isinstance(text, str):
                can.append((k, requests[k], text))
        pairs = [
            (code_of(r.speech_language, self._languages), self._languages[r.fields["language_code"]]) for _, r, _ in can
        ]
        written = _together([r for _, r, _ in can], [text for *_, text in can], pairs, self._model.translate)
        clock.lap("translate")
        share = {stage: seconds / len(requests) for stage, seconds in clock.seconds.items()}
        for (k, request, text), translation in zip(can, written, strict=True):
            responses[k] = _response(request, translation, share, text)
        return [r for r in responses.values() if isinstance(r, Response)]

    def _untranslatable(self, request: Request) -> str:
        known = code_of(request.speech_language, self._languages)
        return super()._untranslatable(request) or (
            ""
            if known
            else f"this model does not translate from {request.speech_language!r}; it knows {', '.join(self._languages)}"
        )

    def _too_long(self, text: str) -> str:
        count, most = self._model.tokens(text), self._model.longest
        return f"the transcript has {count} tokens; this model takes at most {most}" if count > most else ""

    def close(self) -> None:
        if "_ears" in vars(self):
            self._ears.close()
        super().close()


def untranslatable(request: Request, languages: Mapping[str, str]) -> str:
    """Why a request cannot be translated; "" if it can."""
    code = request.fields.get("language_code")
    if code is None:
        return "this model only translates, and the request names no language (Request.fields['language_code'])"
    return "" if code in languages else f"this model does not translate into {code!r}; it knows {', '.join(languages)}"


def _together(
    requests: Sequence[Request],
    contents: Sequence[_T],
    languages: Sequence[_L],
    translate: Callable[[Sequence[_T], _L, int], list[Translation]],
) -> list[Translation]:
    """Translations in the order of the requests: neighbours with the same languages and limit go together."""
    limits = [request.max_new_tokens for request in requests]
    written: list[Translation] = []
    for (language, limit), group in groupby(zip(languages, limits, contents, strict=True), key=lambda one: one[:2]):
        written += translate([content for *_, content in group], language, limit)
    return written


def _response(request: Request, made: Translation, seconds: Mapping[str, float], heard: str | None = None) -> Response:
    return Response(request.id, made.text, heard=heard, seconds=seconds, tokens={"new": len(made.ids)})


def _check(
    spec: ModelSpec, model: SpeechTranslator | TextTranslator, languages: Mapping[str, str], folder: Path
) -> None:
    """Raises AssetError if the weights do not know a language that the YAML names."""
    if strange := model.unknown(languages.values()):
        raise AssetError(
            f"{folder}: the model does not know {', '.join(map(repr, strange))}, which args.languages of model {spec.name} "
            "names. Remove them, or name the codes of this model."
        )
