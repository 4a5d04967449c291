"""Read Whisper from a CTranslate2 folder.

`model.bin` (version 6) is a list of named arrays, little-endian: uint32 version, string, uint32 revision, uint32 count;
per array a string, uint8 rank, uint32 per dimension, uint8 type, uint32 bytes, data; then aliases. A string is a uint16
length and that many bytes, the last one NUL. The attention matrices are fused: q, k and v in self-attention, k and v in
cross-attention; k has no bias in Whisper, so its third of the fused bias is zero.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diva_bench.errors import AssetError
from diva_bench.weights.convert import Converted

if TYPE_CHECKING:
    from torch import Tensor

Arrays = dict[str, NDArray[Any]]

TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}  # CTranslate2's DataType
SPEC = "WhisperSpec"
VERSION = 6
ENGLISH_ONLY_VOCABULARY = 51864  # one entry fewer than the smallest multilingual one

_BLOCKS = {  # CTranslate2 name of a part of one layer -> transformers name
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "attention/linear_0": "encoder_attn.q_proj",
    "attention/linear_2": "encoder_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
_FUSED = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
}
_TOP = {
    "conv1": "conv1",
    "conv2": "conv2",
    "layer_norm": "layer_norm",
    "embeddings": "embed_tokens",
    "position_encodings": "embed_positions",
}
_SIDES = ("encoder", "decoder")
_LEAF = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias", "encodings": "weight"}


def read_whisper(source: Path) -> Converted:
    """model.bin, config.json and tokenizer.json of a folder as WhisperForConditionalGeneration in float16."""
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    path = source / "model.bin"
    arrays = read_arrays(path)
    settings = _json(source / "config.json")
    tokenizer = _tokenizer(source / "tokenizer.json")
    try:
        config = _config(arrays, tokenizer)
        weights = dict(_rename(arrays))
        generation = _generation(config, tokenizer, settings)
    except (KeyError, ValueError, IndexError) as err:
        raise AssetError(f"{path}: not a Whisper model as CTranslate2 writes it ({err!r}).") from err
    features = WhisperFeatureExtractor(feature_size=config.num_mel_bins)  # type: ignore[no-untyped-call]
    return Converted(WhisperForConditionalGeneration, config, weights, (generation, features, tokenizer))


def read_arrays(path: Path) -> Arrays:
    """Every array of a CTranslate2 version 6 Whisper model file, by name."""
    try:
        data = path.read_bytes()
    except OSError as err:
        raise AssetError(f"{path}: cannot be read ({err.strerror}).") from err
    try:
        return _parse(data)
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as err:
        raise AssetError(
            f"{path}: not a CTranslate2 model file of version {VERSION}, or damaged ({err!r}). "
            "Delete it and pull it again."
        ) from err


def _parse(data: bytes) -> Arrays:
    at = 0

    def number(form: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return int(value)

    def string() -> str:
        nonlocal at
        size = number("H")
        raw = data[at : at + size]
        at += size
        if len(raw) != size:
            raise ValueError("the file ends early")
        return raw.rstrip(b"\0").decode("ascii")

    version, spec, _revision = number("I"), string(), number("I")
    if version != VERSION or spec != SPEC:
        raise ValueError(f"it says version {version}, {spec!r}")
    arrays: Arrays = {}
    for _ in range(number("I")):
        name = string()
        shape = tuple(number("I") for _ in range(number("B")))
        dtype = np.dtype(TYPES[number("B")])
        size = number("I")
        if size != dtype.itemsize * int(np.prod(shape, dtype=np.int64)):
            raise ValueError(f"{name} of shape {shape} says {size} bytes")
        arrays[name] = np.frombuffer(data, dtype, count=size // dtype.itemsize, offset=at).reshape(shape)
        at += size
    for _ in range(number("I")):
        string(), string()  # aliases: only the output matrix, which is the embedding matrix
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes are left over")
    return arrays


def _rename(arrays: Arrays) -> Iterator[tuple[str, Tensor]]:
    """Each array under its names in transformers; settings (scalars and similar) are left out."""
    for name, array in arrays.items():
        side, _, rest = name.partition("/")
        if not rest.startswith("layer_") or rest.startswith("layer_norm"):
            part, _, leaf = rest.rpartition("/")
            if part in _TOP:
                yield f"model.{side}.{_TOP[part]}.{_LEAF[leaf]}", _tensor(name, array)
            continue
        layer, _, rest = rest.partition("/")
        part, _, leaf = rest.rpartition("/")
        home = f"model.{side}.layers.{int(layer.removeprefix('layer_'))}"
        if part in _FUSED:
            rows = np.split(array, len(_FUSED[part]))
            for target, piece in zip(_FUSED[part], rows, strict=True):
                if target.endswith("k_proj") and leaf == "bias":
                    if piece.any():
                        raise ValueError(f"{name}: the key bias is not zero")
                    continue
                yield f"{home}.{target}.{_LEAF[leaf]}", _tensor(name, piece)
        else:
            yield f"{home}.{_BLOCKS[part]}.{_LEAF[leaf]}", _tensor(name, array)


def _tensor(name: str, array: NDArray[Any]) -> Tensor:
    import torch

    if array.dtype not in (np.float16, np.float32):
        raise ValueError(f"{name} is {array.dtype}: only float16 and float32 models can be converted")
    tensor = torch.from_numpy(array.astype(np.float16))
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} has values that are not finite numbers")
    return tensor


def _config(arrays: Arrays, tokenizer: Any) -> Any:
    from transformers import WhisperConfig

    layers = {side: sum(f"{side}/layer_{k}/ffn/linear_0/weight" in arrays for k in range(100)) for side in _SIDES}
    vocabulary, width = arrays["decoder/embeddings/weight"].shape
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    return WhisperConfig(
        vocab_size=vocabulary,
        num_mel_bins=arrays["encoder/conv1/weight"].shape[1],
        d_model=width,
        encoder_layers=layers["encoder"],
        decoder_layers=layers["decoder"],
        encoder_attention_heads=int(arrays["encoder/num_heads"]),
        decoder_attention_heads=int(arrays["decoder/num_heads"]),
        encoder_ffn_dim=arrays["encoder/layer_0/ffn/linear_0/weight"].shape[0],
        decoder_ffn_dim=arrays["decoder/layer_0/ffn/linear_0/weight"].shape[0],
        max_source_positions=arrays["encoder/position_encodings/encodings"].shape[0],
        max_target_positions=arrays["decoder/position_encodings/encodings"].shape[0],
        decoder_start_token_id=tokenizer.convert_tokens_to_ids("<|startoftranscript|>"),
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        tie_word_embeddings=True,
        dtype="float16",
    )


def _generation(config: Any, tokenizer: Any, settings: dict[str, Any]) -> Any:
    """Generation settings as in Whisper's own repositories, so that `generate` of transformers works too."""
    from transformers import GenerationConfig

    added = tokenizer.get_added_vocab()
    multilingual = config.vocab_size > ENGLISH_ONLY_VOCABULARY
    languages = {token: number for token, number in added.items() if number in set(settings.get("lang_ids", ()))}
    tasks = {name: added[f"<|{name}|>"] for name in ("transcribe", "translate")}
    extra = {"lang_to_id": languages, "task_to_id": tasks} if multilingual else {}
    return GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        max_length=config.max_target_positions,
        suppress_tokens=settings["suppress_ids"],
        begin_suppress_tokens=settings["suppress_ids_begin"],
        alignment_heads=settings.get("alignment_heads"),
        no_timestamps_token_id=added["<|notimestamps|>"],
        is_multilingual=multilingual,
        return_timestamps=False,
        **extra,
    )


def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    try:
        inner = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise AssetError(f"{path}: cannot be read ({err.strerror}).") from err
    except Exception as err:  # the Rust library raises plain Exception
        raise AssetError(f"{path}: not a tokenizer file, or damaged ({err}).") from err
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner, bos_token=end, eos_token=end, unk_token=end, pad_token=end
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise AssetError(f"{path}: cannot be read as JSON ({err}).") from err
    if not isinstance(value, dict) or "suppress_ids" not in value or "suppress_ids_begin" not in value:
        raise AssetError(f"{path}: not CTranslate2's settings of a Whisper model (no suppress_ids).")
    return value
