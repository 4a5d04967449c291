"""The released DiVA once more: its forward pass and its greedy loop, plain and slow, from what is known of modeling_diva.py
(models on the Hub) and via.py (DiVA-Eval), with modules of transformers. It shares no code with diva_bench."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from tiny_models import byte_tokenizer
from torch import Tensor, nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.models.whisper.modeling_whisper import WhisperDecoder

CONTROL = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>")
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
LLAMA_3_1 = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: {{ date_string }}\n\n<|eot_id|>" + LLAMA_3.removeprefix("{{ bos_token }}")
)


def make_llama_3(folder: Path, template: str = LLAMA_3, seed: int = 0, width: int = 32) -> Path:
    """Two layers over bytes with the control tokens of Llama 3, and room for 448 virtual tokens."""
    inner = byte_tokenizer()
    inner.add_special_tokens(list(CONTROL))
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=CONTROL[0], eos_token=CONTROL[3], chat_template=template
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=False, initializer_range=0.4,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Released:
    """DiVAModel.generate for one clip."""

    def __init__(self, checkpoint: Path, encoder: Path, llm: Path) -> None:
        stored = load_file(checkpoint / "model.safetensors")
        whisper = WhisperForConditionalGeneration.from_pretrained(encoder, dtype=torch.float32).eval()
        self.encoder = whisper.model.encoder
        self.extractor = WhisperFeatureExtractor(feature_size=whisper.config.num_mel_bins)
        self.connector = WhisperDecoder(whisper.config).eval()
        names = [name for name in stored if name.startswith("connector.")]
        self.connector.load_state_dict({n.removeprefix("connector."): stored[n] for n in names}, strict=True)
        self.query_tokens = stored["query_tokens"]
        self.projection = nn.Linear(*stored["projection.weight"].shape)
        self.projection.weight = nn.Parameter(stored["projection.weight"].T)
        self.projection.bias = nn.Parameter(stored["projection.bias"])
        self.llm: Any = LlamaForCausalLM.from_pretrained(llm, dtype=torch.float32).eval()
        self.tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(llm)

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def before_and_after(self, layout: str, prompt: str) -> tuple[list[int], list[int]]:
        if layout == "paper":
            header = self.ids("<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n")
            user = self.ids("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n")
            return header + self.ids(prompt) + user, self.ids(
                "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
            )
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": "PLACEHOLDER"}],
            tokenize=False,
            add_generation_prompt=True,
            date_string="26 Jul 2024",
        )
        prefix, suffix = text.split("PLACEHOLDER")
        lines = prefix.rstrip("\n").split("\n")
        pre_system, post_system = lines[0] + "\n", "\n" + lines[-1] + "\n"
        return self.ids(pre_system) + self.ids(prompt) + self.ids(post_system), self.ids(suffix)

    @torch.no_grad()
    def generate(
        self, wave: NDArray[np.float32], prompt: str, layout: str, max_new_tokens: int
    ) -> tuple[list[Tensor], list[int]]:
        """(logits of every step, the tokens without the last <|eot_id|>)."""
        features = self.extractor(wave, sampling_rate=16_000, return_tensors="pt").input_features
        states = self.encoder(features).last_hidden_state
        virtual = self.projection(
            self.connector(inputs_embeds=self.query_tokens[None], encoder_hidden_states=states).last_hidden_state
        )
        table = self.llm.get_input_embeddings()
        before, after = (table(torch.tensor([part])) for part in self.before_and_after(layout, prompt))
        inputs = torch.cat([before, virtual, after], dim=1)
        end, past = self.tokenizer.convert_tokens_to_ids("<|eot_id|>"), None
        logits: list[Tensor] = []
        tokens: list[int] = []
        while len(tokens) < max_new_tokens:
            out = self.llm(inputs_embeds=inputs, past_key_values=past, use_cache=True)
            past = out.past_key_values
            logits.append(out.logits[0, -1])
            greedy = int(logits[-1].argmax())
            if greedy == end:
                break
            tokens.append(greedy)
            inputs = table(torch.tensor([[greedy]]))
        return logits, tokens
