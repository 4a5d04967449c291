"""Adapters by name."""

from __future__ import annotations

BUILTIN = {
    "asr": "diva_bench.adapters.asr:Asr",
    "baseline": "diva_bench.adapters.baseline:Baseline",
    "speaker-prior": "diva_bench.adapters.baseline:SpeakerPrior",
    "cascade": "diva_bench.adapters.cascade:Cascade",
    "diva": "diva_bench.adapters.diva:Diva",
    "echo": "diva_bench.adapters.echo:Echo",
    "hf_audio": "diva_bench.adapters.hf_audio:HfAudio",
    "openai_chat": "diva_bench.adapters.openai_chat:OpenAIChat",
    "oracle": "diva_bench.adapters.oracle:Oracle",
    "seamless": "diva_bench.adapters.translation:Seamless",
    "translation_cascade": "diva_bench.adapters.translation:TranslationCascade",
}
"""Name in a model YAML -> the class that builds the adapter."""
SERVED = {"asr": "diva_bench.adapters.asr_server:AsrServer"}
"""Adapters with another class where the recogniser is behind a server (`asr:` of the model)."""
DECLARED = {
    "asr": "diva_bench.adapters.declared:Asr",
    "cascade": "diva_bench.adapters.declared:Cascade",
    "diva": "diva_bench.adapters.declared:Diva",
    "hf_audio": "diva_bench.adapters.declared:HfAudio",
    "oracle": "diva_bench.adapters.declared:Oracle",
    "seamless": "diva_bench.adapters.declared:Seamless",
    "translation_cascade": "diva_bench.adapters.declared:TranslationCascade",
}
"""Adapters whose module imports torch -> the class from which they inherit all that is known before they are loaded."""
