"""An audio LLM of transformers. Its own processor and encoder turn a clip and its question into embeddings, and our code reads
and answers these, as for any LLM.

The model's `forward` without the layers of its LLM makes the embeddings, so what happens to audio before them is all its own.
With `encode: one` every clip is encoded alone: the encoders of some models see their neighbours in a batch (Granite Speech,
Phi-4, Qwen3-Omni).

N prompt positions, E width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from diva_bench.decoding import chat, loading
from diva_bench.decoding.answer import Framed
from diva_bench.decoding.llm import LLM, ROUNDING, Given, forward_with
from diva_bench.decoding.parts import even
from diva_bench.decoding.voxtral import VoxtralProcessor
from diva_bench.decoding.whisper import RATE, WINDOW_SECONDS
from diva_bench.errors import AssetError, UserError, one_line
from diva_bench.specs import Runtime
from diva_bench.types import Audio, Request

_PROBE_SECONDS = 1.0
INSTALL = "pip install 'diva-bench[audio-llm]'"


class Kind(NamedTuple):
    """Classes of transformers for an architecture."""

    model: str
    processor: str


KINDS = {
    "Qwen2AudioForConditionalGeneration": Kind("Qwen2AudioForConditionalGeneration", "Qwen2AudioProcessor"),
    "Qwen2_5OmniModel": Kind("Qwen2_5OmniThinkerForConditionalGeneration", "Qwen2_5OmniProcessor"),
    "Qwen2_5OmniForConditionalGeneration": Kind("Qwen2_5OmniThinkerForConditionalGeneration", "Qwen2_5OmniProcessor"),
    "Qwen2_5OmniThinkerForConditionalGeneration": Kind(
        "Qwen2_5OmniThinkerForConditionalGeneration", "Qwen2_5OmniProcessor"
    ),
    "Qwen3OmniMoeForConditionalGeneration": Kind(
        "Qwen3OmniMoeThinkerForConditionalGeneration", "Qwen3OmniMoeProcessor"
    ),
    "Qwen3OmniMoeThinkerForConditionalGeneration": Kind(
        "Qwen3OmniMoeThinkerForConditionalGeneration", "Qwen3OmniMoeProcessor"
    ),
    "VoxtralForConditionalGeneration": Kind("VoxtralForConditionalGeneration", "VoxtralProcessor"),
    "AudioFlamingo3ForConditionalGeneration": Kind("AudioFlamingo3ForConditionalGeneration", "AudioFlamingo3Processor"),
    "GlmAsrForConditionalGeneration": Kind("GlmAsrForConditionalGeneration", "GlmAsrProcessor"),
    "GraniteSpeechForConditionalGeneration": Kind("GraniteSpeechForConditionalGeneration", "GraniteSpeechProcessor"),
    "Phi4MultimodalForCausalLM": Kind("Phi4MultimodalForCausalLM", "Phi4MultimodalProcessor"),
}
"""Architecture in config.json -> what reads it. Of the Omni models only the thinker is loaded, which answers in text."""


class AudioLLM:
    """A model with its processor. It is deterministic and has no state between calls."""

    def __init__(
        self,
        folder: Path,
        device: str,
        runtime: Runtime,
        *,
        audio_first: bool = True,
        together: bool = False,
        adapter: str = "",
    ) -> None:
        """Load a model.

        Args:
            folder: As it is published.
            device: Of torch.
            runtime: Number format and the like.
            audio_first: Whether the clip comes before the words of the user's turn.
            together: Whether clips are encoded in a batch.
            adapter: Folder of a LoRA in `folder` that the model needs for audio; "": none.

        Raises:
            AssetError: The folder or a library is missing or does not fit.
        """
        self._where, self._audio_first, self._together = str(folder), audio_first, together
        kind = _kind(folder)
        try:
            self._model, self._processor = _loaded(folder, kind, adapter, device, runtime)
        except (UserError, torch.OutOfMemoryError):
            raise
        except ImportError as err:
            raise AssetError(f"{folder}: {kind.model} needs another library ({one_line(err)}): {INSTALL}") from err
        except Exception as err:  # safetensors and tokenizers raise their own kinds, some of them plain Exception
            raise AssetError(
                f"{folder}: this audio LLM cannot be loaded ({one_line(err)}). Remove the folder and pull it again."
            ) from err
        _check_adapter(self._model, folder, adapter)
        tokenizer, inner = self._processor.tokenizer, self._model.model
        self._template = getattr(self._processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)
        self._token, self._token_id = _audio_token(self._processor)
        layers = getattr(inner, "language_model", inner)  # Phi-4 has its layers itself
        self.llm = LLM(self._model, tokenizer, self._where, runtime.decode, layers)
        rest = (
            {"language_model": Given(layers)}
            if layers is not inner
            else {"layers": nn.ModuleList(), "norm": nn.Identity()}
        )
        self._before = forward_with(inner, rest)  # all that comes before the layers
        self._check()

    # ---- prompts

    @torch.inference_mode()
    def prompts(self, requests: Sequence[Request], seconds: float) -> list[Framed]:
        """The prompts of requests with audio, as embeddings. `seconds`: of padded audio that is encoded together."""
        lengths = [r.audio.seconds if r.audio else 0.0 for r in requests]
        parts = even(lengths, seconds) if self._together else [slice(k, k + 1) for k in range(len(requests))]
        return [one for part in parts for one in self._encoded(requests[part])]

    def _encoded(self, requests: Sequence[Request]) -> list[Framed]:
        inputs = self._inputs(requests)
        embedded = self._before(**inputs, use_cache=False).last_hidden_state  # (B, N, E)
        framed = []
        for row, request in enumerate(requests):
            real = inputs["attention_mask"][row].bool()
            ids = inputs["input_ids"][row][real].tolist()
            audio = ids.count(self._token_id)
            if not audio:
                raise ValueError(f"the prompt of {request.id} has no place for audio")
            before = tuple(ids[: ids.index(self._token_id)])
            framed.append(Framed(request, before, embedded[row][real], audio))
        return framed

    def _inputs(self, requests: Sequence[Request]) -> dict[str, Tensor]:
        """What `forward` gets, on the device of the model."""
        dtype = self.llm.weight.dtype
        tensors = {name: torch.as_tensor(value) for name, value in self._made(requests).items()}
        return {k: v.to(self.llm.device, dtype if v.is_floating_point() else None) for k, v in tensors.items()}

    def _made(self, requests: Sequence[Request]) -> Any:
        """What the processor makes of requests."""
        return self._processor(
            text=[self.text(r.prompt, r.system) for r in requests],
            audio=[r.audio.samples for r in requests if r.audio is not None],
            sampling_rate=RATE,
            text_kwargs={"padding": True},
            return_tensors="pt",
        )

    def _parts(self, audio: Any, words: str) -> list[Any]:
        said = [{"type": "text", "text": words}] if words else []
        return [audio, *said] if self._audio_first else [*said, audio]

    def text(self, prompt: str, system: str | None) -> str:
        """The prompt with one placeholder for the clip.

        Templates differ in the form of contents: parts, or text in which the placeholder stands; with or without a system
        turn. The first form in which everything is shown is used.

        Raises:
            AssetError: The template shows it in no form.
        """
        audio = {"type": "audio", "audio": None}
        joint = "" if self._audio_first else "\n"
        reasons: dict[str, None] = {}
        for words, turns in _systems(prompt, system):
            contents = (
                self._parts(audio, words),
                joint.join(p if isinstance(p, str) else p["text"] for p in self._parts(self._token, words)),
            )
            for content in contents:
                try:
                    text = chat.rendered(self.llm.tokenizer, [*turns, chat.turn("user", content)], self._template)
                except AssetError as err:
                    reasons[str(err)] = None
                    continue
                if text.count(self._token) == 1 and all(part in text for part in (prompt, system or "")):
                    return text
                reasons[
                    f"{self._where}: its chat template does not show the question, the system message and one clip."
                ] = None
        raise AssetError(" ".join(reasons) or f"{self._where}: no chat template")

    # ---- checks

    def check_length(self, seconds: float) -> None:
        """AssetError if the processor cuts clips of this length, as many do without a word: then they have fewer audio tokens
        for each second than a clip of 30 s, which none cuts."""
        if seconds <= WINDOW_SECONDS:
            return
        usual, windows = self._audio_tokens(WINDOW_SECONDS), seconds / WINDOW_SECONDS
        whole = self._audio_tokens(seconds)
        if whole < usual * windows - (1 + windows):  # a token of rounding for each window
            raise AssetError(
                f"{self._where}: its processor makes {usual} audio tokens of {WINDOW_SECONDS:.0f} s, but only {whole} of "
                f"{seconds:g} s: it cuts clips. Lower max_seconds."
            )

    def _audio_tokens(self, seconds: float) -> int:
        silence = Audio(np.zeros(int(seconds * RATE), np.float32), RATE)
        made = self._made([Request("length", "", audio=silence)])
        return int((torch.as_tensor(made["input_ids"]) == self._token_id).sum())

    @torch.inference_mode()
    def _check(self) -> None:
        """AssetError if our reading of a clip's prompt gives other logits than the model's own `forward`."""
        wave = 0.1 * np.random.default_rng(0).standard_normal(int(_PROBE_SECONDS * RATE)).astype(np.float32)
        request = Request("probe", "What is it?", audio=Audio(wave, RATE))
        try:
            theirs = self._model(**self._inputs([request]), use_cache=False).logits[0, -1].float()
            ours = self.llm.prefill([self.prompts([request], 30.0)[0].whole]).logits[0]
        except (AssetError, torch.OutOfMemoryError):
            raise
        except Exception as err:  # the code of a model may raise anything
            name = f"{self._where}: {type(self._model).__name__}"
            raise AssetError(f"{name} cannot be asked about a clip ({type(err).__name__}: {one_line(err)}).") from err
        apart, largest = float((ours - theirs).abs().max()), float(theirs.abs().max())
        if not apart <= 4 * ROUNDING[self.llm.weight.dtype] * largest:
            raise AssetError(
                f"{self._where}: our reading of {type(self._model).__name__} gives logits that are up to {apart:.2g} from its "
                f"own (the largest of them is {largest:.2g}). It cannot be asked so; a server can serve it."
            )


def _systems(prompt: str, system: str | None) -> list[tuple[str, list[chat.Turn]]]:
    """(words of the user, turns before) in the order in which they are tried."""
    if not system:
        return [(prompt, [])]
    return [
        (prompt, [chat.turn("system", system)]),
        (prompt, [chat.turn("system", [{"type": "text", "text": system}])]),
        ("\n\n".join(filter(None, (system, prompt))), []),
    ]


def _kind(folder: Path) -> Kind:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        names = [str(name) for name in config["architectures"]]
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise AssetError(f"{folder}: config.json does not name an architecture ({one_line(err)}).") from err
    for name in names:
        if name in KINDS:
            return KINDS[name]
    raise AssetError(
        f"{folder}: {', '.join(names) or 'no architecture'} is not an audio LLM that can be asked here. Those that can: "
        f"{', '.join(sorted(KINDS))}. A server can serve others."
    )


def _loaded(folder: Path, kind: Kind, adapter: str, device: str, runtime: Runtime) -> tuple[Any, Any]:
    import transformers

    own = {"VoxtralProcessor": VoxtralProcessor}
    reader: Any = own.get(kind.processor) or _audio_only(getattr(transformers, kind.processor))
    processor = reader.from_pretrained(folder)
    model = loading.from_folder(
        getattr(transformers, kind.model),
        folder,
        device,
        runtime.dtype,
        bits=runtime.bits,
        device_map=runtime.device_map,
    )
    if adapter:
        model.load_adapter(str(folder / adapter), adapter_name="audio")
        model.set_adapter("audio")
    return model.eval(), processor


def _audio_only(processor: Any) -> Any:
    """The class of a processor whose parts for images and videos, which need torchvision, are not loaded."""
    attributes = list(processor.get_attributes())
    seen = [name for name in attributes if "image" in name or "video" in name]
    if not seen:
        return processor

    class AudioOnly(processor):  # type: ignore[misc]
        @classmethod
        def get_attributes(cls) -> list[str]:
            return attributes

        @classmethod
        def _get_arguments_from_pretrained(cls, *args: Any, **kwargs: Any) -> list[Any]:
            heard: Any = type(
                "Heard",
                (processor,),
                {"get_attributes": classmethod(lambda _: [a for a in attributes if a not in seen])},
            )
            loaded = iter(heard._get_arguments_from_pretrained(*args, **kwargs))
            return [None if name in seen else next(loaded) for name in attributes]

        def check_argument_for_proper_class(self, name: str, argument: Any) -> Any:
            return None if argument is None else super().check_argument_for_proper_class(name, argument)

    AudioOnly.__name__ = processor.__name__
    return AudioOnly


def _check_adapter(model: Any, folder: Path, adapter: str) -> None:
    """AssetError if a model that hears only with its LoRA has none that is active."""
    needed = adapter or ("adapter_config.json" if getattr(model.config, "has_lora_adapter", False) else "")
    if not needed:
        return
    if not getattr(model, "_hf_peft_config_loaded", False):
        raise AssetError(
            f"{folder}: {type(model).__name__} hears only with its LoRA ({needed}), which was not loaded. Pull it with its "
            f"files, and install peft: {INSTALL}"
        )
    model.enable_adapters()
    if not model.active_adapters():
        raise AssetError(f"{folder}: no LoRA of {type(model).__name__} is active.")


def _audio_token(processor: Any) -> tuple[str, int]:
    token = str(processor.audio_token)
    number = getattr(processor, "audio_token_id", None)
    return token, int(processor.tokenizer.convert_tokens_to_ids(token) if number is None else number)
