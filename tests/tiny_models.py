"""Models of a few kilobytes with random weights, stored as real ones are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration
from transformers.models.llama import LlamaConfig, LlamaForCausalLM

CHAT = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
WORDS = ("sad", "hap", "py", "pi", "ness", "happy")  # tokens of several letters, so that labels share a first token
ENGLISH_ONLY, MULTILINGUAL = 400, 51_865  # vocabulary entries; from the second on, Whisper takes a language token


def byte_tokenizer(words: tuple[str, ...] = WORDS) -> Tokenizer:
    """Byte-level BPE: all bytes, and the given words as merges."""
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    for word in words:
        parts = list(word)
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            parts[:2] = ["".join(pair)]
            if parts[0] not in vocabulary:
                vocabulary[parts[0]] = len(vocabulary)
                merges.append(pair)
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return made


def make_llm(folder: Path, template: str = CHAT, seed: int = 0) -> Path:
    """Two Llama layers of width 32 over bytes."""
    inner = byte_tokenizer()
    inner.add_special_tokens(["<|start|>", "<|end|>", "<|over|>"])
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|start|>", eos_token="<|end|>", pad_token="<|end|>", chat_template=template
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, initializer_range=0.4,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def enlarged(model: Any, seed: int = 0) -> Any:
    """The model with larger random weights: at the usual 0.02 all logits are near each other, and faults do not show."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in model.parameters():
            if part.ndim >= 2:
                part.copy_(1.2 * torch.randn(part.shape, generator=draws) / part.shape[-1] ** 0.5)
    return model


def whisper_config(vocabulary: int = ENGLISH_ONLY) -> WhisperConfig:
    return WhisperConfig(
        vocab_size=vocabulary, num_mel_bins=80, d_model=16, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        bos_token_id=256, eos_token_id=256, pad_token_id=256, decoder_start_token_id=257, init_std=0.3,
    )  # fmt: skip


def make_whisper(folder: Path, vocabulary: int = ENGLISH_ONLY, seed: int = 0) -> Path:
    """Two encoder and two decoder layers of width 16; 256 byte tokens, then the control tokens."""
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(whisper_config(vocabulary))
    with torch.no_grad():
        model.model.decoder.embed_positions.weight.normal_(0, 0.3)
    inner = byte_tokenizer(words=())
    names = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|notimestamps|>"]
    names += ["<|fr|>", "<|zh|>"] if vocabulary == MULTILINGUAL else []
    inner.add_special_tokens(names)
    generation: Any = GenerationConfig(suppress_tokens=[1, 2, 7], begin_suppress_tokens=[220, 256], eos_token_id=256)
    for part in (model, generation):
        part.save_pretrained(folder)
    inner.save(str(folder / "tokenizer.json"))
    return folder


def spoil_json(path: Path, **changes: Any) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(value | changes), encoding="utf-8")


def store(folder: Path, specs: Path, name: str) -> None:
    """Weights `name` among the YAML files of `specs`: the files of a model's folder, where they are."""
    lines = [f"name: {name}", "format: safetensors", "description: d", "licence: none", "files:"]
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        lines += [f"  - path: {path.name}", f"    sha256: {hashlib.sha256(path.read_bytes()).hexdigest()}"]
        lines += [f"    bytes: {path.stat().st_size}", "    sources:", f"      - file: {path}"]
    (specs / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
