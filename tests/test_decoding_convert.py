"""Conversion of weights: files written here from known models, read back, and damaged in many ways."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from numpy.typing import NDArray
from safetensors.torch import load_file
from tiny_models import CHAT, ENGLISH_ONLY, byte_tokenizer, whisper_config
from torch import Tensor
from transformers import AutoTokenizer, WhisperForConditionalGeneration
from transformers.models.auto import AutoModelForCausalLM
from transformers.models.llama import LlamaConfig, LlamaForCausalLM
from transformers.models.qwen2 import Qwen2Config, Qwen2ForCausalLM

from diva_bench.errors import AssetError, UnknownName
from diva_bench.weights.convert import convert

Array = NDArray[Any]
Arrays = dict[str, Array]
CODES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}

# ---------------------------------------------------------------- CTranslate2


def ct2_bytes(arrays: Arrays, version: int = 6, spec: str = "WhisperSpec") -> bytes:
    def string(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    out = struct.pack("<I", version) + string(spec) + struct.pack("<II", 3, len(arrays))
    for name, array in arrays.items():
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        out += string(name) + shape + struct.pack("<BI", CODES[str(array.dtype)], array.nbytes) + array.tobytes()
    return out + struct.pack("<I", 1) + string("decoder/projection/weight") + string("decoder/embeddings/weight")


def ct2_arrays(state: dict[str, Tensor], heads: int) -> Arrays:
    """The names and fusions of CTranslate2, from a transformers state dict."""
    arrays: Arrays = {f"{side}/num_heads": np.array(heads, np.int16) for side in ("encoder", "decoder")}
    arrays["decoder/scale_embeddings"] = np.array(0, np.int8)

    def put(name: str, value: Tensor) -> None:
        arrays[name] = value.half().numpy()

    def linear(name: str, *sources: str) -> None:
        put(f"{name}/weight", torch.cat([state[f"{s}.weight"] for s in sources]))
        zero = torch.zeros(state[f"{sources[0]}.weight"].shape[0])  # Whisper's keys have no bias
        put(f"{name}/bias", torch.cat([state.get(f"{s}.bias", zero) for s in sources]))

    def norm(name: str, source: str) -> None:
        put(f"{name}/gamma", state[f"{source}.weight"])
        put(f"{name}/beta", state[f"{source}.bias"])

    for side in ("encoder", "decoder"):
        norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        put(f"{side}/position_encodings/encodings", state[f"model.{side}.embed_positions.weight"])
        for k in range(2):
            here, there = f"{side}/layer_{k}", f"model.{side}.layers.{k}"
            own = [f"{there}.self_attn.{x}_proj" for x in "qkv"]
            linear(f"{here}/self_attention/linear_0", *own)
            linear(f"{here}/self_attention/linear_1", f"{there}.self_attn.out_proj")
            norm(f"{here}/self_attention/layer_norm", f"{there}.self_attn_layer_norm")
            linear(f"{here}/ffn/linear_0", f"{there}.fc1")
            linear(f"{here}/ffn/linear_1", f"{there}.fc2")
            norm(f"{here}/ffn/layer_norm", f"{there}.final_layer_norm")
            if side == "decoder":
                linear(f"{here}/attention/linear_0", f"{there}.encoder_attn.q_proj")
                linear(f"{here}/attention/linear_1", *(f"{there}.encoder_attn.{x}_proj" for x in "kv"))
                linear(f"{here}/attention/linear_2", f"{there}.encoder_attn.out_proj")
                norm(f"{here}/attention/layer_norm", f"{there}.encoder_attn_layer_norm")
    put("decoder/embeddings/weight", state["model.decoder.embed_tokens.weight"])
    for k in (1, 2):
        put(f"encoder/conv{k}/weight", state[f"model.encoder.conv{k}.weight"])
        put(f"encoder/conv{k}/bias", state[f"model.encoder.conv{k}.bias"])
    return arrays


@pytest.fixture(scope="module")
def whisper() -> WhisperForConditionalGeneration:
    torch.manual_seed(0)
    model: Any = WhisperForConditionalGeneration(whisper_config())
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value)  # transformers starts them at zero, which would hide a swap
    return model.half()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def arrays(whisper: WhisperForConditionalGeneration) -> Arrays:
    return ct2_arrays(dict(whisper.state_dict()), heads=2)


def ct2_folder(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(content)
    settings = {
        "suppress_ids": [1, 2],
        "suppress_ids_begin": [220, 256],
        "lang_ids": [258],
        "alignment_heads": [[0, 1]],
    }
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    tokenizer = byte_tokenizer(words=())
    names = ("endoftext", "startoftranscript", "en", "translate", "transcribe", "notimestamps")
    tokenizer.add_special_tokens([f"<|{n}|>" for n in names])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_whisper_comes_back_weight_for_weight(
    tmp_path: Path, whisper: WhisperForConditionalGeneration, arrays: Arrays
) -> None:
    convert("ctranslate2-whisper", ct2_folder(tmp_path / "in", ct2_bytes(arrays)), tmp_path / "out")
    back: Any
    back, report = WhisperForConditionalGeneration.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert back.config.vocab_size == ENGLISH_ONLY
    assert back.generation_config.suppress_tokens == [1, 2]
    assert not back.generation_config.is_multilingual
    wanted = whisper.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in back.state_dict().items())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.convert_tokens_to_ids("<|notimestamps|>") == 261
    assert tokenizer.decode(tokenizer("naïve 你好", add_special_tokens=False)["input_ids"]) == "naïve 你好"


def key_bias(arrays: Arrays) -> None:
    name = "encoder/layer_0/self_attention/linear_0/bias"
    arrays[name] = np.ones_like(arrays[name])


def int8(arrays: Arrays) -> None:
    name = "decoder/layer_1/ffn/linear_0/weight"
    arrays[name] = np.zeros(arrays[name].shape, np.int8)


def infinite(arrays: Arrays) -> None:
    name = "decoder/layer_1/ffn/linear_0/weight"
    arrays[name] = np.full_like(arrays[name], np.inf)


def short(arrays: Arrays) -> None:
    name = "decoder/layer_1/ffn/linear_1/weight"
    arrays[name] = arrays[name][:-1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (key_bias, "key bias is not zero"),
        (int8, "linear_0/weight is int8: only float16 and float32"),
        (infinite, "not finite numbers"),
        (short, r"layers.1.fc2.weight: found \(15, 32\), expected \(16, 32\)"),
        (lambda a: a.pop("encoder/conv1/bias"), r"conv1.bias: found none, expected \(16,\)"),
        (lambda a: a.pop("decoder/embeddings/weight"), "not a Whisper model"),
        (lambda a: a.pop("encoder/num_heads"), "not a Whisper model"),
    ],
)
def test_a_whisper_that_is_not_one_is_refused_and_nothing_is_written(
    tmp_path: Path, arrays: Arrays, change: Callable[[Arrays], object], reason: str
) -> None:
    changed = dict(arrays)
    change(changed)
    source = ct2_folder(tmp_path / "in", ct2_bytes(changed))
    with pytest.raises(AssetError, match=f"(?s){re.escape(str(source))}.*{reason}"):
        convert("ctranslate2-whisper", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.3, 0.5, 0.9, 0.999999])
def test_a_cut_model_file_is_refused(tmp_path: Path, arrays: Arrays, share: float) -> None:
    content = ct2_bytes(arrays)
    source = ct2_folder(tmp_path / "in", content[: int(share * len(content))])
    with pytest.raises(AssetError, match=r"model\.bin: not a CTranslate2 model file"):
        convert("ctranslate2-whisper", source, tmp_path / "out")


@pytest.mark.parametrize(
    "content",
    [b"PK\3\4" + bytes(400), ct2_bytes({}, version=5), ct2_bytes({}, spec="TransformerSpec"), ct2_bytes({}) + b"x"],
)
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(AssetError, match=r"model\.bin: not a CTranslate2 model file of version 6"):
        convert("ctranslate2-whisper", ct2_folder(tmp_path / "in", content), tmp_path / "out")


@pytest.mark.parametrize("name", ["model.bin", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty object"])
def test_every_file_of_a_whisper_folder_has_to_be_sound(tmp_path: Path, arrays: Arrays, name: str, damage: str) -> None:
    source = ct2_folder(tmp_path / "in", ct2_bytes(arrays))
    path = source / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"{}")
    with pytest.raises(AssetError, match=re.escape(str(path))):
        convert("ctranslate2-whisper", source, tmp_path / "out")


# ---------------------------------------------------------------- GGUF


NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
SPECIAL = ["<|start|>", "<|end|>", "<|over|>"]


def make_lm(kind: str, vocabulary: int) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": vocabulary, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    }  # fmt: skip
    model: Any = LlamaForCausalLM(LlamaConfig(**sizes)) if kind == "llama" else Qwen2ForCausalLM(Qwen2Config(**sizes))
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 1:
                value.normal_(1.0, 0.3)
            value.data = value.data.bfloat16()  # not model.bfloat16(), which would round the rotary frequencies too
    return model.eval()


def permuted(weight: Array, heads: int) -> Array:
    """The row order that llama.cpp's converter gives Llama's q and k."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def gguf_file(path: Path, kind: str, model: Any, pre: str, **fields: str) -> None:
    inner = byte_tokenizer()
    parts = json.loads(inner.to_str())["model"]
    tokens = [*parts["vocab"], *SPECIAL]
    out = GGUFWriter(str(path), fields.get("architecture", kind))
    out.add_block_count(2)
    out.add_context_length(128)
    out.add_embedding_length(64)
    out.add_feed_forward_length(96)
    out.add_head_count(4)
    out.add_head_count_kv(2)
    out.add_rope_freq_base(5000.0)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_tokenizer_model(fields.get("tokenizer", "gpt2"))
    out.add_tokenizer_pre(pre)
    out.add_token_list(tokens)
    out.add_token_types([1] * len(parts["vocab"]) + [3] * len(SPECIAL))
    out.add_token_merges([" ".join(m) for m in parts["merges"]])
    out.add_bos_token_id(len(tokens) - 3)
    out.add_eos_token_id(len(tokens) - 2)
    out.add_chat_template(CHAT)
    for name, value in model.state_dict().items():
        array = value.float().numpy()
        if name == "lm_head.weight":
            continue
        if name == "model.embed_tokens.weight":
            # as in the Qwen files: two copies of one matrix, the output's with more bits
            out.add_tensor("output.weight", array)
            packed = quants.quantize(array, GGMLQuantizationType.Q8_0)
            out.add_tensor("token_embd.weight", packed, raw_dtype=GGMLQuantizationType.Q8_0)
        elif name == "model.norm.weight":
            out.add_tensor("output_norm.weight", array)
        else:
            _, _, layer, *middle, leaf = name.split(".")
            part = NAMES[".".join(middle)]
            if kind == "llama" and part in ("attn_q", "attn_k"):
                array = permuted(array, 4 if part == "attn_q" else 2)
            out.add_tensor(f"blk.{layer}.{part}.{leaf}", np.ascontiguousarray(array))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


