"""What asr, oracle, cascade and DiVA declare about themselves: what they accept, their version, settings and weights.

The classes that compute inherit from these. They import torch; this module imports nothing, so that a dry run, and a run
that has nothing left to ask, does not load torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from diva_bench.types import ENGLISH, SPEECH_LANGUAGE

if TYPE_CHECKING:
    from diva_bench.specs import ModelSpec, TaskSpec


class _AsksLLM:
    chat = "llm"
    splits_audio = True
    settings: Mapping[str, Any] = {}


class Asr:
    accepts = frozenset({"audio"})
    version = "1"
    splits_audio = True
    settings: Mapping[str, Any] = {}
    roles = ("asr",)
    reads_prompt = False


class Oracle(_AsksLLM):
    accepts = frozenset({"text", "choices"})
    version = "2"
    roles = ("llm",)


class Cascade(_AsksLLM):
    accepts = frozenset({"audio", "choices"})
    version = "2"
    roles = ("asr", "llm")
    takes_budget = True


class HfAudio:
    accepts = frozenset({"audio", "choices"})
    version = "1"
    splits_audio = True
    settings: Mapping[str, Any] = {
        "order": "audio first",
        "encode": "one",
        "max_seconds": 30.0,
        "min_seconds": 0.1,
        "system": "",
        "lora": "",
    }
    """`order` of the user's turn: audio first, text first. `encode`: clips together in a batch, or one by one.
    `max_seconds`: a longer clip is unsupported. `min_seconds`: a shorter one is padded with silence. `system`: the message
    where a task has none. `lora`: folder in the weights of a LoRA that the model needs for audio."""
    roles = ("model",)


class _OnlyTranslates:
    accepts = frozenset({"audio"})
    version = "1"
    splits_audio = True

    @staticmethod
    def refuses(task: TaskSpec, model: ModelSpec) -> str:
        """Why the model cannot do a task; "" if it can."""
        languages = model.args.get("languages", {})
        if task.target_language is None:
            return (
                f"model {model.name} only translates speech; it follows no prompt. Task {task.name} is no translation: it has "
                "neither `fields: {language_code: CODE}` nor the scorer adherence with `form: translation`."
            )
        if task.target_language not in languages:
            return (
                f"model {model.name} does not translate into {task.target_language!r} (task {task.name}). It knows "
                f"{', '.join(languages) or 'no language'}: `args: {{languages: ...}}` of its YAML."
            )
        if task.decode.temperature:
            return f"model {model.name} decodes greedily; task {task.name} has the temperature {task.decode.temperature:g}."
        return ""


class Seamless(_OnlyTranslates):
    settings: Mapping[str, Any] = {"languages": {}, "max_seconds": 30.0, "min_seconds": 0.1}
    """`languages`: language code of a task -> code of the model. `max_seconds`: a longer clip is unsupported. `min_seconds`:
    a shorter one ends with silence."""
    roles = ("model",)


def code_of(language: str, languages: Mapping[str, str]) -> str:
    """The code that a translator has for the language of a clip: pt-BR is also known by pt. "": there is none."""
    return languages.get(language, "") or languages.get(language.partition("-")[0], "")


class TranslationCascade(_OnlyTranslates):
    settings: Mapping[str, Any] = {"languages": {}}
    """`languages`: code of a language, of a clip or into which a task translates -> code of the translator."""
    roles = ("asr", "mt")
    takes_budget = True

    @staticmethod
    def refuses(task: TaskSpec, model: ModelSpec) -> str:
        languages = model.args.get("languages", {})
        spoken = task.fields.get(SPEECH_LANGUAGE, ENGLISH)
        if (reason := _OnlyTranslates.refuses(task, model)) or "{" in spoken or code_of(spoken, languages):
            return reason
        return (
            f"model {model.name} does not translate from {spoken!r} (task {task.name}). It knows "
            f"{', '.join(languages) or 'no language'}: `args: {{languages: ...}}` of its YAML."
        )


class Diva(_AsksLLM):
    accepts = frozenset({"audio", "choices"})
    version = "2"
    settings: Mapping[str, Any] = {"layout": "clean", "reference_encoder": "", "reference_decoder": ""}
    """`layout`: see diva/layouts.py. `reference_...`: what config.json of a published connector is expected to name; by
    default the repositories of the model's own weights."""
    roles = ("encoder", "llm", "connector")
