"""Translation models of transformers with an encoder and a decoder: SeamlessM4T v2 for speech, NLLB for text. They follow no
prompt: the language of the answer is a token with which the decoder begins. Greedy decoding.

B batch, T encoder positions, D width, N tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diva_bench.decoding import loading, news
from diva_bench.decoding.whisper import RATE, Wave
from diva_bench.errors import AssetError, one_line

SPEECH, TEXT = ("SeamlessM4Tv2Model", "SeamlessM4Tv2ForSpeechToText"), ("M2M100ForConditionalGeneration",)
"""The architectures that config.json of such a model may name."""


class Translation:
    """Token ids and text of one translation."""

    def __init__(self, ids: list[int], text: str) -> None:
        self.ids, self.text = ids, text


class SpeechTranslator:
    """SeamlessM4T v2, its speech encoder and its text decoder. Clips are encoded one by one, because its encoder gives a clip
    other states beside longer clips; they are decoded together."""

    def __init__(self, folder: Path, device: str, dtype: str) -> None:
        import transformers

        _check(folder, SPEECH)
        self.device, self.dtype = torch.device(device), getattr(torch, dtype)
        self._model, made = _loaded(folder, transformers.SeamlessM4Tv2ForSpeechToText, device, dtype)
        self._tokenizer = made.tokenizer
        self._extractor = made.feature_extractor
        self._codes: dict[str, int] = getattr(self._model.generation_config, "text_decoder_lang_to_code_id", None) or {}

    def unknown(self, languages: Iterable[str]) -> list[str]:
        """Those of some languages that it does not write."""
        return [language for language in languages if language not in self._codes]

    @torch.inference_mode()
    def translate(self, waves: Sequence[Wave], language: str, max_new: int) -> list[Translation]:
        """Translations of clips at 16 kHz. `language`: the model's own code, such as deu."""
        states, frames = [], []
        for wave in waves:
            inputs = self._extractor([wave], sampling_rate=RATE, return_tensors="pt")
            features = inputs["input_features"].to(self.device, self.dtype)
            mask = inputs["attention_mask"].to(self.device)
            states.append(self._model.speech_encoder(input_features=features, attention_mask=mask).last_hidden_state[0])
            frames.append(mask[0])
            news.report("encode", 1)
        start = torch.full((len(waves), 1), self._codes[language], device=self.device)
        return _written(
            self._model, self._tokenizer, _padded(states), _padded(frames), max_new, decoder_input_ids=start
        )


class TextTranslator:
    """NLLB."""

    def __init__(self, folder: Path, device: str, dtype: str) -> None:
        import transformers

        _check(folder, TEXT)
        self.device = torch.device(device)
        self._model, self._tokenizer = _loaded(folder, transformers.M2M100ForConditionalGeneration, device, dtype)

    def unknown(self, languages: Iterable[str]) -> list[str]:
        """Those of some languages that it does not know."""
        vocabulary = self._tokenizer.get_vocab()
        return [language for language in languages if language not in vocabulary]

    @property
    def longest(self) -> int:
        """Largest number of tokens of a text."""
        return int(self._model.config.max_position_embeddings)

    def tokens(self, text: str) -> int:
        """Number of tokens of a text."""
        return len(self._tokenizer(text)["input_ids"])

    @torch.inference_mode()
    def translate(self, texts: Sequence[str], languages: tuple[str, str], max_new: int) -> list[Translation]:
        """Translations of texts of at most `longest` tokens. `languages`: of the texts and of the translations, in the codes of
        the model, such as eng_Latn."""
        source, target = languages
        self._tokenizer.src_lang = source
        inputs = self._tokenizer(list(texts), padding=True, return_tensors="pt").to(self.device)
        states = self._model.get_encoder()(**inputs).last_hidden_state
        first = self._tokenizer.convert_tokens_to_ids(target)
        return _written(
            self._model, self._tokenizer, states, inputs["attention_mask"], max_new + 1, forced_bos_token_id=first
        )


def _check(folder: Path, allowed: tuple[str, ...]) -> None:
    """Raises AssetError for another architecture."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architecture = str((config["architectures"] or [""])[0])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as err:
        raise AssetError(
            f"{folder}: config.json names no architecture ({one_line(err)}). Pull the model again."
        ) from err
    if architecture not in allowed:
        raise AssetError(
            f"{folder}: {architecture[:80]} is no translation model that is known here. Allowed: {', '.join(allowed)}."
        )


def _loaded(folder: Path, kind: Any, device: str, dtype: str) -> tuple[Any, Any]:
    """The model, and its processor or tokenizer."""
    import transformers

    made = transformers.AutoProcessor if kind.main_input_name == "input_features" else transformers.AutoTokenizer
    try:
        model = loading.from_folder(kind, folder, device, dtype)
        model.requires_grad_(False)
        return model, made.from_pretrained(folder, local_files_only=True)
    except (torch.OutOfMemoryError, AssetError):
        raise  # a RuntimeError too, but not the folder's fault
    except Exception as err:  # processors and safetensors raise their own kinds
        raise AssetError(
            f"{folder}: this {kind.__name__} cannot be loaded ({one_line(err)}). Remove the folder and pull it again."
        ) from err


def _padded(rows: Sequence[Tensor]) -> Tensor:
    """(B, longest, ...), with zeros behind shorter rows."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def _written(model: Any, tokenizer: Any, states: Tensor, mask: Tensor, max_new: int, **start: Any) -> list[Translation]:
    """Greedy translations behind encoder states (B, T, D). `mask`: as the model's own `forward` takes it."""
    from transformers.generation.utils import GenerationMixin
    from transformers.modeling_outputs import BaseModelOutput

    news.report(news.DECODE)
    ids: Any = GenerationMixin.generate(
        model,
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=mask,
        max_new_tokens=max_new,
        do_sample=False,
        num_beams=1,
        **start,
    )
    special, translations = set(tokenizer.all_special_ids), []
    for row in ids.tolist():
        kept = [token for token in row if token not in special]
        translations.append(Translation(kept, str(tokenizer.decode(kept)).strip()))
        news.report(news.DECODE, 1)
    return translations


def audible(wave: Wave, least: float) -> Wave:
    """A clip of at least `least` seconds: a shorter one ends with silence."""
    return np.pad(wave, (0, max(0, round(least * RATE) - len(wave))))
