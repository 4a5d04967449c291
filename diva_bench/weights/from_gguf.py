"""Read an instruct LLM from one GGUF file: Llama and Qwen2 architectures, byte-level BPE tokenizers, chat template inside.

The weights are unpacked tensor by tensor to bfloat16. The package `gguf` reads the file, because the GGUF loader of
transformers changes from release to release and keeps the weights packed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diva_bench.errors import AssetError
from diva_bench.weights.convert import Converted

if TYPE_CHECKING:
    from torch import Tensor

_BLOCKS = {  # GGUF name of a part of one layer -> transformers name
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
ARCHITECTURES = ("llama", "qwen2")
# GGUF only names the pre-tokeniser; this is its rule, from Qwen2's tokenizer
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL, USER_DEFINED = 3, 4  # GGUF token types: special tokens, and plain ones that are never split


def read_llm(source: Path) -> Converted:
    """The .gguf file in `source` as a causal language model in bfloat16, with tied input and output embeddings.

    Files with two separate matrices have two quantised copies of one matrix; the output's copy is used, because it has
    more bits.
    """
    from gguf import GGUFReader

    files = sorted(source.glob("*.gguf"))
    if len(files) != 1:
        raise AssetError(f"{source}: expected one .gguf file, found {[f.name for f in files] or 'none'}.")
    path = files[0]
    try:
        reader = GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        if fields["general.architecture"] not in ARCHITECTURES:
            raise ValueError(f"architecture {fields['general.architecture']!r}; known: {', '.join(ARCHITECTURES)}")
        tokenizer = _tokenizer(fields)
        architecture, config = _config(fields, {t.name for t in reader.tensors}, tokenizer)
        weights = dict(_rename(reader, config, permuted=fields["general.architecture"] == "llama"))
    except (KeyError, ValueError, IndexError, OverflowError, TypeError, OSError) as err:
        raise AssetError(f"{path}: not a GGUF file that can be converted, or damaged ({err!r}).") from err
    return Converted(architecture, config, weights, (_generation(config), tokenizer))


def _rename(reader: Any, config: Any, permuted: bool) -> Iterator[tuple[str, Tensor]]:
    tensors = {t.name: t for t in reader.tensors}
    embedding = "output.weight" if "output.weight" in tensors else "token_embd.weight"
    yield "model.embed_tokens.weight", _tensor(tensors[embedding])
    yield "model.norm.weight", _tensor(tensors["output_norm.weight"])
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, packed in tensors.items():
        if name.startswith("blk."):
            _, layer, part, leaf = name.split(".")
            value = _tensor(packed)
            if permuted and part in heads:
                value = _unpermute(value, heads[part])
            yield f"model.layers.{int(layer)}.{_BLOCKS[part]}.{leaf}", value


def _tensor(packed: Any) -> Tensor:
    import torch
    from gguf import quants

    value = torch.from_numpy(quants.dequantize(packed.data, packed.tensor_type).copy()).to(torch.bfloat16)
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{packed.name} has values that are not finite numbers")
    return value


def _unpermute(weight: Tensor, heads: int) -> Tensor:
    """Undo the row order of Llama's q and k in GGUF, where rotary pairs (i, i + half) are neighbours."""
    rows = weight.shape[0]
    return (
        weight.view(heads, rows // heads // 2, 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape).contiguous()
    )


def _config(fields: dict[str, Any], names: set[str], tokenizer: Any) -> tuple[Any, Any]:
    """The transformers class and its config."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    kind = fields["general.architecture"]

    def get(key: str) -> Any:
        return fields[f"{kind}.{key}"]

    common = {
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": get("embedding_length"),
        "intermediate_size": get("feed_forward_length"),
        "num_hidden_layers": get("block_count"),
        "num_attention_heads": get("attention.head_count"),
        "num_key_value_heads": get("attention.head_count_kv"),
        "max_position_embeddings": get("context_length"),
        "rms_norm_eps": round(get("attention.layer_norm_rms_epsilon"), 12),  # stored as float32 9.99...e-07
        "rope_parameters": {"rope_type": "default", "rope_theta": float(get("rope.freq_base"))},
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
    }
    if any("rope_freqs" in name for name in names) or f"{kind}.rope.scaling.type" in fields:
        raise ValueError("scaled rotary positions are not known to this reader")
    if kind == "llama":
        return LlamaForCausalLM, LlamaConfig(**common, attention_bias="blk.0.attn_q.bias" in names)
    return Qwen2ForCausalLM, Qwen2Config(**common)


def _generation(config: Any) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )


def _tokenizer(fields: dict[str, Any]) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if fields["tokenizer.ggml.model"] != "gpt2":
        raise ValueError(f"tokenizer {fields['tokenizer.ggml.model']!r}; only byte-level BPE ('gpt2') is known")
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"]]
    inner = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    rule = fields["tokenizer.ggml.pre"]
    first: Any
    if rule == "qwen2":
        inner.normalizer = normalizers.NFC()
        first = pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated")
    elif rule == "smollm":
        first = pre_tokenizers.Digits(individual_digits=True)
    else:
        raise ValueError(f"pre-tokenizer {rule!r}; known: qwen2, smollm")
    # smollm uses the rule of GPT-2, which is part of the byte-level step
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rule == "smollm")
    inner.pre_tokenizer = pre_tokenizers.Sequence([first, to_bytes])
    inner.decoder = decoders.ByteLevel()
    kinds = list(zip(tokens, fields["tokenizer.ggml.token_type"], strict=True))
    inner.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in kinds if k == CONTROL])
    inner.add_tokens([AddedToken(t, normalized=False) for t, k in kinds if k == USER_DEFINED])
    roles = {role: tokens[fields[f"tokenizer.ggml.{role}_token_id"]] for role in ("bos", "eos")}
    padding = tokens[fields.get("tokenizer.ggml.padding_token_id", fields["tokenizer.ggml.eos_token_id"])]
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner,
        bos_token=roles["bos"],
        eos_token=roles["eos"],
        pad_token=padding,
        chat_template=fields["tokenizer.chat_template"],
        model_max_length=fields[f"{fields['general.architecture']}.context_length"],
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