VOCABULARY = len(json.loads(byte_tokenizer().to_str())["model"]["vocab"]) + len(SPECIAL)


@pytest.mark.parametrize(("kind", "pre"), [("llama", "smollm"), ("qwen2", "qwen2")])
def test_an_llm_comes_back_weight_for_weight_with_its_tokenizer_and_template(
    tmp_path: Path, kind: str, pre: str
) -> None:
    model = make_lm(kind, VOCABULARY)
    gguf_file(tmp_path / "toy.gguf", kind, model, pre)
    convert("gguf", tmp_path, tmp_path / "out")
    loader: Any = AutoModelForCausalLM
    back, report = loader.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert back.dtype == torch.bfloat16
    wanted = model.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in back.state_dict().items())
    ids = torch.tensor([[5, 9, 2, 7]])
    with torch.inference_mode():
        assert torch.equal(back(ids).logits, model(ids).logits)
    assert set(load_file(tmp_path / "out" / "model.safetensors")) == set(wanted) - {"lm_head.weight"}
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.eos_token == "<|end|>"
    text = "happiness, 12 naïve 你好\n\n  I'M"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    turn = [{"role": "user", "content": "hi"}]
    rendered = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    assert rendered == "<|start|>user\nhi<|end|>\n<|start|>assistant\n"
    start, end = tokenizer.convert_tokens_to_ids(["<|start|>", "<|end|>"])
    framed = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert [i for i in framed if i in (start, end)] == [start, end, start]


@pytest.mark.parametrize(
    ("pre", "fields", "reason"),
    [
        ("llama-bpe", {}, "pre-tokenizer 'llama-bpe'; known: qwen2, smollm"),
        ("smollm", {"tokenizer": "llama"}, "tokenizer 'llama'; only byte-level BPE"),
        ("smollm", {"architecture": "gemma3"}, "architecture 'gemma3'; known: llama, qwen2"),
    ],
)
def test_an_llm_that_this_reader_does_not_know_is_refused_by_name(
    tmp_path: Path, pre: str, fields: dict[str, str], reason: str
) -> None:
    gguf_file(tmp_path / "toy.gguf", "llama", make_lm("llama", VOCABULARY), pre, **fields)
    with pytest.raises(AssetError, match=f"toy.gguf.*{reason}"):
        convert("gguf", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.02, 0.1, 0.5, 0.9, 0.9999])
def test_a_cut_gguf_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "toy.gguf"
    gguf_file(path, "llama", make_lm("llama", VOCABULARY), "smollm")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(AssetError, match=r"toy\.gguf: not a GGUF file that can be converted, or damaged"):
        convert("gguf", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [(), ("a.gguf", "b.gguf")])
def test_a_folder_has_to_hold_one_gguf_file(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(AssetError, match=r"expected one \.gguf file, found"):
        convert("gguf", tmp_path, tmp_path / "out")


def test_an_unknown_format_is_told_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown weights format 'ggufs'\. Did you mean 'gguf'"):
        convert("ggufs", tmp_path, tmp_path / "out")
